"""Labels of windows: columns of the recordings as what a DataLoader can collate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


def label_columns(table: pd.DataFrame, ids: Sequence[str], columns: Sequence[str], path: Path) -> dict[str, list[Any]]:
    """Columns of a table of recordings, by name, of the recordings `ids`. `path`: of the store.

    A column of whole numbers is int; so is one that a table holds as float because it lacks some, unless one of `ids`
    is such: then, as any other numbers, it is float with NaN. Anything else is text, empty where missing.

    Raises
    ------
    InputError: no such column.
    """
    import pandas as pd

    if isinstance(columns, str):
        raise InputError(f"labels {columns!r}", "a list of columns: labels=[...]")
    labels: dict[str, list[Any]] = {}
    for name in columns:
        if name not in table:
            there = [str(column) for column in table.columns]
            raise InputError(
                f"{path}: no column {name}", f"{did_you_mean(name, there)} one of {', '.join(there)}".strip()
            )
        chosen = table.set_index("id")[name].loc[list(ids)]
        if not pd.api.types.is_numeric_dtype(table[name]):
            labels[name] = ["" if pd.isna(value) else str(value) for value in chosen]
        elif (table[name].dropna() % 1 == 0).all() and chosen.notna().all():
            labels[name] = chosen.astype("int64").tolist()
        else:
            labels[name] = chosen.astype("float64").tolist()
    return labels
