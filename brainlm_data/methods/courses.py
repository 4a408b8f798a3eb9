"""Time courses of many voxels in a file: volumes go in, blocks of whole time courses come out.

What is fitted on voxels needs whole time courses, and images come volume by volume. The file turns one into the other,
so memory is that of a block, however many volumes there are. Its space is reserved at once: a disk that is too small is
an error at the beginning.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.reading.image import open_output, output_volumes

Voxels = NDArray[np.float32]
VALUES = 1 << 21  # of a block: 8 MB, and each float64 copy of it 16
ITEM = np.dtype(np.float32).itemsize


class Courses:
    """(volume, voxel) float32, in a file that has no name and so goes with the process, however it ends.

    Parameters
    ----------
    folder: where the file is; it has as many bytes as the volumes.
    """

    def __init__(self, folder: Path, volumes: int, voxels: int) -> None:
        self.volumes, self.voxels = volumes, voxels
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed in __exit__)
        os.posix_fallocate(self._file.fileno(), 0, max(volumes * voxels * ITEM, 1))

    def __enter__(self) -> Courses:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def __setitem__(self, volume: int, values: NDArray[Any]) -> None:
        """Write a volume, (voxels,)."""
        self._write(np.asarray(values, dtype=np.float32), volume, 0)

    def __iter__(self) -> Iterator[Voxels]:
        """The volumes, (voxels,) each."""
        for volume in range(self.volumes):
            yield self._read(volume, 0, self.voxels)

    def blocks(self, chosen: NDArray[np.bool_] | None = None) -> Iterator[tuple[NDArray[np.intp], Voxels]]:
        """(places, values) of some voxels at a time: their numbers, and (voxels, volumes) of them.

        `chosen`: of which voxels; None: all.
        """
        places = np.arange(self.voxels) if chosen is None else np.flatnonzero(chosen)
        size = max(VALUES // max(self.volumes, 1), 1)
        for start in range(0, len(places), size):
            block = places[start : start + size]
            values = np.empty((len(block), self.volumes), np.float32)
            first, last = block[0], block[-1] + 1
            for volume in range(self.volumes):
                values[:, volume] = self._read(volume, first, last - first)[block - first]
            yield block, values

    def replace(self, places: NDArray[np.intp], values: NDArray[Any]) -> None:
        """Write time courses (voxels, volumes) of neighbouring voxels, as `blocks` of all gives them."""
        for volume, row in enumerate(np.asarray(values, dtype=np.float32).T):
            self._write(row, volume, places[0])

    def _read(self, volume: int, first: int, count: int) -> Voxels:
        place = (volume * self.voxels + first) * ITEM
        return np.frombuffer(os.pread(self._file.fileno(), count * ITEM, place), np.float32)

    def _write(self, values: Voxels, volume: int, first: int) -> None:
        os.pwrite(self._file.fileno(), np.ascontiguousarray(values).data, (volume * self.voxels + first) * ITEM)


def courses_of(image: Path, mask: NDArray[np.bool_], folder: Path) -> Courses:
    """The voxels of a mask (x, y, z), in C order, of an image that a stage before this one wrote; see `Courses`.

    Raises
    ------
    InputError: the image is damaged.
    """
    run = open_output(image)
    courses = Courses(folder, run.n_volumes, int(mask.sum()))
    for number, volume in enumerate(output_volumes(run)):
        courses[number] = volume[mask]
    return courses


def median(courses: Courses) -> float:
    """The median of all values, as NumPy's of one array: exact, by counting instead of sorting.

    The bits of a float32, its sign bit turned and those of negative numbers turned over, are an integer in the same
    order. Its upper 16 bits are counted first, then the lower ones of where the median is.
    """
    total = courses.volumes * courses.voxels
    upper = np.zeros(1 << 16, np.int64)
    for row in courses:
        upper += np.bincount(_ordered(row) >> 16, minlength=1 << 16)
    ends = np.cumsum(upper)
    middle = []
    for rank in ((total - 1) // 2, total // 2):
        place = int(np.searchsorted(ends, rank, side="right"))
        lower = np.zeros(1 << 16, np.int64)
        for row in courses:
            keys = _ordered(row)
            lower += np.bincount(keys[keys >> 16 == place] & 0xFFFF, minlength=1 << 16)
        before = int(ends[place] - upper[place])
        low = int(np.searchsorted(np.cumsum(lower), rank - before, side="right"))
        middle.append((place << 16) | low)
    keys = np.array(middle, np.uint32)
    bits = np.where(keys >> 31, keys ^ np.uint32(1 << 31), ~keys)
    return float(np.mean(bits.astype(np.uint32).view(np.float32)))


def _ordered(values: Voxels) -> NDArray[np.uint32]:
    """Integers in the order of these numbers."""
    bits = (values + np.float32(0)).view(np.uint32)  # -0 is 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint32)
