"""Whose windows are learnt from and scored, and the six sums of every forecast.

Shapes: R recordings, B windows of one, P parcels, T steps of a window: H of the past and F of the future.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import InputError
from brainlm_model.baselines.forecast import Array, Forecast
from brainlm_model.eval.task import chosen
from brainlm_model.finetune import scores
from brainlm_model.finetune.settings import Settings
from brainlm_model.finetune.windows import Windows, has_split

if TYPE_CHECKING:
    from brainlm_model.trained.checkpoint import TrainedModel

FIT_WINDOWS = {"long": 40, "short": 4}  # of a training recording: one run a window, or many short runs in each


@dataclass(frozen=True)
class HeldOutWindows:
    """Recordings of one or more splits, each with at most `count` windows spread over it.

    Attributes
    ----------
    ids, subjects, splits: (R,) of the recordings. skipped: ids of recordings without a window.
    """

    parts: dict[str, Windows]
    count: int
    skipped: list[str]

    @property
    def ids(self) -> list[str]:
        """(R,)."""
        return [name for part in self.parts.values() for name in part.ids]

    @property
    def subjects(self) -> list[str]:
        """(R,)."""
        return [name for part in self.parts.values() for name in part.subjects]

    @property
    def splits(self) -> list[str]:
        """(R,)."""
        return [split for split, part in self.parts.items() for _ in part.ids]

    def __iter__(self) -> Iterator[Array]:
        """Windows (B, P, T), a recording at a time."""
        for part in self.parts.values():
            for i in range(len(part)):
                yield part.spread(i, self.count).numpy()

    def windows(self, place: int) -> Array:
        """Windows (B, P, T) of one recording."""
        for part in self.parts.values():
            if place < len(part):
                return part.spread(place, self.count).numpy()
            place -= len(part)
        raise IndexError(place)


def held(
    store: Any, splits: Sequence[str], most: int, model: TrainedModel, settings: Settings, count: int
) -> HeldOutWindows:  # fmt: skip
    """At most `most` recordings of these splits, drawn by the seed.

    Raises
    ------
    InputError: no such recording, or none with a window of the model's length.
    """
    table = chosen(store, splits, most, settings.seed)
    names = set(table["id"])
    parts = {}
    for split in dict.fromkeys(splits):
        if (table["split"] == split).any():
            part = Windows(store, split, model, settings, only=names)
            if len(part):
                parts[split] = part
    if not parts:
        raise InputError(
            f"store: no recording of split {' or '.join(splits)} has a window of {model.config.window} steps",
            "longer recordings, or other splits",
        )
    windows = HeldOutWindows(parts, count, [])
    return HeldOutWindows(parts, count, sorted(names - set(windows.ids)))


@dataclass(frozen=True)
class Learning:
    """What the methods learn from: training subjects, and validation subjects on which settings are chosen."""

    train: Windows
    validation: Windows
    count: int  # windows of a validation recording

    def read(self, kind: str) -> Iterator[Array]:
        """Windows (B, P, T) of each training recording; `kind`: see `FIT_WINDOWS`."""
        for i in range(len(self.train)):
            yield self.train.spread(i, FIT_WINDOWS[kind]).numpy()

    def error(self, forecast: Forecast, steps: int) -> float:
        """Mean squared error of a forecast on validation subjects, a recording as much as any other."""
        data = HeldOutWindows({"validation": self.validation}, self.count, [])
        sums_R6 = score(data, forecast, steps).sum(1)
        count_R, error_R = sums_R6[:, 0], sums_R6[:, 3]
        return float(np.mean(error_R / np.maximum(count_R, 1)))


def learning(store: Any, most: int, model: TrainedModel, settings: Settings) -> Learning:
    """At most `most` training recordings, and at most a quarter as many of validation.

    Raises
    ------
    InputError: no training or no validation subject with a window.
    """
    if not has_split(store, "validation"):
        raise InputError(f"{store.path}: no validation subject", "larger shares: collate.validation")

    def windows(split: str, count: int) -> Windows:
        return held(store, [split], count, model, settings, settings.windows).parts[split]

    return Learning(windows("train", most), windows("validation", max(most // 4, 2)), settings.windows)


def score(data: HeldOutWindows, forecast: Forecast, steps: int) -> Array:
    """Six sums (R, F, 6), see `finetune.scores`; the forecast gets the past alone."""
    sums = []
    for x_BPT in data:
        predicted = forecast(x_BPT[:, :, :-steps], steps)
        sums.append(scores.step_moments(x_BPT[:, :, -steps:].astype(np.float64), predicted))
    return np.stack(sums)


def typical(data: HeldOutWindows, steps: int) -> int:
    """The recording (its place) whose future varies as much as the median one's: no method decides it."""
    energy = np.array([float(np.nanmean(x[0, :, -steps:] ** 2)) for x in data])
    return int(np.argsort(energy, kind="stable")[len(energy) // 2])
