"""Echoes of a run: the one nearest to 30 ms beside their combination, by correlation with the simulated neural truth.

    python -m benchmarks.echoes --json [--recordings 2] [--folder DIR]

A recording of `benchmarks.waterfall` is simulated without thermal noise, and echoes at 13, 30 and 47 ms are made of it.
With X the simulated image, M its mean in time and T2* 45 ms in the upper part of the head, falling to 15 ms at its
base, echo e is M exp(-(TE - 30 ms) / T2*) (1 + TE / 30 ms (X / M - 1)) with the same Rician noise in each of them, as
much as the setting has. What is no BOLD (motion, drift) scales like BOLD here; in a real run it does not, and that
tells them apart (tedana's ICA), which no weighted mean makes use of.

`r`: correlation of parcel series (without trend) with the true neural ones, median over the parcels that all have, for
the `first` echo, the `nearest` to 30 ms and all of them `combined`; `r_low`, `r_high`: the same in the fifth of the
parcels with the lowest and the highest place in the head. Motion is estimated on the first echo for all three.
`t2star_ms`: the median that stage sample writes. `seconds`: CPU seconds of stage sample.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import detrend

from benchmarks.recovery import correlations
from benchmarks.scoring import call
from benchmarks.waterfall import SHAPE, TR_S, VOXEL_MM, recordings
from brainlm_data.files.tables import read_table
from brainlm_data.simulate.cohort import simulate
from brainlm_data.simulate.plan import Plan
from brainlm_data.stage import Files
from brainlm_data.stages import anat, atlas, coreg, motion, sample, template

Array = NDArray[np.float64]
TIMES_S, REFERENCE_S = (0.013, 0.030, 0.047), 0.030
T2STAR_S = (0.015, 0.045)  # at the base of the head, above its middle
HOW = ("first", "nearest", "combined")


def make_echoes(bold: Path, noise_percent: float, seed: int) -> dict[str, Path]:
    """The echoes of a run without noise, beside it, by the names that stages know them by."""
    image: Any = nib.load(bold)
    data = image.get_fdata(dtype=np.float32)
    mean = np.maximum(data.mean(-1, keepdims=True), 1)
    inside = mean[..., 0] > 0.2 * np.percentile(mean, 98)
    heights = (np.indices(SHAPE).reshape(3, -1).T @ image.affine[:3, :3].T)[:, 2].reshape(SHAPE)
    bottom, top = np.percentile(heights[inside], [2, 98])
    share = np.clip((heights - bottom) / (0.5 * (top - bottom)), 0, 1)  # 0 at the base, 1 from the middle on
    t2star = (T2STAR_S[0] + share * (T2STAR_S[1] - T2STAR_S[0]))[..., None]
    sigma = noise_percent / 100 * float(np.median(mean[..., 0][inside]))
    paths = {}
    for number, time in enumerate(TIMES_S, 1):
        rng = np.random.default_rng([seed, number])
        clean = mean * np.exp(-(time - REFERENCE_S) / t2star) * (1 + time / REFERENCE_S * (data / mean - 1))
        real, imaginary = (sigma * rng.standard_normal(data.shape, dtype=np.float32) for _ in range(2))
        echo = np.hypot(clean + real, imaginary).astype(np.float32)
        path = bold.with_name(bold.name.replace("_bold", f"_echo-{number}_bold"))
        written = nib.Nifti1Image(echo, image.affine, image.header)
        written.set_data_dtype(np.float32)
        nib.save(written, path)
        paths[f"sub-01/func/{path.name}"] = path
    return paths


def one(folder: Path, space: dict[str, Path], settings: dict[str, Any]) -> dict[str, Any]:
    """Simulate, process and score one recording."""
    data = folder / f"seed-{settings['seed']}"
    plan = Plan(out=data, subjects=1, tr_s=TR_S, shape=SHAPE, voxel_mm=VOXEL_MM, **settings)
    simulate(replace(plan, noise=0.0), quiet=True)
    [bold] = data.glob("sub-01/func/*_bold.nii.gz")
    echoes = make_echoes(bold, settings["noise"], settings["seed"])
    paths = list(echoes.values())
    meta: dict[str, Any] = {"id": bold.name.removesuffix("_bold.nii.gz"), "metadata": {"RepetitionTime": TR_S}}
    known = {**space, "t1w": next(data.glob("sub-01/anat/*_T1w.nii.gz")), "bold": paths[0]}
    scratch = folder / f"seed-{settings['seed']}-stages"
    for stage in (anat.STAGE, motion.STAGE, coreg.STAGE):
        known |= call(stage, Files(known, meta), scratch / stage.name)[0]
    together = {"EchoTimes": list(TIMES_S), "EchoesCombined": [f"bids:raw:{name}" for name in echoes]}
    inputs = {
        "first": Files(known, meta),
        "nearest": Files({**known, "bold": paths[1]}, meta),
        "combined": Files({**known, **echoes}, {**meta, "echo": together}),
    }
    series, seconds, t2star_s = dict[str, Array](), dict[str, float](), 0.0
    for how in HOW:
        written, facts, seconds[how] = call(sample.STAGE, inputs[how], scratch / f"sample_{how}")
        names, series[how] = read_table(written["parcels_raw"])
        t2star_s = facts.get("MedianT2star", 0.0)
    return {"seed": settings["seed"], **score(data, space, names, series), "t2star_ms": 1000 * t2star_s,
            "seconds": seconds}  # fmt: skip


def score(data: Path, space: dict[str, Path], names: list[str], series: dict[str, Array]) -> dict[str, Any]:
    """Correlations with the truth: in all parcels, and in the lowest and the highest fifth."""
    func = data / "truth" / "sub-01" / "func"
    true_names, neural = read_table(next(func.glob("*_desc-neural_timeseries.tsv")))
    table = pd.read_csv(space["atlas_table"], sep="\t").set_index("name")
    finite = np.all([np.isfinite(x).all(0) for x in series.values()], axis=0)
    kept = [i for i, name in enumerate(names) if finite[i] and name in true_names]
    goal = detrend(neural[:, [true_names.index(names[i]) for i in kept]], axis=0)
    height = table.loc[[names[i] for i in kept], "z"].to_numpy(float)
    low, high = np.percentile(height, [20, 80])
    found: dict[str, dict[str, float]] = {"r": {}, "r_low": {}, "r_high": {}}
    for how, values in series.items():
        r = correlations(detrend(values[:, kept], axis=0), goal)
        found["r"][how] = float(np.median(r))
        found["r_low"][how] = float(np.median(r[height <= low]))
        found["r_high"][how] = float(np.median(r[height >= high]))
    return found


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--recordings", type=int, default=2, help="so many of benchmarks.waterfall's")
    parser.add_argument("--folder", type=Path, help="where simulated recordings go (kept)")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name) / "data"
        folder.mkdir(parents=True, exist_ok=True)
        space, _, _ = call(template.STAGE, Files({}), Path(name) / "template")
        space |= call(atlas.STAGE, Files(space), Path(name) / "atlas", name="demo424")[0]
        for settings in recordings()[: options.recordings]:
            rows.append(one(folder, space, settings))
            print(rows[-1], file=sys.stderr, flush=True)
    means = {key: {how: float(np.mean([row[key][how] for row in rows])) for how in HOW}
             for key in ("r", "r_low", "r_high")}  # fmt: skip
    tools.show({**means, "recordings": rows}, options.json)


if __name__ == "__main__":
    main()
