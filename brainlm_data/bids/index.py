"""From a BIDS dataset to the list of recordings, read once and cached.

The index is read when Snakemake parses the Snakefile (a checkpoint would hide the followers from `snakemake -n`), so
it must be cheap: one walk lists the files (`scan`), and what was read of them is kept beside the outputs, keyed by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator

from brainlm_data.bids.echoes import Choice, Echo, choose
from brainlm_data.bids.names import index, parse
from brainlm_data.bids.people import Run, phenotypes
from brainlm_data.bids.scan import key_of, scan, walk
from brainlm_data.errors import InputError, did_you_mean
from brainlm_data.files.json import read_sidecar
from brainlm_data.files.sidecar import read_record, write_record
from brainlm_data.paths import recording_prefix, subject_prefix
from brainlm_data.reading.timing import stated_echo
from brainlm_data.stage import StageConfig

OPTIONS = {"subject": "--participant-label", "session": "--session-label", "task": "--task-id"}  # of `brainlm`


class Select(StageConfig):
    """Which recordings to process; an empty list means all. Labels in quotes: YAML reads 01 as the number 1."""

    subject: list[str] = Field([], description="subject labels, without sub-")
    session: list[str] = Field([], description="session labels, without ses-")
    task: list[str] = Field([], description="task labels")
    run: list[str] = Field([], description="run indices")
    t1w: dict[str, str] = Field(
        {},
        description="of several T1w of a subject, that with these entities: {acq: mprage}; else the first by name",
    )
    echo: Literal["nearest", "combine"] | Annotated[int, Field(ge=1)] = Field(
        "nearest",
        description="of a run with several echoes: that nearest to echo_ms; combine: all of them, weighted by T2*; or"
        " the number of one",
    )
    echo_ms: float = Field(30.0, ge=1, le=300, description="the echo time that `echo: nearest` looks for, ms")

    @property
    def is_part(self) -> bool:
        """Whether some recordings alone are selected."""
        return any((self.subject, self.session, self.task, self.run))

    @field_validator("t1w", mode="before")
    @classmethod
    def _entities(cls, values: Any) -> Any:
        """`{acq: null}`: without that entity. Numbers are read as they are compared: 1, "1" and "01" are one label."""
        if not isinstance(values, Mapping):
            return values
        return {key: "" if value is None else str(value) for key, value in values.items()}

    @field_validator("subject", "session", "task", mode="before")
    @classmethod
    def _labels(cls, values: Any) -> Any:
        """Numbers are no labels: whether 01 or 1 was meant, YAML does not tell."""
        numbers = [v for v in values if not isinstance(v, str)] if isinstance(values, list) else []
        if numbers:
            raise ValueError(f'{numbers[0]!r} is no text, and YAML reads 01 as 1: put labels in quotes, ["01", "2"]')
        return values

    @field_validator("run", mode="before")
    @classmethod
    def _indices(cls, values: Any) -> Any:
        """An index is a number: 1, "1" and "01" are one run."""
        return [str(v) if type(v) is int else v for v in values] if isinstance(values, list) else values

    def accepts(self, recording: Recording) -> bool:
        """True where every non-empty list names this recording's value."""
        return all(
            not wanted or (value is not None and plain(value) in {plain(w) for w in wanted})
            for wanted, value, plain in (
                (self.subject, recording.subject, _label),
                (self.session, recording.session, _label),
                (self.task, recording.task, _label),
                (self.run, recording.run, _index),
            )
        )


def _label(text: str) -> str:
    """`sub-01` -> `01`, which is another subject than `1`."""
    return text.split("-", 1)[-1]


def _index(text: str) -> str:
    """`run-01` -> `1`."""
    return str(int(label)) if (label := _label(text)).isdigit() else label


class RawFile(NamedTuple):
    """A raw file as it was when the index was made."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Recording:
    """One BOLD run. `id` is its BIDS name without suffix, `prefix` its place below derivatives/."""

    id: str
    prefix: str
    subject: str
    session: str | None
    task: str | None
    run: str | None
    bold: RawFile
    metadata: dict[str, Any]
    sbref: RawFile | None = None
    fault: str = ""  # why it is refused, by its metadata alone
    echo: Mapping[str, Any] = field(default_factory=dict)  # where its name says which one it is: `echoes.Choice.facts`
    echo_files: Mapping[str, RawFile] = field(default_factory=dict)  # to be combined, by path below the root
    phase_encoding: Mapping[str, Any] = field(default_factory=dict)  # what is stated of it (`fieldmaps.ENCODING`)
    fieldmaps: Sequence[Mapping[str, Any]] = ()  # sources of its field, the best first (`fieldmaps.Found`)
    fieldmap_files: Mapping[str, RawFile] = field(default_factory=dict)  # their images, by path below the root
    fieldmaps_left: Mapping[str, str] = field(default_factory=dict)  # path of one that cannot be used -> why
    events_files: Mapping[str, RawFile] = field(default_factory=dict)  # its events.tsv, by path below the root


@dataclass(frozen=True, slots=True)
class Subject:
    """One person's anatomy; `t1w` is None where there is none, `t1w_next` is the next choice.

    `runs`: every BOLD run, selected or not, by id.
    """

    id: str
    prefix: str
    t1w: RawFile | None
    runs: Mapping[str, RawFile]
    t1w_next: RawFile | None = None


@dataclass(frozen=True)
class Index:
    """A dataset: recordings sorted by id, and their subjects."""

    recordings: tuple[Recording, ...]
    subjects: tuple[Subject, ...]
    phenotypes: Mapping[str, Mapping[str, Any]]  # of each recording: the columns of the tables (bids/people.py)
    ignored: tuple[str, ...]  # files that are not taken, with the reason
    ids: tuple[str, ...]  # every recording of the dataset, selected or not
    notes: tuple[str, ...] = ()  # what is odd about what is taken
    unjoined: tuple[str, ...] = ()  # of the tables: what did not join
    columns: Mapping[str, str] = field(default_factory=dict)  # what was taken for what in a column, in words
    stimulus_files: Mapping[str, RawFile] = field(default_factory=dict)  # of stimuli/, by path below the root

    def lacking(self) -> list[str]:
        """What is not there and done without, in words: subjects without a T1w, recordings whose sidecar has no TR."""
        no_t1w = [subject.id for subject in self.subjects if subject.t1w is None]
        timed = {"RepetitionTime", "VolumeTiming"}
        no_tr = [r.id for r in self.recordings if not r.fault and not timed & {k for k, v in r.metadata.items() if v}]
        lines = []
        if no_t1w:
            lines.append(f"no T1w: {_counted(no_t1w, self.subjects)}; the EPI itself is fitted to the template")
        if no_tr:
            lines.append(f"no RepetitionTime: {_counted(no_tr, self.recordings)}; that of the image's header counts")
        return lines

    @property
    def events_of(self) -> dict[str, RawFile]:
        """The events.tsv of each recording that has one."""
        return {r.id: table for r in self.recordings for table in r.events_files.values()}

    def said(self) -> list[str]:
        """All of it, a sentence each."""
        return [*self.notes, *self.unjoined, *(f"{name}: {text}" for name, text in self.columns.items())]


def read_index(bids_dir: Path, select: Select, cache: Path | None = None, as_cached: bool = False) -> Index:
    """List the recordings of a BIDS dataset.

    Parameters
    ----------
    bids_dir: root of a raw BIDS dataset.
    select: which recordings to keep.
    cache: a JSON file; used again while no file below `bids_dir` has changed (path, size, mtime).
    as_cached: use it whatever has changed, without a look at the files: thousands of jobs need not list them again.

    Raises
    ------
    InputError: no such folder, derivatives, no BOLD run in it, or none that `select` accepts.
    """
    if not bids_dir.is_dir():
        raise InputError(
            f"bids_dir: no folder {bids_dir}",
            "give the root of a BIDS dataset: brainlm /data/ds OUT, or snakemake --config bids_dir=/data/ds",
        )

    description = read_sidecar(bids_dir / "dataset_description.json")
    by = [key for key in ("DatasetType", "PipelineDescription") if key in description]  # the latter: before BIDS 1.4
    if by and str(description.get("DatasetType", "derivative")).lower().startswith("derivative"):
        raise InputError(
            f"{bids_dir}: derivatives, by {by[0]} of its dataset_description.json, not raw images",
            "give the raw dataset, or for derivatives of fMRIPrep input.kind: fmriprep (docs/stages/input.md)",
        )

    def listed(known: Mapping[str, Any]) -> Mapping[str, Any]:
        walked = walk(bids_dir)
        if known.get("key") == (key := key_of(walked)):
            return known
        found = {"key": key, **scan(bids_dir, walked)}
        runs = list[Run]()
        for name, subject, session, *_, bold, _, echoes in found["recordings"]:
            images = [Echo(*one).bold for one in echoes] if echoes else [bold]  # scans.tsv has a row for each
            runs += [Run(name, subject, session, image[0]) for image in images]
        found |= phenotypes(bids_dir, [file.path for file in walked.files], runs)
        if not found["recordings"]:
            why = f" ({'; '.join(found['ignored'][:3])})" if found["ignored"] else ""
            raise InputError(
                f"{bids_dir}: no BOLD run found{why}",
                f"{_root_nearby(bids_dir)}expected sub-*/[ses-*/]func/*_bold.nii.gz (bids-validator helps); of what is"
                " preprocessed already: input.kind, brainlm --input (docs/import.md)",
            )
        return found

    return load_index(bids_dir, listed, select, cache, as_cached)


def load_index(
    folder: Path,
    listed: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    select: Select,
    cache: Path | None = None,
    as_cached: bool = False,
) -> Index:
    """The index from its cache, which `listed` brings up to date.

    Parameters
    ----------
    folder: what paths in the cache are below. listed: new content of the cache from the old one (see `scan.scan`).

    Raises
    ------
    InputError: `select` accepts no recording.
    """
    cached = read_record(cache) if cache else {}
    try:
        return _loaded(folder, listed, select, cache, as_cached, cached)
    except (AttributeError, LookupError, TypeError, ValueError):  # another layout than ours: the files are listed anew
        if not cached:
            raise
        return _loaded(folder, listed, select, cache, as_cached, {})


def _loaded(
    folder: Path,
    listed: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    select: Select,
    cache: Path | None,
    as_cached: bool,
    cached: dict[str, Any],
) -> Index:
    """`load_index`, from what is in the cache."""
    if not (as_cached and cached):
        new = dict(listed(cached))
        if cache and new != cached:
            write_record(cache, new)
        cached = new
    root, rows = str(folder.absolute()), cached.pop("recordings")
    fieldmaps = [_fieldmap(root, source, cached["metadata"]) for source in cached.pop("fieldmaps", ())]
    faults, left, events = (cached.get(key, {}) for key in ("faults", "fieldmaps_left", "events"))
    metadata = cached["metadata"]
    recordings, unused_echoes = list[Recording](), list[str]()
    for row in rows:
        choice = _choice(row, metadata, faults.get(row[0], ""), select)
        shown = {table[0]: _raw(root, table)} if (table := events.get(row[0])) else NOTHING
        recordings.append(_recording(root, row, metadata, fieldmaps, choice, left.get(row[0], {}), shown))
        unused_echoes += choice.left
    del rows
    chosen = _selected(recordings, select)
    t1w, others = _chosen(cached["t1w"], select.t1w)
    runs: dict[str, dict[str, RawFile]] = {r.subject: {} for r in chosen}
    for r in recordings:
        if r.subject in runs:
            runs[r.subject][r.id] = r.bold
    subjects = []
    for s in sorted(runs):
        first, following, *_ = *(_raw(root, file) for file in t1w.get(s, ())), None, None
        subjects.append(Subject(f"sub-{s}", subject_prefix(s), first, runs[s], following))
    ids = tuple(r.id for r in recordings)
    told = {name: cached["phenotypes"][number] for name, number in cached["of"].items()}
    ignored = (*cached["ignored"], *unused_echoes, *others)
    notes, unjoined = tuple(cached["notes"]), tuple(cached["unjoined"])
    stimuli = {file[0]: _raw(root, file) for file in cached.get("stimuli", ())}
    return Index(chosen, tuple(subjects), told, ignored, ids, notes, unjoined, cached["columns"], stimuli)


def _root_nearby(folder: Path) -> str:
    """Where a dataset's root is, if a folder inside it was given, or the one around it; else nothing."""
    root = folder.absolute()
    while root.name.startswith(("sub-", "ses-")):
        root = root.parent
    inside = [below for below in sorted(folder.glob("*/")) if any(below.glob("sub-*/"))]
    near = [root] if root != folder.absolute() else inside
    return f"is {near[0]} the dataset? " if near else ""


def _selected(recordings: Sequence[Recording], select: Select) -> tuple[Recording, ...]:
    """The recordings that `select` accepts.

    Raises
    ------
    InputError: it names a label that no recording has, which is a slip; or no recording has all that it names.
    """
    for key, wanted, plain in (
        ("subject", select.subject, _label),
        ("session", select.session, _label),
        ("task", select.task, _label),
        ("run", select.run, _index),
    ):
        there = {plain(value) for r in recordings if (value := getattr(r, key)) is not None}
        if missing := [plain(label) for label in wanted if plain(label) not in there]:
            option = f" ({OPTIONS[key]})" if key in OPTIONS else ""
            remedy = f"{_meant(missing[0], there)} {key}s: {_some(there) or 'none, leave it out'}".strip()
            raise InputError(f"select.{key}{option}: no recording of {key} {', '.join(missing)}", remedy)
    chosen = tuple(r for r in recordings if select.accepts(r))
    if not chosen:
        named = {key: getattr(select, key) for key in ("subject", "session", "task", "run") if getattr(select, key)}
        words = ", ".join(f"{key} {' or '.join(labels)}" for key, labels in named.items())
        raise InputError(
            f"select: none of the {len(recordings)} recordings has {words}",
            "each has its subject, session, task and run in its name: brainlm data index BIDS lists them",
        )
    return chosen


def _meant(label: str, there: Collection[str]) -> str:
    """`did you mean 01?` of 1, which BIDS takes for another label; or of what is nearly the same."""
    same = [other for other in there if label.isdigit() and other.isdigit() and int(other) == int(label)]
    return f"did you mean {same[0]}?" if same else did_you_mean(label, there)


def _chosen(t1w: Mapping[str, Sequence[Any]], wanted: Mapping[str, str]) -> tuple[dict[str, list[Any]], list[str]]:
    """The T1w of every subject (path, size, mtime) in order of choice, and what is said of all but the first."""
    chosen, said = dict[str, list[Any]](), list[str]()
    for subject, files in t1w.items():
        fits = []
        for file in files:
            entities = parse(file[0]).entities
            if all(index(entities.get(key, "")) == index(label) for key, label in wanted.items()):
                fits.append(file)
        chosen[subject] = [*fits, *(file for file in files if file not in fits)]
        used = chosen[subject][0]
        if len(files) > 1 and wanted and not fits:
            listed = ", ".join(f"{key}-{label}" for key, label in wanted.items())
            said.append(f"sub-{subject}: none of its T1w has {listed} of select.t1w ({used[0]} is used)")
        how = "" if wanted else "; select.t1w chooses"
        said += [f"{file[0]}: another T1w of this subject ({used[0]} is used{how})" for file in files if file != used]
    return chosen, said


def _some(values: Iterable[str | None]) -> str:
    distinct = sorted({str(v) for v in values})
    return ", ".join(distinct[:8]) + (", ..." if len(distinct) > 8 else "")


def _counted(names: Sequence[str], of: Sequence[Any]) -> str:
    return f"{len(names)} of {len(of)} ({_some(names)})"


def _raw(root: str, listed: Sequence[Any]) -> RawFile:
    path, size, mtime_ns = listed
    return RawFile(f"{root}/{path}", size, mtime_ns)


NOTHING: dict[str, Any] = {}  # one for all recordings of one echo: a cohort has 100,000
Fieldmap = tuple[Mapping[str, Any], Mapping[str, RawFile]]  # a source, and its files by path below the root


def _fieldmap(root: str, cached: Sequence[Any], metadata: Sequence[dict[str, Any]]) -> Fieldmap:
    """From an entry of the cache (`scan.scan`)."""
    source, files = cached
    numbers = source["metadata"]
    stated = [metadata[n] for n in numbers] if isinstance(numbers, list) else metadata[numbers]
    return {**source, "metadata": stated}, {file[0]: _raw(root, file) for file in files}


def _choice(row: Sequence[Any], metadata: Sequence[dict[str, Any]], fault: str, select: Select) -> Choice:
    """Which images of a row of the cache (`scan.scan`) stand for the run; most have one echo."""
    number, bold, sbref, listed = row[5], *row[8:]
    if listed is None:
        return Choice(Echo("", number, bold, sbref, fault), fault, NOTHING, [], [])
    echoes = [Echo(*one) for one in listed]
    times = {echo.label: stated_echo(metadata[echo.metadata]) for echo in echoes}
    return choose(echoes, times, select.echo, select.echo_ms)


def _recording(
    root: str, row: Sequence[Any], metadata: Sequence[dict[str, Any]], fieldmaps: Sequence[Fieldmap], choice: Choice,
    left: Mapping[str, str], events: Mapping[str, RawFile],
) -> Recording:  # fmt: skip
    """From a row of the cache (`scan.scan`); recordings of the same metadata, or of one fieldmap, share them."""
    name, subject, session, task, run, _, encoding, sources, *_ = row
    prefix, used = recording_prefix(subject, session, name), choice.used
    reference = _raw(root, used.sbref) if used.sbref else None
    combined = {echo.bold[0]: _raw(root, echo.bold) for echo in choice.combined}
    own = [fieldmaps[n] for n in sources]
    files = own[0][1] if len(own) == 1 else {path: file for _, listed in own for path, file in listed.items()}
    return Recording(
        name, prefix, subject, session, task, run, _raw(root, used.bold), metadata[used.metadata], reference,
        choice.fault, choice.facts, combined or NOTHING,
        {} if encoding is None else metadata[encoding], [source for source, _ in own], files, left, events,
    )  # fmt: skip
