"""JSON sidecars, atomic writes and digests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from brainlm_data.errors import InputError
from brainlm_data.files.json import AGAIN, read_object
from brainlm_data.files.lock import temporary_name
from brainlm_data.files.reads import reads
from brainlm_data.files.seal import BLANK, holds, sealed

DATA_SUFFIXES = (".nii.gz", ".nii", ".tsv", ".h5", ".txt", ".npz", ".npy", ".csv", ".parquet", ".safetensors")


def sidecar_path(path: Path) -> Path:
    """`x_bold.nii.gz` -> `x_bold.json`. A JSON document holds its own sidecar, see `write_facts`."""
    name = path.name
    for suffix in DATA_SUFFIXES:
        if name.endswith(suffix):
            return path.with_name(name[: -len(suffix)] + ".json")
    return path.with_name(name.rsplit(".", 1)[0] + ".json")


INSIDE = "Sidecar"  # the key of a JSON document that holds its own sidecar


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the sidecar of a file: beside it, or into a JSON document, under `Sidecar`."""
    beside = sidecar_path(path)
    write_json(beside, {**read_document(path), INSIDE: facts} if beside == path else facts)


def read_facts(path: Path) -> dict[str, Any]:
    """The sidecar of a file, wherever `write_facts` put it; empty where it has none.

    Raises
    ------
    InputError: the sidecar is there and cannot be read.
    """
    beside = sidecar_path(path)
    if not beside.exists():
        return {}
    content = read_document(beside)
    return content.get(INSIDE, {}) if beside == path else content


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError where it cannot be read, or is none."""
    return read_object(path, remedy=AGAIN)


CHECKSUM = "checksum"  # the key of a record that holds its seal


def load_record(path: Path, remedy: str) -> dict[str, Any]:
    """What `write_record` wrote. Raises InputError where it is missing or damaged."""
    with reads(path, remedy):
        content = path.read_bytes()
        if not holds(content):
            raise ValueError("damaged: it is not what its own checksum says")
        record = json.loads(content)
        if not isinstance(record, dict):
            raise ValueError("no JSON object")
        record.pop(CHECKSUM, None)
        return record


def read_record(path: Path) -> dict[str, Any]:
    """What this package noted to spare work (a receipt, a cache): empty where it is damaged, as it is made anew."""
    try:
        return load_record(path, "")
    except InputError:
        return {}


def record_text(data: Mapping[str, Any], indent: int | None = None) -> str:
    """A record as it stands in its file: JSON with a checksum of itself."""
    return sealed(as_json({**data, CHECKSUM: BLANK}, indent).encode()).decode()


def write_record(path: Path, data: Mapping[str, Any], indent: int | None = None, folder: Path | None = None) -> None:
    """Write JSON that says itself whether it is whole: what programs read, what decides on reruns. See `write_json`."""
    write_text(path, record_text(data, indent), folder)


@contextmanager
def atomic(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A temporary path with the same ending, moved onto `path` when the block succeeds.

    `folder`: where it is, on the same file system; None: beside `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise InputError(f"{path}: a folder stands where a file belongs", "move or remove it")
    temporary = temporary_name(path if folder is None else folder / path.name)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace(source: Path, target: Path) -> None:
    """Move a file or a folder to where it belongs, whatever stands there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(source, target)


def as_json(data: Mapping[str, Any], indent: int | None = 2) -> str:
    """Sorted JSON; without `indent` in one line, which is ten times as fast."""
    return json.dumps(data, indent=indent, sort_keys=True, default=_plain) + "\n"


def write_json(path: Path, data: Mapping[str, Any], indent: int | None = 2, folder: Path | None = None) -> None:
    """Write sorted JSON, atomically; `folder` as in `atomic`."""
    write_text(path, as_json(data, indent), folder)


def write_text(path: Path, text: str, folder: Path | None = None) -> None:
    """Write text, atomically; `folder` as in `atomic`."""
    with atomic(path, folder) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """numpy scalars and arrays, paths and sets as JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


def digest(path: Path) -> str:
    """sha256 of a file, or of a folder's sorted relative paths and contents."""
    hasher = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            hasher.update(str(file.relative_to(path)).encode())
            hasher.update(digest(file).encode())
        return hasher.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_digest(path: Path, wanted: str) -> None:
    """Compare a file with the digest that the stage which wrote it noted.

    Raises
    ------
    InputError: it is damaged. Its mtime is then a new one, so that the next plan sees it whatever size it has.
    """
    with reads(path):
        found = digest(path)
    if found != wanted:
        let_plans_look_at(path)
        raise InputError(
            f"{path}: damaged, it is not what its stage wrote",
            "run the same command again, which first makes this file again (by hand: the stage that writes it)",
        )


def let_plans_look_at(path: Path) -> None:
    """A damaged file may have the size and mtime that its manifest knows: a new mtime makes the next plan read it."""
    one = next((p for p in sorted(path.rglob("*")) if p.is_file()), path) if path.is_dir() else path
    with suppress(OSError):  # an outdir that cannot be written to
        os.utime(one)


def stat_of(path: Path) -> tuple[int, int]:
    """(size in bytes, mtime in ns): what is compared before a digest is worth computing. A folder: sum and maximum."""
    if path.is_dir():
        stats = [p.stat() for p in path.rglob("*") if p.is_file()]
        return sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
