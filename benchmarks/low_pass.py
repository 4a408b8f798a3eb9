"""Where to fit a regression that a low-pass follows.

    python -m benchmarks.low_pass --json [--recordings 2]

Simulated recordings (of `benchmarks.recordings`: TR 2 s and .8 s) with a low-pass at .1 Hz, three operators
of the same regressors: `all`, fitted to all frequencies; `behind`, fitted to what the low-pass leaves of data and
regressors (nilearn's `clean`, XCP-D); `stage`, stage denoise's. `none`: no regression.

Per strategy, recording and operator: `r`, correlation with the true neural signal in the same band (median over
parcels); `lost`, the share of the true signal's variance that is gone (median); `worst`, variance of a parcel after /
before, the largest. `band`: degrees of freedom that the band leaves.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
from numpy.typing import NDArray

from benchmarks.recordings import SIMULATED, prepared, simulated, space
from benchmarks.recovery import correlations, removed
from benchmarks.scoring import call
from brainlm_data import strategies
from brainlm_data.files.tables import read_table
from brainlm_data.methods.chain import before_regression, confounds_of, regression_of
from brainlm_data.methods.ica import Components
from brainlm_data.methods.operators import Recipe, low_pass
from brainlm_data.methods.regression import Regression
from brainlm_data.stage import Files
from brainlm_data.stages import denoise

Array = NDArray[np.float64]
STRATEGIES = ("ica", "24P", "acompcor", "ica+acompcor", "36P")
RECORDINGS = (SIMULATED[0], SIMULATED[4])
HIGH_HZ = 0.1


def fitted(files: Files, folder: Path) -> list[tuple[Array, Array]]:
    """Noise and kept courses of each of stage denoise's decompositions."""
    components: list[tuple[Array, Array]] = []
    made = denoise._operator

    def remembered(
        inputs: Files, recipe: Recipe, confounds: Array, fits: list[Components], verdicts: list[NDArray[np.bool_]]
    ) -> Any:
        components.extend((fit.mixing[:, bad], fit.mixing[:, ~bad]) for fit, bad in zip(fits, verdicts, strict=True))
        return made(inputs, recipe, confounds, fits, verdicts)

    denoise._operator = remembered
    try:
        call(denoise.STAGE, files, folder / "denoise", strategy="ica")
    finally:
        denoise._operator = made
    return components


def unlimited(confounds: Array, components: list[tuple[Array, Array]]) -> Regression:
    """Confounds first, then the mean of the joint fits; nothing limited."""
    first = Regression.fit(confounds, confounds[:, :0])
    each = [Regression.fit(first.apply(noise), first.apply(kept)) for noise, kept in components]
    return first.then(Regression.mean(each)) if each else first


def scores(files: Files, truth: Path, folder: Path) -> dict[str, Any]:
    """Of one recording, by strategy and operator."""
    recipe = Recipe.load(files["filter_recipe"])
    true_names, neural = read_table(truth)
    names, series = read_table(files["parcels_raw"])
    known = [n for n in names if n in true_names and np.isfinite(series[:, names.index(n)]).all()]
    series = series[:, [names.index(n) for n in known]]
    x = before_regression(series, recipe)
    goal = before_regression(neural[:, [true_names.index(n) for n in known]], recipe)
    slow = partial(low_pass, recipe=recipe)
    slow_x, slow_goal = slow(x), slow(goal)

    def score(result: Array, of_goal: Array) -> dict[str, float]:
        return {
            "r": float(np.median(correlations(result, slow_goal))),
            "lost": float(np.median(removed(slow_goal, of_goal))),
            "worst": float((result.var(0) / slow_x.var(0)).max()),
        }

    out: dict[str, Any] = {
        "band": 2 * recipe.tr_s * len(x) * (recipe.band[1] - recipe.band[0]),
        "none": score(slow_x, slow_goal),
    }
    decompositions = fitted(files, folder)
    columns = dict(zip(*_columns(files), strict=True))
    for strategy in STRATEGIES:
        chosen = strategies.resolve(strategies.parse(strategy))
        patterns = [pattern for one in chosen for pattern in one.columns]
        confounds = confounds_of(patterns, columns, recipe, files["confounds"]).values
        components = decompositions if any(one.ica for one in chosen) else []
        everywhere = unlimited(confounds, components)
        behind = unlimited(slow(confounds), [(slow(noise), slow(kept)) for noise, kept in components])
        stage = regression_of(strategy, confounds, series, recipe, components)[0]
        out[strategy] = {
            "all": score(slow(everywhere.apply(x)), slow(everywhere.apply(goal))),
            "behind": score(behind.apply(slow_x), behind.apply(slow_goal)),
            "stage": score(slow(stage.apply(x)), slow(stage.apply(goal))),
        }
    return out


def _columns(files: Files) -> tuple[list[str], Array]:
    names, table = read_table(files["confounds"])
    return names, table.T


def main() -> None:
    """Command line."""
    parser = tools.parser(__doc__)
    parser.add_argument("--recordings", type=int, help="only this many")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = space(folder)
        for seed, volumes, tr_s, motion_mm, noise in RECORDINGS[: options.recordings]:
            bids = simulated(folder, seed, volumes, tr_s, motion_mm, noise)
            [bold] = bids.glob("sub-01/func/*_bold.nii.gz")
            [truth] = (bids / "truth").glob("sub-01/**/*_desc-neural_timeseries.tsv")
            files = prepared(bold, tr_s, known, folder / f"seed-{seed}-stages", high_hz=HIGH_HZ)
            result[f"seed {seed}"] = scores(files, truth, folder)
    tools.show(result, options.json)


if __name__ == "__main__":
    main()
