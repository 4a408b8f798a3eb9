"""What comes out of a fine-tuning, before it is written; and the windows that it uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brainlm_data import InputError
from brainlm_model.finetune.labels import SPLITS, Labels
from brainlm_model.finetune.windows import Windows, has_split

if TYPE_CHECKING:
    from brainlm_model.finetune.settings import Settings
    from brainlm_model.trained.checkpoint import TrainedModel
    from brainlm_model.trained.head import PredictionHead

WITHOUT_TEST = "there is no test subject with a window (and a label): nothing was scored"


@dataclass(frozen=True)
class FinetuneResults:
    """The network is the model's own, with its new weights.

    Attributes
    ----------
    log, predictions: rows of log.csv and predictions.tsv. scores: scores.json.
    counts: (subjects, recordings) of each split. head: None for the future.
    facts: what `FineTuned` needs: transform and classes. notes: lines for the terminal.
    """

    log: list[dict[str, Any]]
    scores: dict[str, Any]
    predictions: list[dict[str, Any]]
    counts: dict[str, tuple[int, int]]
    head: PredictionHead | None = None
    facts: dict[str, Any] = field(default_factory=lambda: {"transform": None, "classes": []})
    notes: list[str] = field(default_factory=list)


def counts(windows: dict[str, Windows]) -> dict[str, tuple[int, int]]:
    """(subjects, recordings) of each split."""
    return {split: (len(set(data.subjects)), len(data)) for split, data in windows.items()}


def windows_of_splits(
    model: TrainedModel, store: Any, settings: Settings, labels: Labels | None = None
) -> dict[str, Windows]:
    """Windows of each split that has recordings to use; training and validation have to be there.

    Raises
    ------
    InputError: no training or no validation recording that can be used.
    """
    values = None
    if labels is not None:
        values = labels.values
    windows = {}
    for split in SPLITS:
        if not has_split(store, split):
            if split == "test":
                continue
            raise InputError(f"{store.path}: no {split} subject", "larger shares: collate.validation")
        data = Windows(store, split, model, settings, values)
        if len(data):
            windows[split] = data
        elif split != "test":
            raise InputError(
                f"{store.path}: no {split} recording with a label has a window of {model.config.window} steps",
                "longer recordings, or another column",
            )
    return windows
