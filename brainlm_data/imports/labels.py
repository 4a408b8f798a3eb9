"""The table of the parcels: what is known of them, from a TSV or from the columns' own names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainlm_data.dataset.splits import as_text
from brainlm_data.errors import InputError
from brainlm_data.imports import Source
from brainlm_data.imports.series import parcel_count

if TYPE_CHECKING:
    import pandas as pd

YEO7 = (
    "Unassigned", "Visual", "Somatomotor", "DorsalAttention", "VentralAttention", "Limbic", "Frontoparietal", "Default",
)  # by number (Yeo et al., 2011)  # fmt: skip


def parcels_of(count: int, columns: Sequence[str], atlas: str, labels: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per parcel: index, name, hemisphere, network, x, y, z (mm; NaN if unknown), n_voxels if known.

    Parameters
    ----------
    count: of the series' columns. columns: their names, or empty.
    labels: of `read_labels`; rows are matched by number where the columns are numbers, by name where all names are
        there, else they are in order.

    Raises
    ------
    InputError: a column has no row, or the other way round.
    """
    import pandas as pd

    given = pd.DataFrame(index=range(count)) if labels is None else labels
    if "index" in given and numbered(columns):
        numbers = [int(name) for name in columns]
        if absent := sorted(set(numbers) - set(given["index"])):
            raise InputError(f"--atlas-labels: no row for parcel {absent[0]} of the series", "one row per parcel")
        given = given.set_index("index", drop=False).loc[numbers].reset_index(drop=True)
    elif "name" in given and columns and set(columns) <= set(given["name"].astype(str)):
        given = given.assign(name=given["name"].astype(str)).set_index("name", drop=False)
        given = given.loc[list(columns)].reset_index(drop=True)
    if len(given) != count:
        raise InputError(
            f"--atlas-labels: {len(given)} rows, the series have {count} columns", "one row per column, in their order"
        )
    plain_index = [int(name) for name in columns] if numbered(columns) else range(1, count + 1)
    index = given["index"] if "index" in given else pd.Series(plain_index)
    table = pd.DataFrame({"index": index.astype(int)})
    prefix = atlas or "parcel"
    own = columns or [""] * count
    plain = [
        name if name and not name.isdigit() else f"{prefix}_{i:03d}"
        for i, name in zip(table["index"].tolist(), own, strict=True)
    ]
    table["name"] = given["name"].astype(object).where(given["name"].notna(), plain) if "name" in given else plain
    x = given["x"] if "x" in given else pd.Series(np.nan, index=table.index)
    side = np.where(x < 0, "L", np.where(x > 0, "R", "n/a"))
    said = given["hemisphere"] if "hemisphere" in given else pd.Series(side)
    table["hemisphere"] = said.astype(object).where(said.notna(), side).astype(str)
    table["network"] = _networks(given["network"]) if "network" in given else "Unassigned"
    for axis in ("x", "y", "z"):
        table[axis] = given[axis].astype(float) if axis in given else np.nan
    if "n_voxels" in given:
        table["n_voxels"] = given["n_voxels"]
    if (again := table["name"][table["name"].duplicated()]).size:
        raise InputError(f"the parcels: two are called {again.iloc[0]}", "make the names unique")
    return table


def agreed(
    source: Source, labels: pd.DataFrame | None, seen: Sequence[tuple[tuple[int, int], tuple[str, ...]]]
) -> tuple[int, tuple[str, ...]]:
    """Number and names (or none) of a cohort's parcels, from the shapes and columns of recordings that were read.

    Raises InputError as `parcel_count`.
    """
    names = Counter(columns for _, columns in seen if columns)
    listed = set() if labels is None or "name" not in labels else set(labels["name"].astype(str))
    matched = any(numbered(columns) or set(columns) <= listed for columns in names)  # then labels may have more rows
    if source.parcels is not None:
        count = len(source.parcels)
    else:
        rows = None if labels is None or matched else len(labels)
        count = parcel_count([shape for shape, _ in seen], rows) if seen else 0
    return count, next((name for name, _ in names.most_common() if len(name) == count), ())


def table_of(
    source: Source, file: Path | None, labels: pd.DataFrame | None, count: int, columns: Sequence[str]
) -> tuple[pd.DataFrame, str]:
    """The parcels of what is imported, and where their networks come from. `labels`: of `file`, see `parcels_of`."""
    if source.parcels is not None:
        return source.parcels, source.networks
    networks = file.name if file is not None and labels is not None and "network" in labels else "none"
    return parcels_of(count, columns, source.atlas, labels), networks


def numbered(columns: Sequence[str]) -> bool:
    """True where columns are called by the parcels' numbers."""
    return bool(columns) and all(name.isdigit() for name in columns)


def _networks(values: pd.Series) -> list[str]:
    """Names; numbers up to 7 are Yeo's seven, what is missing is Unassigned."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values) and values.dropna().isin(range(len(YEO7))).all():
        return [YEO7[int(v)] if v == v else YEO7[0] for v in values]
    if pd.api.types.is_numeric_dtype(values):  # of another parcellation: numbers are its names
        return ["Unassigned" if v != v else as_text(float(v)) for v in values]
    return ["Unassigned" if v != v or v is None else str(v) for v in values]
