"""Transforms in HDF5: the clock is taken out, so that the same one is the same bytes, and damage is found before ITK.

ITK's composite transforms are HDF5, whose object headers (version 2: `OHDR`) hold four times of access and change, and
a checksum (Jenkins' lookup3) over header and times. The times become 0 and the checksum follows. Layout: HDF5 File
Format Specification 3.0, IV.A.1.b, and its appendix for the checksum.

The HDF5 library does not survive every damaged file: a segmentation fault, or memory or a loop without end. What is
written here is sealed beyond the end that HDF5 knows, where its readers do not look; another file is tried in a process
of its own.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from brainlm_data.errors import InputError
from brainlm_data.files.reads import reads
from brainlm_data.files.seal import BLANK, check_seal, is_sealed, seal

AGAIN = "run the stage that writes it again"
TRY = """\
import resource, sys
import ants
resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))  # bytes
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))  # seconds; the import took two, reading takes one
ants.read_transform(sys.argv[1])
"""
PATIENCE_S = 300  # in which a process on a busy machine gets as much

SIGNATURE = b"OHDR\x02"
HAS_TIMES, HAS_PHASES, SIZE_BITS = 0x20, 0x10, 0x03
WORD = 0xFFFFFFFF


def without_times(path: Path) -> None:
    """Set the times of all object headers of a small HDF5 file to 0, in place.

    Data that merely look like a header are left alone: the checksum of what is changed must have been right before.
    """
    content = bytearray(path.read_bytes())
    start = content.find(SIGNATURE)
    while 0 <= start < len(content) - len(SIGNATURE):
        # Object header: signature (4 bytes), version (1), flags (1), four times (16, optional), two phases (4,
        # optional), size of the messages (1 to 8), the messages, checksum (4) of all of this.
        flags = content[start + 5]
        width = 1 << (flags & SIZE_BITS)
        at = start + 6
        if flags & HAS_TIMES:
            at += 16
        if flags & HAS_PHASES:
            at += 4
        end = at + width + int.from_bytes(content[at : at + width], "little")
        known = int.from_bytes(content[end : end + 4], "little")
        if flags & HAS_TIMES and end + 4 <= len(content) and lookup3(bytes(content[start:end])) == known:
            content[start + 6 : start + 22] = bytes(16)
            content[end : end + 4] = lookup3(bytes(content[start:end])).to_bytes(4, "little")
        start = content.find(SIGNATURE, start + 1)
    path.write_bytes(content)


def seal_transform(path: Path) -> None:
    """Append a seal to an HDF5 file, whose own end is in its header."""
    with path.open("ab") as stream:
        stream.write(BLANK.encode())
    seal(path)


def check_transform(path: Path) -> None:
    """Before ITK reads an HDF5 file. Raises InputError for one that is damaged, or that ends the process."""
    with reads(path, AGAIN):
        check_seal(path, AGAIN)
        status = path.stat()
        if not is_sealed(path) and not _survives(path, status.st_size, status.st_mtime_ns):
            raise InputError(f"{path}: not a readable transform", AGAIN)


@lru_cache(maxsize=1024)
def _survives(path: Path, _size: int, _mtime_ns: int) -> bool:
    """Whether ITK reads a file, in a process that it may end."""
    call = [sys.executable, "-c", TRY, str(path.resolve())]
    environment = {**os.environ, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    try:
        done = subprocess.run(call, env=environment, capture_output=True, check=False, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _rotated(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & WORD


def lookup3(key: bytes) -> int:
    """Bob Jenkins' 32-bit hash of a byte string, initial value 0 (little-endian `hashlittle`; public domain, 2006)."""
    a = b = c = (0xDEADBEEF + len(key)) & WORD
    while len(key) > 12:  # three words at a time are added and mixed
        a, b, c = _added(key, a, b, c)
        for bits in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & WORD) ^ _rotated(c, bits)
            c = (c + b) & WORD
            a, b, c = b, c, a
        key = key[12:]
    if not key:
        return c
    a, b, c = _added(key.ljust(12, b"\0"), a, b, c)
    for bits in (14, 11, 25, 16, 4, 14, 24):  # the final mix
        c = ((c ^ b) - _rotated(b, bits)) & WORD
        a, b, c = b, c, a
    return b


def _added(key: bytes, a: int, b: int, c: int) -> tuple[int, int, int]:
    """The first three words of a key added to three words."""
    first, second, third = struct.unpack_from("<3I", key)
    return (a + first) & WORD, (b + second) & WORD, (c + third) & WORD
