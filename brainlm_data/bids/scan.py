"""One walk over a BIDS dataset: its files with size and mtime, and what the index keeps of them.

A cohort is 100,000 files and more, and every plan walks over them: so each file costs one `stat`, and metadata that
many runs share (sidecars at the root) are kept once. Whatever looks like data is taken, or left aside with its reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from brainlm_data.bids.fieldmaps import intended
from brainlm_data.bids.names import IMAGES, Name, misplaced, not_raw, parse
from brainlm_data.errors import InputError
from brainlm_data.files.json import read_object

LAYOUT = 7  # of the cache: goes up when it keeps something else
DEPTH = 4  # folders below a subject's that are looked into: session, datatype, and what is not BIDS
METADATA_KEYS = (
    "RepetitionTime", "VolumeTiming", "TaskName", "SliceTiming", "SliceEncodingDirection", "EchoTime",
    "PhaseEncodingDirection",
)  # fmt: skip


class Listed(NamedTuple):
    """A file as it was when it was listed; `path` is below the dataset's root."""

    path: str
    size: int
    mtime_ns: int


class Walk(NamedTuple):
    """What lies in a dataset: files that an index depends on, sorted; and what cannot be looked at, with the reason."""

    files: list[Listed]
    aside: list[str]


def walk(bids_dir: Path) -> Walk:
    """Files of the root and of the subjects' folders."""
    walked, root = Walk([], []), str(bids_dir)
    for name, entry in _sorted(root, "", walked):
        if not _is_folder(name, entry, walked):
            _list(name, entry, walked)
        elif re.fullmatch("sub-[a-zA-Z0-9+]+", name):
            _list_below(root, name, (entry.stat().st_ino,), walked)
        elif name.lower().startswith("sub"):
            walked.aside.append(f"{name}/: not sub- and a label of letters and digits (rename folder and files)")
    return walked


def _sorted(root: str, folder: str, walked: Walk) -> list[tuple[str, os.DirEntry[str]]]:
    """Entries of a folder; hidden images, as macOS leaves them beside the real ones, are counted."""
    try:
        with os.scandir(f"{root}/{folder}") as entries:
            found = sorted((entry.name, entry) for entry in entries)
    except OSError as error:
        walked.aside.append(f"{folder or root}/: cannot be read ({error.strerror})")
        return []
    hidden = [name for name, _ in found if name.startswith(".") and name.endswith(IMAGES)]
    if hidden:
        walked.aside.append(f"{folder}/{hidden[0]}: hidden, as {len(hidden)} images of this folder are")
    return [(name, entry) for name, entry in found if not name.startswith(".")]


def _is_folder(path: str, entry: os.DirEntry[str], walked: Walk) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself
        walked.aside.append(f"{path}: cannot be read ({error.strerror})")
        return False


def _list_below(root: str, folder: str, above: tuple[int, ...], walked: Walk) -> None:
    """`above`: inodes of the folders on the way, so that a link to one of them ends the walk."""
    for name, entry in _sorted(root, folder, walked):
        path = f"{folder}/{name}"
        if not _is_folder(path, entry, walked):
            _list(path, entry, walked)
        elif len(above) > DEPTH:
            walked.aside.append(f"{path}/: deeper than BIDS has folders")
        elif (inode := entry.stat().st_ino) in above:
            walked.aside.append(f"{path}/: a link to a folder that it lies in")
        else:
            _list_below(root, path, (*above, inode), walked)


def _list(path: str, entry: os.DirEntry[str], walked: Walk) -> None:
    if not (path.endswith((*IMAGES, ".json", ".tsv")) or "_bold." in path or "_T1w." in path):
        return
    try:
        found = entry.stat()
        if not stat.S_ISREG(found.st_mode):
            walked.aside.append(f"{path}: not a regular file (a pipe, a socket or a device)")
            return
    except FileNotFoundError:  # a link whose content was not fetched, which the stage that reads it refuses
        found = entry.stat(follow_symlinks=False)
    except OSError:  # said already
        return
    walked.files.append(Listed(path, found.st_size, found.st_mtime_ns))


def key_of(walked: Walk) -> str:
    """Digest of path, size and mtime of every file, and of what cannot be looked at."""
    hasher = hashlib.sha256("\n".join([str(LAYOUT), *walked.aside, ""]).encode("utf-8", "surrogateescape"))
    for file in walked.files:
        hasher.update(f"{file.path}\0{file.size}\0{file.mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def scan(bids_dir: Path, walked: Walk) -> dict[str, Any]:
    """What the cache of the index keeps, as JSON values.

    `recordings`: by id, rows of id, subject, session, task, run, number of its metadata, fieldmaps, bold, sbref (files
    as `Listed`); `metadata`: the distinct ones; `t1w`: by subject, the first by name; `ignored`: whatever else looks
    like data, with the reason.
    """
    distinct: dict[str, int] = {}
    recordings: list[list[Any]] = []
    t1w: dict[str, Listed] = {}
    ignored, others = list(walked.aside), Counter[str]()
    outside = [file for file in walked.files if "/" not in file.path]
    ignored += [f"{file.path}: not in a subject's folder" for file in outside if file.path.endswith(IMAGES)]
    at_root = _sidecars(outside)
    below = (file for file in walked.files if "/" in file.path)
    for folder, own in groupby(below, key=lambda file: file.path.split("/", 1)[0]):
        person = _Person(str(bids_dir), {file.path: file for file in own}, at_root, ignored)
        for path, metadata in person.runs().items():
            entities = person.names[path].entities
            kept = {k: v for k, v in metadata.items() if k in METADATA_KEYS}
            number = distinct.setdefault(json.dumps(kept, sort_keys=True), len(distinct))
            stem = path.split("_bold.nii")[0]
            beside = [file for e in (".nii.gz", ".nii") if (file := person.files.get(f"{stem}_sbref{e}"))]
            recordings.append([
                stem.rsplit("/", 1)[-1], entities["sub"], entities.get("ses"), entities.get("task"),
                _index(entities.get("run")), number, person.fieldmaps(path, metadata), person.files[path],
                beside[0] if beside else None,
            ])  # fmt: skip
        if anatomy := person.t1w():
            t1w[folder.removeprefix("sub-")] = person.files[anatomy]
        others.update(person.others())
    ignored += [f"{count} images {kind}: not used" for kind, count in sorted(others.items())]
    recordings.sort(key=lambda row: row[0])
    return {
        "recordings": recordings, "metadata": list(map(json.loads, distinct)), "t1w": t1w,
        "ignored": list(map(_printable, ignored)),
    }  # fmt: skip


class _Person:
    """One subject's files. What is not taken is added to `ignored`, with the reason."""

    def __init__(self, root: str, files: Mapping[str, Listed], at_root: Sequence[Sidecar], ignored: list[str]) -> None:
        self.root, self.files, self._ignored = root, files, ignored
        self.names = {path: parse(path) for path in files}
        self._sidecars = (*at_root, *_sidecars(files.values()))

    def _candidates(self, suffix: str, datatype: str) -> list[str]:
        """Paths of raw images of a kind where they belong, sorted; the others are said."""
        taken = []
        for path, name in self.names.items():
            if f"_{suffix}." not in path.rsplit("/", 1)[-1] or name.extension in (".json", ".tsv"):
                continue
            problem = "" if name.extension in IMAGES else "not .nii or .nii.gz"
            problem = problem or name.fault or misplaced(name, datatype) or not_raw(name)
            if problem:
                self._ignored.append(f"{path}: {problem}")
            else:
                taken.append(path)
        return taken

    def runs(self) -> dict[str, dict[str, Any]]:
        """BOLD runs that are taken, with their metadata."""
        taken: dict[str, dict[str, Any]] = {}
        seen: dict[str, str] = {}
        for path in self._candidates("bold", "func"):
            echo = _index(self.names[path].entities.get("echo"))
            if echo not in (None, "1"):
                self._ignored.append(f"{path}: echo {echo} (multi-echo is not combined; echo 1 is used)")
            elif path.removesuffix(".gz") in taken:
                self._ignored.append(f"{path}: the same run is there with and without .gz; the first is used")
            elif other := seen.get(once := _without(path, "rec")):
                self._ignored.append(f"{path}: another reconstruction of the same run ({other} is used)")
            else:
                try:
                    taken[path] = self.metadata(path)
                    seen[once] = path
                except InputError as error:  # its sidecar is there and says something, but not to us
                    self._ignored.append(f"{path}: its sidecar {str(error).replace(f'{self.root}/', '')}")
        return taken

    def t1w(self) -> str | None:
        """The T1w that is taken: the first by name."""
        first, *rest = [*self._candidates("T1w", "anat"), None]
        self._ignored += [f"{path}: another T1w of this subject ({first} is used)" for path in rest if path]
        return first

    def others(self) -> Iterator[str]:
        """What is neither a run, a T1w, a single-band reference nor a fieldmap, by kind."""
        for name in self.names.values():
            known = name.suffix in ("bold", "T1w", "sbref") or name.datatype == "fmap"
            if name.extension in IMAGES and not known:
                yield f"*_{name.suffix} ({name.datatype or 'not where BIDS has images'})"

    def metadata(self, path: str) -> dict[str, Any]:
        """Of an image, by the inheritance principle: what is said nearer to it, and of fewer images, counts.

        Raises
        ------
        InputError: one of its sidecars cannot be read.
        """
        wanted, found = self.names[path], dict[str, Any]()
        for sidecar in self._sidecars:
            own = sidecar.name
            fits = own.suffix == wanted.suffix and own.entities.items() <= wanted.entities.items() and not own.fault
            if fits and path.startswith(sidecar.folder):
                found |= _content(f"{self.root}/{sidecar.file.path}", sidecar.file.mtime_ns)
        return found

    def fieldmaps(self, bold: str, metadata: Mapping[str, Any]) -> list[str]:
        """Images that are meant for a run; another run can be one."""
        return intended(bold, {**self._maybe_fieldmaps, bold: metadata})

    @cached_property
    def _maybe_fieldmaps(self) -> dict[str, Mapping[str, Any]]:
        """Metadata of images that may be fieldmaps; an unreadable sidecar of one is said, and the image is left out."""
        images = dict[str, Mapping[str, Any]]()
        for path, name in self.names.items():
            is_run = name.datatype == "func" and name.suffix == "bold"
            if name.extension in IMAGES and (name.datatype == "fmap" or is_run):
                try:
                    images[path] = self.metadata(path)
                except InputError as error:
                    if not is_run:
                        self._ignored.append(f"{path}: its sidecar {str(error).replace(f'{self.root}/', '')}")
        return images


class Sidecar(NamedTuple):
    """A JSON file, its name, and the folder whose images it can be about (with a slash; the root: empty)."""

    name: Name
    file: Listed
    folder: str


def _sidecars(files: Iterable[Listed]) -> list[Sidecar]:
    """JSON files, the most general first: those of the outer folders, then those with the fewest entities."""
    found = [Sidecar(parse(f.path), f, f.path[: f.path.rfind("/") + 1]) for f in files if f.path.endswith(".json")]
    return sorted(found, key=lambda s: (s.folder.count("/"), len(s.name.entities), s.file.path))


def _index(value: str | None) -> str | None:
    """A BIDS index without leading zeros: `01` -> `1`."""
    return str(int(value)) if value is not None and value.isdigit() else value


def _without(path: str, key: str) -> str:
    """A path whose name does not say this."""
    return re.sub(f"_{key}-[^_]*(?=_[^/]*$)", "", path)


def _printable(text: str) -> str:
    """Bytes of a name that are no UTF-8 as escapes: they cannot be printed."""
    return text.encode("utf-8", "backslashreplace").decode()


@lru_cache(4096)
def _content(path: str, mtime_ns: int) -> Mapping[str, Any]:
    """A JSON object. Raises InputError where it cannot be read."""
    return read_object(Path(path))
