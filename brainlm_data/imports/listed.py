"""Recordings of an import as the index has them, so that the DAG's jobs can be planned (`input.kind`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import stat_of
from brainlm_data.imports import IMAGES, Options, atlas_name, read

if TYPE_CHECKING:
    from brainlm_data.bids.index import Index, Select

SPACES = {"hcp": "MNI152NLin6Asym", "ukb": "MNI152NLin6Asym", "dtseries": "fsLR"}


def names(kind: str, atlas: str | None, space: str | None) -> dict[str, str]:
    """What file names say of space and parcellation."""
    if kind not in IMAGES:
        return {"space": "unknown", "seg": "imported"}
    return {"space": (space or SPACES.get(kind, "MNI")).split(":")[0], "seg": atlas_name(atlas)}


def index(kind: str, path: Path, options: Options, select: Select, cache: Path, as_cached: bool) -> Index:
    """The index of what is imported, see `index.read_index`."""
    from brainlm_data.bids.index import load_index

    return load_index(folder(path), lambda _: listed(kind, path, options), select, cache, as_cached)


def listed(kind: str, path: Path, options: Options) -> dict[str, Any]:
    """The index of what is imported (see `index.load_index`); nothing but names, tables and sidecars is read.

    Raises
    ------
    InputError: there is nothing of this kind, or two recordings have one id.
    """
    from brainlm_data.bids.people import shared

    root = folder(path)
    source = read(kind, path.absolute(), options)
    rows, metadata = list[list[Any]](), list[Mapping[str, Any]]()
    phenotypes: dict[str, Mapping[str, Any]] = {}  # of each recording
    seen = set[str]()
    for series in source.series:
        if series.id in seen:
            raise InputError(f"{path}: more than one recording is called {series.id!r}", "give each its own name")
        seen.add(series.id)
        files = [(str(file.absolute().relative_to(root)), *size_and_mtime(file)) for file in series.files]
        rows.append([
            series.id, series.subject, series.session, series.task, series.run, len(metadata), None, [], files[0],
            None,
            None,
        ])  # fmt: skip
        metadata.append({
            "Place": str((series.place or series.files[0]).absolute()), "Files": files, "RepetitionTime": series.tr_s,
            "NumberOfVolumes": series.volumes, "HasRow": bool(series.phenotypes),
            "MeanFd": series.mean_fd_mm if series.mean_fd_mm == series.mean_fd_mm else None,
        })  # fmt: skip
        phenotypes[series.id] = series.phenotypes
    ordered = sorted(rows, key=lambda row: str(row[0]))
    return {"recordings": ordered, "metadata": metadata, "t1w": {}, "ignored": list(source.left_aside),
            "notes": [], "unjoined": source.people.notes(), "columns": source.people.columns(),
            **shared(phenotypes)}  # fmt: skip


def folder(path: Path) -> Path:
    """What paths in the index are below. Raises InputError where nothing is there."""
    path = path.absolute()
    if not path.exists():
        raise InputError(f"input.path: there is no {path}", "give a folder or a file that exists")
    return path if path.is_dir() else path.parent


def size_and_mtime(file: Path) -> tuple[int, int]:
    """Of a file; zeros for a link whose content is not there (git-annex), which its recording's job then says."""
    try:
        return stat_of(file)
    except OSError:
        return 0, 0
