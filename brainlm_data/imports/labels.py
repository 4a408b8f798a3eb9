"""The table of the parcels: what is known of them, from a TSV or from the columns' own names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainlm_data.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

ALIASES = {
    "index": ("index", "roi", "parcel", "label"), "name": ("name",), "hemisphere": ("hemisphere", "hemi"),
    "network": ("network", "yeo7", "yeo-7"), "x": ("x",), "y": ("y",), "z": ("z",), "n_voxels": ("n_voxels", "nvox"),
}  # fmt: skip
YEO7 = (
    "Unassigned", "Visual", "Somatomotor", "DorsalAttention", "VentralAttention", "Limbic", "Frontoparietal", "Default",
)  # by number (Yeo et al., 2011)  # fmt: skip


def parcels_of(count: int, columns: Sequence[str], atlas: str, labels: Path | None) -> pd.DataFrame:
    """One row a parcel: index, name, hemisphere, network, x, y, z (mm; NaN where unknown), n_voxels where it is known.

    Parameters
    ----------
    count: of the series' columns. columns: their names, or empty.
    labels: a TSV with one row a column of the series, in their order: index (or roi, parcel, label) and any of name,
        hemisphere, network (or yeo7, by number), x, y, z, n_voxels.

    Raises
    ------
    InputError: the table cannot be read, or has another number of rows.
    """
    import pandas as pd

    given = _read(labels) if labels is not None else pd.DataFrame(index=range(count))
    if len(given) != count:
        raise InputError(
            f"{labels}: {len(given)} rows, the series have {count} columns", "one row a column, in their order"
        )
    numbers = [int(name) if name.isdigit() else place for place, name in enumerate(columns, 1)]
    index = given["index"] if "index" in given else pd.Series(numbers or range(1, count + 1))
    table = pd.DataFrame({"index": index.astype(int)})
    prefix = atlas or "parcel"
    own = columns or [""] * count
    plain = [
        name if name and not name.isdigit() else f"{prefix}_{i:03d}"
        for i, name in zip(table["index"].tolist(), own, strict=True)
    ]
    table["name"] = given["name"].astype(str) if "name" in given else plain
    x = given["x"] if "x" in given else pd.Series(np.nan, index=table.index)
    side = np.where(x < 0, "L", np.where(x > 0, "R", "n/a"))
    table["hemisphere"] = given["hemisphere"].astype(str) if "hemisphere" in given else side
    table["network"] = _networks(given["network"]) if "network" in given else "Unassigned"
    for axis in ("x", "y", "z"):
        table[axis] = given[axis].astype(float) if axis in given else np.nan
    if "n_voxels" in given:
        table["n_voxels"] = given["n_voxels"]
    if (again := table["name"][table["name"].duplicated()]).size:
        raise InputError(f"{labels or 'series'}: two columns are called {again.iloc[0]}", "make the names unique")
    return table


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=["n/a", ""])
        found = {str(name).lower(): name for name in table}
        chosen = {key: next((found[n] for n in names if n in found), None) for key, names in ALIASES.items()}
        out = pd.DataFrame({key: table[name] for key, name in chosen.items() if name is not None})
        out = out.astype({key: float for key in ("x", "y", "z") if key in out})
        if "index" in out:
            out["index"] = out["index"].astype(int)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}", "give a TSV, one row a parcel: index, name, network, x, y, z") from error
    if out.empty:
        raise InputError(f"{path}: none of its columns is known", f"name them {', '.join(ALIASES)}")
    return out


def _networks(values: pd.Series) -> list[str]:
    """Names; numbers are Yeo's seven, what is missing is Unassigned."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values):
        return [YEO7[int(v)] if v == v and 0 <= v < len(YEO7) else "Unassigned" for v in values]
    return ["Unassigned" if v != v or v is None else str(v) for v in values]
