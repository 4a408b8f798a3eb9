"""The participants' table of an import: who somebody is, and which of its columns have a meaning of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from brainlm_data.errors import InputError

KEYS = ("id", "file_id", "participant_id", "subject", "sub_id")  # what a row is found by; in this order
TR = ("repetition_time_s", "repetitiontime", "repetition_time", "tr_s", "tr")
FD = ("mean_fd_mm", "mean_fd", "func_mean_fd")
VOLUMES = ("n_volumes",)
ENTITY = re.compile(r"(?:^|_)(sub|ses|task|run)-([A-Za-z0-9]+)")
ATLAS = re.compile(r"(?:^|[_-])(cc\d+|aal|ho|ez|tt|dosenbach\d+|a424|schaefer\d+)(?:[_.-]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Participants:
    """Rows by each of the labels that name them; empty where there is no table."""

    rows: Mapping[str, Mapping[str, Any]]

    def find(self, *labels: str) -> dict[str, Any]:
        """The row of the first label that has one (with or without `sub-`), else an empty one."""
        for label in labels:
            if (row := self.rows.get(label.removeprefix("sub-"))) is not None:
                return dict(row)
        return {}


def read_participants(path: Path | None, missing: Sequence[str] = ("n/a",)) -> Participants:
    """A .tsv or .csv, one row a participant or a recording. `missing`: what stands for no value.

    Raises
    ------
    InputError: not a table, no column that names the rows, or one name for two rows.
    """
    if path is None:
        return Participants({})
    return _read(path, tuple(missing), path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=2)  # a job reads a table once, not once a recording
def _read(path: Path, missing: Sequence[str], _mtime_ns: int) -> Participants:
    import pandas as pd

    try:
        separator = "," if path.suffix.lower() == ".csv" else "\t"
        names = [str(name) for name in pd.read_csv(path, sep=separator, nrows=0)]
        labels = {name: str for name in names if name.lower() in KEYS}
        table = pd.read_csv(path, sep=separator, na_values=list(missing), dtype=labels)
        table = table[[name for name in names if not name.startswith("Unnamed: ")]]  # the row numbers of pandas
    except (OSError, ValueError) as error:  # ParserError and UnicodeDecodeError are ValueErrors
        raise InputError(f"{path}: not a table ({error})", "give a .tsv or a .csv in UTF-8") from error
    by_lower = {str(name).lower(): str(name) for name in table}
    keys = [by_lower[key] for key in KEYS if key in by_lower]
    if not keys:
        raise InputError(f"{path}: no column that names its rows", f"add one of: {', '.join(KEYS)}")
    found: dict[str, dict[str, Any]] = {}
    records: list[dict[Any, Any]] = table.to_dict("records")
    for key in keys:
        labels_here = [str(row[key]).removeprefix("sub-") for row in records if row[key] == row[key]]
        if key == keys[0] and len(set(labels_here)) < len(labels_here):
            again = next(label for label in labels_here if labels_here.count(label) > 1)
            raise InputError(f"{path}: more than one row of {key} {again}", "leave one row of each")
        for row in records:
            plain = {str(k): None if v != v else v for k, v in row.items()}
            found.setdefault(str(row[key]).removeprefix("sub-"), plain)
    return Participants(found)


def take(row: dict[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of these columns (whatever their case), which leaves the row; None where there is none."""
    for name in list(row):
        if name.lower() in names:
            value = row.pop(name)
            if value is not None:
                return value
    return None


def number(value: Any) -> float | None:
    """A number, None where there is none."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def described(row: dict[str, Any], tr_s: float | None = None) -> dict[str, Any]:
    """What a row says of a recording, as keywords of `Series`. `tr_s`: what is known of the TR otherwise; it wins."""
    rest = dict(row)
    table_tr, fd, volumes = (number(take(rest, names)) for names in (TR, FD, VOLUMES))
    for name in list(rest):
        if name.lower() in KEYS:
            del rest[name]
    return {
        "tr_s": tr_s if tr_s is not None else table_tr,
        "mean_fd_mm": float("nan") if fd is None else fd,
        "volumes": None if volumes is None else int(volumes),
        "phenotypes": rest,
    }


def entities(stem: str) -> dict[str, str | None]:
    """Subject, session, task and run of a BIDS name; the whole stem is the subject where it has no `sub-`."""
    found: dict[str, str] = dict(ENTITY.findall(stem))
    return {
        "subject": found.get("sub", stem), "session": found.get("ses"), "task": found.get("task"),
        "run": found.get("run"),
    }  # fmt: skip


def atlas_of(name: str) -> str:
    """The parcellation that a file name speaks of (`CC200` of `abide_cc200.npz`), else ""."""
    found = ATLAS.search(name)
    return found.group(1).upper() if found else ""
