"""Who is who: rows of a table by the labels of the people in it, and who of them was not met."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from brainlm_data.errors import InputError
from brainlm_data.reading.table import Table, read_table

SHOWN = 5  # labels in a note
PREFIXES = ("sub-", "ses-")
TABLE = "participants.tsv"
TABLES = (".tsv", ".csv", ".txt", ".tab", ".xls", ".xlsx", ".ods", ".gz")


class Labels(NamedTuple):
    """The rows of a column of labels. `number`: by the label without leading zeros."""

    exact: dict[str, int | None]  # None: several rows that differ
    number: dict[str, set[int]]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a table, and by what they are found: `subjects` names a person, `recordings` one recording."""

    path: Path
    rows: Sequence[Mapping[str, Any]]
    subjects: Labels
    recordings: Labels
    label_of: Mapping[int, str]
    notes: Mapping[str, str]
    nameless: Sequence[int]  # lines of rows without any label


@dataclass
class People:
    """Rows of a participants' table that are asked for one after the other; `notes` says what did not join.

    A label is the row's with or without `sub-`; `01` is the row `1` where that can be nobody else.
    """

    table: Rows | None = None
    _asked: set[str] = field(default_factory=set)
    _missed: set[str] = field(default_factory=set)
    _exact: dict[int, str] = field(default_factory=dict)
    _loose: dict[int, str] = field(default_factory=dict)

    def find(self, subject: str, recording: str = "") -> dict[str, Any]:
        """The row of a recording, else that of its subject, else an empty one.

        Raises
        ------
        InputError: the row could be that of two labels that were asked for.
        """
        if self.table is None:
            return {}
        pairs = [(plain(recording), self.table.recordings), (plain(recording), self.table.subjects)]
        pairs.append((plain(subject), self.table.subjects))
        self._asked.add(pairs[-1][0])
        for label, labels in pairs:
            if (row := labels.exact.get(label)) is not None:
                self._exact[row] = label
                return self._row(row)
        for label, labels in pairs:
            rows = labels.number.get(without_zeros(label), ())
            if len(rows) == 1 and label not in labels.exact:
                (row,) = rows
                if self._loose.setdefault(row, label) != label:
                    self._refuse(row, self._loose[row], label)
                return self._row(row)
        self._missed.add(pairs[-1][0])
        return {}

    def _row(self, row: int) -> dict[str, Any]:
        assert self.table is not None
        if row in self._exact and row in self._loose:
            self._refuse(row, self._exact[row], self._loose[row])
        return dict(self.table.rows[row])

    def _refuse(self, row: int, one: str, other: str) -> None:
        assert self.table is not None
        raise InputError(
            f"{self.table.path}: the row of {self.table.label_of[row]} could be {one} or {other}",
            "write the labels as the files have them, zeros included",
        )

    def notes(self) -> list[str]:
        """Who has no row, and which rows are nobody's."""
        if self.table is None:
            return []
        name, found, notes = self.table.path.name, self._exact.keys() | self._loose.keys(), list[str]()
        if self._missed:
            notes.append(f"{name}: no row for {len(self._missed)} of {len(self._asked)} people ({some(self._missed)})")
        for label in sorted(self._missed)[:SHOWN]:
            rows = self.table.subjects.number.get(without_zeros(label), set())
            if len(rows) > 1:
                could = some(self.table.label_of[row] for row in rows)
                notes.append(f"{name}: {label} could be any of the rows {could}: none was taken")
        met = {plain(self.table.label_of[row]) for row in found}
        if left := [label for row, label in sorted(self.table.label_of.items()) if plain(label) not in met]:
            notes.append(f"{name}: {len(left)} rows of people who are not here ({some(left, False)})")
        if lines := self.table.nameless:
            notes.append(f"{name}: {len(lines)} rows of nobody, without a label (line {some(map(str, lines), False)})")
        return notes

    def columns(self) -> dict[str, str]:
        """What was taken for what, by column."""
        return {} if self.table is None else {k: f"{v} ({self.table.path.name})" for k, v in self.table.notes.items()}


def beside(folder: Path) -> Path | None:
    """participants.tsv in a folder, if it is there; a link to what was not fetched counts, and cannot be read later.

    Raises
    ------
    InputError: it is called otherwise (participants.csv), and would be left out without a word.
    """
    if not folder.is_dir():
        return None
    tables = [path for path in sorted(folder.iterdir()) if path.name.lower().split(".")[0] == "participants"]
    tables = [path for path in tables if path.suffix.lower() in TABLES]
    if tables and folder / TABLE not in tables:
        raise InputError(f"{tables[0]}: not called {TABLE}, so it is not read", "rename it, or move it away")
    return folder / TABLE if tables else None


def plain(label: str) -> str:
    """A label without `sub-` or `ses-`."""
    return label.removeprefix(PREFIXES[0]).removeprefix(PREFIXES[1])


def without_zeros(label: str) -> str:
    """A number without leading zeros; a label that is none as it is."""
    return (label.lstrip("0") or "0") if label.isascii() and label.isdigit() else label


def some(labels: Collection[str] | Any, in_order: bool = True) -> str:
    """The first labels, for a message."""
    listed = sorted(labels) if in_order else list(labels)
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")


def read_people(
    path: Path | None,
    subjects: Sequence[str],
    recordings: Sequence[str] = (),
    missing: Sequence[str] = ("n/a",),
    numbers: Sequence[str] = (),
) -> People:
    """The rows of a table, by the columns (names in small letters) that say whose they are; nobody's without a path.

    Parameters
    ----------
    subjects, recordings: columns with the labels of people, and of single recordings; the first that is there counts.
    numbers: columns that must be numbers.

    Raises
    ------
    InputError: as `read_table`; none of these columns; two rows of one label that differ; a word in `numbers`.
    """
    if path is None:
        return People()
    mtime = path.stat().st_mtime_ns if path.exists() else 0
    return People(_rows(path, tuple(subjects), tuple(recordings), tuple(missing), tuple(numbers), mtime))


@lru_cache(maxsize=2)  # a job reads a table once, not once per recording
def _rows(
    path: Path, subjects: Sequence[str], recordings: Sequence[str], missing: Sequence[str], numbers: Sequence[str],
    _mtime_ns: int,
) -> Rows:  # fmt: skip
    table = read_table(path, missing, text=(*subjects, *recordings, *numbers), of_people=True)
    for name in table.columns:
        if name.lower() in numbers:
            known = table.numbers(name).tolist()
            table.columns[name] = [None if value != value else value for value in known]
    person, recording = _first(table, subjects), _first(table, recordings)
    if person is None and recording is None:
        raise InputError(
            f"{path}: no column {' or '.join((*subjects, *recordings))} that names its rows"
            f" (there are: {', '.join(table.columns)})",
            "tab-separated, with a header",
        )
    rows = table.rows()
    per_recording = _labels(table, rows, recording, True)
    per_person = _labels(table, rows, person, recording is None)
    if person is None:
        per_person = per_recording
    label_of = {
        row: label for name in (person, recording) if name for row, label in enumerate(table.columns[name]) if label
    }
    nameless = [line for row, line in enumerate(table.lines) if row not in label_of]
    return Rows(path, rows, per_person, per_recording, label_of, table.notes, nameless)


def _first(table: Table, names: Sequence[str]) -> str | None:
    """The first of these columns that is there. Raises InputError where two are spelled so but for capitals."""
    for wanted in names:
        found = [name for name in table.columns if name.lower() == wanted]
        if len(found) > 1:
            raise InputError(f"{table.path}: columns {' and '.join(found)} both name its rows", "leave one of them")
        if found:
            return found[0]
    return None


def _labels(table: Table, rows: Sequence[Mapping[str, Any]], column: str | None, is_unique: bool) -> Labels:
    """Rows by label. Raises InputError where a label has two rows that differ, and `is_unique`."""
    labels = Labels({}, {})
    for row, written in enumerate(table.columns[column] if column else ()):
        if written is None:
            continue
        label = plain(written)
        before = labels.exact.setdefault(label, row)
        if before == row:
            labels.number.setdefault(without_zeros(label), set()).add(row)
        elif before is not None and _values(rows[before], column) != _values(rows[row], column):
            if is_unique:
                differs = next(key for key in rows[row] if key != column and rows[before][key] != rows[row][key])
                lines = f"lines {table.lines[before]} and {table.lines[row]}"
                raise InputError(
                    f"{table.path}: more than one row of {written}, {lines}, which differ in {differs}",
                    "leave one row of each (what differs between sessions belongs into sessions.tsv)",
                )
            labels.exact[label] = None
    return labels


def _values(row: Mapping[str, Any], column: str | None) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != column}
