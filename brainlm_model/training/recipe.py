"""Section `train` of config.yaml: architecture, masking, recipe."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from brainlm_data import StageConfig
from brainlm_model.models.config import Attention, Decoder, ModelConfig, Prior, Spatial, Temporal, build
from brainlm_model.models.masking import Masking
from brainlm_model.models.official.config import PRESETS as OFFICIAL
from brainlm_model.models.official.config import Config as OfficialConfig
from brainlm_model.models.official.config import sized

ARCHITECTURE = (
    "width", "heads", "hidden", "depth", "decoder_depth", "attention", "decoder", "prior", "strength", "spatial",
    "temporal",
)  # fmt: skip


STEPS, MOST_EPOCHS = 1000, 200  # of a training of which nothing is said; an epoch is one window of each recording


class FurtherStore(StageConfig):
    """Another store to train on. It is scaled with its own scaler.npz."""

    path: Path = Field(description="store.zarr with recordings.parquet and scaler.npz beside it")
    weight: float = Field(1.0, gt=0, description="windows of it for each window of the run's own store")


class Config(StageConfig):
    """Section `train` of config.yaml."""

    name: str = Field("tiny", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", description="folder of the model below models/")
    model: Literal["tiny", "fast", "small", "paper", "official-5m", "official-13m", "vitmae-111m", "vitmae-650m"] = (
        Field("tiny", description="architecture by name (docs/model.md); the next keys change it")
    )
    width: int | None = Field(
        None, ge=8, description="width of a token; here and below, null: as in the named architecture"
    )
    heads: int | None = Field(None, ge=1, description="attention heads")
    hidden: int | None = Field(None, ge=8, description="width of the feed-forward layers")
    depth: int | None = Field(None, ge=1, description="encoder blocks")
    decoder_depth: int | None = Field(None, ge=0, description="decoder blocks; 0: axial attention only")
    attention: Attention | None = Field(None, description="full: over all tokens; axial: over parcels, then over time")
    decoder: Decoder | None = Field(None, description="full: over all tokens; cross: from masked to visible ones")
    spatial: Spatial | None = Field(
        None,
        description="how a token knows its parcel: an embedding, a projection of its coordinates, or both",
    )
    temporal: Temporal | None = Field(
        None, description="how a token knows its place in time: a learned embedding, or a sinusoid"
    )
    prior: Prior | None = Field(
        None,
        description="zero: learn everything; gaussian, spacetime: start from a Gaussian over parcels that is continued"
        " in time, or from one over parcels and time, and learn the rest",
    )
    strength: float | None = Field(
        None,
        gt=0,
        description="gaussian priors: weight of the population's covariance against the window's own, in time steps",
    )
    ridge: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto",
        description="gaussian priors: regularization: fraction of the mean variance added to the covariance's diagonal;"
        " auto: the best of .02 to .8 on validation people, before any step",
    )
    window: int = Field(200, ge=2, description="time steps per window")
    patch: int = Field(20, ge=1, description="time steps per token; a ViTMAE has its own squares")
    mask_ratio: float | list[float] = Field(
        [0.2, 0.5, 0.75, 0.9], description="fraction of tokens that is masked; a list: one value per training step"
    )
    mask_schedule: Literal["draw", "ramp"] = Field(
        "draw", description="with a list: draw: one value at random per step; ramp: from first to last over training"
    )
    masking: Masking = Field(
        "random",
        description="random: any tokens; future: the last patches; parcel: whole parcels; tube: neighbouring parcels;"
        " mixed: random or future",
    )
    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="fraction of the training subjects to train on; below 1 to see how much more data would help",
    )
    stores: list[FurtherStore] = Field(
        [], description="further stores with the same atlas to train on, each with path and weight"
    )
    cache: bool = Field(
        True,
        description="keep the scaled series beside the store, in a file of its size uncompressed; false: read the store"
        " itself, shard by shard",
    )
    short: Literal["skip", "pad"] = Field(
        "skip",
        description="recordings shorter than a window: skip: left out; pad: from half a window on, padded with NaN",
    )
    max_invalid: float = Field(
        0.2, ge=0, le=1, description="largest fraction of interpolated (censored) steps in a window"
    )
    optimizer: Literal["adamw", "adam"] = Field("adamw", description="adamw, or adam: no weight decay")
    betas: list[float] = Field(
        [0.9, 0.95], min_length=2, max_length=2, description="decay of the optimiser's moving averages"
    )
    batch_size: int = Field(8, ge=1, description="windows per step, over all processes")
    micro_batch: int | None = Field(
        None, ge=1, description="windows in memory at once; gradients are summed over batch_size; null: all"
    )
    steps: int | None = Field(
        None,
        ge=1,
        description=f"optimiser steps; null: {STEPS}, fewer where a recording would be seen more than {MOST_EPOCHS}"
        " times, more where not each would be seen once",
    )
    epochs: int | None = Field(None, ge=1, description="length of training in epochs, instead of steps")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="of the learning rate, after the warm-up")
    cycles: int = Field(1, ge=1, description="cosine: number of cycles")
    weight_decay: float = Field(0.05, ge=0, description="of weight matrices; biases, norms and embeddings have none")
    warmup: float = Field(0.1, ge=0, lt=1, description="fraction of the steps in which the learning rate rises")
    clip: float = Field(1.0, gt=0, description="largest norm of a gradient")
    eval_every: int = Field(25, ge=1, description="steps between validations")
    validation_windows: int = Field(256, ge=1, description="validation recordings that R2 is measured on, at most")
    patience: int | None = Field(
        None, ge=1, description="stop after this many validations without a better R2; null: never"
    )
    select: Literal["best", "last"] = Field(
        "best", description="weights to keep: best: those of the best validation R2; last"
    )
    seed: int = Field(0, ge=0, description="seed of weights, windows and masks")
    threads: int = Field(2, ge=1, description="CPU threads per process; the same number gives the same bytes")
    processes: int = Field(1, ge=1, description="processes on this machine, one per GPU if there are GPUs")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of matrix products; auto: bfloat16 on a GPU"
    )
    recompute: bool = Field(
        False, description="compute blocks again in the backward pass: less memory, about a third more time"
    )
    compile: bool = Field(False, description="torch.compile the network; needs a C++ compiler on a CPU")
    tensorboard: bool = Field(False, description="log for TensorBoard as well (pip install tensorboard)")

    @field_validator("mask_ratio")
    @classmethod
    def _between(cls, value: float | list[float]) -> float | list[float]:
        ratios = value if isinstance(value, list) else [value]
        if not ratios or not all(0 < ratio < 1 for ratio in ratios):
            raise ValueError("mask ratios lie between 0 and 1")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Config:
        self.architecture(parcels=1)
        if self.masks_squares() and self.masking != "random":
            raise ValueError(f"{self.model} masks squares of parcels x steps: masking: random")
        return self

    @property
    def ratios(self) -> list[float]:
        """The mask ratios as a list."""
        return self.mask_ratio if isinstance(self.mask_ratio, list) else [self.mask_ratio]

    def ratio_at(self, progress: float, draw: float) -> float:
        """Mask ratio of a step; `progress` from 0 (first step) to 1 (last), `draw` uniform in [0, 1)."""
        if self.mask_schedule == "draw":
            return self.ratios[int(draw * len(self.ratios))]
        return float(np.interp(progress, np.linspace(0, 1, len(self.ratios)), self.ratios))

    def steps_of(self, recordings: int) -> int:
        """Optimiser steps in all: `epochs` over so many recordings, else `steps`, else what suits their number."""
        epoch = math.ceil(recordings / self.batch_size)
        if self.epochs is not None:
            return self.epochs * epoch
        if self.steps is not None:
            return self.steps
        return max(min(STEPS, MOST_EPOCHS * epoch), epoch)

    def masks_squares(self) -> bool:
        """Whether the model masks squares of parcels x steps, and not tokens of a parcel."""
        return self.model.startswith("vitmae")

    def architecture(self, parcels: int) -> ModelConfig | OfficialConfig:
        """The model for an atlas. Raises ConfigError for sizes that do not fit together."""
        given = {key: value for key in ARCHITECTURE if (value := getattr(self, key)) is not None}
        if self.model in OFFICIAL:
            if given:
                raise ValueError(f"{self.model} is what was published; {', '.join(given)}: null, or another model")
            return sized(self.model, parcels, self.window, self.patch)
        return build(self.model, parcels, window=self.window, patch=self.patch, **given)
