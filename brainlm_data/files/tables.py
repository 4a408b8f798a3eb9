"""Tab-separated tables of numbers, as BIDS wants them: `n/a` for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainlm_data.errors import InputError


def write_table(path: Path, columns: Sequence[str], values: ArrayLike) -> None:
    """Write (rows, columns) with 9 significant digits, which is exact for float32; NaN as `n/a`."""
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(columns):
        raise ValueError(f"table of {rows.shape} for {len(columns)} columns")
    with path.open("w", encoding="utf-8") as stream:
        stream.write("\t".join(columns) + "\n")
        for row in rows.tolist():
            stream.write("\t".join("n/a" if v != v else f"{v:.9g}" for v in row) + "\n")


def read_table(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Column names and values (rows, columns), `n/a` as NaN. Raises InputError where it is no such table."""
    try:
        with path.open(encoding="utf-8") as stream:
            header = stream.readline().rstrip("\n")
            columns = header.split("\t") if header else []  # a table may have rows and no column
            lines = [line.rstrip("\n").split("\t") if columns else [] for line in stream]
        rows = []
        for line in lines:
            rows.append([np.nan if value == "n/a" else float(value) for value in line])
        values = np.array(rows, dtype=np.float64).reshape(len(rows), len(columns))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a table of numbers ({error})", "run the stage that writes it again") from error
    return columns, values
