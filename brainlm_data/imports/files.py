"""Which files of a folder are series, which are left aside and why, and what the JSON beside one says."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.json import read_sidecar
from brainlm_data.files.sidecar import sidecar_path
from brainlm_data.paths import ending

NO_SUBJECT = "A file whose name has no sub- is one subject: nothing says whether two are of one person."
BESIDE = (".json", ".md", ".html", ".svg", "participants.tsv")  # what stands beside series and is none


class Found(NamedTuple):
    """Files below a folder, sorted, and a line for whatever else lies there."""

    files: list[Path]
    aside: list[str]


def found(path: Path, *endings: str, only: bool = True) -> Found:
    """Files below a folder by their endings, or the path itself where it is one file.

    Hidden files and folders are left alone (`._x.npy`, `.git`); links to folders are followed. A link to content that
    was not fetched counts: its recording is refused when it is read.

    Parameters
    ----------
    only: the folder holds nothing else: other files are counted, by their endings.
    """
    if not path.is_dir():
        return Found([path], [])
    files, aside, others = list[Path](), list[str](), Counter[str]()
    for file in _below(path, path, (), aside):
        if file.name.endswith(endings):
            files.append(file)
        elif only and not file.name.endswith(BESIDE):
            others[ending(file.name)] += 1
    aside += [f"{count} files {kind}: of another kind" for kind, count in sorted(others.items())]
    return Found(sorted(files), aside)


def strange_folder(file: Path, root: Path, subject: str, session: str | None) -> str:
    """Why the folders of a file contradict its name: whose is it? "" where they do not."""
    said = {"sub": subject, "ses": session}
    for part in file.parent.relative_to(root).parts if file.parent.is_relative_to(root) else ():
        key, dash, label = part.partition("-")
        if dash and said.get(key) not in (None, label) and f"{key}-" in file.name:
            return f"its name says {key}-{said[key]}, it lies in {part}/"
    return ""


def files_of(path: Path, *endings: str) -> list[Path]:
    """The files of `found`."""
    return found(path, *endings).files


def _below(root: Path, folder: Path, above: tuple[tuple[int, int], ...], aside: list[str]) -> Iterator[Path]:
    """Files that are not hidden. `above`: the folders on the way, so that a link to one of them ends the walk."""
    said = f"{folder.relative_to(root)}/" if folder != root else f"{root}/"
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        aside.append(f"{said}: cannot be read ({error.strerror})")
        return
    if (this := (status.st_dev, status.st_ino)) in above:
        aside.append(f"{said}: a link to a folder that it lies in")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link to itself, which its recording says
            is_folder = False
        if is_folder:
            yield from _below(root, folder / entry.name, (*above, this), aside)
        else:
            yield folder / entry.name


def facts_beside(file: Path) -> tuple[Mapping[str, Any], Callable[[], NoReturn] | None]:
    """The JSON sidecar of a series, and where it cannot be read what refuses the recording."""
    try:
        return read_sidecar(sidecar_path(file)), None
    except InputError as error:
        return {}, partial(_refuse, error.message, error.remedy)


def _refuse(message: str, remedy: str) -> NoReturn:
    raise Refused(message, remedy)
