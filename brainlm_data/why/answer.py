"""The answer to `why`: of a file (and a row, and a recording in it), or of a recording of a run."""

from __future__ import annotations

import csv
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from brainlm_data.errors import InputError
from brainlm_data.files import sidecar
from brainlm_data.files.reads import reads
from brainlm_data.runner.manifest import damages
from brainlm_data.why.alone import no_output, trace_alone
from brainlm_data.why.fate import Fate, absence, fate, over
from brainlm_data.why.records import Records, Unit, outdir_of
from brainlm_data.why.trace import Trace, trace

NAMES = ("id", "recording", "recording_id")  # columns whose value is a recording
PLACE = re.compile(r"(?P<file>.+):(?P<row>\d+)")


@dataclass
class Answer:
    """What is known. Parts that were not asked for, or are not known, are None or empty.

    Attributes
    ----------
    asked: the file or folder as it was given. outdir: of the run. outputs: artifact -> path, sha256, size, mtime_ns.
    row: its cells by column, with `line`. fate: of the recording. absent: why it does not count in the file.
    scored_by, split, over: the stage whose result it is or shows, over which split, which recordings. trace: what it
        was made of.
    """

    asked: str
    outdir: str | None = None
    outputs: dict[str, dict[str, Any]] | None = None
    row: dict[str, Any] | None = None
    fate: Fate | None = None
    absent: str = ""
    scored_by: str = ""
    split: str = ""
    over: list[str] | None = None
    trace: Trace | None = None

    def content(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def answer(asked: str, recording: str | None = None) -> Answer:
    """Where a file comes from, or what became of a recording.

    Parameters
    ----------
    asked: a file or folder that a run wrote; `FILE:LINE` of a table; or, with `recording`, an outdir.

    Raises
    ------
    InputError: no such file, no output, edited since it was written, or a record that is needed is damaged.
    """
    path, line = _split(asked)
    outdir = outdir_of(path)
    if outdir is None:
        return _alone(asked, path, line, recording)
    records = Records(outdir)
    if path.absolute() == outdir.absolute():
        if recording is None:
            raise InputError(f"{path}: an outdir", "name a file in it, or a recording: brainlm-data why OUTDIR ID")
        found = fate(records, recording)
        units = [unit for stage in records.manifests if (unit := records.units(stage).get(recording))]
        return Answer(asked, str(outdir), fate=found, trace=trace(records, units, recording))
    below = path.absolute().relative_to(outdir.absolute())
    written = records.writers(below)
    if not written:
        return _unknown(asked, path, line, recording, records)
    _check_unchanged(path, below, written, outdir)
    row = None if line is None else read_row(path, line)
    if row and recording is None:
        recording = next((str(row[k]) for k in NAMES if str(row.get(k)) in records.recordings), None)
    units = list({(unit.stage, unit.name): unit for unit, _ in written}.values())
    known = Answer(asked, str(outdir), {name: dict(unit.outputs[name]) for unit, name in written}, row)
    known.trace = trace(records, units, recording)
    if recording is not None:
        known.fate = fate(records, recording)
        known.absent = absence(records, known.fate, units, known.trace.made)
    known.scored_by, known.split, known.over = over(records, known.trace.made)
    return known


def _split(asked: str) -> tuple[Path, int | None]:
    """A path, and the line of a table where one is named. Raises InputError where there is no such file."""
    if Path(asked).exists():
        return Path(asked), None
    match = PLACE.fullmatch(asked)
    if match and Path(match["file"]).is_file():
        return Path(match["file"]), int(match["row"])
    raise InputError(f"{asked}: there is no such file", "give a file of a run, FILE:LINE of a table, or OUTDIR ID")


def _alone(asked: str, path: Path, line: int | None, recording: str | None) -> Answer:
    """Of a file that is in no outdir of a DAG."""
    made = trace_alone(path)
    if made is None:
        raise no_output(path)
    found = Answer(asked, row=None if line is None else read_row(path, line), trace=made)
    if recording is not None:
        reasons = {name: reason for node in made.made for name, reason in node.refused.items()}
        if recording in reasons:
            found.fate = Fate(recording, "refused", "import", *reasons[recording].partition(" -> ")[::2])
        else:
            found.fate = _row_of_table(path, recording)
    return found


def _row_of_table(path: Path, recording: str) -> Fate:
    """What the table beside a store says of a recording."""
    folder = path if path.is_dir() and (path / "recordings.parquet").exists() else path.absolute().parent
    row = Records(folder).table.get(recording)
    if row is None:
        raise InputError(f"{folder}: no recording {recording} in recordings.parquet", "its column id lists them")
    split = row["split"] if isinstance(row.get("split"), str) else ""
    return Fate(
        recording, str(row.get("status")), "", str(row.get("reason") or ""), "", split, int(row["n_steps"] or 0)
    )


def _unknown(asked: str, path: Path, line: int | None, recording: str | None, records: Records) -> Answer:
    """Of a file below an outdir that no manifest names: the tools may have made it; else it is no output."""
    if records.damaged:
        raise InputError(
            f"{path}: no readable manifest names it, and {len(records.damaged)} cannot be read:"
            f" {next(iter(records.damaged.values()))}",
            "run the same snakemake command again: it makes what is damaged anew",
        )
    if "work" in path.absolute().relative_to(records.outdir.absolute()).parts[:1]:
        raise InputError(f"{path}: a record of the run, not a result", "give a file beside work/")
    inside = [folder for folder in path.absolute().parents if folder.is_relative_to(records.outdir.absolute())]
    own = [folder for folder in inside[:-1] if (folder / "card.json").exists() or (folder / "import.json").exists()]
    if own:
        return _alone(asked, path, line, recording)
    raise no_output(path)


def _check_unchanged(path: Path, below: Path, written: list[tuple[Unit, str]], outdir: Path) -> None:
    """Raises InputError where what is there is not what its job wrote: then no record is about it.

    A file's digest is taken; of a folder (a store), sizes and times first, as in a plan.
    """
    for unit, name in written:
        output = unit.outputs[name]
        file = outdir / output["path"]
        if file.is_file():
            changed = sidecar.digest(file) != output["sha256"]
        else:
            changed = bool(list(damages({"outputs": {name: output}}, outdir)))
        if changed:
            how = "is not what" if file.exists() else "is gone, which"
            raise InputError(
                f"{file} {how} {unit.stage} wrote (sha256 {output['sha256'][:12]}..., work/{unit.stage}/"
                f"{unit.bundle}.json): it was edited or damaged afterwards, so nothing says where it comes from",
                "run the same snakemake command again: it makes the file anew",
            )


def read_row(path: Path, line: int) -> dict[str, Any]:
    """A row of a table by its line in the file, from 1 (the header of a .csv and .tsv); of a .parquet, its number.

    Raises
    ------
    InputError: another kind of file, a header, or no such line.
    """
    if path.suffix == ".parquet":
        import pandas as pd

        with reads(path):
            rows = pd.read_parquet(path).to_dict("records")
        if 1 <= line <= len(rows):
            return {"line": line, **{str(key): value for key, value in rows[line - 1].items()}}
        raise InputError(f"{path}: no row {line}", f"it has {len(rows)}")
    if path.suffix not in (".csv", ".tsv"):
        raise InputError(f"{path}: not a table of rows", "FILE:LINE is for .csv, .tsv and .parquet")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream, delimiter="," if path.suffix == ".csv" else "\t")
        header = next(reader, [])
        for cells in reader:
            if reader.line_num >= line > 1:
                return {"line": line, **dict(zip(header, cells, strict=False))}
    raise InputError(f"{path}: no row in line {line}", "line 1 is the header")
