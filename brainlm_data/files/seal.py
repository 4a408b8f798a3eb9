"""Files that hold their own checksum, so that they need no second file: a CRC-32 of all bytes but its own eight.

A writer puts `BLANK` into the file as a value (of a JSON key, of the metadata of a .safetensors file) and fills it in
at the end; a reader asks whether it `holds`. It finds damage, not intent.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from isal import isal_zlib

from brainlm_data.errors import InputError

MARK, DIGITS = b"crc32-of-all-else:", 8
BLANK = f"{MARK.decode()}{'0' * DIGITS}"


def sealed(content: bytes) -> bytes:
    """The content with its checksum where `BLANK` stood. Raises ValueError where that is not in it."""
    place = content.index(MARK) + len(MARK)
    return content[:place] + _checksum(content, place) + content[place + DIGITS :]


def holds(content: bytes | mmap.mmap) -> bool:
    """Whether a content is as it was sealed; true of one without a seal, which an earlier release wrote."""
    place = content.find(MARK) + len(MARK)
    return place < len(MARK) or content[place : place + DIGITS] == _checksum(content, place)


def is_sealed(path: Path) -> bool:
    """Whether a file that is not empty has a seal, whatever it says."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(MARK) >= 0


def seal(path: Path) -> None:
    """Seal a file in place, before it is moved to where it is read. One of many GB need not fit into memory."""
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as content:
        place = content.find(MARK) + len(MARK)
        content[place : place + DIGITS] = _checksum(content, place)


def check_seal(path: Path, remedy: str) -> None:
    """Raises InputError for a file that does not hold, or is empty; see `reading` for one that cannot be read."""
    with path.open("rb") as stream:
        if path.stat().st_size:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if holds(content):
                    return
    raise InputError(f"{path}: damaged (it is not what its own checksum says)", remedy)


def _checksum(content: bytes | mmap.mmap, place: int) -> bytes:
    with memoryview(content) as view, view[:place] as before, view[place + DIGITS :] as after:
        return b"%08x" % isal_zlib.crc32(after, isal_zlib.crc32(before))
