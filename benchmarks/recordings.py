"""Recordings that benchmarks of the temporal stages share: simulated or real, processed up to stage filter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring import call
from benchmarks.tools import ROOT
from brainlm_data.files.tables import read_table
from brainlm_data.methods.chain import before_regression
from brainlm_data.methods.operators import Recipe
from brainlm_data.stage import Files
from brainlm_data.stages import atlas, confounds, coreg, motion, sample, template
from brainlm_data.stages import filter as filter_stage

Array = NDArray[np.float64]
SHAPE, VOXEL_MM = (36, 44, 28), 5.5
# seed, volumes, TR (s), typical mean FD (mm), thermal noise (%): quiet and moving heads, short and long runs
SIMULATED = (
    (501, 150, 2.0, 0.1, 1.0),
    (502, 200, 2.0, 0.3, 1.0),
    (503, 120, 2.0, 0.6, 2.0),
    (504, 240, 1.0, 0.2, 1.5),
    (505, 300, 0.8, 0.2, 1.5),
    (506, 100, 3.0, 0.2, 1.0),
)
REAL = ROOT.parent / "shared" / "data" / "bids" / "studyforrest" / "sub-02" / "func"
REAL_TR_S = 2.0


def space(folder: Path) -> dict[str, Path]:
    """Template and demo atlas."""
    files = call(template.STAGE, Files({}), folder / "template")[0]
    return files | call(atlas.STAGE, Files(files), folder / "atlas", name="demo424")[0]


def simulated(
    folder: Path,
    seed: int,
    volumes: int,
    tr_s: float,
    motion_mm: float,
    noise: float,
    tasks: tuple[str, ...] = ("rest",),
) -> Path:
    """BIDS folder of one simulated recording without a T1w."""
    from brainlm_data.simulate.cohort import simulate
    from brainlm_data.simulate.plan import Plan

    out = folder / f"seed-{seed}"
    simulate(
        Plan(
            out=out, subjects=1, volumes=volumes, tr_s=tr_s, shape=SHAPE, voxel_mm=VOXEL_MM, seed=seed, tasks=tasks,
            no_t1w=("01",), motion_mm=motion_mm, noise=noise,
        ),
        quiet=True,
    )  # fmt: skip
    return out


def prepared(bold: Path, tr_s: float, known: dict[str, Path], folder: Path, **filtering: Any) -> Files:
    """All that stages from motion to filter make of a raw image; `filtering`: the section of stage filter."""
    name = bold.name.removesuffix("_bold.nii.gz")
    meta = {"id": name, "metadata": {"RepetitionTime": tr_s}}
    files = {**known, "bold": bold}
    for stage in (motion.STAGE, coreg.STAGE, sample.STAGE, confounds.STAGE):
        files |= call(stage, Files(files, meta), folder / stage.name)[0]
    return refiltered(Files(files, meta), folder, **filtering)


def refiltered(files: Files, folder: Path, **filtering: Any) -> Files:
    """The same recording with another section of stage filter."""
    return Files({**files, **call(filter_stage.STAGE, files, folder / "filter", **filtering)[0]}, files.meta)


def everyone(folder: Path, limit: int | None = None) -> dict[str, Files]:
    """Name -> files of the simulated recordings, and of the real one where it is at hand."""
    known = space(folder)
    out = {}
    for seed, volumes, tr_s, motion_mm, noise in SIMULATED[:limit]:
        [bold] = simulated(folder, seed, volumes, tr_s, motion_mm, noise).glob("sub-01/func/*_bold.nii.gz")
        out[f"seed {seed}"] = prepared(bold, tr_s, known, folder / f"seed-{seed}-stages")
    if REAL.exists():
        [bold] = REAL.glob("*_bold.nii.gz")
        out["studyforrest"] = prepared(bold, REAL_TR_S, known, folder / "real")
    return out


def parcels(files: Files) -> tuple[Array, Recipe]:
    """(steps, parcels) as D meets them, those without data left out; and the recipe."""
    recipe = Recipe.load(files["filter_recipe"])
    series = read_table(files["parcels_raw"])[1]
    return before_regression(series[:, ~np.isnan(series).any(0)], recipe), recipe
