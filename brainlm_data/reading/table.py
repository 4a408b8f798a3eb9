"""The one reader of tables that people have made: participants, sessions, parcels of an atlas, verdicts, confounds.

Missing is what BIDS says: `n/a`, or an empty cell; None, NA and nan are words. What the cells of a column mean:
`values.py`.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError
from brainlm_data.files.present import FETCH, POINTER, POINTERS
from brainlm_data.reading.values import number, typed, typed_of_people

SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons"}
QUOTED = re.compile(r'"[^"]*"')


class Cells(NamedTuple):
    """A table as text: the header's cells, and for each row its line and as many cells, without spaces around them."""

    header: list[str]
    body: list[tuple[int, list[str]]]


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes
    ----------
    columns: values by name, in the file's order: all numbers or all words, None for what is missing.
    lines: of the file, on which each row stands. notes: by column, what was taken for what, in words.
    """

    path: Path
    columns: dict[str, list[Any]]
    lines: tuple[int, ...]
    notes: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One dict per row."""
        return [dict(zip(self.columns, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]

    def column(self, name: str) -> list[Any]:
        """The values of a column. Raises InputError where there is none of this name."""
        if name not in self.columns:
            there = ", ".join(self.columns) or "none"
            raise InputError(f"{self.path}: no column {name} (there are: {there})", "tab-separated, with a header")
        return self.columns[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers, NaN for what is missing. Raises InputError for a word, naming its line."""
        values = np.full(len(self.lines), np.nan)
        for place, cell in enumerate(self.column(name)):
            if cell is None:
                continue
            if (value := number(cell) if isinstance(cell, str) else float(cell)) is None:
                raise InputError(
                    f"{self.path}: line {self.lines[place]}: {name} {cell!r} is no number", "write n/a for no value"
                )
            values[place] = value
        return values

    def whole(self, name: str) -> list[int]:
        """A column of different whole numbers. Raises InputError where one is missing, no number, or stands twice."""
        seen = dict[int, int]()
        for cell, line in zip(self.column(name), self.lines, strict=True):
            value = None if cell is None else number(str(cell))
            if value is None or not value.is_integer():
                raise InputError(f"{self.path}: line {line}: {name} {cell!r} is no whole number", "one per row")
            if int(value) in seen:
                raise InputError(
                    f"{self.path}: two rows of {name} {int(value)}, lines {seen[int(value)]} and {line}",
                    "leave one of them",
                )
            seen[int(value)] = line
        return list(seen)


def read_table(
    path: Path,
    missing: Sequence[str] = ("n/a",),
    text: Collection[str] = (),
    short: bool = False,
    of_people: bool = False,
) -> Table:
    """A table with tabs, commas or semicolons between its cells, in UTF-8, or in UTF-16 with its mark.

    Parameters
    ----------
    missing: cells without a value, beside empty ones. text: columns (in small letters) that hold words whatever they
        look like: labels.
    short: rows may end before the last columns, which are then empty.
    of_people: columns are typed as `values.typed_of_people` does it.

    Raises
    ------
    InputError: as `read_cells`; or a column has values and no name.
    """
    header, body = read_cells(path, short)
    columns, notes = dict[str, list[Any]](), dict[str, str]()
    for place, name in enumerate(header):
        cells = [None if (cell := row[place]) in ("", *missing) else cell for _, row in body]
        if not name and place and any(cell is not None for cell in cells):
            raise InputError(f"{path}: column {place + 1} has values and no name", "name it in the first line")
        if not name or (not place and name.startswith("Unnamed: ")):
            continue  # without values, or the row numbers that pandas writes
        if name.lower() in text:
            columns[name] = cells
        elif of_people:
            columns[name], note = typed_of_people(name, cells)
            notes |= {name: note} if note else {}
        else:
            columns[name] = typed(cells)
    return Table(path, columns, tuple(line for line, _ in body), notes)


def read_words(path: Path) -> Table:
    """A table whose cells stay words, whatever they look like. Raises InputError as `read_cells`."""
    header, body = read_cells(path)
    columns = dict[str, list[Any]]()
    for place, name in enumerate(header):
        if name:
            columns[name] = [None if (cell := row[place]) in ("", "n/a") else cell for _, row in body]
    return Table(path, columns, tuple(line for line, _ in body))


def read_cells(path: Path, short: bool = False) -> Cells:
    """A table as text.

    Raises
    ------
    InputError: unreadable, in another encoding, without a header, two columns of one name, a quote that is not closed,
        or a row whose cells are more or fewer than the header's; names the line.
    """
    text = _text(path)
    lines = list(io.StringIO(text, newline=None))
    separator = _separator(path, lines)
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    rows = list[tuple[int, list[str]]]()
    try:
        for cells in reader:
            if any(stripped := [cell.strip() for cell in cells]):
                rows.append((reader.line_num, stripped))
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: {error}", "are its quotes closed?") from error
    if not rows:
        raise InputError(f"{path}: an empty table", "the first line names the columns")
    (_, header), *body = rows
    while header and not header[-1] and all(len(row) < len(header) or not row[len(header) - 1] for _, row in body):
        header.pop()  # a tab too many
    if again := [name for name, count in Counter(header).items() if name and count > 1]:
        raise InputError(f"{path}: two columns are called {again[0]}", "give each its own name")
    for line, row in body:
        _check_quotes(path, line, row, separator, len(header))
        row[:] = [cell.replace("\n", " ") for cell in row]
        while len(row) > len(header) and not row[-1]:
            row.pop()
        if short:
            row += [""] * (len(header) - len(row))
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {line} has {len(row)} cells, the header {len(header)}",
                f"cells are separated by {SEPARATORS[separator]}; write n/a where there is no value",
            )
    return Cells(header, body)


def _separator(path: Path, lines: Sequence[str]) -> str:
    """What the first line has: tabs, else semicolons or commas, whichever are more; whatever the file is called."""
    first = QUOTED.sub("", next((line for line in lines if line.strip()), ""))
    if "\t" in first or not ("," in first or ";" in first):
        return "\t" if "\t" in first or path.suffix.lower() != ".csv" else ","
    return ";" if first.count(";") >= first.count(",") else ","


def _check_quotes(path: Path, line: int, row: Sequence[str], separator: str, width: int) -> None:
    """Raises InputError where a quoted cell goes over lines that are rows: its quote was opened by mistake."""
    for cell in row:
        if "\n" in cell and cell.count(separator) >= width - 1:
            first = line - cell.count("\n")
            raise InputError(
                f"{path}: lines {first} to {line} are one quoted cell", "close its quotes, or take them out"
            )


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: not a file (a folder, a pipe or a device)", "give a table")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "check its path and permissions") from error
    if content.startswith(POINTERS):
        raise InputError(f"{path}: {POINTER}", FETCH)
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}: line {line} is not in {encoding.removesuffix('-sig').upper()} (Latin-1, or another encoding)",
            "save it again as UTF-8",
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{path}: line {line} has a NUL character (a damaged file, or UTF-16)", "save it as UTF-8")
    return text
