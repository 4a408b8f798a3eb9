"""Format `npy`: every recording in one array that can be memory-mapped, one after the other without padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainlm_data.dataset.store import Store
from brainlm_data.exports import Options, recordings, table
from brainlm_data.files.space import new_array


def write(store: Store, folder: Path, options: Options) -> dict[str, Any]:
    """bold.npy (time, parcel) float32, valid.npy (time,), index.tsv (`first`, `n_steps` of each), parcels.tsv.

    Memory does not grow with the number of recordings.
    """
    rows = table(store)
    steps = rows["n_steps"].astype(int)
    shape = (int(steps.sum()), len(store.parcels))
    bold = new_array(folder / "bold.npy", np.float32, shape)
    valid = new_array(folder / "valid.npy", np.bool_, shape[:1])
    first = 0
    for one in recordings(store):
        stop = first + len(one.series)
        bold[first:stop], valid[first:stop] = one.series, one.valid
        first = stop
    for array in (bold, valid):
        array.flush()
    index = rows.drop(columns="start").assign(first=steps.cumsum() - steps)
    index = index[["id", "first", "n_steps", *(n for n in index if n not in ("id", "first", "n_steps"))]]
    index.to_csv(folder / "index.tsv", sep="\t", index=False, na_rep="n/a")
    store.parcels.to_csv(folder / "parcels.tsv", sep="\t", index=False, na_rep="n/a")
    return {"Recordings": len(rows), "Shape": list(shape)}
