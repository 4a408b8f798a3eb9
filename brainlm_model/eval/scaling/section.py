"""Section `scaling` of config.yaml."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from brainlm_data import StageConfig
from brainlm_model.baselines import Baseline
from brainlm_model.eval.task import Split


class Config(StageConfig):
    """Section `scaling` of config.yaml. Window and patch are those of the trained model."""

    models: list[Literal["tiny", "fast", "small", "paper", "official-5m", "official-13m"]] = Field(
        ["tiny", "small"], min_length=1, description="architectures that are trained for the comparison"
    )
    training_ratios: list[float | list[float]] = Field(
        [0.75, 0.9], min_length=1, description="mask ratios in training; a list within the list: one value per step"
    )
    shares: list[float] = Field([0.1, 1.0], min_length=1, description="fractions of the training subjects to train on")
    seeds: list[int] = Field(
        [0], min_length=1, description="one training per seed, which also draws the subjects of a fraction"
    )
    steps: int = Field(150, ge=1, description="optimiser steps of each training")
    batch_size: int = Field(8, ge=1, description="windows per step")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    splits: list[Split] = Field(
        ["test", "external"],
        min_length=1,
        description="splits to score; those that the store does not have are skipped",
    )
    mask_ratios: list[float] = Field([0.2, 0.5, 0.75, 0.9], min_length=1, description="tested")
    baselines: list[Baseline] = Field(
        ["pca", "mean", "interpolation"],
        description="beside the conditional Gaussian; lagged: the Gaussian with time, some 80 times slower",
    )
    recordings: int = Field(200, ge=2, description="at most this many per split, drawn by the seed")
    bootstrap: int = Field(1000, ge=100, description="draws of subjects for the 95% intervals")
    seed: int = Field(0, ge=0, description="seed of the choice of recordings, masks and bootstrap")
    threads: int = Field(2, ge=1, description="CPU threads")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")

    @field_validator("mask_ratios", "training_ratios", "shares")
    @classmethod
    def _between(cls, value: list[Any]) -> list[Any]:
        for item in value:
            several = item if isinstance(item, list) else [item]
            if not several or not all(0 < ratio <= 1 for ratio in several):
                raise ValueError("ratios and shares lie between 0 and 1")
        return value
