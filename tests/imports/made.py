"""Small generated data sets of each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainlm_data.cli import main

PARCELS = 6
SITES = {"A": 2.0, "B": 1.5, "C": 3.0}  # TR, s
PEOPLE = 5  # of each site


def signal(seed: int, volumes: int = 60, parcels: int = PARCELS, tr_s: float = 2.0) -> np.ndarray:
    """(time, parcel): slow waves around a level."""
    rng = np.random.default_rng(seed)
    time = np.arange(volumes)[:, None] * tr_s
    return 100 + 10 * np.sin(2 * np.pi * (rng.uniform(0.01, 0.05, parcels) * time + rng.uniform(0, 1, parcels)))


def people() -> list[tuple[str, str, float, int]]:
    """(site, number, TR, volumes) of everyone."""
    found = []
    for place, (site, tr_s) in enumerate(SITES.items()):
        found += [(site, f"{place}{i:03d}", tr_s, 60 + i) for i in range(PEOPLE)]
    return found


def abide(folder: Path, wide_scale: bool = False, **change: Any) -> Path:
    """An .npz and its table; `change`: other arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    data, scales, offset, rows = [], [], [0], []
    for seed, (site, number, tr_s, volumes) in enumerate(people()):
        x = signal(seed, volumes, tr_s=tr_s)
        scale = np.abs(x).max(axis=0 if wide_scale else None) / 32000
        data.append(np.round(x / scale).astype(np.int16))
        scales.append(scale)
        offset.append(offset[-1] + volumes)
        rows.append({"participant_id": f"{site}_{number}", "site": site, "age": 20.0 + seed, "mean_fd_mm": 0.1,
                     "n_volumes": volumes, "repetition_time_s": tr_s})  # fmt: skip
    arrays = {"data": np.concatenate(data), "offset": np.array(offset), "scale": np.array(scales, np.float32),
              "file_id": np.array([row["participant_id"] for row in rows])}  # fmt: skip
    np.savez(folder / "made_cc200.npz", **{k: v for k, v in {**arrays, **change}.items() if v is not None})
    pd.DataFrame(rows).to_csv(folder / "made_cc200.tsv", sep="\t", index=False)
    return folder / "made_cc200.npz"


def write_1d(file: Path, values: np.ndarray, labels: list[int] | None = None) -> None:
    """As the project distributes them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    head = "\t".join(f"#{i}" for i in (labels or range(1, values.shape[1] + 1)))
    np.savetxt(file, values, fmt="%.6f", delimiter="\t", header=head, comments="")


def pcp(folder: Path) -> Path:
    """.1D files and the project's phenotypes (a .csv with other names)."""
    rows = []
    for seed, (site, number, tr_s, volumes) in enumerate(people()):
        write_1d(folder / f"{site}_005{number}_rois_cc200.1D", signal(seed, volumes, tr_s=tr_s))
        rows.append({"Unnamed: 0": seed, "SUB_ID": int(f"5{number}"), "FILE_ID": f"{site}_005{number}",
                     "AGE_AT_SCAN": -9999 if seed == 3 else 20 + seed, "func_mean_fd": 0.2, "tr": tr_s})  # fmt: skip
    rows.append({"SUB_ID": 1, "FILE_ID": "no_filename"})
    rows.append({"SUB_ID": 2, "FILE_ID": "no_filename"})
    pd.DataFrame(rows).to_csv(folder / "phenotypes.csv", index=False)
    return folder


def run(kind: str, path: Path, outdir: Path, *words: str) -> int:
    """`brainlm-data import`; its exit status."""
    return main(["import", kind, str(path), str(outdir), *words])
