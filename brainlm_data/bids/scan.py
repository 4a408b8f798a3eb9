"""One walk over a BIDS dataset: its files with size and mtime, and what the index keeps of them.

A cohort is 100,000 files and more, and every plan walks over them: so each file costs one `stat`, and metadata that
many runs share (sidecars at the root) are kept once. `bids2table` parses the names.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from brainlm_data.bids.fieldmaps import intended
from brainlm_data.paths import not_plain

LAYOUT = 5  # of the cache: goes up when it keeps something else
DEPTH = 4  # folders below a subject's that are looked into: session, datatype, and what is not BIDS
METADATA_KEYS = (
    "RepetitionTime", "TaskName", "SliceTiming", "SliceEncodingDirection", "EchoTime", "PhaseEncodingDirection",
)  # fmt: skip
IMAGES = (".nii", ".nii.gz")
Entities = dict[str, str]  # with datatype, suffix and ext


class Listed(NamedTuple):
    """A file as it was when it was listed; `path` is below the dataset's root."""

    path: str
    size: int
    mtime_ns: int


def walk(bids_dir: Path) -> list[Listed]:
    """Every file that an index depends on, sorted: those of the root and of the subjects' folders."""
    root, found = str(bids_dir), list[Listed]()
    for name, entry in _sorted(root):
        if not entry.is_dir():
            found += _listed(name, entry)
        elif re.fullmatch("sub-[a-zA-Z0-9]+", name):
            found += _below(root, name, DEPTH)
    return found


def _sorted(folder: str) -> Iterable[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        return sorted((entry.name, entry) for entry in entries if not entry.name.startswith("."))


def _below(root: str, folder: str, depth: int) -> Iterator[Listed]:
    for name, entry in _sorted(f"{root}/{folder}"):
        path = f"{folder}/{name}"
        if not entry.is_dir():
            yield from _listed(path, entry)
        elif depth:
            yield from _below(root, path, depth - 1)


def _listed(path: str, entry: os.DirEntry[str]) -> Iterator[Listed]:
    if path.endswith((*IMAGES, ".json", ".tsv")) or "_bold." in path:
        try:
            stat = entry.stat()
        except FileNotFoundError:  # a link whose content was not fetched, which the stage that reads it refuses
            stat = entry.stat(follow_symlinks=False)
        yield Listed(path, stat.st_size, stat.st_mtime_ns)


def key_of(files: Iterable[Listed]) -> str:
    """Digest of path, size and mtime of every file."""
    hasher = hashlib.sha256(f"{LAYOUT}\n".encode())
    for file in files:
        hasher.update(f"{file.path}\0{file.size}\0{file.mtime_ns}\n".encode())
    return hasher.hexdigest()


def scan(bids_dir: Path, files: Sequence[Listed]) -> dict[str, Any]:
    """What the cache of the index keeps, as JSON values.

    `recordings`: by id, rows of id, subject, session, task, run, number of its metadata, fieldmaps, bold, sbref (files
    as `Listed`); `metadata`: the distinct ones; `t1w`: by subject, the first by name; `ignored`: BOLD files that are
    not taken, with the reason.
    """
    distinct: dict[str, int] = {}
    recordings: list[list[Any]] = []
    t1w: dict[str, Listed] = {}
    ignored: list[str] = []
    at_root = _sidecars(f for f in files if "/" not in f.path)
    for folder, own in groupby((f for f in files if "/" in f.path), key=lambda f: f.path.split("/", 1)[0]):
        person = _Person(str(bids_dir), {f.path: f for f in own}, at_root)
        runs = person.runs(ignored)
        for path, entities in runs.items():
            kept = {k: v for k, v in person.metadata(path).items() if k in METADATA_KEYS}
            number = distinct.setdefault(json.dumps(kept, sort_keys=True), len(distinct))
            stem = path.split("_bold.nii")[0]
            beside = [file for e in (".nii.gz", ".nii") if (file := person.files.get(f"{stem}_sbref{e}"))]
            recordings.append([
                stem.rsplit("/", 1)[-1], entities.get("sub", folder.removeprefix("sub-")), entities.get("ses"),
                entities.get("task"), _index(entities.get("run")), number, person.fieldmaps(path, runs),
                person.files[path], beside[0] if beside else None,
            ])  # fmt: skip
        for path, entities in person.images("anat", "T1w"):
            t1w.setdefault(entities.get("sub", folder.removeprefix("sub-")), person.files[path])
    recordings.sort(key=lambda row: row[0])
    return {"recordings": recordings, "metadata": list(map(json.loads, distinct)), "t1w": t1w, "ignored": ignored}


class _Person:
    """One subject's files."""

    def __init__(self, root: str, files: Mapping[str, Listed], at_root: Sequence[Sidecar]) -> None:
        self.root, self.files, self._at_root = root, files, at_root
        self.entities = {path: _entities(path) for path in files}

    def images(self, datatype: str, suffix: str | None = None) -> list[tuple[str, Entities]]:
        """Paths and entities of the NIfTI images of a datatype, sorted by path."""
        return [
            (path, entities)
            for path, entities in self.entities.items()
            if entities.get("datatype") == datatype
            and entities.get("ext") in IMAGES
            and suffix in (None, entities.get("suffix"))
        ]

    def runs(self, ignored: list[str]) -> dict[str, Entities]:
        """BOLD runs that are taken; the others are added to `ignored`."""
        for path, entities in self.entities.items():
            kind = (entities.get("datatype"), entities.get("suffix"))
            if kind == ("func", "bold") and entities.get("ext") not in (*IMAGES, ".json", ".tsv"):
                ignored.append(f"{path}: not .nii or .nii.gz")
        taken: dict[str, Entities] = {}
        for path, entities in self.images("func", "bold"):
            echo = _index(entities.get("echo"))
            if entities.get("part") == "phase":
                ignored.append(f"{path}: phase image")
            elif echo not in (None, "1"):
                ignored.append(f"{path}: echo {echo} (multi-echo is not combined; echo 1 is used)")
            elif problem := not_plain(_stem(path), entities.get("sub"), entities.get("ses")):
                ignored.append(f"{path}: {problem}")
            elif path.removesuffix(".gz") in taken:
                ignored.append(f"{path}: the same run is there with and without .gz; the first is used")
            else:
                taken[path] = entities
        return taken

    def metadata(self, path: str) -> dict[str, Any]:
        """Of an image, by the inheritance principle: what is said nearer to it, and of fewer images, counts."""
        wanted, found = self.entities[path], dict[str, Any]()
        for sidecar in (*self._at_root, *self._sidecars):
            named = {k: v for k, v in sidecar.entities.items() if k not in {"datatype", "ext"}}
            if path.startswith(sidecar.folder) and "suffix" in named and named.items() <= wanted.items():
                found |= _content(f"{self.root}/{sidecar.file.path}", sidecar.file.mtime_ns)
        return found

    @cached_property
    def _sidecars(self) -> list[Sidecar]:
        return _sidecars(self.files.values())

    def fieldmaps(self, bold: str, runs: Iterable[str]) -> list[str]:
        """Images that are meant for a run; another run can be one."""
        images = {path: self.metadata(path) for path in (*(path for path, _ in self.images("fmap")), *runs)}
        return intended(bold, images)


def _stem(path: str) -> str:
    """The recording's id: the name of its file without suffix and ending."""
    return path.rsplit("/", 1)[-1].split("_bold.nii")[0]


class Sidecar(NamedTuple):
    """A JSON file, its entities, and the folder whose images it can be about (with a slash; the root: empty)."""

    entities: Entities
    file: Listed
    folder: str


def _sidecars(files: Iterable[Listed]) -> list[Sidecar]:
    """JSON files, the most general first: those of the outer folders, then those with the fewest entities."""
    found = [Sidecar(_entities(f.path), f, f.path[: f.path.rfind("/") + 1]) for f in files if f.path.endswith(".json")]
    return sorted(found, key=lambda s: (s.folder.count("/"), len(s.entities), s.file.path))


def _index(value: str | None) -> str | None:
    """A BIDS index without leading zeros: `01` -> `1`."""
    return str(int(value)) if value is not None and value.isdigit() else value


def _entities(path: str) -> Entities:
    import bids2table

    return bids2table.parse_bids_entities(path)


@lru_cache(4096)
def _content(path: str, mtime_ns: int) -> Mapping[str, Any]:
    """A JSON object; what cannot be read, or is no object, counts as absent."""
    try:
        with open(path) as stream:
            content = json.load(stream)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
