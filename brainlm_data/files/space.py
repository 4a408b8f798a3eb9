"""Room on a disk, before hours of work end in a full one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from brainlm_data.errors import InputError


def free_bytes(folder: Path) -> int:
    """Free bytes, for this user, on the file system of a folder that is there or will be. A quota is not seen."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def check_space(folder: Path, wanted: float, what: str, remedy: str) -> None:
    """Raises InputError where `wanted` bytes do not fit; `what` needs them."""
    free = free_bytes(folder)
    if wanted > free:
        raise InputError(f"{folder}: {what} needs {size(wanted)}, {size(free)} are free there", remedy)


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A new .npy file as a memory-mapped array, whose space on the disk is reserved.

    Writing to a mapped page that the disk has no room for would end the process (SIGBUS).

    Raises
    ------
    OSError: there is no room; no file is left.
    """
    try:
        values = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno is None:  # NumPy's own, in words alone
            raise OSError(f"{path}: {error}") from error
        raise OSError(error.errno, error.strerror, str(path)) from error
    return values


def size(count: float) -> str:
    """Bytes in words."""
    if count >= 1e12:
        return f"{count / 1e12:.1f} TB"
    if count >= 1e8:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB"
