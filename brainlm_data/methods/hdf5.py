"""Take the clock out of an HDF5 file, so that the same transform is the same bytes whenever it is written.

ITK's composite transforms are HDF5, whose object headers (version 2: `OHDR`) hold four times of access and change, and
a checksum (Jenkins' lookup3) over header and times. The times become 0 and the checksum follows. Layout: HDF5 File
Format Specification 3.0, IV.A.1.b, and its appendix for the checksum.
"""

from __future__ import annotations

import struct
from pathlib import Path

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
