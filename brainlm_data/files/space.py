"""Room on a disk, before hours of work end in a full one."""

from __future__ import annotations

import shutil
from pathlib import Path

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


def size(count: float) -> str:
    """Bytes in words."""
    return (
        f"{count / 1e12:.1f} TB"
        if count >= 1e12
        else f"{count / 1e9:.1f} GB"
        if count >= 1e8
        else f"{count / 1e6:.0f} MB"
    )
