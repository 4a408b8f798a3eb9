"""The files that examples of docstrings speak of: `results/store.zarr`, `results/models/tiny` and `run.npy`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests.model.cohort import make
from tests.model.test_train import run


def make_results(home: Path) -> Path:
    """`home` with the folder `results`: a cohort with age and sex, and a model that has seen one batch."""
    store = make(home / "results")
    table = pd.read_parquet(home / "results" / "recordings.parquet")
    table["age"] = [20.0 + number for number in range(len(table))]
    table["sex"] = ["FM"[number % 2] for number in range(len(table))]
    table.to_parquet(home / "results" / "recordings.parquet")
    run(store, home / "results" / "models" / "tiny", steps=1)
    np.save(home / "run.npy", store.series("sub-00_task-rest"))
    return home
