"""Rows of result tables: dictionaries that become the lines of a CSV file and the entries of a JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from brainlm_model.eval.statistics.paired import holm, verdict
from brainlm_model.eval.statistics.subjects import Array, bootstrap

Row = dict[str, Any]


def select(rows: Iterable[Mapping[str, Any]], **wanted: Any) -> list[Mapping[str, Any]]:
    """The rows whose columns have these values: `select(rows, part="coupling", metric="r")`."""
    return [row for row in rows if wanted.items() <= row.items()]


def find(rows: Iterable[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any] | None:
    """The first of the rows that `select` gives; None where there is none."""
    return next(iter(select(rows, **wanted)), None)


def by(column: str, rows: Iterable[Mapping[str, Any]]) -> dict[Any, Mapping[str, Any]]:
    """Rows by the value of one of their columns."""
    return {row[column]: row for row in rows}


def in_columns(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[Row]:
    """Rows with these columns and no others, None where a row has no such column."""
    complete = []
    for row in rows:
        complete.append({column: row.get(column) for column in columns})
    return complete


def estimates(values_RX: Array, weights_BR: Array) -> list[dict[str, float]]:
    """`bootstrap` as columns: `value`, `low` and `high` of each X."""
    columns = []
    for value, low, high in zip(*bootstrap(values_RX, weights_BR), strict=True):
        columns.append({"value": value, "low": low, "high": high})
    return columns


def correct(rows: Sequence[Row]) -> None:
    """Give rows that have a `p` their `p_holm`: corrected for the number of these rows (Holm, 1979)."""
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = corrected


def judge(comparisons: Sequence[Row]) -> None:
    """Give comparisons their `p_holm` and, from it and the sign of their `difference`, their `verdict`."""
    correct(comparisons)
    for row in comparisons:
        row["verdict"] = verdict(row["difference"], row["p_holm"])
