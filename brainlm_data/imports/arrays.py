"""Kind `arrays`: one `.npy` or `.tsv` a recording, (time, parcel). A folder is searched with the folders below it.

The header of a `.tsv` is optional; `n/a` is a missing value. Names with BIDS entities say who and which run it is; a
name without is one subject.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError, Refused
from brainlm_data.files import sidecar
from brainlm_data.files.reads import reason_of
from brainlm_data.imports import Options, Series, Source, Values
from brainlm_data.imports.files import NO_SUBJECT, facts_beside, found
from brainlm_data.imports.participants import atlas_of, described, entities, number, read_participants

ENDINGS = (".npy", ".tsv")
OF_DERIVATIVES = ("space", "seg", "atlas", "stat", "desc", "res", "den", "cohort")  # they name no recording
# suffixes of BIDS and of fMRIPrep and XCP-D for tables that are no series of parcels
NO_SERIES = {"relmat", "events", "scans", "sessions", "physio", "stim", "channels", "coverage", "dseg", "outliers",
             "motion", "regressors", "metrics"}  # fmt: skip
PAIR = re.compile(r"[A-Za-z]+-[A-Za-z0-9]+")


def read(path: Path, options: Options) -> Source:
    """The recordings of a folder, or of one file.

    Raises
    ------
    InputError: there are none, or two files of one recording.
    """
    table = options.participants
    other = {file.absolute() for file in (table, options.labels) if file is not None}
    below, left_aside = found(path, *ENDINGS)
    listed = [file for file in below if file.absolute() not in other]
    left_aside += [f"{file.name}: {_suffix(file)} is no series" for file in listed if _suffix(file) in NO_SERIES]
    files = [file for file in listed if _suffix(file) not in NO_SERIES and file.suffix in ENDINGS]
    if not files:
        raise InputError(f"{path}: no .npy or .tsv file in it", "one file per recording, (time, parcel)")
    people = read_participants(table)
    series: dict[str, Series] = {}
    for file in files:
        one = _series(file, people.find, options)
        if one.id in series:
            first, again = (each.relative_to(path) for each in (series[one.id].files[0], file))
            raise InputError(
                f"{path}: {first} and {again} are both recording {one.id}",
                "import a folder with one file per recording",
            )
        series[one.id] = one
    known = ["One TR was given for all."] if options.tr_s is not None else []
    if any("sub-" not in file.stem for file in files):
        known.append(NO_SUBJECT)
    unknown = [
        "Which filters and which noise regressors were applied, and whether slice timing was corrected.",
        "Whether recordings were scaled to one grand mean, and the units.",
        "How much of each parcel lay inside the field of view.",
    ]
    used = [*(file for one in series.values() for file in one.files), *([table] if table else [])]
    return Source(
        list(series.values()), used, atlas_of(files[0].stem), known, unknown, oriented=False, people=people,
        left_aside=tuple(left_aside),
    )  # fmt: skip


def _series(file: Path, find: Any, options: Options) -> Series:
    who = entities(file.stem)
    if "sub-" in file.stem:
        parts = [p for p in file.stem.split("_") if PAIR.fullmatch(p) and p.split("-")[0] not in OF_DERIVATIVES]
        name = "_".join(parts)
    else:
        name = file.stem
    facts, refuse = facts_beside(file)
    row = find(str(who["subject"]), name)
    if "sub-" not in file.stem and (person := next((row[k] for k in row if k.lower() == "participant_id"), None)):
        who["subject"] = str(person).removeprefix("sub-")
    start = number(facts.get("StartTime"))
    more = described(row, options.tr_s if options.tr_s is not None else _step(facts))
    load = refuse or partial(_load_npy if file.suffix == ".npy" else _load_tsv, file)
    start_s = np.nan if start is None else start
    return Series(
        name, str(who["subject"]), load, session=who["session"], task=who["task"], run=who["run"], start_s=start_s,
        file=file.name, files=(file, *(b for b in [sidecar.sidecar_path(file)] if b.is_file())), **more,
    )  # fmt: skip


def _step(facts: Mapping[str, Any]) -> float | None:
    """Seconds between rows: a series that was resampled says so with SamplingFrequency, which then decides."""
    rate = number(facts.get("SamplingFrequency"))
    return 1 / rate if rate else number(facts.get("RepetitionTime"))


def _load_npy(file: Path) -> Values:
    try:
        values = np.load(file, allow_pickle=False)
    except Exception as error:  # numpy raises many kinds on a damaged header
        raise Refused(f"not an array of numbers ({reason_of(error)})", "write it again with numpy.save") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise Refused("not an array of real numbers", "write it again with numpy.save, as float32")
    _check_no_matrix(values)
    return values, ()


def _load_tsv(file: Path) -> Values:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        first = lines[0].split("\t") if lines else []
        header = tuple(first) if _is_header(first) else ()
        body = [line.split("\t") for line in lines[1 if header else 0 :] if line]
        values = np.array([[np.nan if cell in ("n/a", "") else float(cell) for cell in row] for row in body])
    except (OSError, ValueError) as error:
        raise Refused(f"not a table of numbers ({error})", "tab-separated, one row per volume") from error
    _check_no_matrix(values)
    return values, header


def _check_no_matrix(values: NDArray[Any]) -> None:
    """Raises Refused for a matrix of parcels by parcels: it is no series, whatever it is called."""
    square = values.ndim == 2 and values.shape[0] == values.shape[1]
    if square and np.allclose(values, values.T, equal_nan=True):
        raise Refused(f"a symmetric matrix of {len(values)} x {len(values)}, no series", "leave it out")


def _suffix(file: Path) -> str:
    """What a BIDS name ends in: `timeseries`, `relmat`."""
    return file.stem.rpartition("_")[2] if "sub-" in file.stem else ""


def _is_header(cells: list[str]) -> bool:
    """True where a line names columns: something that is no number, or parcels' numbers in order."""
    if any(number(cell) is None and cell not in ("n/a", "") for cell in cells):
        return True
    whole = all(cell.isdigit() for cell in cells)
    return len(cells) > 1 and whole and all(int(a) < int(b) for a, b in pairwise(cells))
