"""Labels of windows: columns of the recordings as what a DataLoader can collate."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data import InputError

if TYPE_CHECKING:
    import pandas as pd


def label_columns(table: pd.DataFrame, columns: Sequence[str], path: Path) -> dict[str, list[Any]]:
    """Columns of a table of recordings, by name: float where they are numbers, else text. `path`: of the store.

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
            close = get_close_matches(name, map(str, table.columns), 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise InputError(f"{path}: no column {name}", f"{hint}one of {', '.join(map(str, table.columns))}")
        column = table[name]
        if pd.api.types.is_numeric_dtype(column):
            labels[name] = column.astype("float64").tolist()
        else:
            labels[name] = ["" if pd.isna(value) else str(value) for value in column]
    return labels
