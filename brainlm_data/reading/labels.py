"""The table of an atlas's parcels, as people and other programs write it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data.errors import InputError
from brainlm_data.reading.table import read_table

if TYPE_CHECKING:
    import pandas as pd

# by what columns are called elsewhere; `label` is a name where another column is the index
NAMES = ("name", "label", "label_name", "roi_name", "parcel_name", "region_name", "region")
ALIASES = {
    "index": ("index", "roi", "parcel", "label"), "name": NAMES, "hemisphere": ("hemisphere", "hemi"),
    "network": ("network", "network_label", "yeo7", "yeo-7"), "x": ("x",), "y": ("y",), "z": ("z",),
    "n_voxels": ("n_voxels", "nvox"),
}  # fmt: skip
NUMBERS = ("x", "y", "z", "n_voxels")
REMEDY = "give a TSV, one row per parcel: index, name, network, x, y, z"


def read_labels(path: Path) -> pd.DataFrame:
    """What a TSV says of the parcels: index and any of name, hemisphere, network, x, y, z, n_voxels (see `ALIASES`).

    Raises
    ------
    InputError: as `read_table`; none of these columns; an index that is no whole number or stands twice; a coordinate
        or a number of voxels that is no number.
    """
    import pandas as pd

    table = read_table(path, text=NAMES)
    by_lower = {name.lower(): name for name in table.columns}
    used, out = set[str](), dict[str, list[Any]]()
    for key, aliases in ALIASES.items():
        name = next((by_lower[alias] for alias in aliases if alias in by_lower and by_lower[alias] not in used), None)
        if name is None:
            continue
        used.add(name)
        values: list[Any] = table.whole(name) if key == "index" else table.columns[name]
        if key in NUMBERS:
            values = table.numbers(name).tolist()
        out[key] = values
    if not out:
        raise InputError(f"{path}: none of its columns is known (there are: {', '.join(table.columns)})", REMEDY)
    return pd.DataFrame(out).astype({key: float for key in NUMBERS if key in out})
