"""Sites, scanners and sessions: which columns of a dataset group its recordings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from brainlm_data.dataset.splits import as_text
from brainlm_data.errors import InputError

SESSION = "session"  # the BIDS entity; other groupings are columns of the dataset's tables
# Columns that name a site or a scanner, without capitals and punctuation: SITE_ID is siteid.
RECOGNISED = {
    "site", "siteid", "sitename", "siteidl", "siteno", "sitenumber", "acquisitionsite", "acqsite", "scansite",
    "imagingsite", "studysite", "center", "centerid", "centre", "centreid", "institution", "institutionname",
    "institute", "hospital", "scanner", "scannerid", "scannername", "scannertype", "scannermodel", "scannerserial",
    "scannerserialnumber", "scannermanufacturer", "manufacturer", "manufacturersmodelname", "manufacturermodel",
    "vendor", "mrivendor", "device", "deviceserialnumber", "stationname", "magneticfieldstrength", "fieldstrength",
    "mriinfomanufacturer", "mriinfomanufacturersmn", "mriinfodeviceserialnumber",
}  # fmt: skip
MOST = 30  # groups of a column that is taken by itself


@dataclass(frozen=True)
class Grouping:
    """A column and each recording's group in it.

    Attributes
    ----------
    column: as the dataset calls it; `session` is the BIDS entity.
    of: recording -> its group, None where it is not known.
    groups: their names, numbers in them in the order of their values.
    """

    column: str
    of: Mapping[str, str | None]
    groups: Sequence[str]


def groupings(rows: Sequence[Mapping[str, Any]], by: Literal["auto"] | Sequence[str]) -> list[Grouping]:
    """The columns by which recordings are compared, in the order of `by` or, of `auto`, of the tables.

    Parameters
    ----------
    rows: of every recording: `id`, `session`, `phenotypes` (column -> value).
    by: columns; `auto`: session and each `RECOGNISED` column, where they have 2 to 30 groups.

    Raises
    ------
    InputError: a column that no recording has.
    """
    columns = check_columns(by, (row["phenotypes"] for row in rows))
    found = []
    for column in columns:
        of: dict[str, str | None] = {}
        for row in rows:
            value = row["session"] if column == SESSION else row["phenotypes"].get(column)
            of[row["id"]] = None if value is None else as_text(value)
        groups = sorted({group for group in of.values() if group is not None}, key=_natural)
        if by != "auto" or 2 <= len(groups) <= MOST:
            found.append(Grouping(column, of, groups))
    return found


def check_columns(by: Literal["auto"] | Sequence[str], phenotypes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns that `by` asks for.

    Raises
    ------
    InputError: one that no recording has.
    """
    there = {SESSION: None} | dict.fromkeys(column for columns in phenotypes for column in columns)
    if by == "auto":
        return [column for column in there if column == SESSION or _plain(column) in RECOGNISED]
    for column in by:
        if column not in there:
            some = ", ".join(list(there)[:MOST])
            raise InputError(f"qcgroup.by: no column {column} in the dataset's tables", f"there are: {some}")
    return list(dict.fromkeys(by))


def _plain(column: str) -> str:
    return re.sub(r"[\W_]", "", column.casefold())


def _natural(name: str) -> tuple[str, str]:
    """2 before 10; 02 and 2 in an order of their own."""
    return re.sub(r"\d+", lambda number: number.group().zfill(20), name), name
