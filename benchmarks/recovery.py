"""What the temporal stages recover of a known neural signal, on simulated recordings that the pipeline has processed.

    python -m benchmarks.recovery BIDS_DIR OUTDIR [--seeds 5] > table.tsv

BIDS_DIR is what `brainlm-data simulate` wrote (with `truth/`), OUTDIR the result of a run on it, up to stage denoise at
least. One row a recording and variant. `r_median`, `r_p10`: over parcels, correlation with the true neural signal in
the same band (E, C and H applied to the truth as well). Every variant starts from the same parcel means:

    scaled       mean removed only: what the scanner gave
    filtered     H
    ica          H, then ICA on filtered voxels and D: the pipeline's default
    unsmoothed   the same with ICA on the voxel sample as it is (smooth_mm: 0)
    smooth6      the same with ICA on a copy smoothed by 6 mm
    ica_first    ICA on voxels that were not filtered and its D, then H: the order for which AROMA was made
    motion24     H, then the 24 motion terms, jointly
    compcor      H, then 24 motion terms, aCompCor, CSF and white matter, jointly
    ica+motion6  H, then ICA's noise components and six motion parameters, jointly

`neural_lost`: how much of the true signals D takes away, 1 - <D s, s> / <s, s> (median over parcels). `removed_*`: the
same of the simulated noise's time courses in the band (mean over the courses of a kind; n/a: that noise is not there),
and of the true motion parameters. D is no orthogonal projection, so a little below 0 is possible. `n_ica`: how many
components there were; `n_removed`: how many regressors are noise.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods.operators import Recipe, Regression, drop, fill_censored, high_pass
from brainlm_data.paths import artifact_path
from brainlm_data.stage import Files
from brainlm_data.stages import denoise
from brainlm_data.tables import read_table

Array = NDArray[np.float64]
NAMES = ("voxel_sample", "sample_mask", "sample_probseg", "confounds", "motion_params", "filter_recipe", "parcels_raw")
MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
MOTION24 = ["trans_*", "rot_*"]
VARIANTS: dict[str, dict[str, Any] | None] = {
    "scaled": None,
    "filtered": None,
    "ica": {},
    "unsmoothed": {"smooth_mm": 0},
    "smooth6": {"smooth_mm": 6},
    "ica_first": {},
    "motion24": {"strategy": None, "confounds": MOTION24},
    "compcor": {"strategy": None, "confounds": [*MOTION24, "a_comp_cor_0[0-4]", "csf", "white_matter"]},
    "ica+motion6": {"confounds": MOTION},
}
KINDS = {"heart": "cardiac", "breath": "respiratory", "drift": "drift", "spin": "spin_history", "spike": "spike"}


def files_of(prefix: str, outdir: Path) -> Files:
    """The derivatives of a recording, by artifact name, whatever the template and the atlas are called."""
    found = {}
    for name in NAMES:
        pattern = artifact_path(name, outdir, prefix, {"space": "*", "seg": "*"})
        [found[name]] = pattern.parent.glob(pattern.name)
    return Files(found, {"id": prefix.rsplit("/", 1)[-1]})


def regression(files: Files, recipe: Recipe, section: dict[str, Any]) -> tuple[Regression, dict[str, Any]]:
    """Stage denoise with this recipe and section: D and the facts."""
    with tempfile.TemporaryDirectory() as folder:
        ends = {"ica_mixing": "m.tsv", "ica_components": "c.nii.gz", "ica_metrics": "f.tsv", "denoise_recipe": "d.npz"}
        outputs = Files({name: Path(folder) / end for name, end in ends.items()})
        changed = Path(folder) / "recipe.json"
        recipe.save(changed)
        inputs = Files({**{name: files[name] for name in files}, "filter_recipe": changed}, files.meta)
        facts = denoise.run(inputs, outputs, denoise.Config(**section))
        return Regression.load(outputs["denoise_recipe"]), facts


def correlations(first: Array, second: Array) -> Array:
    """r of each pair of columns."""
    a, b = (x - x.mean(0) for x in (first, second))
    return np.asarray((a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0)))


def removed(before: Array, after: Array) -> Array:
    """How much of each column is gone from itself; nan where there was nothing."""
    power = (before**2).sum(0)
    return np.where(power > 0, 1 - (before * after).sum(0) / np.where(power > 0, power, 1), np.nan)


def rows(prefix: str, bids_dir: Path, outdir: Path, seeds: int = 1) -> list[dict[str, Any]]:
    """One row a variant, and a seed where it has an ICA."""
    files = files_of(prefix, outdir)
    recipe = Recipe.load(files["filter_recipe"])
    unfiltered = Recipe(recipe.tr_s, recipe.n_volumes, recipe.dropped, recipe.censored)

    def start(x: Array) -> Array:
        return fill_censored(drop(x, recipe), recipe)

    truth = bids_dir / "truth" / prefix
    names, series = read_table(files["parcels_raw"])
    true_names, neural = read_table(truth.with_name(f"{truth.name}_desc-neural_timeseries.tsv"))
    noise_names, noise = read_table(truth.with_name(f"{truth.name}_desc-noise_timeseries.tsv"))
    motion = read_table(truth.with_name(f"{truth.name}_desc-motion_timeseries.tsv"))[1]
    shared = [n for n in names if n in true_names and np.isfinite(series[:, names.index(n)]).all()]
    x = start(series[:, [names.index(n) for n in shared]])
    goal = high_pass(start(neural[:, [true_names.index(n) for n in shared]]), recipe)
    noise, motion = high_pass(start(noise), recipe), high_pass(start(motion), recipe)
    out = []
    for (name, section), seed in itertools.product(VARIANTS.items(), range(seeds)):
        if seed and (section is None or "strategy" in section):
            continue  # without an ICA there is nothing random
        row: dict[str, Any] = {"recording": files.meta["id"], "variant": name, "seed": seed, "steps": len(x)}
        result = high_pass(x, unfiltered if name == "scaled" else recipe)
        if section is not None:
            first = unfiltered if name == "ica_first" else recipe
            d, facts = regression(files, first, section | {"seed": seed})
            result = d.apply(high_pass(x, first))
            if name == "ica_first":
                result = high_pass(result, recipe)
            row |= {"n_ica": facts["NumberOfComponents"], "n_removed": d.noise.shape[1]}
            row["neural_lost"] = float(np.median(removed(goal, d.apply(goal))))
            row["removed_motion"] = float(np.mean(removed(motion, d.apply(motion))))
            gone = removed(noise, d.apply(noise))
            for kind, stem in KINDS.items():
                values = gone[[bool(re.match(stem, n)) for n in noise_names]]
                row[f"removed_{kind}"] = float(np.nanmean(values)) if np.isfinite(values).any() else np.nan
        r = correlations(result, goal)
        row |= {"r_median": float(np.median(r)), "r_p10": float(np.percentile(r, 10))}
        out.append(row)
    return out


def main() -> None:
    """Command line."""
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--limit", type=int, help="only so many recordings")
    parser.add_argument("--seeds", type=int, default=1, help="repeat every ICA from so many starts")
    arguments = parser.parse_args()
    derivatives = arguments.outdir / "derivatives"
    ending = "_desc-filter_recipe.json"
    found = sorted(p for p in derivatives.glob("sub-*/**/*" + ending))[: arguments.limit]
    if not found:
        sys.exit(f"{derivatives}: no recording with a filter recipe -> run the pipeline up to stage denoise")
    table = pd.DataFrame(
        [
            row
            for path in found
            for row in rows(
                str(path.relative_to(derivatives))[: -len(ending)],
                arguments.bids_dir,
                arguments.outdir,
                arguments.seeds,
            )
        ]
    )
    sys.stdout.write(table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.3f"))
    mean = table.groupby("variant", sort=False).mean(numeric_only=True).drop(columns="seed")
    sys.stderr.write("means over recordings\n" + mean.round(3).to_string() + "\n")


if __name__ == "__main__":
    main()
