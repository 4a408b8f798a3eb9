"""Take the clock out of an HDF5 file, so that the same transform is the same bytes whenever it is written.

ITK's composite transforms are HDF5, whose object headers (version 2: `OHDR`) hold four times of access and change, and
a checksum (Jenkins' lookup3) over header and times. The times become 0 and the checksum follows. Layout: HDF5 File
Format Specification 3.0, IV.A.1.b, and its appendix for the checksum.
"""

from __future__ import annotations

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
        flags = content[start + 5]
        width = 1 << (flags & SIZE_BITS)
        at = start + 6 + (16 if flags & HAS_TIMES else 0) + (4 if flags & HAS_PHASES else 0)
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
    while len(key) > 12:
        a, b, c = ((v + int.from_bytes(key[i : i + 4], "little")) & WORD for v, i in ((a, 0), (b, 4), (c, 8)))
        for bits in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & WORD) ^ _rotated(c, bits)
            c = (c + b) & WORD
            a, b, c = b, c, a
        key = key[12:]
    if not key:
        return c
    key = key.ljust(12, b"\0")
    a, b, c = ((v + int.from_bytes(key[i : i + 4], "little")) & WORD for v, i in ((a, 0), (b, 4), (c, 8)))
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, bits)) & WORD
        a, b, c = b, c, a
    return b
