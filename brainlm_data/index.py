"""From a BIDS dataset to the list of recordings, read once and cached.

The index is read when Snakemake parses the Snakefile (a checkpoint would hide the followers from `snakemake -n`), so
it must be cheap: `bids2table` lists the files, and the result is kept beside the outputs, keyed by the listing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from brainlm_data.errors import InputError
from brainlm_data.fieldmaps import intended
from brainlm_data.paths import recording_prefix, subject_prefix
from brainlm_data.sidecar import read_json, write_json
from brainlm_data.stage import StageConfig

LAYOUT = 3  # of the cache: goes up when it keeps something else
METADATA_KEYS = (
    "RepetitionTime", "TaskName", "SliceTiming", "SliceEncodingDirection", "EchoTime", "PhaseEncodingDirection",
)  # fmt: skip
NAME_ENTITIES = ("ses", "task", "acq", "ce", "rec", "dir", "run", "echo")


class Select(StageConfig):
    """Which recordings to process; an empty list means all. Labels in quotes: YAML reads 01 as the number 1."""

    subject: list[str] = Field([], description="subject labels, without sub-")
    session: list[str] = Field([], description="session labels, without ses-")
    task: list[str] = Field([], description="task labels")
    run: list[str] = Field([], description="run indices")

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


def _stat(path: str | Path) -> os.stat_result:
    """Of a file; of the link itself where its content was not fetched, which the stage that reads it refuses."""
    return os.stat(path) if os.path.exists(path) else os.lstat(path)


@dataclass(frozen=True)
class RawFile:
    """A raw file as it was when the index was made."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> RawFile:
        """Path, size and mtime of a file."""
        stat = _stat(path)
        return cls(str(path), stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
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
    fieldmaps: Sequence[str] = ()  # images below the dataset's root that are meant for it; they are not used


@dataclass(frozen=True)
class Subject:
    """One person's anatomy; `t1w` is None where there is none."""

    id: str
    prefix: str
    t1w: RawFile | None


@dataclass(frozen=True)
class Index:
    """A dataset: recordings sorted by id, and their subjects."""

    recordings: tuple[Recording, ...]
    subjects: tuple[Subject, ...]
    phenotypes: dict[str, dict[str, Any]]  # participants.tsv, by subject label
    ignored: tuple[str, ...]  # BOLD files that are not taken, with the reason
    ids: tuple[str, ...]  # every recording of the dataset, selected or not


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
    InputError: no such folder, no BOLD run in it, or none that `select` accepts.
    """
    if not bids_dir.is_dir():
        raise InputError(
            f"bids_dir: no folder {bids_dir}", "give the root of a BIDS dataset: --config bids_dir=/data/ds"
        )
    cached = read_json(cache) if cache else {}
    if not (as_cached and cached) and cached.get("key") != (key := _listing_key(bids_dir)):
        cached = {"key": key, **_scan(bids_dir)}
        if cache:
            write_json(cache, cached)
    recordings = tuple(
        Recording(**{**r, "bold": RawFile(**r["bold"]), "sbref": RawFile(**r["sbref"]) if r["sbref"] else None})
        for r in cached["recordings"]
    )
    if not recordings:
        why = f" ({cached['ignored'][0]})" if cached["ignored"] else ""
        raise InputError(
            f"{bids_dir}: no BOLD run found{why}", "expected sub-*/[ses-*/]func/*_bold.nii.gz (bids-validator helps)"
        )
    chosen = tuple(r for r in recordings if select.accepts(r))
    if not chosen:
        raise InputError(
            f"select: {select.model_dump()} accepts none of the {len(recordings)} recordings",
            f"subjects: {_some(r.subject for r in recordings)}; tasks: {_some(r.task for r in recordings)}",
        )
    t1w = {k: RawFile(**v) for k, v in cached["t1w"].items()}
    subjects = tuple(Subject(f"sub-{s}", subject_prefix(s), t1w.get(s)) for s in sorted({r.subject for r in chosen}))
    ids = tuple(r.id for r in recordings)
    return Index(chosen, subjects, cached["phenotypes"], tuple(cached["ignored"]), ids)


def _some(values: Iterable[str | None]) -> str:
    distinct = sorted({str(v) for v in values})
    return ", ".join(distinct[:8]) + (", ..." if len(distinct) > 8 else "")


def _listing_key(bids_dir: Path) -> str:
    """Digest of (path, size, mtime) of every file that the index depends on."""
    hasher = hashlib.sha256(f"{LAYOUT}\n".encode())
    for folder, subfolders, files in os.walk(bids_dir):
        subfolders[:] = sorted(
            d for d in subfolders if not d.startswith(".") and d not in {"derivatives", "truth", "sourcedata"}
        )
        for name in sorted(files):
            if name.endswith((".nii", ".nii.gz", ".json", ".tsv")):
                path = os.path.join(folder, name)
                stat = _stat(path)
                hasher.update(f"{folder}/{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return hasher.hexdigest()


def _scan(bids_dir: Path) -> dict[str, Any]:
    import logging

    import bids2table

    logging.getLogger("bids2table").setLevel(logging.ERROR)
    table = bids2table.index_dataset(str(bids_dir)).to_pandas()
    if table.empty:
        return {"recordings": [], "t1w": {}, "phenotypes": {}, "ignored": []}
    nifti = table[table.ext.isin([".nii", ".nii.gz"])].sort_values("path")
    recordings, ignored, names = [], [], set[str]()
    func = table[(table.suffix == "bold") & (table.datatype == "func")].sort_values("path")
    for row in func[~func.ext.isin([".nii", ".nii.gz", ".json", ".tsv"])].to_dict("records"):
        ignored.append(f"{row['path']}: not .nii or .nii.gz")
    images: dict[str, dict[str, dict[str, Any]]] = {}  # subject -> image that may be a fieldmap -> its metadata
    for row in nifti[nifti.datatype == "fmap"].to_dict("records"):
        images.setdefault(row["sub"], {})[row["path"]] = _metadata(Path(row["root"]) / row["path"])
    for row in nifti[(nifti.suffix == "bold") & (nifti.datatype == "func")].to_dict("records"):
        path = Path(row["root"]) / row["path"]
        if _text(row["part"]) == "phase":
            ignored.append(f"{row['path']}: phase image")
        elif _text(row["echo"]) not in (None, "1"):
            ignored.append(f"{row['path']}: echo {_text(row['echo'])} (multi-echo is not combined; echo 1 is used)")
        elif path.name.removesuffix(".gz") in names:
            ignored.append(f"{row['path']}: the same run is there with and without .gz; the first is used")
        else:
            names.add(path.name.removesuffix(".gz"))
            metadata = _metadata(path)
            images.setdefault(row["sub"], {})[row["path"]] = metadata  # a run can be the fieldmap of another
            recordings.append((row["path"], _recording(path, row, metadata)))
    taken = [asdict(replace(r, fieldmaps=intended(bold, images[r.subject]))) for bold, r in recordings]
    t1w: dict[str, Any] = {}
    for row in nifti[(nifti.suffix == "T1w") & (nifti.datatype == "anat")].to_dict("records"):
        t1w.setdefault(row["sub"], asdict(RawFile.of(Path(row["root"]) / row["path"])))  # the first by name
    return {"recordings": sorted(taken, key=lambda r: r["id"]), "t1w": t1w,
            "phenotypes": _phenotypes(bids_dir), "ignored": ignored}  # fmt: skip


def _metadata(path: Path) -> dict[str, Any]:
    """The JSON sidecars of an image, by the inheritance principle; what cannot be read counts as absent."""
    import bids2table

    try:
        return bids2table.load_bids_metadata(str(path))
    except ValueError:  # JSON, but no object
        return {}


def _recording(path: Path, row: Mapping[str, Any], metadata: Mapping[str, Any]) -> Recording:
    name = path.name.split("_bold.nii")[0]
    session, task, run = (_text(row[k]) for k in ("ses", "task", "run"))
    kept = {k: metadata[k] for k in METADATA_KEYS if k in metadata}
    beside = [path.with_name(f"{name}_sbref{ending}") for ending in (".nii.gz", ".nii")]
    sbref = next((RawFile.of(file) for file in beside if file.exists() or file.is_symlink()), None)
    return Recording(
        name, recording_prefix(row["sub"], session, name), row["sub"], session, task, run, RawFile.of(path), kept, sbref
    )


def _text(value: Any) -> str | None:
    """A BIDS entity as text; None where absent (None or NaN); 1.0 -> "1"."""
    if value is None or value != value:
        return None
    return str(int(value)) if isinstance(value, float) else str(value)


def _phenotypes(bids_dir: Path) -> dict[str, dict[str, Any]]:
    """participants.tsv by subject label, `n/a` as null."""
    import pandas as pd

    path = bids_dir / "participants.tsv"
    if not path.exists():
        return {}
    try:
        table = pd.read_csv(path, sep="\t", na_values=["n/a"], dtype={"participant_id": str})
    except (ValueError, OSError) as error:  # UnicodeDecodeError and ParserError are ValueErrors
        raise InputError(f"{path}: not a table in UTF-8 ({error})", "save it again as tab-separated UTF-8") from error
    if "participant_id" not in table:
        raise InputError(f"{path}: no column participant_id", "BIDS requires it as the first column")
    if (again := table.participant_id[table.participant_id.duplicated()]).size:
        raise InputError(f"{path}: more than one row of {again.iloc[0]}", "BIDS wants one row a participant")
    records: dict[Any, dict[Any, Any]] = table.set_index("participant_id").to_dict("index")
    return {
        str(k).removeprefix("sub-"): {c: (None if v != v else v) for c, v in row.items()} for k, row in records.items()
    }
