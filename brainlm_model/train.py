"""Train a masked autoencoder on the store: the stage, its config section and its files; `loop.py` has the loop."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from brainlm_data import Facts, Files, Stage, StageConfig
from brainlm_model.config import Attention, Decoder, ModelConfig, Prior, build
from brainlm_model.masking import Masking

COLUMNS = ("step", "epoch", "loss", "lr", "seconds", "validation_r2")


class Config(StageConfig):
    """Section `train` of config.yaml."""

    name: str = Field("tiny", pattern=r"^[A-Za-z0-9_-]+$", description="folder of the model below models/")
    model: Literal["tiny", "paper"] = Field(
        "tiny", description="architecture by name (docs/model.md); the next keys change it"
    )
    width: int | None = Field(None, ge=8, description="width of a token; null: the model's own, as below")
    heads: int | None = Field(None, ge=1, description="attention heads")
    hidden: int | None = Field(None, ge=8, description="width of the feed-forward layers")
    depth: int | None = Field(None, ge=1, description="encoder blocks")
    decoder_depth: int | None = Field(None, ge=1, description="decoder blocks")
    attention: Attention | None = Field(None, description="full: over all tokens; axial: over parcels, then over time")
    decoder: Decoder | None = Field(None, description="full: over all tokens; cross: from masked to visible ones")
    prior: Prior | None = Field(
        None, description="gaussian: learn what a conditional Gaussian leaves; zero: learn everything"
    )
    strength: float = Field(
        100.0, gt=0, description="gaussian: steps that the population counts against a window's own"
    )
    ridge: float = Field(
        0.05, gt=0, description="gaussian: share of the mean variance added to the covariance's diagonal"
    )
    window: int = Field(200, ge=2, description="steps of a window")
    patch: int = Field(20, ge=1, description="steps of a token")
    mask_ratio: float | list[float] = Field(
        [0.2, 0.5, 0.75, 0.9], description="share of masked tokens; a list: one a step"
    )
    mask_schedule: Literal["draw", "ramp"] = Field(
        "draw", description="of the list: draw: one a step at random; ramp: from its first to its last over training"
    )
    masking: Masking = Field(
        "random",
        description="random: any tokens; future: the last patches; parcel: whole parcels; tube: neighbouring parcels;"
        " mixed: random or future",
    )
    batch_size: int = Field(8, ge=1, description="windows a step")
    steps: int = Field(1000, ge=1, description="optimiser steps; an epoch is one window of each recording")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    weight_decay: float = Field(0.05, ge=0, description="of matrices; not of biases, norms and embeddings")
    warmup: float = Field(
        0.1, ge=0, lt=1, description="share of the steps before the highest learning rate; then a cosine"
    )
    clip: float = Field(1.0, gt=0, description="largest norm of a gradient")
    eval_every: int = Field(25, ge=1, description="steps between validations")
    max_invalid: float = Field(
        0.2, ge=0, le=1, description="share of interpolated (censored) steps that a window may have"
    )
    seed: int = Field(0, ge=0, description="of weights, windows and masks")
    threads: int = Field(2, ge=1, description="CPU threads; the same number gives the same bytes")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one, in bfloat16")

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
        return self

    @property
    def ratios(self) -> list[float]:
        """The mask ratios as a list."""
        return self.mask_ratio if isinstance(self.mask_ratio, list) else [self.mask_ratio]

    def ratio_at(self, step: int, draw: float) -> float:
        """Mask ratio of a step; `draw` is uniform in [0, 1)."""
        if self.mask_schedule == "draw":
            return self.ratios[int(draw * len(self.ratios))]
        return float(np.interp(step / max(self.steps - 1, 1), np.linspace(0, 1, len(self.ratios)), self.ratios))

    def architecture(self, parcels: int) -> ModelConfig:
        """The model for an atlas. Raises ConfigError for sizes that do not fit together."""
        keys = ("width", "heads", "hidden", "depth", "decoder_depth", "attention", "decoder", "prior", "strength")
        given = {key: getattr(self, key) for key in (*keys, "window", "patch")}
        return build(self.model, parcels, **given)


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Train; write weights, config, scaler, card and log. Step checkpoints are in `outputs.meta["workdir"]`."""
    import torch

    from brainlm_data import open_store
    from brainlm_model.checkpoint import config_json, save_weights
    from brainlm_model.data import WindowDataset
    from brainlm_model.loop import Trainer

    torch.set_num_threads(config.threads)
    store = open_store(inputs["store"])
    data = {
        split: WindowDataset(store, split, config.window, config.seed, max_invalid=config.max_invalid, fill=np.nan)
        for split in ("train", "validation")
        if split == "train" or bool((store.recordings["split"] == split).any())
    }
    trainer = Trainer(config, data["train"], data.get("validation"), STAGE.version)
    log = trainer.fit(Path(outputs.meta["workdir"]) if "workdir" in outputs.meta else None)

    scores = [row["validation_r2"] for row in log if row["validation_r2"] != ""]
    facts: Facts = {
        "Model": config.model,
        "Parameters": sum(p.numel() for p in trainer.network.parameters()),
        "Prior": trainer.network.config.prior,
        "Window": config.window,
        "Patch": config.patch,
        "MaskRatios": config.ratios,
        "Masking": config.masking,
        "Steps": config.steps,
        "BatchSize": trainer.batch,
        "LearningRate": config.lr,
        "WeightDecay": config.weight_decay,
        "Seed": config.seed,
        "Device": trainer.device.type,
        "TrainingRecordings": len(data["train"]),
        "TrainingSubjects": len(set(data["train"].subjects)),
        "SkippedRecordings": [reason for split in data.values() for reason in split.skipped.values()],
        "ValidationR2": float(scores[-1]) if scores else None,
        "ValidationR2BeforeTraining": float(scores[0]) if scores else None,
    }
    save_weights(trainer.network, outputs["model"])
    outputs["model_config"].write_text(config_json(trainer.network.config, facts))
    shutil.copyfile(inputs["scaler"], outputs["model_scaler"])
    outputs["model_card"].write_text(card(config.name, facts, inputs["card"].read_text()))
    with outputs["train_log"].open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(log)
    return facts


def card(name: str, facts: Facts, data_card: str) -> str:
    """The model's card: how it was trained, then the card of its data, which travels with it."""
    lines = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    return f"# Model {name}\n\n{describe(facts)}\n\n{lines}\n\n# Data of model {name}\n\n{data_card}"


def describe(facts: Facts) -> str:
    """Methods sentence."""
    ratios = ", ".join(f"{ratio:g}" for ratio in facts["MaskRatios"])
    gaussian = (
        " The network predicted the residual of a conditional Gaussian whose covariance was estimated on training "
        "subjects and adapted to each window by expectation-maximisation (Little & Rubin, 2019)."
        if facts["Prior"] == "gaussian"
        else ""
    )
    return (
        f"A masked autoencoder after BrainLM (Ortega Caro et al., 2024; architecture '{facts['Model']}', "
        f"{facts['Parameters']:,} parameters) was trained on windows of {facts['Window']} steps in patches of "
        f"{facts['Patch']} from {facts['TrainingRecordings']} recordings of {facts['TrainingSubjects']} subjects, with "
        f"{facts['Masking']} masking of {ratios} of the tokens, for {facts['Steps']} steps of {facts['BatchSize']} "
        f"windows (AdamW, Loshchilov & Hutter, 2019; learning rate {facts['LearningRate']:g}).{gaussian}"
    )


STAGE = Stage(
    name="train",
    version=2,
    level="cohort",
    summary="Train a masked autoencoder (BrainLM) on the store's training subjects.",
    Config=Config,
    inputs=("store", "recordings", "scaler", "card"),
    outputs=("model", "model_config", "model_scaler", "model_card", "train_log"),
    run=run,
    describe=describe,
)
