"""The prepared series of a store in one memory-mapped file beside it: what training reads.

Beside the values is a small index with a CRC-32 of every recording. A recording is compared with it when it is first
read, so that a start reads no more of a file of many GB than it needs, and damage is never trained on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from brainlm_data import InputError, fresh_temporary, new_array, one_at_a_time, prepare, reads, reads_arrays

CACHE_VERSION = 2  # goes up when the content of the cache changes for the same store
Bools = np.ndarray
ANEW = "run the same command again: this cache is made anew"


class Flat:
    """Every recording of a store, prepared, one after another.

    Parameters
    ----------
    values: float32 (time, parcel), memory-mapped where the folder of the store can be written to.
    places: (first row, rows) by recording id.
    key: digest of what the values depend on.
    known: (time,) steps of which any parcel is known.
    checks: CRC-32 of each recording's values, in the order of `places`.
    index: file of `known` and `checks`; None where the values are in memory, and there is nothing to compare.
    """

    def __init__(
        self,
        values: np.ndarray,
        places: Mapping[str, tuple[int, int]],
        key: str,
        known: Bools,
        checks: np.ndarray,
        index: Path | None = None,
    ) -> None:
        self.values, self.places, self.key, self.known = values, dict(places), key, known
        self._checks, self._index, self._names = checks, index, list(places)
        self._seen = np.full(len(places), index is None)
        self._spans = np.array(list(places.values()), np.int64).reshape(-1, 2)

    def check(self, numbers: np.ndarray) -> None:
        """Compare recordings, by their place in `places`, with what was written, each once.

        Raises
        ------
        InputError: one is damaged. The cache is then made anew at the next start.
        """
        if self._seen[numbers].all():
            return
        for number in numbers[~self._seen[numbers]].tolist():
            first, rows = self.places[self._names[number]]
            if checksum(self.values[first : first + rows]) != self._checks[number]:
                raise self._damaged(self._names[number])
            self._seen[number] = True

    def windows(self, numbers: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
        """Windows (batch, time, parcel) of recordings, by their place in `places`; NaN beyond their ends.

        Raises
        ------
        InputError: see `check`.
        """
        self.check(numbers)
        first, steps = self._spans[numbers].T
        rows = (first + starts)[:, None] + np.arange(length)
        beyond = rows >= (first + steps)[:, None]
        values = np.take(self.values, np.where(beyond, 0, rows), axis=0)
        values[beyond] = np.nan
        return np.asarray(values)

    def series(self, number: int) -> np.ndarray:
        """A whole recording (time, parcel). Raises InputError: see `check`."""
        self.check(np.array([number]))
        first, steps = self._spans[number]
        return self.values[first : first + steps]

    def checksums(self, numbers: np.ndarray) -> np.ndarray:
        """CRC-32 of recordings, by their place in `places`."""
        return self._checks[numbers]

    def _damaged(self, name: str) -> InputError:
        assert self._index is not None
        with contextlib.suppress(OSError):  # a folder that cannot be written to
            self._index.unlink(missing_ok=True)
        return InputError(
            f"{self._index.with_suffix('.npy')}: damaged at recording {name}",
            f"run the same command again, which makes this cache anew (where {self._index.name} is still there: rm it)",
        )


def layout_of(store: Any) -> dict[str, tuple[int, int]]:
    """(first row, rows) by id of the recordings of a store, one after another.

    Raises
    ------
    InputError: the store's table or scaler is not beside it.
    """
    split = store.recordings.get("split")
    are_split = split is not None and bool(split.notna().any())
    for name, there in (("recordings.parquet", are_split), ("scaler.npz", store.scaler is not None)):
        if not there:
            raise InputError(
                f"{store.path}: no {name} beside it", "keep the store and its tables together; collate writes both"
            )
    table = store.recordings[store.recordings["status"] == "done"]
    lengths = [int(n) for n in table["n_steps"]]
    offsets = np.cumsum([0, *lengths])[:-1].tolist()
    return dict(zip(table["id"], zip(offsets, lengths, strict=True), strict=True))


def cached_series(store: Any) -> Flat:
    """The recordings of a store from a flat file beside it, which is written where it is missing or of another store.

    It is about twelve times faster than reading Zarr, and can be deleted at any time. Of several processes one writes
    it, and the others wait. Where the folder cannot be written to, the series stay in memory, and a line on stderr says
    so.
    """
    path = Path(store.path)
    file, index = path.with_name(f".{path.name}.flat.npy"), path.with_name(f".{path.name}.flat.npz")
    places = layout_of(store)
    shape = (sum(rows for _, rows in places.values()), len(store.parcels))
    key = store_key(store, places)
    flat = _read(file, index, places, shape, key)
    if flat is not None:
        return flat
    temporary = fresh_temporary(file)
    values: np.ndarray
    with contextlib.ExitStack() as alone:
        try:
            lock = path.with_name(f".{path.name}.flat.lock")
            alone.enter_context(one_at_a_time(lock, f"{path}: making its cache"))
            flat = _read(file, index, places, shape, key)
            if flat is not None:  # another process has made it meanwhile
                return flat
            values = new_array(temporary, np.float32, shape)
        except OSError as error:
            print(f"no cache beside the store, {shape[0]} steps stay in memory: {error}", file=sys.stderr)
            values = np.empty(shape, np.float32)
            return Flat(values, places, key, *_fill(values, store, places))
        try:
            about = _fill(values, store, places)
            values.flush()
            _remove(index)  # never an index beside another store's values
            _remove(file)
            os.replace(temporary, file)
            with temporary.open("wb") as stream:
                np.savez(stream, key=key, known=np.packbits(about[0]), checks=about[1])
            os.replace(temporary, index)
            path.with_name(f".{path.name}.flat.json").unlink(missing_ok=True)  # the index of an earlier release
        finally:
            temporary.unlink(missing_ok=True)
    with reads(file, ANEW):
        return Flat(np.load(file, mmap_mode="r"), places, key, *about, index)


def _read(
    file: Path, index: Path, places: Mapping[str, tuple[int, int]], shape: tuple[int, int], key: str
) -> Flat | None:
    """The cache that is there; None where there is none, one of another store, or a damaged one."""
    try:
        with reads_arrays(index, ANEW) as about:
            if str(about["key"]) != key:
                return None
            known, checks = np.unpackbits(about["known"], count=shape[0]).astype(bool), about["checks"]
        with reads(file, ANEW):
            values = np.load(file, mmap_mode="r", allow_pickle=False)
    except InputError:
        return None
    if values.shape != shape or values.dtype != np.float32 or not values.flags.c_contiguous:
        return None
    return Flat(values, places, key, known, checks, index) if checks.shape == (len(places),) else None


def _fill(values: np.ndarray, store: Any, places: Mapping[str, tuple[int, int]]) -> tuple[Bools, np.ndarray]:
    """Write the prepared series; which steps are known, and the checksum of each recording."""
    known, checks = np.zeros(len(values), bool), np.zeros(len(places), np.uint32)
    for number, (name, (first, rows)) in enumerate(places.items()):
        series = prepare(store.series(name), store.scaler)
        values[first : first + rows] = series
        known[first : first + rows] = ~np.isnan(series).all(axis=1)
        checks[number] = checksum(series)
    return known, checks


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def checksum(series: np.ndarray) -> int:
    """CRC-32 of a series' bytes."""
    return isal_zlib.crc32(np.ascontiguousarray(series).view(np.uint8).reshape(-1))


def store_key(store: Any, places: Mapping[str, tuple[int, int]]) -> str:
    """Digest of what the values depend on: the store's files (name, size, mtime), the scaler, the recordings."""
    path = Path(store.path)
    hasher = hashlib.sha256(f"{CACHE_VERSION} {json.dumps(places)}".encode())
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        stat = file.stat()
        hasher.update(f"{file.relative_to(path)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    for values in (store.scaler.median, store.scaler.iqr):
        hasher.update(np.ascontiguousarray(values).tobytes())
    return hasher.hexdigest()
