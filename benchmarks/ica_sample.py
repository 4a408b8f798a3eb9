"""ICA on the coarse voxel sample beside ICA on every brain voxel of the 2 mm grid: what each removes, and the series.

    python -m benchmarks.ica_sample BIDS_DIR OUTDIR RECORDING > table.tsv

OUTDIR is the result of a run on BIDS_DIR, up to stage denoise at least; RECORDING a recording's id
(`sub-02_task-oneback_run-1`). The voxel sample is drawn from the raw image again at 2 mm by the same stage, composed
transforms and one interpolation, and stage denoise runs on both. One row a pair:

    coarse / 2 mm          what the design asks
    coarse / other seed    the same voxels, ICA from another start: how far the method agrees with itself
    2 mm / other seed      the same at 2 mm

`components`, `noise`: counts of either. `components_shared`, `noise_shared`: mean squared cosine of the principal
angles between the spans of all courses, and of those that are removed (over the smaller dimension; 1: the
same span). `noise_chance`: what noise_shared would be if as many courses were drawn from the first's own components at
random (mean of 200). `series_r_*`: over parcels, correlation of the series after D. CPU seconds of stage denoise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.recovery import Array, correlations, files_of
from benchmarks.scoring import call
from brainlm_data.files.tables import read_table
from brainlm_data.methods.operators import Recipe, drop, fill_censored, high_pass
from brainlm_data.methods.regression import Regression
from brainlm_data.paths import artifact_path
from brainlm_data.stage import Files
from brainlm_data.stages import denoise, sample

COHORT = ("atlas_dseg", "atlas_table", "template_t1w", "template_mask", "template_probseg")
SUBJECT = ("t1w_to_mni", *sample.TISSUES)
RECORDING = ("motion_params", "motion_xfm", "boldref", "bold_mask", "bold_to_t1w", "bold_to_mni")


def sample_inputs(bids_dir: Path, outdir: Path, prefix: str) -> Files:
    """Everything that stage sample reads; a T1w's files only where there is one."""
    subject = prefix.split("/")[0]
    found = {"bold": next((bids_dir / prefix).parent.glob(f"{prefix.rsplit('/', 1)[1]}_bold.nii*"))}
    for names, place in ((COHORT, ""), (SUBJECT, f"{subject}/anat/{subject}"), (RECORDING, prefix)):
        for name in names:
            pattern = artifact_path(name, outdir, place, {"space": "*", "seg": "*"})
            below = pattern.relative_to(outdir)
            for path in outdir.glob(str(below)):
                found[name] = path
    return Files(found, {"id": prefix.rsplit("/", 1)[1], "metadata": {}})


def fit(inputs: Files, seed: int) -> dict[str, Any]:
    """Stage denoise: courses, D and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        outputs, facts, seconds = call(denoise.STAGE, inputs, Path(folder), seed=seed, fits=1)
        courses = read_table(outputs["ica_mixing"])[1]
        return {
            "courses": courses[np.isfinite(courses).all(1)],
            "d": Regression.load(outputs["denoise_recipe"]),
            "seconds": seconds,
            "converged": facts["Converged"],
        }


def shared(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Mean squared cosine of the principal angles between two spans of columns."""
    a, b = (np.linalg.qr(x)[0] for x in (first, second))
    return float(np.mean(np.linalg.svd(a.T @ b, compute_uv=False) ** 2))


def row(pair: str, first: dict[str, Any], second: dict[str, Any], series: Array) -> dict[str, Any]:
    """How far two fits agree."""
    rng = np.random.default_rng(0)
    count = first["d"].noise.shape[1]
    chance = [shared(rng.permutation(first["courses"], axis=1)[:, :count], second["d"].noise) for _ in range(200)]
    r = correlations(first["d"].apply(series), second["d"].apply(series))
    return {
        "pair": pair,
        "components": f"{first['courses'].shape[1]}, {second['courses'].shape[1]}",
        "noise": f"{count}, {second['d'].noise.shape[1]}",
        "components_shared": shared(first["courses"], second["courses"]),
        "noise_shared": shared(first["d"].noise, second["d"].noise),
        "noise_chance": float(np.mean(chance)),
        "series_r_median": float(np.median(r)),
        "series_r_p10": float(np.percentile(r, 10)),
        "series_r_min": float(r.min()),
        "cpu_s": f"{first['seconds']:.1f}, {second['seconds']:.1f}",
        "converged": f"{first['converged']}, {second['converged']}",
    }


def main() -> None:
    """Command line."""
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("recording")
    parser.add_argument("--fine-mm", type=float, default=2.0)
    arguments = parser.parse_args()
    derivatives = arguments.outdir / "derivatives"
    found = list(derivatives.glob(f"sub-*/**/{arguments.recording}_desc-filter_recipe.json"))
    if not found:
        sys.exit(f"{derivatives}: no recording {arguments.recording} -> run the pipeline up to stage denoise")
    prefix = str(found[0].parent.relative_to(derivatives) / arguments.recording)
    coarse = files_of(prefix, arguments.outdir)
    recipe = Recipe.load(coarse["filter_recipe"])
    series = read_table(coarse["parcels_raw"])[1]
    series = series[:, np.isfinite(series).all(0)]
    series = high_pass(fill_censored(drop(series, recipe), recipe), recipe)
    with tempfile.TemporaryDirectory() as folder:
        outputs = Files({name: Path(folder) / f"{name}.nii.gz" for name in sample.STAGE.outputs})
        sample.run(
            sample_inputs(arguments.bids_dir, arguments.outdir, prefix),
            outputs,
            sample.Config(coarse_mm=arguments.fine_mm),
        )
        voxels = ("voxel_sample", "sample_mask", "sample_probseg")
        fine = Files({**{n: coarse[n] for n in coarse}, **{n: outputs[n] for n in voxels}}, coarse.meta)
        fits = {(name, seed): fit(files, seed) for name, files in (("c", coarse), ("f", fine)) for seed in (0, 1)}
    table = pd.DataFrame(
        [
            row(f"coarse / {arguments.fine_mm:g} mm", fits["c", 0], fits["f", 0], series),
            row("coarse / other seed", fits["c", 0], fits["c", 1], series),
            row(f"{arguments.fine_mm:g} mm / other seed", fits["f", 0], fits["f", 1], series),
        ]
    )
    sys.stdout.write(table.to_csv(sep="\t", index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
