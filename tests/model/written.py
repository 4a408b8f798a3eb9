"""A store with its tables in a folder, from series that a test makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainlm_data import Card, open_store
from brainlm_data.dataset.fit_scaler import fit_scaler
from brainlm_data.dataset.store import write_store


def write(folder: Path, series: Sequence[np.ndarray], table: pd.DataFrame, atlas: pd.DataFrame) -> Any:
    """The open store; the scaler is that of `split` train. `table`: with columns id, n_steps, split, status."""
    folder.mkdir(parents=True, exist_ok=True)
    write_store(folder / "store.zarr", series, table[["id", "n_steps"]], atlas, {"rate_hz": 1.0})
    table.to_parquet(folder / "recordings.parquet")
    training = table.loc[table["split"] == "train", "id"].tolist()
    fit_scaler(open_store(folder / "store.zarr"), training).save(folder / "scaler.npz")
    write_card(folder)
    return open_store(folder / "store.zarr")


def write_card(folder: Path) -> Card:
    """Write card.json and card.md of the store in `folder`."""
    store = open_store(folder / "store.zarr")
    attributes = {"atlas": "planted", "units": "", "n_parcels": len(store.parcels), **store.attrs}
    table = store.recordings.reindex(columns=["subject", "tr_s", "band_low_hz", "band_high_hz"])
    card = Card.describe(table, attributes, [{"simulate": "Series were simulated."}])
    card.save(folder / "card.json", folder / "card.md")
    return card
