"""parcellate: the temporal operators applied to the parcel means, at the native TR."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from brainlm_data.methods.operators import GRAND_MEAN, PERCENT, Array, Temporal, percent_scale
from brainlm_data.methods.regression import Regression
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig

GAIN = 1.02  # variance after denoising over that before it, beyond which a parcel is named

PERCENT_SENTENCE = (
    "Parcel series are in percent of each parcel's own mean over the volumes kept; their means were removed."
)


class Config(StageConfig):
    """Scaling of the parcel series."""

    scale: Literal["grand_mean", "percent"] = Field(
        "grand_mean",
        description="one factor per recording, by grand_mean; percent: each parcel in percent of its own mean",
    )
    grand_mean: float | None = Field(
        GRAND_MEAN,
        gt=0,
        description="scale so that the mean over brain and time is this (FSL's 10,000); null: scanner units",
    )


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write (T, parcels): scaled, filtered, denoised; dropped volumes are n/a rows, missing parcels n/a columns."""
    from brainlm_data.files.tables import read_table, write_table

    raw = inputs.facts("parcels_raw")
    names, series = read_table(inputs["parcels_raw"])
    temporal = Temporal.load(inputs["filter_recipe"], inputs["denoise_recipe"], raw["GrandMean"], config.grand_mean)
    warnings, units = [], "scanner units" if config.grand_mean is None else f"grand mean {config.grand_mean:g}"
    if config.scale == "percent":
        temporal, units = replace(temporal, scale=percent_scale(series, temporal.recipe)), PERCENT
        unscaled = ~np.isnan(series).all(0) & np.isnan(temporal.scale)
        if unscaled.any():
            warnings.append(f"{unscaled.sum()} parcels have no positive mean to be in percent of: n/a")
    denoised = temporal.apply(series)
    write_table(outputs["parcels_native"], names, denoised)
    nothing = Regression.of_nothing(len(series) - temporal.recipe.dropped)
    before = replace(temporal, regression=nothing).apply(series)
    return {
        "Warnings": warnings + _warnings(names, before, denoised),
        "SamplingFrequency": 1 / raw["RepetitionTime"],
        "GrandMeanScaling": config.grand_mean if config.scale == "grand_mean" else None,
        "MeanRemoved": True,
        "EffectiveBand": list(temporal.recipe.band),
        "Units": units,
    }


def _warnings(names: list[str], before: Array, after: Array) -> list[str]:
    """Parcels (columns) in which denoising has added variance; it is there to take some away."""
    known = np.flatnonzero(~np.isnan(after).all(0))
    ratio = np.nanvar(after[:, known], axis=0) / np.maximum(np.nanvar(before[:, known], axis=0), np.finfo(float).tiny)
    gained = [names[place] for place in known[ratio > GAIN]]
    if not gained:
        return []
    some = ", ".join(gained[:3]) + (", ..." if len(gained) > 3 else "")
    return [f"denoising added variance in {len(gained)} parcels ({some}), up to {ratio.max():.2f}-fold"]


def describe(facts: Facts) -> str:
    """Methods sentence."""
    if facts["Units"] == PERCENT:
        return PERCENT_SENTENCE
    if facts["GrandMeanScaling"] is None:
        return "Parcel series were left in scanner units."
    return f"Parcel series were scaled to a grand mean of {facts['GrandMeanScaling']:g}; their means were removed."


STAGE = Stage(
    name="parcellate",
    version=4,
    level="recording",
    summary="Apply scaling, filter and denoising to the parcel means.",
    Config=Config,
    inputs=("parcels_raw", "filter_recipe", "denoise_recipe"),
    outputs=("parcels_native",),
    run=run,
    describe=describe,
    routes=("native", "fmriprep"),
    need=Need(400, 0.5, 10, disk_mb=0.1, disk_mb_per_mb=0.03),
)
