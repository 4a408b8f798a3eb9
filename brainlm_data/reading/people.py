"""Who is who: rows of a table by the labels of the people in it, and who of them was not met."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from brainlm_data.errors import InputError
from brainlm_data.reading.table import read_table

SHOWN = 5  # labels in a note


@dataclass(frozen=True)
class Rows:
    """Rows of a table. `by_label`: number of the row; `by_number`: rows whose label is this number, zeros apart."""

    path: Path
    rows: Sequence[Mapping[str, Any]]
    by_label: Mapping[str, int]
    by_number: Mapping[int, Collection[int]]
    label_of: Mapping[int, str]
    notes: tuple[str, ...]


@dataclass
class People:
    """Rows of a participants' table that are asked for one after the other; `notes` says what did not join.

    A label is the row's with or without `sub-`; `01` is the row `1` where that can be nobody else.
    """

    table: Rows | None = None
    _exact: dict[int, str] = field(default_factory=dict)
    _loose: dict[int, str] = field(default_factory=dict)
    _missed: set[str] = field(default_factory=set)

    def find(self, *labels: str) -> dict[str, Any]:
        """The row of the first label that has one, else an empty one.

        Raises
        ------
        InputError: the row could be that of two labels that were asked for.
        """
        if self.table is None:
            return {}
        plain = [label.removeprefix("sub-") for label in labels]
        for label in plain:
            if (row := self.table.by_label.get(label)) is not None:
                self._exact[row] = label
                return self._row(row)
        for label in plain:
            rows = self.table.by_number.get(int(label), ()) if label.isdecimal() else ()
            if len(rows) == 1:
                (row,) = rows
                self._check_loose(row, label)
                return self._row(row)
        self._missed.add(plain[-1])
        return {}

    def _check_loose(self, row: int, label: str) -> None:
        other = self._loose.setdefault(row, label)
        if other != label:
            self._ambiguous(row, other, label)

    def _row(self, row: int) -> dict[str, Any]:
        assert self.table is not None
        if row in self._exact and row in self._loose:
            self._ambiguous(row, self._exact[row], self._loose[row])
        return dict(self.table.rows[row])

    def _ambiguous(self, row: int, one: str, other: str) -> None:
        assert self.table is not None
        raise InputError(
            f"{self.table.path}: the row of {self.table.label_of[row]} could be {one} or {other}",
            "write the labels as the files have them, zeros included",
        )

    def notes(self) -> list[str]:
        """What was taken for what in the table, who has no row, and which rows are nobody's."""
        if self.table is None:
            return []
        name, found = self.table.path.name, self._exact.keys() | self._loose.keys()
        notes = list(self.table.notes)
        if self._missed:
            total = len(self._missed) + len({*self._exact.values(), *self._loose.values()})
            notes.append(f"{name}: no row for {len(self._missed)} of {total} people ({_some(sorted(self._missed))})")
        if left := [label for row, label in sorted(self.table.label_of.items()) if row not in found]:
            notes.append(f"{name}: {len(left)} rows of people who are not here ({_some(left)})")
        return notes


def read_people(path: Path | None, keys: Sequence[str], missing: Sequence[str] = ("n/a",)) -> People:
    """The rows of a .tsv or .csv by the columns (in small letters) that name them; nobody's where there is no path.

    Raises
    ------
    InputError: as `read_table`; none of these columns; or a label of the first of them stands twice.
    """
    if path is None:
        return People()
    mtime = path.stat().st_mtime_ns if path.exists() else 0
    return People(_rows(path, tuple(keys), tuple(missing), mtime))


@lru_cache(maxsize=2)  # a job reads a table once, not once per recording
def _rows(path: Path, keys: Sequence[str], missing: Sequence[str], _mtime_ns: int) -> Rows:
    table = read_table(path, missing, text=keys)
    by_lower = {name.lower(): name for name in table.columns}
    named = [by_lower[key] for key in keys if key in by_lower]
    if not named:
        raise InputError(
            f"{path}: no column {' or '.join(keys)} that names its rows (there are: {', '.join(table.columns)})",
            "tab-separated, with a header",
        )
    by_label, by_number = dict[str, int](), dict[int, set[int]]()
    for key in named:
        labels = [None if label is None else str(label).removeprefix("sub-") for label in table.columns[key]]
        for row, label in enumerate(labels):
            if label is None:
                continue
            if key == named[0] and label in by_label:
                raise InputError(
                    f"{path}: more than one row of {table.columns[key][row]}, lines {table.lines[by_label[label]]} and"
                    f" {table.lines[row]}",
                    "leave one row of each",
                )
            by_label.setdefault(label, row)
            if label.isdecimal():
                by_number.setdefault(int(label), set()).add(row)
    labels_of = {row: label for label, row in reversed(by_label.items())}  # the first one
    return Rows(path, table.rows(), by_label, by_number, labels_of, table.notes)


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:SHOWN]) + (", ..." if len(labels) > SHOWN else "")
