"""What the temporal stages recover of a known neural signal, on simulated recordings that the pipeline has processed.

    python -m benchmarks.recovery BIDS_DIR OUTDIR [--seeds 5] [--variants filtered ica] > table.tsv

BIDS_DIR is what `brainlm-data simulate` wrote (with `truth/`), OUTDIR the result of a run on it, up to stage denoise at
least. One row per recording and variant. `r_median`, `r_p10`: over parcels, correlation with the true neural signal in
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

`neural_lost`: how much of the true signals D takes away, 1 - <D s, s> / <s, s> (median over parcels). `lost_by_chance`:
the same had the rejected courses been shifted in time, the price of that many regressors. `removed_*`: the
same of the simulated noise's time courses in the band (mean over the courses of a kind; n/a: that noise is not there),
and of the true motion parameters. D is no orthogonal projection, so a little below 0 is possible. `n_ica`: how many
components there were; `n_removed`: how many regressors are noise.

In the parcels, as variance in the band: `parcels_KIND`, the share that D removes of what each kind of simulated noise
brings into the parcels (its true maps averaged over each parcel's true grey matter, times its courses);
`motion_share`, how much of the series without their neural signal and simulated noise follows the six true motion
parameters (moving edges; less what six regressors explain of white noise), here after D and in row `filtered` before.

`found_KIND`: components whose course correlates with a source of that kind by more than .7 in absolute value (cos and
sin of an oscillation: multiple correlation, because they may mix); `called_KIND`: how many of these are rejected.
`motion` there: one of the six motion parameters. `lost_RULE`: what the components rejected by a rule take of the neural
variance (all parcels together; a component that several rules hit is counted under the first of motion, csf,
high_frequency). These, `found_*` and `n_ica` are of the first of the decompositions that are averaged.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring import call
from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import read_table
from brainlm_data.methods.operators import Recipe, drop, fill_censored, high_pass
from brainlm_data.methods.regression import Regression
from brainlm_data.paths import artifact_path
from brainlm_data.stage import Files
from brainlm_data.stages import denoise

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
RULES = ("motion", "csf", "high_frequency")
MATCH = 0.7  # |r| from which a component counts as a source


def files_of(prefix: str, outdir: Path) -> Files:
    """The derivatives of a recording, by artifact name, whatever the template and the atlas are called."""
    found = {}
    for name in NAMES:
        pattern = artifact_path(name, outdir, prefix, {"space": "*", "seg": "*"})
        [found[name]] = pattern.parent.glob(pattern.name)
    return Files(found, {"id": prefix.rsplit("/", 1)[-1]})


@dataclass(frozen=True)
class Fit:
    """What stage denoise made: D, its facts, courses (steps, k), why each component is noise ("": it is not)."""

    d: Regression
    facts: dict[str, Any]
    mixing: Array
    reasons: list[str]

    @property
    def first(self) -> Regression:
        """The operator of the first decomposition alone, without confounds: its columns are the rejected courses."""
        noisy = np.array([bool(reason) for reason in self.reasons], bool)
        return Regression.fit(self.mixing[:, noisy], self.mixing[:, ~noisy])


def regression(files: Files, recipe: Recipe, section: dict[str, Any]) -> Fit:
    """Stage denoise with this recipe and section."""
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "recipe.json"
        recipe.save(changed)
        write_facts(changed, files.facts("filter_recipe"))
        inputs = Files({**{name: files[name] for name in files}, "filter_recipe": changed}, files.meta)
        outputs, facts, _ = call(denoise.STAGE, inputs, Path(folder), **section)
        mixing = read_table(outputs["ica_mixing"])[1][recipe.dropped :]
        lines = [line.split("\t") for line in outputs["ica_metrics"].read_text().splitlines()]
        reasons = [line[lines[0].index("rationale")] for line in lines[1:]]
        return Fit(
            Regression.load(outputs["denoise_recipe"]), facts, mixing, [r if r != "n/a" else "" for r in reasons]
        )


def correlations(first: Array, second: Array) -> Array:
    """r of each pair of columns."""
    a, b = (x - x.mean(0) for x in (first, second))
    return np.asarray((a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0)))


def removed(before: Array, after: Array) -> Array:
    """How much of each column is gone from itself; nan where there was nothing."""
    power = (before**2).sum(0)
    return np.where(power > 0, 1 - (before * after).sum(0) / np.where(power > 0, power, 1), np.nan)


def chance(fit: Fit, neural: Array, draws: int = 20) -> float:
    """Neural variance (median over parcels) that the rejected courses would take if they were shifted in time.

    Circular shifts keep every spectrum and break what the courses have in common with the neural signal: what is left
    is the price of as many regressors in so few volumes.
    """
    rng = np.random.default_rng(0)
    kept = fit.mixing[:, [not reason for reason in fit.reasons]]
    rejected = fit.first.noise if fit.facts["Ica"] else fit.d.noise
    steps, lost = len(neural), []
    for _ in range(draws):
        moved = np.roll(rejected, int(rng.integers(steps // 5, steps - steps // 5)), axis=0)
        lost.append(np.median(removed(neural, Regression.fit(moved, kept).apply(neural))))
    return float(np.mean(lost))


def removed_columns(fit: Fit) -> int:
    """How many regressors are noise: components of the first decomposition, and confounds."""
    return int(fit.facts["NumberOfNoiseComponents"]) + len(fit.facts["Confounds"])


def kinds(names: Sequence[str]) -> dict[str, list[int]]:
    """Columns of each kind of simulated noise."""
    return {kind: [i for i, n in enumerate(names) if n.startswith(stem)] for kind, stem in KINDS.items()}


def weights(truth: Path, labels: Sequence[int], count: int) -> Array:
    """(count, parcels): each noise source's map, mean over the true grey matter of each parcel; 0 where it has none."""
    where: Any = nib.load(truth.with_name(f"{truth.name}_desc-parcels_dseg.nii.gz"))
    maps: Any = nib.load(truth.with_name(f"{truth.name}_desc-noise_maps.nii.gz"))
    parcel, values = np.asarray(where.dataobj).ravel(), np.asarray(maps.dataobj).reshape(-1, count)
    size = np.maximum(np.bincount(parcel, minlength=max(labels) + 1), 1)
    return np.stack([np.bincount(parcel, v, minlength=len(size)) / size for v in values.T])[:, labels]


def motion_power(x: Array, motion: Array) -> float:
    """Sum of squares that motion explains in the columns of x, less what it would explain of white noise."""
    axes = np.linalg.qr(motion)[0]
    explained, total = float(((axes.T @ x) ** 2).sum()), float((x**2).sum())
    count = axes.shape[1]
    return explained - (total - explained) * count / (len(x) - 1 - count)


def unexplained(x: Array, neural: Array, noise: Array) -> Array:
    """Parcels (steps, n) without their own neural signal and the simulated noise's courses, fitted jointly."""
    axes = np.linalg.svd(noise, full_matrices=False)[0][:, : np.linalg.matrix_rank(noise)]
    x, s = (y - axes @ (axes.T @ y) for y in (x, neural))
    return np.asarray(x - s * (x * s).sum(0) / (s**2).sum(0))


def found(mixing: Array, reasons: Sequence[str], sources: dict[str, list[Array]]) -> dict[str, int]:
    """How many components are a source of a kind, and how many of these are rejected; a source is (steps, 1 or 2)."""
    out: dict[str, int] = {}
    unit = mixing / np.maximum(np.linalg.norm(mixing, axis=0), 1e-12)
    noisy = np.array([bool(reason) for reason in reasons], bool)
    for kind, courses in sources.items():
        hit = np.zeros(mixing.shape[1], bool)
        for course in courses:
            if np.linalg.norm(course) > 0:
                hit |= np.linalg.norm(np.linalg.qr(course)[0].T @ unit, axis=0) > MATCH
        out |= {f"found_{kind}": int(hit.sum()), f"called_{kind}": int((hit & noisy).sum())}
    return out


def lost_by_rule(fit: Fit, neural: Array) -> dict[str, float]:
    """The first decomposition's part of the neural variance, split exactly among its rejected components, by rule."""
    reasons = [reason for reason in fit.reasons if reason]
    each = ((fit.first.noise.T @ neural) * (fit.first.readout @ neural)).sum(1) / (neural**2).sum()
    first = [next((rule for rule in RULES if rule in reason), "other") for reason in reasons]
    return {f"lost_{rule}": float(sum(e for e, f in zip(each, first, strict=False) if f == rule)) for rule in RULES}


def rows(
    prefix: str, bids_dir: Path, outdir: Path, seeds: int = 1, variants: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """One row a variant (all, if none is named), and a seed where it has an ICA."""
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
    labels = [int(line.split("\t")[0]) for line in (bids_dir / "truth" / "parcels.tsv").read_text().splitlines()[1:]]
    shared = [n for n in names if n in true_names and np.isfinite(series[:, names.index(n)]).all()]
    x = start(series[:, [names.index(n) for n in shared]])
    goal = high_pass(start(neural[:, [true_names.index(n) for n in shared]]), recipe)
    noise, motion = high_pass(start(noise), recipe), high_pass(start(motion), recipe)
    columns = kinds(noise_names)
    in_parcels = weights(truth, [labels[true_names.index(n)] for n in shared], len(noise_names))
    brought = {kind: noise[:, of] @ in_parcels[of] for kind, of in columns.items()}
    sources = {kind: [noise[:, of]] if len(of) == 2 and kind != "drift" else [noise[:, [i]] for i in of]
               for kind, of in columns.items()}  # fmt: skip
    sources["motion"] = [motion[:, [i]] for i in range(motion.shape[1])]
    rest = unexplained(high_pass(x, recipe), goal, noise)
    out = []
    chosen = {name: VARIANTS[name] for name in variants or VARIANTS}
    for (name, section), seed in itertools.product(chosen.items(), range(seeds)):
        if seed and (section is None or "strategy" in section):
            continue  # without an ICA there is nothing random
        row: dict[str, Any] = {"recording": files.meta["id"], "variant": name, "seed": seed, "steps": len(x)}
        result = high_pass(x, unfiltered if name == "scaled" else recipe)
        if name == "filtered":
            row["motion_share"] = motion_power(rest, motion) / float((rest**2).sum())
        if section is not None:
            first = unfiltered if name == "ica_first" else recipe
            fit = regression(files, first, section | {"seed": seed})
            d = fit.d
            result = d.apply(high_pass(x, first))
            if name == "ica_first":
                result = high_pass(result, recipe)
            row |= {"n_ica": fit.facts["NumberOfComponents"], "n_removed": removed_columns(fit)}
            row["neural_lost"] = float(np.median(removed(goal, d.apply(goal))))
            row["lost_by_chance"] = chance(fit, goal)
            row["removed_motion"] = float(np.mean(removed(motion, d.apply(motion))))
            gone = removed(noise, d.apply(noise))
            for kind, of in columns.items():
                row[f"removed_{kind}"] = float(np.nanmean(gone[of])) if np.isfinite(gone[of]).any() else np.nan
                power = float((brought[kind] ** 2).sum())
                left = float((d.apply(brought[kind]) ** 2).sum())
                row[f"parcels_{kind}"] = 1 - left / power if power > 0 else np.nan
            row["motion_share"] = motion_power(d.apply(rest), motion) / float((rest**2).sum())
            if fit.facts["Ica"]:
                row |= found(fit.mixing, fit.reasons, sources) | lost_by_rule(fit, goal)
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
    parser.add_argument("--limit", type=int, help="only this many recordings")
    parser.add_argument("--seeds", type=int, default=1, help="repeat every ICA from this many starts")
    parser.add_argument("--variants", nargs="+", default=[], choices=list(VARIANTS), help="only these")
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
                arguments.variants,
            )
        ]
    )
    sys.stdout.write(table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.3f"))
    mean = table.groupby("variant", sort=False).mean(numeric_only=True).drop(columns="seed")
    sys.stderr.write("means over recordings\n" + mean.round(3).to_string() + "\n")


if __name__ == "__main__":
    main()
