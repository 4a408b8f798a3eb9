"""resample: parcel series at a common rate, with anti-aliasing."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from brainlm_data.bids import fieldmaps
from brainlm_data.methods.operators import STOP, invalid_steps, resample
from brainlm_data.stage import Facts, Files, Stage, StageConfig


class Config(StageConfig):
    """The common rate."""

    hz: float | None = Field(1.0, gt=0, le=10, description="time steps per second of every series; null: the native TR")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write (T', parcels), T' = floor((T - 1) TR hz) + 1; n/a where nothing valid can be interpolated."""
    from brainlm_data.files.tables import read_table, write_table

    native, atlas = inputs.facts("parcels_native"), inputs.facts("atlas_table")
    tr, total = float(native["RepetitionTime"]), int(native["NumberOfVolumes"])
    names, series = read_table(inputs["parcels_native"])
    covered = ~np.isnan(series[native["Dropped"] :]).all(0)
    hz = config.hz or 1 / tr
    if config.hz is None:
        values = series
    else:
        moved = resample(series[:, covered], tr, hz)
        values = np.full((len(moved), len(names)), np.nan)
        values[:, covered] = moved
    write_table(outputs["parcels"], names, values)
    low, high = native["EffectiveBand"]
    unused, warnings = fieldmaps.stated(inputs.meta)
    edge = STOP * hz / 2 if hz < 1 / tr * (1 - 1e-9) else np.inf
    return {
        "SamplingFrequency": hz,
        "RepetitionTime": tr,
        "NumberOfVolumes": total,
        "NumberOfSteps": len(values),
        "SliceTimingCorrected": native.get("SliceTimingCorrected", False),
        "StartTime": native.get("StartTime", 0.0),
        "InvalidSteps": invalid_steps(len(values), hz, tr, native["Dropped"], native["Censored"]),
        "EffectiveBand": [low, float(min(high, edge))],
        "Resampled": config.hz is not None,
        "Units": native["Units"],
        "AtlasName": native.get("AtlasName", ""),
        "Space": native.get("Space", ""),
        **({"SpaceMismatch": atlas["SpaceMismatch"]} if "SpaceMismatch" in atlas else {}),
        **unused,
        "Warnings": [*native.get("Warnings", []), *atlas.get("Warnings", []), *warnings],
    }


def describe(facts: Facts) -> str:
    """Methods sentence."""
    unused = " Susceptibility distortion was not corrected, although a fieldmap was acquired."
    more = unused if facts.get("FieldmapsNotUsed") else ""
    if not facts["Resampled"]:
        return f"Series stayed at the native TR of {facts['RepetitionTime']:g} s.{more}"
    return (
        f"Series were resampled from TR {facts['RepetitionTime']:g} s to {facts['SamplingFrequency']:g} Hz by a cubic"
        f" spline, after a low-pass where that rate is lower; the effective band is {facts['EffectiveBand'][0]:g}-"
        f"{facts['EffectiveBand'][1]:.4g} Hz.{more}"
    )


STAGE = Stage(
    name="resample",
    version=2,
    level="recording",
    summary="Resample the parcel series to a common rate, with anti-aliasing.",
    Config=Config,
    inputs=("parcels_native", "atlas_table"),
    outputs=("parcels",),
    run=run,
    describe=describe,
    told=("fieldmaps",),
    routes=("native", "fmriprep"),
)
