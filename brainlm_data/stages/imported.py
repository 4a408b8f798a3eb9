"""imported: the series of a recording that somebody else has preprocessed, at the common rate.

In place of all stages from motion to resample where `input.kind` is not bids: what the source has done already is not
done again (docs/import.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.reads import reads
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig


class Config(StageConfig):
    """The common rate; and, of images, what is still done to them."""

    hz: float = Field(1.0, ge=0.01, le=10, description="time steps per second of every series")
    strategy: str | None = Field(
        None, description="fmriprep: confounds to regress out, as in denoise.strategy; null: acompcor"
    )
    low_hz: float | None = Field(
        None,
        ge=0,
        description="images: high-pass, Hz; 0: none; null: .01 (fmriprep), or only the one of the source (others)",
    )
    high_hz: float | None = Field(None, ge=0, description="images: low-pass, Hz; 0 and null: none")
    censor_fd_mm: float | None = Field(None, gt=0, description="images: volumes that moved more are interpolated")
    scale: Literal["grand_mean", "percent"] | None = Field(
        None, description="images: as parcellate.scale; null: grand_mean"
    )


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write (steps, parcels) and what was measured.

    Raises
    ------
    InputError: the atlas has changed.
    Refused: the recording cannot be read or used (no TR, too short, other parcels than the cohort's, no data).
    """
    from brainlm_data.files.tables import write_table
    from brainlm_data.imports import Options, Treatment, read
    from brainlm_data.imports.series import band_of, order_of, resampled, sentence

    atlas = inputs.facts("atlas_table")
    reading, kind, metadata = atlas["Reading"], atlas["Imported"]["kind"], inputs.meta["metadata"]
    images = Treatment(
        reading["Space"], reading["Atlas"], config.strategy, config.low_hz, config.high_hz, config.censor_fd_mm,
        reading["AllowSpaceMismatch"], config.scale,
    )  # fmt: skip
    options = Options(reading["TrS"], _path(reading["Participants"]), _path(reading["Labels"]), images)
    source = read(kind, Path(metadata["Place"]), options)
    if source.made_here and source.sha256 != atlas["Sha256"]:
        raise InputError("the atlas is not the one that stage input saw", "run the same command again")
    series = next((one for one in source.series if one.id == inputs.meta["id"]), None)
    if series is None:
        raise Refused(f"{metadata['Place']}: no {inputs.meta['id']} in it", "has it been moved? Run the DAG again")
    names = _names(inputs["atlas_table"])
    values, measurements = resampled(series, config.hz)
    order = order_of(measurements, len(names), tuple(atlas["Columns"]))
    if order is not None:
        values = values[:, order]
    write_table(outputs["parcels"], names, values)
    low, high = band_of(measurements, source)
    metrics: dict[str, Any] = {
        "mean_fd_mm": series.mean_fd_mm, "n_missing_parcels": measurements.missing, "start_time_s": series.start_s,
    }  # fmt: skip
    if measurements.missing:
        metrics["coverage_min"] = 0.0
    metrics |= measurements.measured
    known = {name: value for name, value in metrics.items() if value == value}  # NaN is no equal of itself
    outputs["qc_metrics"].write_text(json.dumps(known, indent=2), encoding="utf-8")
    sentences = [sentence(kind, source.made_here, measurements.tr_s, config.hz), *measurements.methods.values()]
    return {
        "SamplingFrequency": config.hz,
        "RepetitionTime": measurements.tr_s,
        "NumberOfVolumes": measurements.shape[0],
        "NumberOfSteps": measurements.steps,
        "StartTime": None if np.isnan(series.start_s) else series.start_s,
        "InvalidSteps": measurements.invalid,
        "EffectiveBand": [None if np.isnan(low) else low, high],
        "FilterMethod": "butterworth" if "filter" in measurements.methods else None,
        "Units": source.units if source.made_here else atlas["Units"],
        "Done": [Sentence.of(text).content() for text in sentences],
    }


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _names(table: Path) -> list[str]:
    import pandas as pd

    with reads(table):
        return [str(name) for name in pd.read_csv(table, sep="\t", keep_default_na=False, dtype={"name": str})["name"]]


def describe(facts: Facts) -> str:
    """Methods sentences: of the import, and of what was still done to images."""
    return Sentence.joined(Sentence.of(content) for content in facts["Done"])


STAGE = Stage(
    name="imported",
    version=5,
    level="recording",
    summary="Take the series of a recording from what somebody else has preprocessed.",
    Config=Config,
    inputs=("bold", "atlas_table"),
    outputs=("parcels", "qc_metrics"),
    run=run,
    describe=describe,
    routes=("import",),
    need=Need(1500, 4, 30, 0.5, disk_mb=0.2, disk_mb_per_mb=0.2),
)
