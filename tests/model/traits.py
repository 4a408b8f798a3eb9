"""A simulated cohort in which two labels act on each person's correlations, and one on nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.model.written import write

PARCELS, STEPS = 12, 160
PEOPLE = 64


def course(rng: np.random.Generator, first: float, second: float, mixing: np.ndarray) -> np.ndarray:
    """(time, parcel): the first four parcels share a course as strongly as `first` says, the next four `second`."""
    smooth = np.apply_along_axis(
        lambda s: np.convolve(s, np.ones(3) / 3, "same"), 0, rng.standard_normal((STEPS, PARCELS + 2))
    )
    values = smooth[:, 2:] @ mixing
    for part, strength, shared in ((slice(0, 4), first, smooth[:, :1]), (slice(4, 8), second, smooth[:, 1:2])):
        values[:, part] = np.sqrt(1 - strength) * values[:, part] + np.sqrt(strength) * shared
    return (100 * values + 1000).astype(np.float32)


def make(folder: Path, planted: bool = True, seed: int = 0) -> Any:
    """The open store of `PEOPLE` subjects; every fourth has two recordings.

    `age` follows the first coupling, `sex` the second (neither where not `planted`); `dose` is age with noise, `noise`
    is nothing. Subject 03 has no age, 05 lacks a parcel, 07's two recordings differ in sex, 09 was refused.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0, 0.9, PEOPLE), rng.permutation(np.arange(PEOPLE) % 2)
    shown = (first, second) if planted else (rng.permutation(first), rng.permutation(second))
    rows, data = [], []
    for n in range(PEOPLE):
        own = np.eye(PARCELS) + 0.15 * rng.standard_normal((PARCELS, PARCELS))  # a signature that labels do not follow
        for run in range(2 if n % 4 == 3 else 1):
            data.append(course(rng, shown[0][n], 0.35 + 0.2 * shown[1][n], own))
            rows.append({"id": f"sub-{n:02d}_task-rest_run-{run}", "subject": f"{n:02d}", "age": 20 + 60 * first[n],
                         "sex": "FM"[second[n]], "site": "ABCD"[n % 4], "split": ("train", "train", "validation",
                         "test")[n // 4 % 4]})  # fmt: skip
    table = pd.DataFrame(rows).assign(n_steps=STEPS, status="done")
    noise = dict(zip(table["subject"].unique(), rng.standard_normal(PEOPLE), strict=True))
    table["noise"] = table["subject"].map(noise)
    table["dose"] = table["age"] + 2 * table["noise"]
    table.loc[table["subject"] == "03", "age"] = np.nan
    table.loc[table["id"] == "sub-07_task-rest_run-1", "sex"] = "X"
    data[table.index[table["subject"] == "05"][0]][:, 6] = np.nan
    table.loc[table["subject"] == "09", ["status", "reason"]] = ["refused", "for the test"]
    atlas = pd.DataFrame({"index": range(1, PARCELS + 1), "name": [f"p{i}" for i in range(PARCELS)]})
    atlas[["x", "y", "z"]] = rng.uniform(-60, 60, (PARCELS, 3))
    return write(folder, data, table, atlas)
