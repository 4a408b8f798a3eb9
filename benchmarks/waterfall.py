"""What each step of preprocessing adds: parcel series beside the simulated neural truth, step by step.

    python -m benchmarks.waterfall --json [--recordings 12] [--workers 1] [--folder DIR [--reuse]]

Every recording is simulated (`brainlm-data simulate`, one subject a seed, see SETTINGS: motion, thermal noise, length;
two are clean) and processed by the stages as they are, default configuration. The steps:

    headers          raw volumes at the template's atlas voxels by the affine of the header alone
    motion           + realignment to the reference, the template still placed by the header
    normalization    + EPI -> T1w -> template: stage sample as it is
    filter           + high-pass
    ica              + ICA and its regression: the default

The first three are stage sample with identity transforms in place of those not yet estimated. `r`: correlation with
the true neural series, median over the parcels that all steps have; the truth is treated like the series of that step
(mean removed in the first three, filtered in the other two). `r_band`: the same with the filter in every step, so that
slow drift does not hide what the first three do; from `normalization` on it is `r` of `filter`. `unrealigned`: the
same with normalization but without realignment, which says what realignment is worth once parcels are in place.

Of each recording: `offset_mm`, where the header places the atlas voxels, and `error_mm`, where registration places them
(mean distance from where they truly are at the first volume); `fd_mm`, true mean framewise displacement; `moved_mm`,
mean distance of brain points from where they were at the first volume, and `left_mm`, what realignment leaves of it;
components of ICA and how many were removed; `neural_lost`, the share of the true signals that D takes (median over
parcels); `better`, the share of parcels that improved at each step. Hurt: r fell at that step.

`--folder` keeps the simulated recordings and what the stages wrote; with `--reuse` only filter and denoise run again.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.recovery import correlations, removed
from benchmarks.scoring import NAMES, call
from brainlm_data.files.tables import read_table
from brainlm_data.methods import rigid
from brainlm_data.methods.operators import Recipe, drop, fill_censored, high_pass
from brainlm_data.methods.regression import Regression
from brainlm_data.paths import ARTIFACTS
from brainlm_data.stage import Files, Stage
from brainlm_data.stages import anat, atlas, confounds, coreg, denoise, motion, sample, template
from brainlm_data.stages import filter as filter_stage

Array = NDArray[np.float64]
STEPS = ("headers", "motion", "normalization", "filter", "ica")
SAME = 1e-6  # a smaller change of r is none
TR_S, SHAPE, VOXEL_MM = 2.0, (46, 54, 38), 4.0
# volumes, typical mean FD (mm; each subject has a factor of its own), thermal noise (%), factor on other noise, seeds
SETTINGS: tuple[tuple[int, float, float, float, tuple[int, ...]], ...] = (
    (120, 0.1, 1.0, 1.0, (401, 402)),
    (120, 0.3, 1.0, 1.0, (411, 412)),
    (200, 0.3, 1.5, 1.0, (421, 422)),
    (150, 0.6, 2.0, 1.0, (431, 432)),
    (60, 0.2, 1.0, 1.0, (441, 442)),
    (150, 0.02, 0.5, 0.0, (451, 452)),
)


def recordings() -> list[dict[str, Any]]:
    """Every recording's settings, one of each setting first, so that a small number of them is varied as well."""
    rows = [
        (order, {"seed": seed, "volumes": n, "motion_mm": mm, "noise": noise, "physio": physio})
        for n, mm, noise, physio, seeds in SETTINGS
        for order, seed in enumerate(seeds)
    ]
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def simulated(folder: Path, settings: dict[str, Any]) -> Path:
    """The dataset of one recording, simulated once a folder."""
    from brainlm_data.simulate.cohort import simulate
    from brainlm_data.simulate.plan import Plan

    out = folder / f"seed-{settings['seed']}"
    if not out.exists():
        unfinished = out.with_name(out.name + ".part")
        simulate(
            Plan(out=unfinished, subjects=1, tr_s=TR_S, shape=SHAPE, voxel_mm=VOXEL_MM, **settings), quiet=True
        )  # fmt: skip
        unfinished.rename(out)
    return out


def placed(data: Path, files: Files) -> dict[str, float]:
    """Mean distances (mm) of the atlas voxels from where they truly are: by headers and transforms; by realignment."""
    from brainlm_data.methods.registration import template_to_boldref
    from brainlm_data.simulate.truth import Displacement

    truth = data / "truth" / "sub-01"
    warp = Displacement.load(next((truth / "anat").glob("*displacement.nii.gz")))
    pose = np.load(next((truth / "func").glob("*_from-T1w_to-boldref_xfm.npy")))
    image: Any = nib.load(files["atlas_dseg"])
    points = np.argwhere(np.asarray(image.dataobj) > 0) @ image.affine[:3, :3].T + image.affine[:3, 3]
    true = warp(points) @ pose[:3, :3].T + pose[:3, 3]
    motions = rigid.read_itk(files["motion_xfm"])
    first = motions[0]  # boldref -> the first volume, in which truth is given
    found = template_to_boldref(points, bold_to_t1w=files["bold_to_t1w"], t1w_to_mni=files["t1w_to_mni"])
    found = found @ first[:3, :3].T + first[:3, 3]
    moves = np.load(next((truth / "func").glob("*_desc-motion_xfm.npy")))  # first volume -> volume t
    left = motions @ np.linalg.inv(first) - moves
    some = np.c_[true[::50], np.ones(len(true[::50]))]  # a rigid move needs few points

    def mean(distances: Array) -> float:
        return float(np.linalg.norm(distances, axis=-1).mean())

    return {
        "offset_mm": mean(points - true),
        "error_mm": mean(found - true),
        "moved_mm": mean((some @ (moves - np.eye(4)).transpose(0, 2, 1))[..., :3]),
        "left_mm": mean((some @ left.transpose(0, 2, 1))[..., :3]),
    }


def one(folder: Path, space: dict[str, Path], settings: dict[str, Any], reuse: bool) -> dict[str, Any]:
    """Simulate, process and score one recording."""
    data = simulated(folder, settings)
    row = settings | score(data, space, folder / f"{data.name}-stages", reuse)
    steps = " ".join(f"{name} {row['r'][name]:.3f}" for name in STEPS)
    print(f"seed {settings['seed']}: {steps}", file=sys.stderr, flush=True)
    return row


def once(stage: Stage, inputs: Files, folder: Path, reuse: bool, **section: Any) -> dict[str, Path]:
    """The files of a stage, run now or, with `reuse`, before."""
    if not (reuse and (folder / "done").exists()):
        call(stage, inputs, folder, **section)
        (folder / "done").touch()
    paths = {n: folder / Path(ARTIFACTS[n].pattern.format(prefix="x", **NAMES)).name for n in stage.outputs}
    return {name: path for name, path in paths.items() if path.exists()}


def score(data: Path, space: dict[str, Path], scratch: Path, reuse: bool) -> dict[str, Any]:
    """Run the stages and correlate every step with the truth."""
    [bold] = data.glob("sub-01/func/*_bold.nii.gz")
    meta = {"id": bold.name.removesuffix("_bold.nii.gz"), "metadata": {"RepetitionTime": TR_S}}
    known = {**space, "bold": bold, "t1w": next(data.glob("sub-01/anat/*_T1w.nii.gz"))}
    anatomy = once(anat.STAGE, Files(known, meta), scratch / "anat", reuse)
    moved = once(motion.STAGE, Files(known, meta), scratch / "motion", reuse)
    coregistered = once(coreg.STAGE, Files({**known, **anatomy, **moved}, meta), scratch / "coreg", reuse)
    estimated = {**known, **anatomy, **moved, **coregistered}
    volumes = len(rigid.read_itk(moved["motion_xfm"]))
    still, headers = scratch / "still.txt", scratch / "headers.txt"
    rigid.write_itk(still, np.tile(np.eye(4), (volumes, 1, 1)))
    rigid.write_itk(headers, np.eye(4)[None])
    by_header = {k: v for k, v in estimated.items() if k not in {"bold_to_t1w", "t1w_to_mni"}} | {
        "bold_to_mni": headers
    }
    inputs = {
        "headers": by_header | {"motion_xfm": still},
        "motion": by_header,
        "unrealigned": estimated | {"motion_xfm": still},
        "normalization": estimated,
    }
    series = {}
    for name, files in inputs.items():
        section = {} if name == "normalization" else {"min_overlap": 0.0}  # a poor overlap is what is to be measured
        sampled = once(sample.STAGE, Files(files, meta), scratch / f"sample_{name}", reuse, **section)
        names, series[name] = read_table(sampled["parcels_raw"])
    files = {**estimated, **sampled}
    files |= once(confounds.STAGE, Files(files, meta), scratch / "confounds", reuse)
    files |= call(filter_stage.STAGE, Files(files, meta), scratch / "filter")[0]
    written, facts, _ = call(denoise.STAGE, Files(files, meta), scratch / "denoise")
    recipe, d = Recipe.load(files["filter_recipe"]), Regression.load(written["denoise_recipe"])
    unfiltered = Recipe(recipe.tr_s, recipe.n_volumes, recipe.dropped, recipe.censored)

    func = data / "truth" / "sub-01" / "func"
    true_names, neural = read_table(next(func.glob("*_desc-neural_timeseries.tsv")))
    about = json.loads(next(func.glob("*_desc-motion_timeseries.json")).read_text())
    finite = np.all([np.isfinite(x).all(0) for x in series.values()], axis=0)
    kept = [i for i, n in enumerate(names) if finite[i] and n in true_names]
    truth = neural[:, [true_names.index(names[i]) for i in kept]]

    def treated(x: Array, how: Recipe) -> Array:
        return high_pass(fill_censored(drop(x, recipe), recipe), how)

    wide, goal = treated(truth, unfiltered), treated(truth, recipe)
    in_band = {name: treated(x[:, kept], recipe) for name, x in series.items()}
    r = {name: correlations(treated(series[name][:, kept], unfiltered), wide) for name in STEPS[:3]}
    r["filter"] = correlations(in_band["normalization"], goal)
    r["ica"] = correlations(d.apply(in_band["normalization"]), goal)
    return {
        "r": {name: float(np.median(r[name])) for name in STEPS},
        "r_band": {name: float(np.median(correlations(x, goal))) for name, x in in_band.items()},
        "better": {b: float((r[b] > r[a]).mean()) for a, b in pairwise(STEPS)},
        "fd_mm": about["MeanFramewiseDisplacement"],
        **placed(data, Files(estimated)),
        "parcels": len(kept),
        "n_ica": facts["NumberOfComponents"],
        "n_removed": facts["NumberOfNoiseComponents"],
        "neural_lost": float(np.median(removed(goal, d.apply(goal)))),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Per step: mean r, mean paired gain over the step before, how many improved, and who was hurt."""
    out: dict[str, Any] = {}
    for before, step in zip((None, *STEPS[:-1]), STEPS, strict=True):
        out[step] = {"r": float(np.mean([row["r"][step] for row in rows]))}
        if step in rows[0]["r_band"]:
            out[step]["r_band"] = float(np.mean([row["r_band"][step] for row in rows]))
        if before is None:
            continue
        gains = np.array([row["r"][step] - row["r"][before] for row in rows])
        out[step] |= {
            "gain": float(gains.mean()),
            "gain_min": float(gains.min()),
            "improved": int((gains > SAME).sum()),
            "hurt": [{"seed": row["seed"], "gain": float(g)} for row, g in zip(rows, gains, strict=True) if g < -SAME],
        }
        if step in rows[0]["r_band"]:
            banded = np.array([row["r_band"][step] - row["r_band"][before] for row in rows])
            out[step] |= {"gain_band": float(banded.mean()), "improved_band": int((banded > SAME).sum())}
    banded = np.array([row["r_band"]["normalization"] - row["r_band"]["unrealigned"] for row in rows])
    out["unrealigned"] = {
        "r_band": float(np.mean([row["r_band"]["unrealigned"] for row in rows])),
        "gain_of_realignment": float(banded.mean()),
        "improved_by_realignment": int((banded > SAME).sum()),
    }
    return out


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--recordings", type=int, default=len(recordings()), help="only this many")
    parser.add_argument("--workers", type=int, default=1, help="recordings at once, one thread each")
    parser.add_argument("--folder", type=Path, help="where the simulated recordings are or go (kept)")
    parser.add_argument("--reuse", action="store_true", help="take what stages before filter wrote there before")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name) / "data"
        folder.mkdir(parents=True, exist_ok=True)
        space, _, _ = call(template.STAGE, Files({}), Path(name) / "template")
        parcels, _, _ = call(atlas.STAGE, Files(space), Path(name) / "atlas", name="demo424")
        jobs = [
            (folder, {**space, **parcels}, settings, options.reuse) for settings in recordings()[: options.recordings]
        ]
        with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
            rows = pool.starmap(one, jobs, chunksize=1)
    conditions = {"tr_s": TR_S, "shape": SHAPE, "voxel_mm": VOXEL_MM, "recordings": len(rows)}
    tools.show({"steps": summary(rows), "conditions": conditions, "recordings": rows}, options.json)


if __name__ == "__main__":
    main()
