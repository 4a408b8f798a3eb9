"""What decides a fine-tuning, apart from the model and the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from brainlm_data import ConfigError
from brainlm_model.trained.transform import TransformKind

Task = Literal["regression", "classification", "future"]
HeadKind = Literal["linear", "mlp"]
Train = Literal["full", "frozen"]
Features = Literal["cls", "mean"]


@dataclass(frozen=True)
class Settings:
    """Options of a fine-tuning; names are those of the command line.

    Attributes
    ----------
    task, column: what is learnt; column of recordings.parquet, empty for `future`.
    future: task `future` only: steps at the window's end that are hidden in every parcel and predicted.
    head, features: of labels: what comes after the encoder, and what it sees (CLS, or the mean of the known tokens).
    train: `frozen`: the head alone learns; `full`: the encoder too.
    layer_decay: factor of the learning rate from one layer to the one below it (`rates.layer_rates`).
    transform: of numeric labels, fitted on training subjects.
    epochs, batch_size, lr, weight_decay, warmup: AdamW; an epoch is one window of every training recording; `warmup`
        is the share of the steps before the highest rate, after which it falls as a cosine.
    patience: epochs without a better validation loss before it stops.
    max_invalid: largest share of interpolated steps of a training window.
    windows: of each held-out recording, task `future`. bootstrap: draws of subjects for the intervals.
    """

    task: Task
    column: str = ""
    future: int = 0
    head: HeadKind = "mlp"
    features: Features = "cls"
    train: Train = "full"
    layer_decay: float = 0.75
    transform: TransformKind = "z"
    epochs: int = 50
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    patience: int = 10
    max_invalid: float = 0.2
    windows: int = 4
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for key, kind in (("task", Task), ("head", HeadKind), ("train", Train), ("transform", TransformKind),
                          ("features", Features)):  # fmt: skip
            if getattr(self, key) not in get_args(kind):
                raise ConfigError(f"finetune: {key} {getattr(self, key)!r}", f"one of {', '.join(get_args(kind))}")
        of_future = self.task == "future"
        if of_future != (self.future > 0) or of_future == bool(self.column):
            raise ConfigError("finetune: a column, or a number of future steps", "--column NAME, or --future STEPS")
        if of_future and self.train == "frozen":
            raise ConfigError("finetune: the future needs the whole network", "--train full")
        for key in ("epochs", "batch_size", "lr", "patience", "windows", "bootstrap"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"finetune: {key} {getattr(self, key)}", "above 0")
        for key, fits in (
            ("layer_decay", 0 < self.layer_decay <= 1), ("warmup", 0 <= self.warmup < 1),
            ("max_invalid", 0 <= self.max_invalid <= 1), ("weight_decay", self.weight_decay >= 0),
            ("seed", self.seed >= 0),
        ):  # fmt: skip
            if not fits:
                raise ConfigError(f"finetune: {key} {getattr(self, key)}", "see brainlm-model finetune --help")
