"""A small simulated cohort for the model's tests: structured series, three splits, one recording that is too short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainlm_data import Scaler, open_store
from brainlm_data.dataset.store import write_store
from tests.model.written import write_card

PARCELS, STEPS, SHORT = 24, 260, 150
SPLITS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2


def series(rng: np.random.Generator, steps: int = STEPS, parcels: int = PARCELS) -> np.ndarray:
    """(time, parcel): parcels of four networks share slow signals; each parcel has its own level and amplitude."""
    signals = np.apply_along_axis(lambda s: np.convolve(s, np.ones(6) / 6, "same"), 0, rng.standard_normal((steps, 4)))
    values = 2 * signals[:, np.arange(parcels) % 4] + 0.3 * rng.standard_normal((steps, parcels))
    return (values * (1 + np.arange(parcels) / parcels) * 10 + 1000).astype(np.float32)


def make(folder: Path, change: tuple[str, ...] = ()) -> Any:
    """The open store of sub-00..09, one recording each, in `folder`, with scaler, table and card beside it.

    sub-02's starts with empty steps and has censored ones, sub-03 lacks parcel 7, sub-05's is too short, sub-99 was
    refused. Recordings of the splits in `change` get other data (not the scaler).
    """
    rng = np.random.default_rng(0)
    data = [series(rng, SHORT if number == 5 else STEPS) for number in range(len(SPLITS))]
    data[2][:10] = np.nan
    data[3][:, 7] = np.nan
    changed = [x * 3 + 5 if split in change else x for x, split in zip(data, SPLITS, strict=True)]
    table = pd.DataFrame(
        {
            "id": [f"sub-{number:02d}_task-rest" for number in range(len(SPLITS))],
            "subject": [f"{number:02d}" for number in range(len(SPLITS))],
            "split": SPLITS,
            "n_steps": [len(x) for x in data],
            "status": "done",
        }
    )
    atlas = pd.DataFrame({"index": range(1, PARCELS + 1), "name": [f"p{i}" for i in range(PARCELS)]})
    atlas[["x", "y", "z"]] = rng.uniform(-60, 60, (PARCELS, 3))
    invalid = [list(range(30, 80)) if number == 2 else [] for number in range(len(SPLITS))]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "store.zarr"
    write_store(path, changed, table[["id", "n_steps"]], atlas, {"rate_hz": 1.0}, invalid)
    refused = pd.DataFrame({"id": ["sub-99_task-rest"], "subject": ["99"], "status": ["refused"]})
    pd.concat([table, refused]).to_parquet(folder / "recordings.parquet")
    scale = (10 * (1 + np.arange(PARCELS) / PARCELS)).astype(np.float32)  # known, so that golden values are the model's
    Scaler(np.zeros(PARCELS, np.float32), scale).save(folder / "scaler.npz")
    write_card(folder)
    return open_store(path)
