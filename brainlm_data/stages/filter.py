"""filter: decides which volumes are dropped or interpolated, and the band; nothing is filtered yet.

What it writes are recipes: stage `denoise` applies the high-pass to the voxel sample, `parcellate` to the parcels.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from brainlm_data.methods.chain import Requested, recipe_of
from brainlm_data.methods.nuisance import FILTERED_FD
from brainlm_data.methods.operators import ORDER, HighPass
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig


class Config(StageConfig):
    """Band, dropped and censored volumes."""

    low_hz: float | None = Field(0.01, gt=0, description="lower edge of the band (high-pass), Hz; null: mean only")
    high_hz: float | None = Field(None, gt=0, description="upper edge of the band (low-pass, after denoising), Hz")
    method: HighPass = Field("butterworth", description="of the high-pass; both choices are zero-phase")
    drop: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        "auto", description="non-steady-state volumes to drop: as detected, or a number"
    )
    censor_fd_mm: float | None = Field(None, gt=0, description="volumes that moved more are interpolated and marked")
    fd: Literal["plain", "filtered"] = Field(
        "plain",
        description="of censor_fd_mm; filtered: without breathing where TR is below 1.5 s (see confounds), else plain",
    )
    min_volumes: int = Field(20, ge=8, description="recordings with fewer good volumes are refused")

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if self.low_hz is not None and self.high_hz is not None and self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz {self.low_hz:g} must be below high_hz {self.high_hz:g}")
        return self


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the recipe.

    Raises
    ------
    Refused: too few good volumes, or a band that this TR cannot hold.
    """
    from brainlm_data.files.tables import read_table

    facts = inputs.facts("parcels_raw")
    tr, volumes = float(facts["RepetitionTime"]), int(facts["NumberOfVolumes"])
    names, table = read_table(inputs["confounds"])
    steady = sum(name.startswith("non_steady_state_outlier") for name in names)
    dropped = steady if config.drop == "auto" else config.drop
    requested = Requested(config.low_hz, config.high_hz, config.method, config.censor_fd_mm, config.min_volumes)
    is_filtered = config.fd == "filtered" and FILTERED_FD in names
    fd = table[:, names.index(FILTERED_FD if is_filtered else "framewise_displacement")]
    unusable = {*facts["EmptyVolumes"], *facts.get("VolumesOutOfView", ())}
    recipe, warnings = recipe_of(inputs.meta["id"], requested, tr, volumes, dropped, unusable, fd)
    recipe.save(outputs["filter_recipe"])
    return {
        "EffectiveBand": list(recipe.band),
        "RequestedBand": [config.low_hz, config.high_hz],
        "Method": config.method,
        "Order": ORDER,
        "NyquistFrequency": 0.5 / tr,
        "Dropped": dropped,
        "Censored": list(recipe.censored),
        "CensorThresholdMm": config.censor_fd_mm,
        **({"CensorFd": "filtered" if is_filtered else "plain"} if config.fd == "filtered" else {}),
        "Warnings": warnings,
    }


def describe(facts: Facts) -> str:
    """Methods sentence."""
    low, high = facts["EffectiveBand"]
    butterworth = "Butterworth filter of order {order}, forward and backward"
    text = "The effective band was {low_hz:.4g}-{high_hz:.4g} Hz: "
    if low > 0:
        kind = butterworth if facts["Method"] == "butterworth" else "regression of discrete cosines"
        text += f"high-pass by {kind}, before denoising"
    else:
        text += "only the mean was removed before denoising"
    if high < facts["NyquistFrequency"]:
        text += f"; low-pass by {butterworth}, after it"
    elif facts["RequestedBand"][1] is not None:
        text += "; the requested upper edge of {requested_high_hz:g} Hz is not below the Nyquist frequency"
    else:
        text += "; no low-pass"
    text += ". {dropped} non-steady-state volumes were dropped"
    limit = facts["CensorThresholdMm"]
    if limit is not None or facts["Censored"]:
        fd = "FD without breathing; Fair et al., 2020" if facts.get("CensorFd") == "filtered" else "FD"
        moved = "" if limit is None else f" that moved more than {{limit_mm:g}} mm ({fd}; Power et al., 2014) or"
        image = "an image of the whole head" if facts.get("VolumesOutOfView") else "an image"
        text += f"; {{censored}}{moved} without {image} were interpolated and marked invalid"
    values = {
        "method": facts["Method"], "order": facts["Order"], "low_hz": low, "high_hz": high,
        "requested_high_hz": facts["RequestedBand"][1], "dropped": facts["Dropped"],
        "censored": len(facts["Censored"]), "limit_mm": limit,
    }  # fmt: skip
    return Sentence(text + ".", **{name: value for name, value in values.items() if value is not None})


STAGE = Stage(
    name="filter",
    version=6,
    level="recording",
    summary="Decide the band and the volumes to drop or interpolate: the recipe of the temporal operators.",
    Config=Config,
    inputs=("confounds", "parcels_raw"),
    outputs=("filter_recipe",),
    run=run,
    describe=describe,
    routes=("native", "fmriprep"),
    need=Need(400, 0.5, 10),
)
