"""The one reader of tables that people have made: participants, parcels of an atlas, what an import is described by.

Columns have one kind of values: numbers where all cells but the missing ones are numbers, else words. Missing is what
BIDS says: `n/a`, or an empty cell; None, NA and nan are words. `89+` (BIDS: ages above 89) is a number that says so.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError

NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?(?<=[\d.])([eE][+-]?\d+)?")  # 007 is a code, no number
CAPPED = re.compile(r"(\d+(\.\d+)?)\+")


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes
    ----------
    columns: values by name, in the file's order: all numbers or all words, None for what is missing.
    lines: of the file, on which each row stands. notes: what was taken for what, in words.
    """

    path: Path
    columns: dict[str, list[Any]]
    lines: tuple[int, ...]
    notes: tuple[str, ...] = ()

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
        for place, value in enumerate(self.column(name)):
            if value is None:
                continue
            try:
                values[place] = float(value)
            except ValueError as error:
                raise InputError(
                    f"{self.path}: line {self.lines[place]}: {name} {value!r} is no number", "write n/a for no value"
                ) from error
        return values

    def whole(self, name: str) -> list[int]:
        """A column of different whole numbers. Raises InputError where one is missing, no number, or stands twice."""
        seen = dict[int, int]()
        for value, line in zip(self.column(name), self.lines, strict=True):
            if value is None or not NUMBER.fullmatch(str(value)) or not float(value).is_integer():
                raise InputError(f"{self.path}: line {line}: {name} {value!r} is no whole number", "one per row")
            number = int(float(value))
            if number in seen:
                raise InputError(
                    f"{self.path}: two rows of {name} {number}, lines {seen[number]} and {line}", "leave one of them"
                )
            seen[number] = line
        return list(seen)


def read_table(
    path: Path,
    missing: Sequence[str] = ("n/a",),
    text: Collection[str] = (),
    comment: str | None = None,
    short: bool = False,
) -> Table:
    """A .tsv, or a .csv with commas or semicolons, in UTF-8.

    Parameters
    ----------
    missing: cells without a value, beside empty ones. text: columns (in small letters) that hold words whatever they
        look like: labels. comment: lines that start with it are left out.
    short: rows may end before the last columns, which are then empty.

    Raises
    ------
    InputError: unreadable, not UTF-8, without a header, a column without or with another's name, or a row whose cells
        are more or fewer than the header's; names the line.
    """
    header, body = _cells(path, comment, short)
    columns, notes = dict[str, list[Any]](), list[str]()
    for place, name in enumerate(header):
        cells = [row[place] for _, row in body]
        if not name and place and any(cells):
            raise InputError(f"{path}: column {place + 1} has values and no name", "name it in the first line")
        if not name or name.startswith("Unnamed: "):
            continue  # without values, or the row numbers that pandas writes
        columns[name], note = _typed([None if cell in ("", *missing) else cell for cell in cells], name.lower() in text)
        if note:
            notes.append(f"{path.name}: {name}: {note}")
    return Table(path, columns, tuple(line for line, _ in body), tuple(notes))


def _cells(path: Path, comment: str | None, short: bool) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header's cells, and for each row its line and its cells, without spaces around them; as many in each."""
    text = _text(path)
    lines = [line if not comment or not line.startswith(comment) else "" for line in io.StringIO(text, newline=None)]
    first = next((line for line in lines if line.strip()), "")
    separator = "\t"
    if path.suffix.lower() == ".csv":
        separator = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(lines, delimiter=separator, strict=True)
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
        while len(row) > len(header) and not row[-1]:
            row.pop()
        if short:
            row += [""] * (len(header) - len(row))
        if len(row) != len(header):
            kind = "tabs" if separator == "\t" else f"{separator!r}"
            raise InputError(
                f"{path}: line {line} has {len(row)} cells, the header {len(header)}",
                f"cells are separated by {kind}; write n/a where there is no value",
            )
    return header, body


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "check its path and permissions") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}: in UTF-16, not in UTF-8", "save it again as tab-separated UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}: line {line} is not in UTF-8 (Latin-1, or another encoding)", "save it again as UTF-8"
        ) from error


def _typed(cells: list[str | None], is_text: bool) -> tuple[list[Any], str]:
    """Cells as numbers where all are, else as they are; and what was taken for a number though it is more."""
    there = [cell for cell in cells if cell is not None]
    capped = {cell for cell in there if CAPPED.fullmatch(cell)}
    plain = [cell for cell in there if cell not in capped]
    if is_text or not there or not all(NUMBER.fullmatch(cell) for cell in plain):
        return list(cells), ""
    numbers = [None if cell is None else float(cell.rstrip("+")) for cell in cells]
    note = ""
    if capped:
        count = sum(cell in capped for cell in there)
        note = f"{', '.join(sorted(capped))} taken as the number, in {count} of {len(there)} rows"
    if all(number is not None and number.is_integer() for number in numbers) and not any("." in c for c in there):
        return [int(number) for number in numbers if number is not None], note
    return numbers, note
