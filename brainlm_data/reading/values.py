"""What the cells of a column mean: numbers, or words; and in tables of people, numbers with something to be said."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import isfinite
from typing import Any

NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?(?<=[\d.])([eE][+-]?\d+)?", re.ASCII)
CODE = re.compile(r"0\d+|\d{16,}", re.ASCII)  # 007, and what has more digits than a double: no number
CAPPED = re.compile(r"(<=|>=|[<>≤≥])\s*(\d+(\.\d+)?)|(\d+(\.\d+)?)\s*\+", re.ASCII)  # <18, >90, 89+
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)  # 1,234: a decimal comma, or not
DICOM_AGE = re.compile(r"(\d{3})([DWMY])", re.ASCII)  # 042Y
PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
MOST = 0.75  # of the cells of a column of numbers are numbers
FEW = 5  # columns with no more different numbers can be codes of categories, and their words one more category
SHOWN = 5  # cells in a note


def number(cell: str) -> float | None:
    """A number as programs write it; None for a word, for a code (`007`), and for what no double can hold."""
    if not NUMBER.fullmatch(cell) or CODE.fullmatch(cell):
        return None
    value = float(cell)
    is_zero = not cell.lower().split("e")[0].strip("+-0.")
    return value if isfinite(value) and (value != 0 or is_zero) else None


def typed(cells: Sequence[str | None]) -> list[Any]:
    """Cells as numbers where all that are there are numbers (whole ones as int), else as they are."""
    there = {cell: number(cell) for cell in cells if cell is not None}
    if not there or None in there.values():
        return list(cells)
    return _whole([None if cell is None else there[cell] for cell in cells], any("." in cell for cell in there))


def typed_of_people(name: str, cells: Sequence[str | None]) -> tuple[list[Any], str]:
    """The same for a column of people, and what was taken for what, in words ("": nothing).

    Taken as numbers: `89+`, `<18` and `>90` (the number itself), decimal commas, DICOM's ages (`042Y`, in years). In a
    column of which most cells are numbers, and of more than `FEW` different ones, other words are missing.
    """
    there = Counter(cell for cell in cells if cell is not None)
    plain = {cell: value for cell in there if (value := number(cell)) is not None}
    said = {cell: value for cell in there.keys() - plain.keys() if (value := _meant(name, cell, there)) is not None}
    odd = {cell: count for cell, count in there.items() if cell not in plain and cell not in said}
    values = {**plain, **said}
    enough = sum(there[cell] for cell in values) >= MOST * there.total() and len(set(values.values())) > FEW
    categories = sum(bool(CAPPED.fullmatch(cell)) for cell in said) > 1 and not plain  # `<18` and `>=18`
    if not values or any(CODE.fullmatch(cell) for cell in there) or categories or (odd and not enough):
        return list(cells), _note_of_text(there, values)
    numbers = [None if cell is None else values.get(cell) for cell in cells]
    return _whole(numbers, any("." in cell for cell in plain)), _note(there, said, odd)


def _meant(name: str, cell: str, column: Counter[str]) -> float | None:
    """The number that a cell stands for which is more, or written otherwise."""
    if capped := CAPPED.fullmatch(cell):
        return number(capped[2] or capped[4])
    if "age" in name.lower() and (age := DICOM_AGE.fullmatch(cell)):
        return float(age[1]) / PER_YEAR[age[2]]
    # 1,234 can be a thousand: it is read as 1.234 only where another cell shows what the comma is
    if DECIMAL_COMMA.fullmatch(cell) and any("," in c and not THOUSANDS.fullmatch(c) for c in column):
        return number(cell.replace(",", "."))
    return None


def _whole(numbers: list[float | None], has_points: bool) -> list[Any]:
    """As int where all are there, whole, and were written so."""
    if has_points or not all(value is not None and value.is_integer() for value in numbers):
        return numbers
    return [int(value) for value in numbers if value is not None]


def _note(there: Counter[str], said: dict[str, float], odd: dict[str, int]) -> str:
    parts = []
    if said:
        shown = ", ".join(f"{cell} taken as {said[cell]:.4g}" for cell in sorted(said)[:SHOWN])
        more = ", ..." if len(said) > SHOWN else ""
        parts.append(f"{shown}{more}, in {sum(there[c] for c in said)} of {there.total()} rows")
    if odd:
        parts.append(f"no numbers, taken as missing, in {sum(odd.values())} of {there.total()} rows: {_counted(odd)}")
    return "; ".join(parts)


def _note_of_text(there: Counter[str], values: dict[str, float]) -> str:
    """Of a column that is text though most of it are numbers, and that is not one of codes (01, 02, ..., 12)."""
    numbers = sum(there[cell] for cell in values)
    are_codes = any(CODE.fullmatch(cell) for cell in there) and len({len(cell) for cell in there}) == 1
    if 2 * numbers < there.total() or len(set(values.values())) <= FEW or are_codes:
        return ""
    others = {cell: count for cell, count in there.items() if cell not in values}
    return f"text, though {numbers} of {there.total()} rows are numbers; the others: {_counted(others)}"


def _counted(cells: dict[str, int]) -> str:
    more = ", ..." if len(cells) > SHOWN else ""
    return ", ".join(f"{cell} ({cells[cell]})" for cell in sorted(cells)[:SHOWN]) + more
