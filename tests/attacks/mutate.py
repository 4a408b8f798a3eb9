"""Damage to the bytes of a valid file: flips, cuts, splices, and values that headers and tables do not expect."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

HUGE = [
    struct.pack(kind, value)
    for kind, value in (
        ("<h", 32767), ("<h", -1), (">h", 32767), ("<i", 2**31 - 1), ("<i", -1), (">i", 2**31 - 1), ("<i", 0),
        ("<q", 2**63 - 1), ("<q", -1), ("<q", 2**40), ("<I", 2**32 - 1), ("<f", float("nan")), ("<f", float("inf")),
        ("<f", 1e38), ("<f", -1e-38), ("<d", float("nan")), ("<d", 1e308),
    )
]  # fmt: skip
WORDS = [
    b"1e999", b"-1", b"nan", b"inf", b"9" * 400, b"0x10", b"1_000", b"\xd9\xa1", b"\0", b"\xff\xfe", b"\xef\xbb\xbf",
    b"\r", b"\n\n", b"\t\t", b"\t", b",", b";", b'"', b"'", b"{", b"}", b"[" * 5000, b"null", b"true", b"", b"../../x",
    b"\xe2\x80\xae", b"&lol;", b"<", b"n/a", b"!!python/object:os.system", b"&a [*a]", b"*a", b"1" + b"0" * 30,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, "", "x", "nan", -1, 0, 2**31, 2**63, 10**30, 1e308, -0.5, 1e-320, [], [[]], {}, {"x": 1}, [None],
    "é\u202e\0", "x" * 10_000, [1] * 1000,
]  # fmt: skip
NUMBER = re.compile(rb"-?\d+(\.\d+)?")


def damaged(content: bytes, source: random.Random) -> bytes:
    """The bytes after one to three operations."""
    for _ in range(source.choice((1, 1, 2, 3))):
        content = source.choice(OPERATIONS)(content, source)
    return content


def _place(content: bytes, source: random.Random) -> int:
    """A place in the file; half of them in its first bytes, where headers are."""
    last = max(0, len(content) - 1)
    return source.randint(0, min(last, 400) if source.random() < 0.5 else last)


def flip(content: bytes, source: random.Random) -> bytes:
    """One bit."""
    if not content:
        return content
    at = _place(content, source)
    return content[:at] + bytes([content[at] ^ (1 << source.randrange(8))]) + content[at + 1 :]


def cut(content: bytes, source: random.Random) -> bytes:
    """The end is missing, or a piece from within."""
    at = _place(content, source)
    return content[:at] if source.random() < 0.5 else content[:at] + content[at + source.randint(1, 64) :]


def splice(content: bytes, source: random.Random) -> bytes:
    """A piece of the file once more, somewhere else."""
    at, start = _place(content, source), _place(content, source)
    piece = content[start : start + source.randint(1, 200)]
    kept = at if source.random() < 0.5 else at + len(piece)
    return content[:at] + piece + content[kept:]


def insert(content: bytes, source: random.Random) -> bytes:
    """Bytes that do not belong there."""
    at = _place(content, source)
    return content[:at] + source.randbytes(source.randint(1, 40)) + content[at:]


def blank(content: bytes, source: random.Random) -> bytes:
    """Zeros, as a disk that was full leaves them."""
    at, length = _place(content, source), source.randint(1, 600)
    length = min(length, len(content) - at)
    return content[:at] + bytes(length) + content[at + length :]


def huge(content: bytes, source: random.Random) -> bytes:
    """A number of a header at its limits."""
    at, number = _place(content, source), source.choice(HUGE)
    at -= at % len(number)
    return content[:at] + number + content[at + len(number) :]


def word(content: bytes, source: random.Random) -> bytes:
    """A word of text where another one, or a number, was."""
    numbers = list(NUMBER.finditer(content))
    new = source.choice(WORDS)
    if numbers and source.random() < 0.7:
        old = source.choice(numbers)
        return content[: old.start()] + new + content[old.end() :]
    at = _place(content, source)
    return content[:at] + new + content[at:]


def lines(content: bytes, source: random.Random) -> bytes:
    """A line twice, gone, or in another place."""
    rows = content.split(b"\n")
    row = rows.pop(source.randrange(len(rows)))
    for _ in range(source.randrange(3)):
        rows.insert(source.randint(0, len(rows)), row)
    return b"\n".join(rows)


OPERATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, splice, insert, blank, huge, word, lines)


def damaged_json(content: bytes, source: random.Random) -> bytes:
    """A JSON document of which one value or key is another, valid as JSON."""
    document = json.loads(content)
    spots: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        value = waiting.pop()
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))[:20]
        spots += [(value, key) for key in keys]
        waiting += [value[key] for key in keys if isinstance(value[key], (dict, list))]
    for _ in range(source.choice((1, 1, 2))):
        container, key = source.choice(spots)
        if isinstance(container, dict) and key in container and source.random() < 0.2:
            del container[key]
        elif not isinstance(container, dict) or key in container:
            container[key] = source.choice(VALUES)
    return json.dumps(document).encode()


def within_gzip(content: bytes, source: random.Random) -> bytes:
    """What is compressed is damaged, and compressed again with a checksum that is right."""
    return gzip.compress(damaged(gzip.decompress(content), source), 1, mtime=0)


def within_zip(content: bytes, source: random.Random) -> bytes:
    """A member is damaged, gone, twice or of another name, and the archive is whole."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    number = source.randrange(len(members))
    name, inside = members[number]
    packed = inside.startswith(b"\x1f\x8b")
    kind = source.random()
    if kind < 0.1:
        del members[number]
    elif kind < 0.2:
        members[number] = source.choice(("../" + name, "/" + name, name.upper(), name[1:])), inside
    else:
        members[number] = name, (within_gzip if packed and kind < 0.7 else damaged)(inside, source)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", source.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, inside in members:
            archive.writestr(name, inside)
    return out.getvalue()


def bomb(content: bytes, source: random.Random) -> bytes:
    """A gzip stream that begins like the file, and goes on with zeros for a thousand times its size."""
    start = gzip.decompress(content)[: source.choice((0, 352, 10_000))]
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(start + bytes(source.choice((1 << 20, 1 << 24)))) + packer.flush()
