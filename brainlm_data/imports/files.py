"""Which files of a folder are series, and what the JSON beside one says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.json import read_sidecar
from brainlm_data.files.sidecar import sidecar_path

NO_SUBJECT = "A file whose name has no sub- is one subject: nothing says whether two are of one person."


def files_of(path: Path, *endings: str) -> list[Path]:
    """Files below a folder by their endings, sorted, or the path itself where it is one file.

    Hidden files and folders are left alone (`._x.npy`, `.git`). A link to content that was not fetched counts: its
    recording is refused when it is read.
    """
    if not path.is_dir():
        return [path]
    below = (file for file in path.rglob("*") if file.name.endswith(endings) and not file.is_dir())
    return sorted(file for file in below if not any(part.startswith(".") for part in file.relative_to(path).parts))


def facts_beside(file: Path) -> tuple[Mapping[str, Any], Callable[[], NoReturn] | None]:
    """The JSON sidecar of a series, and where it cannot be read what refuses the recording."""
    try:
        return read_sidecar(sidecar_path(file)), None
    except InputError as error:
        return {}, partial(_refuse, error.message, error.remedy)


def _refuse(message: str, remedy: str) -> NoReturn:
    raise Refused(message, remedy)
