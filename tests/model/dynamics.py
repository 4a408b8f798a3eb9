"""A small cohort whose parcels have dynamics that are known, and its control: white noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.model.people import trained
from tests.model.written import write

PARCELS, STEPS, WINDOW, PATCH = 12, 130, 40, 10
SPLITS = ["train"] * 12 + ["validation"] * 5 + ["test"] * 12 + ["external"] * 3
DRIVEN = PARCELS // 2  # the first half; each drives one of the second half, two steps later


def person(rng: np.random.Generator, planted: bool) -> np.ndarray:
    """(time, parcel): oscillations of 20 steps, AR(2) with radius .97, and copies of them; or white noise."""
    noise = rng.standard_normal((STEPS + 100, PARCELS))
    if not planted:
        return noise[100:]
    x = np.zeros_like(noise)
    for t in range(2, len(x)):
        x[t, :DRIVEN] = 2 * 0.97 * np.cos(2 * np.pi / 20) * x[t - 1, :DRIVEN] - 0.97**2 * x[t - 2, :DRIVEN]
        x[t, :DRIVEN] += noise[t, :DRIVEN]
        x[t, DRIVEN:] = x[t - 2, :DRIVEN] + 2 * noise[t, DRIVEN:]
    return x[100:]


def make(folder: Path, planted: bool = True, change: tuple[str, ...] = ()) -> Any:
    """The open store: one recording a subject; a test subject lacks parcel 2, another is too short for a window.

    Recordings of the splits in `change` get other data; the scaler does not change.
    """
    rng = np.random.default_rng(3)
    data = [person(rng, planted) for _ in SPLITS]
    data[18][:, 2] = np.nan
    data = [-2 * x[::-1] if split in change else x for x, split in zip(data, SPLITS, strict=True)]
    data.append(data[0][:30])
    ids = [f"sub-{n:02d}_task-rest" for n in range(len(data))]
    table = pd.DataFrame({"id": ids, "subject": [f"{n:02d}" for n in range(len(data))], "split": [*SPLITS, "test"]})
    table = table.assign(n_steps=[len(x) for x in data], status="done")
    atlas = pd.DataFrame({"index": range(1, PARCELS + 1), "name": [f"p{i}" for i in range(PARCELS)]})
    atlas[["x", "y", "z"]] = rng.uniform(-60, 60, (PARCELS, 3))
    return write(folder, [(10 * x + 100).astype(np.float32) for x in data], table, atlas)


def cohort(folder: Path, planted: bool = True) -> Path:
    """A folder with the store and, in `model`, a model that was trained on it for a moment."""
    trained(make(folder, planted), folder / "model", window=WINDOW, patch=PATCH, steps=10)
    return folder
