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

from brainlm_data.bids import fieldmaps
from brainlm_data.bids.echoes import Echo
from brainlm_data.bids.names import IMAGES, Name, index, misplaced, not_raw, parse, same_run
from brainlm_data.errors import InputError, Refused
from brainlm_data.files.json import read_object
from brainlm_data.files.present import SMALL, check_present
from brainlm_data.paths import ending
from brainlm_data.reading.timing import stated_tr

LAYOUT = 11  # of the cache: goes up when it keeps something else
DEPTH = 4  # folders below a subject's that are looked into: session, datatype, and what is not BIDS
BESIDE = (".json", ".tsv", ".tsv.gz", ".bval", ".bvec")  # of BIDS, beside its images
NAMED = 8  # of files of one kind that are named
METADATA_KEYS = (
    "RepetitionTime", "VolumeTiming", "TaskName", "SliceTiming", "SliceEncodingDirection", "EchoTime",
    "PhaseEncodingDirection",
)  # fmt: skip
CHECKED_KEYS = dict.fromkeys((*METADATA_KEYS, *fieldmaps.KEYS))  # two sidecars that contradict each other are an error


class Listed(NamedTuple):
    """A file as it was when it was listed; `path` is below the dataset's root."""

    path: str
    size: int
    mtime_ns: int


class Walk(NamedTuple):
    """What lies in a dataset: files that an index depends on, sorted; and what is not looked at, with the reason.

    Attributes
    ----------
    others: files of subjects that are no images and not what BIDS has beside them, counted by their endings.
    stimuli: files of stimuli/.
    """

    files: list[Listed]
    aside: list[str]
    others: Counter[str]
    stimuli: list[Listed]


def walk(bids_dir: Path) -> Walk:
    """Files of the root, of the subjects' folders and of stimuli/."""
    walked, root, elsewhere = Walk([], [], Counter(), []), str(bids_dir), list[str]()
    for name, entry in _sorted(root, "", walked):
        if not _is_folder(name, entry, walked):
            _list(name, entry, walked)
        elif re.fullmatch("sub-[a-zA-Z0-9+]+", name):
            _list_below(root, name, (_identity(entry.stat()),), walked)
        elif name == "stimuli":
            _list_stimuli(root, name, walked)
        elif name.lower().startswith("sub"):
            walked.aside.append(f"{name}/: not sub- and a label of letters and digits (rename folder and files)")
        else:
            elsewhere.append(f"{name}/")
    if elsewhere:
        walked.aside.append(f"{_some(elsewhere)}: no subject's folder, not looked into")
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
        walked.aside.append(f"{_path(folder, hidden[0])}: hidden, as {len(hidden)} images of this folder are")
    return [(name, entry) for name, entry in found if not name.startswith(".")]


def _is_folder(path: str, entry: os.DirEntry[str], walked: Walk) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself
        walked.aside.append(f"{path}: cannot be read ({error.strerror})")
        return False


def _list_below(root: str, folder: str, above: tuple[tuple[int, int], ...], walked: Walk) -> None:
    """`above`: the folders on the way, so that a link to one of them ends the walk."""
    for name, entry in _sorted(root, folder, walked):
        path = f"{folder}/{name}"
        if not _is_folder(path, entry, walked):
            _list(path, entry, walked)
        elif name.endswith((*IMAGES, ".json")):
            walked.aside.append(f"{path}/: a folder, not a file")
        elif len(above) > DEPTH:
            walked.aside.append(f"{path}/: deeper than BIDS has folders")
        elif (this := _identity(entry.stat())) in above:
            walked.aside.append(f"{path}/: a link to a folder that it lies in")
        else:
            _list_below(root, path, (*above, this), walked)


def _list_stimuli(root: str, folder: str, walked: Walk) -> None:
    """All regular files; links to folders are not followed."""
    for name, entry in _sorted(root, folder, walked):
        path = f"{folder}/{name}"
        if entry.is_dir(follow_symlinks=False):
            _list_stimuli(root, path, walked)
        elif entry.is_file():
            found = entry.stat()
            walked.stimuli.append(Listed(path, found.st_size, found.st_mtime_ns))


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _list(path: str, entry: os.DirEntry[str], walked: Walk) -> None:
    if not (path.endswith((*IMAGES, ".json", ".tsv")) or "_bold." in path or "_T1w." in path):
        if "/" in path and not path.endswith(BESIDE):
            walked.others[ending(path)] += 1
        return
    size = 0  # of a link whose content was not fetched, and of a pipe: whoever reads it refuses it
    try:
        found = entry.stat()
        if stat.S_ISREG(found.st_mode):
            size = found.st_size
        elif not path.endswith(".json"):
            walked.aside.append(f"{path}: not a regular file (a pipe, a socket or a device)")
            return
    except FileNotFoundError:
        found = entry.stat(follow_symlinks=False)
    except OSError:  # said already
        return
    walked.files.append(Listed(path, size, found.st_mtime_ns))


def key_of(walked: Walk) -> str:
    """Digest of path, size and mtime of every file, and of what is not looked at."""
    unread = [f"{kind} {count}" for kind, count in sorted(walked.others.items())]
    hasher = hashlib.sha256("\n".join([str(LAYOUT), *walked.aside, *unread, ""]).encode("utf-8", "surrogateescape"))
    for file in (*walked.files, *walked.stimuli):
        hasher.update(f"{file.path}\0{file.size}\0{file.mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def scan(bids_dir: Path, walked: Walk) -> dict[str, Any]:
    """What the cache of the index keeps, as JSON values.

    `recordings`: by id, rows of id, subject, session, task, run, numbers of its metadata and of its phase encoding,
    numbers of its fieldmaps, bold, sbref (files as `Listed`), and of a run with several echoes each of them as
    `echoes.Echo`; `metadata`: the distinct ones; `fieldmaps`: the distinct ones, each a source (`fieldmaps.Found`) with
    numbers of metadata, and its files; `fieldmaps_left`: by id, those that cannot be used; `faults`: by id, why a
    recording is refused; `events`: by id, the table of what was shown; `stimuli`: files of stimuli/; `t1w`: by subject,
    those that can be used, the preferred one first; `ignored`: whatever else
    looks like data, with the reason; `notes`: what is odd about what is taken.
    """
    distinct, sources = _Distinct(), _Distinct()
    unusable = dict[str, dict[str, str]]()  # fieldmaps
    recordings: list[list[Any]] = []
    faults: dict[str, str] = {}
    events: dict[str, Listed] = {}
    t1w: dict[str, list[Listed]] = {}
    without, absent = list[str](), dict[str, list[str]]()
    ignored, notes, others = list(walked.aside), list[str](), Counter[str]()
    outside = [file for file in walked.files if "/" not in file.path]
    ignored += [f"{file.path}: not in a subject's folder" for file in outside if file.path.endswith(IMAGES)]
    at_root, events_at_root = _sidecars(outside), _tables(outside, "events")
    below = (file for file in walked.files if "/" in file.path)
    for folder, own in groupby(below, key=lambda file: file.path.split("/", 1)[0]):
        listed = {file.path: file for file in own}
        person = _Person(str(bids_dir), listed, at_root, events_at_root, ignored, notes)
        for echoes in person.runs():
            path, metadata, fault = echoes[0]
            entities = person.names[path].entities
            name = _stem(path)
            images = list[Echo]()
            meant = fieldmaps.Found()
            for echo, about, problem in echoes:
                sbref = person.sbref(echo)
                label = index(person.names[echo].entities.get("echo")) or ""
                number = distinct.number(_of(METADATA_KEYS, about))
                images.append(Echo(label, number, person.files[echo], person.files[sbref] if sbref else None, problem))
                if missing := _missing(person.root, person.files[echo]):
                    absent.setdefault(missing, []).append(echo)
                if not (meant.sources or meant.left):  # what is meant for one echo is for all
                    meant = person.fieldmaps_of(echo, about)
            numbers = list[int]()
            for source in meant.sources:
                files = [person.files[file] for file in fieldmaps.files_of(source)]
                numbers.append(sources.number([source | {"metadata": distinct.numbers(source["metadata"])}, files]))
            if meant.left:
                unusable[name] = meant.left
            recordings.append([
                name, entities["sub"], entities.get("ses"), entities.get("task"), index(entities.get("run")),
                images[0].metadata, distinct.number(_of(fieldmaps.ENCODING, metadata)), numbers, images[0].bold,
                images[0].sbref, images if images[0].label else None,
            ])  # fmt: skip
            if table := person.events(path):
                events[name] = table
            if fault and len(images) == 1:
                faults[name] = fault
        if anatomy := person.t1w():
            t1w[folder.removeprefix("sub-")] = [person.files[path] for path in anatomy]
        if not person.taken:
            without.append(folder)
        person.say_what_is_left()
        others.update(person.others())
    ignored += [f"{count} images {kind}: not used" for kind, count in sorted(others.items())]
    ignored += [f"{count} files {kind}: no images that are read" for kind, count in sorted(walked.others.items())]
    if without:
        ignored.append(f"{_some(without)}: no BOLD run of theirs is taken")
    notes += [f"{_some(paths)}: {reason}" for reason, paths in absent.items()]
    recordings.sort(key=lambda row: row[0])
    return {
        "recordings": recordings, "metadata": distinct.values(), "fieldmaps": sources.values(),
        "fieldmaps_left": unusable, "faults": faults, "events": events, "stimuli": walked.stimuli, "t1w": t1w,
        "ignored": list(map(_printable, dict.fromkeys(ignored))), "notes": list(map(_printable, dict.fromkeys(notes))),
    }  # fmt: skip


class _Distinct:
    """JSON values, each kept once, by number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, value: Any) -> int:
        return self._numbers.setdefault(json.dumps(value, sort_keys=True), len(self._numbers))

    def numbers(self, values: Any) -> Any:
        """Of one value, or of each of a list."""
        return [self.number(value) for value in values] if isinstance(values, list) else self.number(values)

    def values(self) -> list[Any]:
        return list(map(json.loads, self._numbers))


def _of(keys: Iterable[str], metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metadata[key] for key in keys if key in metadata}


def _missing(root: str, file: Listed) -> str:
    """Why there is nothing in an image, with what to do; "" where there is. Only the smallest files are looked at."""
    path = Path(root, file.path)
    if file.size > SMALL:
        return ""
    try:
        check_present(path)
    except Refused as refusal:
        return str(refusal).removeprefix(f"{path}: ")
    return ""


class _Person:
    """One subject's files. What is not taken is added to `ignored`, with the reason, what is odd to `notes`."""

    def __init__(
        self, root: str, files: Mapping[str, Listed], at_root: Sequence[Sidecar], events_at_root: Sequence[Sidecar],
        ignored: list[str], notes: list[str],
    ) -> None:  # fmt: skip
        self.root, self.files, self._ignored, self._notes = root, files, ignored, notes
        self.names = {path: parse(path) for path in files}
        self.taken = set[str]()  # images
        self._metadata = dict[str, Mapping[str, Any]]()  # of the runs that are taken
        self._own_sidecars = _sidecars(files.values())
        self._sidecars = (*at_root, *self._own_sidecars)
        self._events = (*events_at_root, *_tables(files.values(), "events"))

    def _candidates(self, suffix: str, datatype: str) -> list[str]:
        """Paths of raw images of a kind where they belong, sorted; the others are said."""
        taken = []
        for path, name in self.names.items():
            if not _is(path, suffix) or name.extension in (".json", ".tsv"):
                continue
            known = name.extension in IMAGES
            problem = "" if known else f"{name.extension} is not .nii or .nii.gz (convert it, or rename it)"
            problem = problem or name.fault or misplaced(name, datatype) or not_raw(name)
            if problem:
                self._ignored.append(f"{path}: {problem}")
            else:
                taken.append(path)
        return taken

    def runs(self) -> list[list[tuple[str, dict[str, Any], str]]]:
        """BOLD runs that are taken, each as its echoes (of most runs one), by number of the echo.

        Of an echo: its path, its metadata, and why the run is refused where this echo is used ("": it is not).
        """
        found = list[list[tuple[str, dict[str, Any], str]]]()
        variants: dict[tuple[Any, ...], list[str]] = {}
        for path in self._candidates("bold", "func"):
            variants.setdefault(same_run(self.names[path]), []).append(path)
        for paths in variants.values():
            first, *rest = sorted(paths, key=self._last_choice)
            echoes = {self._without_echo(first)[1]: first}
            for path in rest:
                apart, echo = self._without_echo(path)
                if apart == self._without_echo(first)[0] and None not in (echo, *echoes) and echo not in echoes:
                    echoes[echo] = path
                else:
                    self._ignored.append(f"{path}: {self._variant(path, first)}")
            self.taken.update(echoes.values())
            found.append([(path, *self._metadata_or_fault(path)) for path in echoes.values()])
        self._metadata = {path: metadata for (path, metadata, _), *_ in found}
        return found

    def _without_echo(self, path: str) -> tuple[tuple[Any, ...], str | None]:
        """What tells variants of one run apart but the echo (and .gz), and the number of the echo."""
        entities = self.names[path].entities
        is_empty = not self.files[path].size
        return (is_empty, entities.get("rec"), entities.get("part", "mag")), index(entities.get("echo"))

    def _metadata_or_fault(self, path: str) -> tuple[dict[str, Any], str]:
        """Of a run, and why it is refused by them ("": it is not)."""
        try:
            metadata = self.metadata(path)
        except InputError as error:  # its sidecar is there and says something, but not to us
            return {}, f"its sidecar {str(error).replace(f'{self.root}/', '')}"
        try:
            stated_tr(metadata)
        except ValueError as error:
            return metadata, f"{path}: {error} -> fix the sidecar, or leave this run out"
        return metadata, ""

    def _last_choice(self, path: str) -> tuple[Any, ...]:
        """Sorts variants of one run: content, the plain reconstruction, the first echo, .nii.gz come first."""
        entities = self.names[path].entities
        echo = index(entities.get("echo")) or "0"
        unzipped = not path.endswith(".gz")
        return (
            not self.files[path].size,
            "rec" in entities,
            echo.zfill(9),
            "part" in entities,
            unzipped,
            len(path),
            path,
        )

    def _variant(self, path: str, used: str) -> str:
        """Why a variant of a run is left aside."""
        own, other = self.names[path].entities, self.names[used].entities
        if own.get("rec") != other.get("rec"):
            return f"another reconstruction of the same run ({used} is used)"
        if index(own.get("echo")) != index(other.get("echo")):
            return f"echo {index(own.get('echo')) or '(none)'} ({used} is used)"
        if path.removesuffix(".gz") == used.removesuffix(".gz"):
            return f"the same run is there with and without .gz ({used} is used)"
        return f"the same run as {used}, which is used"

    def sbref(self, bold: str) -> str | None:
        """The single-band reference of a run."""
        stem = bold.removesuffix(".gz").removesuffix("_bold.nii")
        beside = [path for end in (".nii.gz", ".nii") if (path := f"{stem}_sbref{end}") in self.files]
        if not beside:
            return None
        self.taken.add(beside[0])
        if missing := _missing(self.root, self.files[beside[0]]):
            self._notes.append(f"{beside[0]}: not used: {missing}")
            return None
        return beside[0]

    def events(self, bold: str) -> Listed | None:
        """The events of a run: by the inheritance principle the table nearest to it, as of sidecars."""
        name = self.names[bold]._replace(suffix="events")
        about = [table.file for table in self._events if _applies(table, name)]
        return about[-1] if about else None

    def t1w(self) -> list[str]:
        """T1w images, the preferred one first: without contrast agent, by name. Of several, those that can be read."""
        found = sorted(self._candidates("T1w", "anat"), key=lambda path: ("ce" in self.names[path].entities, path))
        self.taken.update(found)
        if len(found) < 2:
            return found
        problems = {path: _unusable(f"{self.root}/{path}") for path in found}
        good = [path for path in found if not problems[path]]
        if good:
            self._ignored += [problem.replace(f"{self.root}/", "") for problem in problems.values() if problem]
        return good or found[:1]

    def say_what_is_left(self) -> None:
        """Sidecars of no image, and fieldmaps that name none."""
        images = [name for name in self.names.values() if name.extension != ".json"]
        for sidecar in self._own_sidecars:
            if sidecar.name.suffix == "bold" and not any(_applies(sidecar, name) for name in images):
                self._ignored.append(f"{sidecar.file.path}: of no image (is its name right?)")
        for path, image in self._maybe_fieldmaps.items():
            if absent := fieldmaps.names_nothing(path, image.metadata, self.files):
                self._notes.append(f"{path}: IntendedFor names no image of this subject: {_some(absent)}")

    def others(self) -> Iterator[str]:
        """What is neither a run, a T1w nor a single-band reference of one, by kind."""
        for path, name in self.names.items():
            if not path.endswith(IMAGES) or path in self.taken or _is(path, "bold") or _is(path, "T1w"):
                continue
            where = name.datatype or "not where BIDS has images"
            kind = f"*_{name.suffix}" if "_" in path.rsplit("/", 1)[-1] else f"{name.suffix}*"
            kind = re.sub(r"\d+", "#", kind) if name.fault else kind  # volumes by number are one kind
            of_no_run = " of no run that is taken" if name.suffix == "sbref" else ""
            yield f"{kind} ({where})" + (", meant for no run that is taken" if where == "fmap" else of_no_run)

    def metadata(self, path: str) -> dict[str, Any]:
        """Of an image, by the inheritance principle: what is said nearer to it, and of fewer images, counts.

        Raises
        ------
        InputError: one of its sidecars cannot be read, or two that are equally near to it contradict each other.
        """
        found, source = dict[str, Any](), dict[str, Sidecar]()
        for sidecar in self._sidecars:
            if not _applies(sidecar, self.names[path]):
                continue
            content = _content(f"{self.root}/{sidecar.file.path}", sidecar.file.mtime_ns)
            for key in CHECKED_KEYS:
                if key in content and key in found and content[key] != found[key]:
                    self._check_order(key, source[key], sidecar)
            found |= content
            source |= dict.fromkeys(content, sidecar)
        return found

    def _check_order(self, key: str, before: Sidecar, after: Sidecar) -> None:
        """Two sidecars of one folder with two values for one image: the one with more entities counts, which is said.

        Raises InputError where neither has all entities of the other.
        """
        if before.folder != after.folder:
            return
        if before.name.entities.items() < after.name.entities.items():
            self._notes.append(f"{after.file.path}: its {key} counts, not that of {before.file.path}")
            return
        raise InputError(
            f"{after.file.path}: another {key} than {before.file.path}, which is for the same image",
            "BIDS has one sidecar per image in a folder: merge them",
        )

    def fieldmaps_of(self, bold: str, metadata: Mapping[str, Any]) -> fieldmaps.Found:
        """What is meant for a run, usable or not; each that is not is said."""
        images = self._maybe_fieldmaps
        if "B0FieldSource" in metadata:
            images = {**images, **self._other_runs}
            for unknown in fieldmaps.unknown_sources(metadata, images.values()):
                self._notes.append(f"{bold}: its B0FieldSource {unknown!r} is the B0FieldIdentifier of no image")
        intended = fieldmaps.intended(bold, metadata, images)
        if not intended:
            return fieldmaps.Found()
        found = fieldmaps.found(bold, metadata, intended, images)
        self._ignored += [f"{path}: {reason}" for path, reason in found.left.items()]
        self.taken.update(found.left)
        for source in found.sources:
            stems = {path.rsplit("_", 1)[0] for path in fieldmaps.files_of(source)}
            self.taken.update(path for path in images if path.rsplit("_", 1)[0] in stems)  # the second magnitude, too
        return found

    @cached_property
    def _maybe_fieldmaps(self) -> dict[str, fieldmaps.Image]:
        """Images of fmap/."""
        return self._images(path for path, name in self.names.items() if name.datatype == "fmap")

    @cached_property
    def _other_runs(self) -> dict[str, fieldmaps.Image]:
        """Runs that are taken, each by its single-band reference where that has an identifier, else by itself."""
        images = dict[str, fieldmaps.Image]()
        for bold, metadata in self._metadata.items():
            reference = self.sbref(bold)
            beside = self._images([reference] if reference else [])
            if any("B0FieldIdentifier" in image.metadata for image in beside.values()):
                images |= beside
            else:
                images[bold] = fieldmaps.Image(self.names[bold], metadata)
        return images

    def _images(self, paths: Iterable[str]) -> dict[str, fieldmaps.Image]:
        """Images with their metadata; one whose sidecar cannot be read is said, and left out."""
        images = dict[str, fieldmaps.Image]()
        for path in paths:
            name = self.names[path]
            if name.extension not in IMAGES:
                continue
            try:
                metadata = self.metadata(path)
            except InputError as error:
                self.taken.add(path)
                self._ignored.append(f"{path}: its sidecar {str(error).replace(f'{self.root}/', '')}")
                continue
            problem = name.fault or not_raw(name) or _missing(self.root, self.files[path])
            images[path] = fieldmaps.Image(name, metadata, problem)
        return images


class Sidecar(NamedTuple):
    """A JSON file or a table, its name, and the folder whose images it can be about (with a slash; the root: empty)."""

    name: Name
    file: Listed
    folder: str


def _applies(sidecar: Sidecar, image: Name) -> bool:
    """Whether a sidecar is about an image: one suffix, no other entities, in the image's folder or above."""
    own = sidecar.name
    fits = own.suffix == image.suffix and own.entities.items() <= image.entities.items() and not own.fault
    return fits and "/".join((*image.folders, "")).startswith(sidecar.folder)


def _sidecars(files: Iterable[Listed]) -> list[Sidecar]:
    """JSON files, the most general first: those of the outer folders, then those with the fewest entities."""
    return _ordered(f for f in files if f.path.endswith(".json"))


def _tables(files: Iterable[Listed], suffix: str) -> list[Sidecar]:
    """Tables of a kind, in the same order."""
    return _ordered(f for f in files if f.path.endswith(f"{suffix}.tsv"))


def _ordered(files: Iterable[Listed]) -> list[Sidecar]:
    found = [Sidecar(parse(f.path), f, f.path[: f.path.rfind("/") + 1]) for f in files]
    return sorted(found, key=lambda s: (s.folder.count("/"), len(s.name.entities), s.file.path))


def _is(path: str, suffix: str) -> bool:
    """Whether a file's name says that it is of this kind, in whichever format."""
    return f"_{suffix}." in path.rsplit("/", 1)[-1]


def _stem(bold: str) -> str:
    """The id of a recording: its file's name without `_bold.nii.gz`, whichever echo it is."""
    return re.sub("_echo-[^_]+", "", bold.rsplit("/", 1)[-1].removesuffix(".gz").removesuffix("_bold.nii"))


def _path(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _some(names: Sequence[str]) -> str:
    """A few of them, and how many there are."""
    more = f", ... ({len(names)} in all)" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _unusable(path: str) -> str:
    """Why an image cannot be read, by its header and its end; "" where it can. A file that seems cut is read whole."""
    from brainlm_data.reading.image import Header

    try:
        check_present(Path(path))
        header = Header(Path(path))
        if header.is_cut():
            header.image()
    except Refused as refusal:
        return str(refusal)
    return ""


def _printable(text: str) -> str:
    """Bytes of a name that are no UTF-8 as escapes: they cannot be printed."""
    return text.encode("utf-8", "backslashreplace").decode()


@lru_cache(4096)
def _content(path: str, mtime_ns: int) -> Mapping[str, Any]:
    """A JSON object. Raises InputError where it cannot be read."""
    return read_object(Path(path))
