"""A simulated cohort whose labels are functions of each person's covariance, and a model trained on it for a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.model.test_train import run
from tests.model.written import write

PARCELS, STEPS, WINDOW, PATCH = 10, 130, 40, 10
SPLITS = ["train"] * 16 + ["validation"] * 6 + ["test"] * 8


def person(rng: np.random.Generator, coupling: float, amplitude: float) -> np.ndarray:
    """(time, parcel): the first half of the parcels follows one course as strongly as `coupling` says."""
    smooth = np.apply_along_axis(
        lambda s: np.convolve(s, np.ones(5) / 5, "same"), 0, rng.standard_normal((STEPS, PARCELS + 1))
    )
    values = smooth[:, 1:].copy()
    half = PARCELS // 2
    values[:, :half] = np.sqrt(1 - coupling) * values[:, :half] + np.sqrt(coupling) * smooth[:, :1]
    return (100 * amplitude * values + 1000).astype(np.float32)


def make(folder: Path) -> Any:
    """The open store: `age` is 20 + 60 x coupling, `sex` decides the amplitude, `site` is the same for all."""
    rng = np.random.default_rng(0)
    coupling = rng.permutation(np.linspace(0, 0.95, len(SPLITS)))
    ids = [f"sub-{n:02d}_task-rest" for n in range(len(SPLITS))]
    table = pd.DataFrame({"id": ids, "subject": [f"{n:02d}" for n in range(len(SPLITS))], "split": SPLITS})
    table = table.assign(n_steps=STEPS, status="done", age=20 + 60 * coupling, site="A")
    table["sex"] = np.resize(["F", "M"], len(SPLITS))
    table["note"] = None
    table.loc[0, "note"] = "x"
    atlas = pd.DataFrame({"index": range(1, PARCELS + 1), "name": [f"p{i}" for i in range(PARCELS)]})
    atlas[["x", "y", "z"]] = rng.uniform(-60, 60, (PARCELS, 3))
    data = [person(rng, c, 1.3 if sex == "F" else 0.7) for c, sex in zip(coupling, table["sex"], strict=True)]
    return write(folder, data, table, atlas)


def trained(store: Any, folder: Path, **keys: Any) -> Path:
    """A small model in `folder`."""
    run(store, folder, **{"window": WINDOW, "patch": PATCH, "steps": 20, "batch_size": 8, "select": "last", **keys})
    return folder
