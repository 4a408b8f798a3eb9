"""The arrays of an .npz, each as its checksum says it was written."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from brainlm_data.errors import BrainLMError, InputError
from brainlm_data.files.reads import RUN_AGAIN, reads

ENDING = ".npy"  # of the members


class Arrays(Mapping[str, NDArray[Any]]):
    """Arrays of an open .npz by name; each is read when it is asked for, and nothing is unpickled.

    `numpy.load` reads as many bytes as an array's header says. The zip's checksum is compared at the end of a member,
    so that a damaged header that claims less gives other numbers without a word. Here members are read whole.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = [name.removesuffix(ENDING) for name in archive.namelist() if name.endswith(ENDING)]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Raises KeyError where there is none, and nearly anything where it is damaged."""
        if name not in self._names:
            raise KeyError(name)
        member = io.BytesIO(self._archive.read(name + ENDING))
        array: NDArray[Any] = npy.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError(f"{name} is longer than its header says")
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextmanager
def reads_arrays(path: Path, remedy: str = RUN_AGAIN, error: type[BrainLMError] = InputError) -> Iterator[Arrays]:
    """Around the lines that read an .npz, as `reads`."""
    with reads(path, remedy, error), zipfile.ZipFile(path) as archive:
        yield Arrays(archive)
