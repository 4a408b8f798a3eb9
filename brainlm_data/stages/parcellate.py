"""parcellate: the temporal operators applied to the parcel means, at the native TR."""

from __future__ import annotations

from pydantic import Field

from brainlm_data.methods.operators import GRAND_MEAN, Temporal
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig


class Config(StageConfig):
    """Scaling of the parcel series."""

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
    write_table(outputs["parcels_native"], names, temporal.apply(series))
    return {
        "SamplingFrequency": 1 / raw["RepetitionTime"],
        "GrandMeanScaling": config.grand_mean,
        "MeanRemoved": True,
        "EffectiveBand": list(temporal.recipe.band),
        "Units": "scanner units" if config.grand_mean is None else f"grand mean {config.grand_mean:g}",
    }


def describe(facts: Facts) -> str:
    """Methods sentence."""
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
