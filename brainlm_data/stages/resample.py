"""resample: parcel series at a common rate, with anti-aliasing."""

from __future__ import annotations

from pydantic import Field

from brainlm_data.methods.operators import at_rate, highest_hz, invalid_steps
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig

STEPS_PER_VOLUME = 3  # more steps than that are made of one volume: a warning


class Config(StageConfig):
    """The common rate."""

    hz: float | None = Field(
        1.0, ge=0.01, le=10, description="time steps per second of every series; null: the native TR"
    )


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write (T', parcels), T' = floor((T - 1) TR hz) + 1; n/a where nothing valid can be interpolated."""
    from brainlm_data.files.tables import read_table, write_table

    native = inputs.facts("parcels_native")
    tr = float(native["RepetitionTime"])
    names, series = read_table(inputs["parcels_native"])
    hz = config.hz or 1 / tr
    values = at_rate(series, tr, hz, native["Dropped"])
    write_table(outputs["parcels"], names, values)
    low, high = native["EffectiveBand"]  # a lower rate lowers the upper edge, see `highest_hz`
    warnings = []
    if hz * tr > STEPS_PER_VOLUME:
        warnings.append(
            f"{len(values)} steps at {hz:g} Hz come from {len(series)} volumes at TR {tr:g} s: no more than"
            f" {len(series)} of them are independent"
        )
    return {
        "SamplingFrequency": hz,
        "NumberOfSteps": len(values),
        "InvalidSteps": invalid_steps(len(values), hz, tr, native["Dropped"], native["Censored"]),
        "EffectiveBand": [low, float(min(high, highest_hz(tr, hz)))],
        "Resampled": config.hz is not None,
        "Units": native["Units"],
        "Warnings": warnings,
    }


def describe(facts: Facts) -> str:
    """Methods sentence."""
    if not facts["Resampled"]:
        return Sentence("Series stayed at the native TR of {tr_s:g} s.", tr_s=facts["RepetitionTime"])
    low, high = facts["EffectiveBand"]
    return Sentence(
        "Series were resampled from TR {tr_s:g} s to {rate_hz:g} Hz by a cubic spline, after a low-pass where that rate"
        " is lower; the effective band is {low_hz:g}-{high_hz:.4g} Hz.",
        tr_s=facts["RepetitionTime"],
        rate_hz=facts["SamplingFrequency"],
        low_hz=low,
        high_hz=high,
    )


STAGE = Stage(
    name="resample",
    version=3,
    level="recording",
    summary="Resample the parcel series to a common rate, with anti-aliasing.",
    Config=Config,
    inputs=("parcels_native", "atlas_table"),
    outputs=("parcels",),
    run=run,
    describe=describe,
    routes=("native", "fmriprep"),
    need=Need(400, 0.5, 10, disk_mb=0.2, disk_mb_per_mb=0.06),
)
