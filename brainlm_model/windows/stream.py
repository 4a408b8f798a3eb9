"""Series straight from the store, for one that is larger than the memory and the disk that a cache would need.

A shard of the store is one file with some sixteen recordings: it is read as a whole, and an epoch's order goes through
the shards at random with a buffer in which recordings are mixed (`mixed_order`), so that few shards are open at once.
What is read and not used yet is kept, at most `KEPT` recordings.
"""

from __future__ import annotations

import contextlib
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import InputError, atomic, prepare, reads_arrays
from brainlm_model.windows.cache import ANEW, checksum, layout_of, store_key

if TYPE_CHECKING:
    from torch import Generator

MIXED = 1024  # recordings that an order mixes: .8 GB of 490 steps x 424 parcels
KEPT = 4 * MIXED  # at most, read and not used yet: several processes use parts of the same shards
THREADS = 4  # that read; decompression and scaling run beside each other


class Stream:
    """Every recording of a store, read when it is asked for. It has the form of `cache.Flat`.

    Parameters
    ----------
    store: an open store with its tables.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.places: Mapping[str, tuple[int, int]] = layout_of(store)
        self._names = list(self.places)
        shards = store.shard_of(self._names)
        self.blocks = np.unique(shards, return_inverse=True)[1].reshape(-1)
        self._members = members_of(self.blocks)
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._pool = ThreadPoolExecutor(THREADS)
        self.known, self._checks = self._about()

    def only(self, numbers: np.ndarray) -> None:
        """From now on no others are read with these recordings."""
        is_wanted = np.zeros(len(self._names), bool)
        is_wanted[numbers] = True
        self._members = [members[is_wanted[members]] for members in self._members]

    def checksums(self, numbers: np.ndarray) -> np.ndarray:
        """CRC-32 of recordings, by their place in `places`."""
        return self._checks[numbers]

    def windows(self, numbers: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
        """Windows (batch, time, parcel) of recordings from their first steps; NaN beyond their ends."""
        wanted = numbers.tolist()
        missing = [number for number in wanted if number not in self._kept]
        for block, series in self._read(sorted(set(self.blocks[missing].tolist()))):
            self._kept |= dict(zip(self._members[block].tolist(), series, strict=True))
        values = np.full((len(wanted), length, len(self._store.parcels)), np.nan, np.float32)
        for row, (number, start) in enumerate(zip(wanted, starts.tolist(), strict=True)):
            span = self._kept[number][start : start + length]
            values[row, : len(span)] = span
        for number in wanted:  # an epoch uses a recording once
            self._kept.pop(number, None)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)  # read longest ago
        return values

    def series(self, number: int) -> np.ndarray:
        """A whole recording (time, parcel)."""
        return prepare(self._store.series(self._names[number]), self._store.scaler)

    def _read(self, blocks: Sequence[int]) -> list[tuple[int, list[np.ndarray]]]:
        return list(zip(blocks, self._pool.map(self._block, blocks), strict=True))

    def _block(self, block: int) -> list[np.ndarray]:
        """The recordings of a shard."""
        names = [self._names[number] for number in self._members[block]]
        return [prepare(series, self._store.scaler) for series in self._store.series_of(names)]

    def _about(self) -> tuple[np.ndarray, np.ndarray]:
        """Which steps are known, and checksums: from the index beside the store, else by reading all of it once."""
        path = Path(self._store.path)
        file, key = path.with_name(f".{path.name}.stream.npz"), store_key(self._store, self.places)
        total = sum(rows for _, rows in self.places.values())
        with contextlib.suppress(InputError), reads_arrays(file, ANEW) as about:
            if str(about["key"]) == key and about["checks"].shape == (len(self.places),):
                return np.unpackbits(about["known"], count=total).astype(bool), about["checks"]
        known, checks = np.zeros(total, bool), np.zeros(len(self.places), np.uint32)
        for block, members in enumerate(self._members):
            for number, series in zip(members.tolist(), self._block(block), strict=True):
                first, rows = self.places[self._names[number]]
                known[first : first + rows] = ~np.isnan(series).all(axis=1)
                checks[number] = checksum(series)
        try:
            with atomic(file) as temporary, temporary.open("wb") as stream:
                np.savez(stream, key=key, known=np.packbits(known), checks=checks)
        except OSError as error:
            print(f"no index beside the store, the next start reads all of it again: {error}", file=sys.stderr)
        return known, checks


def mixed_order(blocks: np.ndarray, random: Generator, mixed: int = MIXED) -> list[int]:
    """An epoch's order of recordings, each once: blocks at random, through a buffer that `mixed` recordings wait in.

    `blocks`: which block each recording is in.
    """
    import torch

    members = members_of(np.unique(blocks, return_inverse=True)[1].reshape(-1))
    order: list[int] = []
    buffer: list[int] = []
    draws = iter(torch.rand(len(blocks), generator=random, dtype=torch.float64).tolist())
    for block in torch.randperm(len(members), generator=random).tolist():
        buffer += members[block].tolist()
        while len(buffer) > mixed:
            order.append(_drawn(buffer, next(draws)))
    while buffer:
        order.append(_drawn(buffer, next(draws)))
    return order


def members_of(blocks: np.ndarray) -> list[np.ndarray]:
    """The recordings of each block, in order; `blocks`: which of 0, 1, ... each recording is in."""
    order = np.argsort(blocks, kind="stable")
    return np.split(order, np.cumsum(np.bincount(blocks))[:-1]) if len(blocks) else []


def _drawn(buffer: list[int], draw: float) -> int:
    """One of the buffer, whose place the last one takes."""
    place = int(draw * len(buffer))
    buffer[place], buffer[-1] = buffer[-1], buffer[place]
    return buffer.pop()
