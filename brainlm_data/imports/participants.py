"""The participants' table of an import: who somebody is, and which of its columns have a meaning of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from brainlm_data.errors import InputError
from brainlm_data.reading.people import People, Rows, read_people

RECORDINGS = ("id", "file_id")  # columns that a row is found by: those of a recording's name, those of a person's
SUBJECTS = ("participant_id", "subject", "sub_id")
TR = ("repetition_time_s", "repetitiontime", "repetition_time", "tr_s", "tr")
FD = ("mean_fd_mm", "mean_fd", "func_mean_fd")
VOLUMES = ("n_volumes",)
ENTITY = re.compile(r"(?:^|_)(sub|ses|task|run)-([A-Za-z0-9]+)")
ATLAS = re.compile(r"(?:^|[_-])(cc\d+|aal|ho|ez|tt|dosenbach\d+|a424|schaefer\d+)(?:[_.-]|$)", re.IGNORECASE)


def read_participants(path: Path | None, missing: Sequence[str] = ("n/a",)) -> People:
    """A .tsv or .csv, one row per participant or recording. `missing`: what stands for no value, beside empty cells.

    Raises
    ------
    InputError: as `people.read_people`.
    """
    people = read_people(path, SUBJECTS, RECORDINGS, missing, numbers=(*TR, *FD, *VOLUMES))
    if people.table is not None:
        _check(people.table)
    return people


@lru_cache(maxsize=2)  # as the table itself: once, not once per recording
def _check(table: Rows) -> None:
    """Raises InputError where columns that mean the same differ, or volumes are no whole number."""
    for names in (TR, FD, VOLUMES):
        columns = [name for name in (table.rows[0] if table.rows else ()) if name.lower() in names]
        for row in table.rows if columns else ():
            said = {name: row[name] for name in columns if row[name] is not None}
            if len(set(said.values())) > 1:
                values = " and ".join(f"{name} {value:g}" for name, value in said.items())
                raise InputError(f"{table.path}: {values} of one row", "leave one of them")
            if names is VOLUMES and any(not value.is_integer() for value in said.values()):
                raise InputError(
                    f"{table.path}: n_volumes {next(iter(said.values())):g} is no whole number", "count them"
                )


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
    rest = dict(row)  # its numbers were checked when the table was read
    table_tr, fd, volumes = (number(take(rest, names)) for names in (TR, FD, VOLUMES))
    for name in list(rest):
        if name.lower() in (*RECORDINGS, *SUBJECTS):
            del rest[name]
    return {
        "tr_s": tr_s if tr_s is not None else table_tr,
        "mean_fd_mm": float("nan") if fd is None else fd,
        "volumes": None if volumes is None else int(volumes),
        "phenotypes": rest,
    }


def entities(stem: str) -> dict[str, str | None]:
    """Subject, session, task and run of a BIDS name; the whole stem is the subject where it has no `sub-`."""
    parts: dict[str, str] = dict(ENTITY.findall(stem))
    return {
        "subject": parts.get("sub", stem), "session": parts.get("ses"), "task": parts.get("task"),
        "run": parts.get("run"),
    }  # fmt: skip


def atlas_of(name: str) -> str:
    """The parcellation that a file name speaks of (`CC200` of `abide_cc200.npz`), else ""."""
    match = ATLAS.search(name)
    return match.group(1).upper() if match else ""
