"""Windows of the store, scaled, for training and evaluation."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brainlm_data import InputError, open_store
from brainlm_model.windows.cache import Flat, cached_series
from brainlm_model.windows.labels import label_columns
from brainlm_model.windows.stream import Stream, mixed_order

if TYPE_CHECKING:
    from torch import Generator, Tensor

SPLITS = ("train", "validation", "test", "external")


class WindowDataset:
    """One window per recording and access: float32 tensors (parcel, window), demeaned and robust-scaled.

    The window is drawn anew every epoch (`set_epoch`) from the seed, the epoch and the recording's id alone, so it
    depends on neither order nor number of workers. A window never contains steps without data (padding, dropped
    volumes), and at most a share `max_invalid` of its steps may be interpolated over censored volumes.

    Parameters
    ----------
    store: path of store.zarr, or what `brainlm_data.open_store` returned.
    split: "train", "validation", "test" or "external"; None: every recording.
    window: steps of a window.
    seed: of the windows' places.
    short: recordings with no such window are left out and listed in `skipped` ("skip"), or are an error ("error"), or,
        where they have at least half a window, end in steps that are not known ("pad").
    max_invalid: share of interpolated steps that a window may have.
    fill: value of what is not known (a parcel outside the field of view); 0 is the recording's mean. The trainer asks
        for NaN, which the model hides and never scores.
    share: of the split's subjects, at least one: in an order that follows from the seed, so that a smaller share lies
        within a larger one.
    cache: keep the scaled series in a file beside the store; else they are read from the store itself, shard by shard.
    labels: None: an item is the window alone. A list of columns of `Store.recordings`, which may be empty: an item is
        a dictionary of `window`, `id`, `subject`, `start_s` (where it starts in the recording, s) and these columns:
        whole numbers as int, other numbers as float, NaN where missing, anything else as text, empty where missing. A
        DataLoader collates them.

    Raises
    ------
    InputError: no recording of that split has a window; one has none and `short` is "error"; or no such column.

    Examples
    --------
    >>> from brainlm_model import WindowDataset
    >>> windows = WindowDataset("results/store.zarr", split="train", window=200)
    >>> windows
    WindowDataset: 5 recordings of 5 subjects, split train, windows of 24 parcels x 200 steps, 1 left out
    >>> windows[0].shape
    torch.Size([24, 200])
    >>> from torch.utils.data import DataLoader
    >>> labelled = WindowDataset("results/store.zarr", split="train", window=200, labels=["age", "sex"])
    >>> batch = next(iter(DataLoader(labelled, batch_size=2)))
    >>> batch["window"].shape, batch["id"], batch["age"].tolist(), batch["sex"]
    (torch.Size([2, 24, 200]), ['sub-00_task-rest', 'sub-01_task-rest'], [20, 21], ['F', 'M'])
    """

    def __init__(
        self,
        store: Any,
        split: str | None = "train",
        window: int = 200,
        seed: int = 0,
        short: Literal["skip", "error", "pad"] = "skip",
        max_invalid: float = 0.2,
        fill: float = 0.0,
        share: float = 1.0,
        cache: bool = True,
        labels: Sequence[str] | None = None,
    ) -> None:
        self.store = open_store(store) if isinstance(store, (str, Path)) else store
        self.window, self.seed, self.fill, self.epoch = window, seed, fill, 0
        if split is not None and split not in SPLITS:
            raise InputError(
                f"store: there is no split {split!r}", f"one of {', '.join(SPLITS)}; None: every recording"
            )
        self.split = split
        self._shortest = -(-window // 2) if short == "pad" else window
        self.parcels = len(self.store.parcels)
        self.cache: Flat | Stream = cached_series(self.store) if cache else Stream(self.store)
        table = self.store.recordings
        chosen = table[table["id"].isin(list(self.cache.places))]
        chosen = chosen if split is None else chosen[chosen["split"] == split]
        if share < 1:
            chosen = chosen[chosen["subject"].isin(_first(chosen["subject"], share, seed))]
        self.ids: list[str] = []
        self.subjects: list[str] = []
        self.skipped: dict[str, str] = {}
        places: list[np.ndarray] = []
        for name, subject in zip(chosen["id"], chosen["subject"], strict=True):
            starts = self._possible_starts(name, max_invalid)
            if len(starts):
                self.ids.append(name)
                self.subjects.append(subject)
                places.append(starts)
            else:
                steps = self.cache.places[name][1]
                self.skipped[name] = f"{name}: {steps} steps have no window of {window} valid ones"
        if not len(chosen):
            counts = ", ".join(f"{name} {n}" for name, n in table["split"].value_counts().items())
            raise InputError(
                f"store: no recording in split {split!r} (of {len(table)}: {counts or 'none in any split'})",
                "more subjects, or other splits: collate.validation, collate.test, collate.external",
            )
        self._keys = np.array([zlib.crc32(name.encode()) for name in self.ids], np.uint64)
        number = {name: number for number, name in enumerate(self.cache.places)}
        self._numbers = np.array([number[name] for name in self.ids], np.int64)  # in the cache
        self._bounds = np.cumsum([0, *(len(starts) for starts in places)])  # of each recording, in _all
        self._all = np.concatenate([np.empty(0, np.int64), *places])
        if isinstance(self.cache, Stream):
            self.cache.only(self._numbers)
        remedy = f"train.window: at most what recordings have, a multiple of train.patch (now {window})"
        if self.skipped and short == "error":
            raise InputError(next(iter(self.skipped.values())), remedy)
        if not self.ids:
            short_ones = f"{len(self.skipped)} recordings, all too short for windows of {window} steps"
            raise InputError(f"store: split {split!r}: {short_ones}", remedy)
        self.labels: dict[str, list[Any]] | None = None
        if labels is not None:
            self.labels = label_columns(table, self.ids, labels, self.store.path)

    def __repr__(self) -> str:
        people = f"{len(self)} recordings of {len(set(self.subjects))} subjects"
        split = "every split" if self.split is None else f"split {self.split}"
        labels = f", labels {', '.join(self.labels) or 'none'}" if self.labels is not None else ""
        left = f", {len(self.skipped)} left out" if len(self.skipped) else ""
        return (
            f"WindowDataset: {people}, {split}, windows of {self.parcels} parcels x {self.window} steps{labels}{left}"
        )

    @cached_property
    def coordinates(self) -> Tensor:
        """(parcel, 3) MNI coordinates of the parcels, mm; 0 where the atlas has none."""
        import torch

        return torch.tensor(self.store.parcels[["x", "y", "z"]].to_numpy(dtype=np.float32)).nan_to_num()

    @property
    def content(self) -> list[tuple[int, str]]:
        """Number and digest of the recordings: ids, values and where windows may start; wherever the store lies."""
        hasher = hashlib.sha256("\n".join(self.ids).encode())
        for values in (self.cache.checksums(self._numbers), self._bounds, self._all):
            hasher.update(np.ascontiguousarray(values).tobytes())
        return [(len(self.ids), hasher.hexdigest()[:16])]

    def order(self, random: Generator) -> list[int]:
        """The recordings of an epoch: each once."""
        import torch

        if isinstance(self.cache, Stream):
            return mixed_order(self.cache.blocks[self._numbers], random)
        return torch.randperm(len(self), generator=random).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Draw other windows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Any:
        """The window of recording `ids[index]` in this epoch, or a dictionary with it where there are `labels`."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The items of several recordings, which a DataLoader asks for at once."""
        windows = list(self.windows(indices))
        if self.labels is None:
            return windows
        items = []
        starts = self._drawn(np.asarray(indices, dtype=np.int64) % len(self))
        for index, window, start in zip(indices, windows, starts.tolist(), strict=True):
            item = {"window": window, "id": self.ids[index], "subject": self.subjects[index]}
            item["start_s"] = start / self.store.rate_hz
            items.append(item | {name: values[index] for name, values in self.labels.items()})
        return items

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def windows(self, indices: Sequence[int]) -> Tensor:
        """The windows (batch, parcel, window) of several recordings in this epoch, in one gather.

        Their places are hashes of seed, epoch and the recording's id. In memory time comes first: a view, no copy.
        """
        chosen = np.asarray(indices, dtype=np.int64) % len(self)
        return self._gather(chosen, self._drawn(chosen))

    def _drawn(self, chosen: np.ndarray) -> np.ndarray:
        """First steps of the windows of recordings in this epoch."""
        low, high = self._bounds[chosen], self._bounds[chosen + 1]
        draw = _hashed(self._keys[chosen], self.seed, self.epoch)
        return self._all[low + (draw * (high - low)).astype(np.int64)]

    def at(self, index: int, start: int) -> Tensor:
        """The window (parcel, window) of a recording that starts at step `start`."""
        return self._gather(np.array([index]), np.array([start]))[0]

    def _gather(self, chosen: np.ndarray, start: np.ndarray) -> Tensor:
        """Windows (batch, parcel, window) of recordings from their first steps."""
        import torch

        values = self.cache.windows(self._numbers[chosen], start, self.window)
        if not np.isnan(self.fill):
            np.nan_to_num(values, copy=False, nan=self.fill)
        return torch.from_numpy(values).transpose(1, 2)

    def series(self, index: int) -> np.ndarray:
        """The whole scaled recording (time, parcel), NaN where nothing is known."""
        return self.cache.series(int(self._numbers[index]))

    def starts(self, index: int) -> np.ndarray:
        """Every step at which a window of the recording may start."""
        return self._all[self._bounds[index] : self._bounds[index + 1]]

    def _possible_starts(self, name: str, max_invalid: float) -> np.ndarray:
        offset, steps = self.cache.places[name]
        if steps < self._shortest:
            return np.empty(0, dtype=int)
        empty = ~self.cache.known[offset : offset + steps]
        invalid = ~np.asarray(self.store.valid(name), dtype=bool)
        length = min(steps, self.window)
        gaps, bad = (_sums(flags, length) for flags in (empty, invalid))
        return np.flatnonzero((gaps == 0) & (bad <= max_invalid * length))


def _first(subjects: Iterable[str], share: float, seed: int) -> list[str]:
    """A share of the subjects, the first in the order of their digests."""
    ordered = sorted(set(subjects), key=lambda s: hashlib.sha256(f"{seed}/{s}".encode()).hexdigest())
    return ordered[: max(round(share * len(ordered)), 1)]


def _hashed(keys: np.ndarray, *seeds: int) -> np.ndarray:
    """Numbers in [0, 1) that follow from each key and the seeds (splitmix64; Steele et al., 2014)."""
    state = keys.astype(np.uint64)
    for seed in seeds:
        state = state + np.uint64(0x9E3779B97F4A7C15 * (seed + 1) % 2**64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) / 2.0**53


def _sums(flags: np.ndarray, window: int) -> np.ndarray:
    """How many flags are set in each window."""
    total = np.concatenate([[0], np.cumsum(flags)])
    return total[window:] - total[:-window]
