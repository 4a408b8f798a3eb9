"""Recordings of an import as the index has them, so that the DAG's jobs can be planned (`input.kind`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import stat_of
from brainlm_data.imports import IMAGES, Options, Treatment, atlas_name, read

if TYPE_CHECKING:
    from brainlm_data.bids.index import Index, Select
    from brainlm_data.stages.imported import Config as Imported
    from brainlm_data.stages.input import Config as Input

SPACES = {"hcp": "MNI152NLin6Asym", "ukb": "MNI152NLin6Asym"}


def options(given: Input, how: Imported) -> Options:
    """What both sections say, as `read` takes it; images are treated as their kind has it where nothing is said."""
    images = Treatment(
        given.space, given.atlas, how.strategy, how.low_hz, how.high_hz, how.censor_fd_mm, given.allow_space_mismatch
    )
    return Options(given.tr_s, participants(given), given.labels, images)


def participants(given: Input) -> Path | None:
    """The table of all recordings: a job reads the files of one alone, and does not find it beside them."""
    beside = None if given.path is None else given.path / "participants.tsv"
    return given.participants or (beside if beside is not None and beside.is_file() else None)


def names(given: Input) -> dict[str, str]:
    """What file names say of space and parcellation."""
    if given.kind not in IMAGES:
        return {"space": "unknown", "seg": "imported"}
    space = (given.space or SPACES.get(given.kind, "MNI")).split(":")[0]
    return {"space": space, "seg": atlas_name(given.atlas)}


def index(given: Input, how: Imported, select: Select, cache: Path, as_cached: bool) -> Index:
    """The index of what is imported, see `index.read_index`."""
    from brainlm_data.bids.index import load_index

    return load_index(folder(given), lambda _: listed(given, how), select, cache, as_cached)


def listed(given: Input, how: Imported) -> dict[str, Any]:
    """The index of what is imported (see `index.load_index`); nothing but names, tables and sidecars is read.

    Raises
    ------
    InputError: there is nothing of this kind, or two recordings have one id.
    """
    assert given.path is not None
    root = folder(given)
    source = read(given.kind, given.path.absolute(), options(given, how))
    rows, metadata = list[list[Any]](), list[Mapping[str, Any]]()
    phenotypes: dict[str, Mapping[str, Any]] = {}
    seen = set[str]()
    for series in source.series:
        if series.id in seen:
            raise InputError(f"{given.path}: more than one recording is called {series.id!r}", "give each its own name")
        seen.add(series.id)
        files = [(str(file.absolute().relative_to(root)), *size_and_mtime(file)) for file in series.files]
        rows.append([
            series.id, series.subject, series.session, series.task, series.run, len(metadata), [], files[0], None,
        ])  # fmt: skip
        metadata.append({
            "Place": str((series.place or series.files[0]).absolute()), "Files": files, "RepetitionTime": series.tr_s,
            "NumberOfVolumes": series.volumes, "HasRow": bool(series.phenotypes),
            "MeanFd": series.mean_fd_mm if series.mean_fd_mm == series.mean_fd_mm else None,
        })  # fmt: skip
        phenotypes.setdefault(series.subject, dict(series.phenotypes))
    ordered = sorted(rows, key=lambda row: str(row[0]))
    return {"recordings": ordered, "metadata": metadata, "t1w": {}, "ignored": list(source.left_aside),
            "notes": source.people.notes(), "phenotypes": phenotypes}  # fmt: skip


def folder(given: Input) -> Path:
    """What paths in the index are below. Raises InputError where nothing is there."""
    path = Path(given.path or "").absolute()
    if not path.exists():
        raise InputError(f"input.path: there is no {path}", "give a folder or a file that exists")
    return path if path.is_dir() else path.parent


def size_and_mtime(file: Path) -> tuple[int, int]:
    """Of a file; zeros for a link whose content is not there (git-annex), which its recording's job then says."""
    try:
        return stat_of(file)
    except OSError:
        return 0, 0
