"""Grand-mean scaling beside percent signal change per parcel, on recordings that were processed already.

    python -m benchmarks.scale OUTDIR --json [--truth DATA/truth]

Of each recording of OUTDIR (`derivatives/`) the parcel series are made both ways from what the stages wrote. `spread`:
the standard deviations of the parcels' series, 90th over 10th percentile; `gain_spread`: the same of their ratio to the
standard deviation of the true neural series (simulated data, which are in percent of grey matter's signal), filtered
alike; `sd_with_level`: rank correlation over parcels of the standard deviation with the parcel's mean intensity, and
`level_p1`, `level_p5`: those percentiles of that mean, over its median. `r`: median correlation with the truth. All are
medians over the recordings.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.recovery import correlations
from brainlm_data.files.sidecar import read_facts
from brainlm_data.files.tables import read_table
from brainlm_data.methods.operators import Temporal, drop, fill_censored, high_pass, percent_scale

Array = NDArray[np.float64]


def spread(values: Array) -> float:
    low, high = np.percentile(values, [10, 90])
    return float(high / low)


def one(raw: Path, truth: Path | None) -> dict[str, dict[str, float]]:
    """The figures of a recording by scaling."""
    stem = raw.name.partition("_space-")[0]
    names, series = read_table(raw)
    recipes = [next(raw.parent.glob(f"{stem}*_desc-{kind}")) for kind in ("filter_recipe.json", "denoise_recipe.npz")]
    grand = Temporal.load(recipes[0], recipes[1], read_facts(raw)["GrandMean"])
    recipe = grand.recipe
    percent = replace(grand, scale=percent_scale(series, recipe))
    known = ~np.isnan(series).any(0)
    level = series[recipe.dropped :, known].mean(0)
    found: dict[str, dict[str, float]] = {}
    for name, temporal in (("grand_mean", grand), ("percent", percent)):
        values = temporal.apply(series)[recipe.dropped :, known]
        sd = values.std(0)
        about = {"spread": spread(sd), "sd_with_level": float(spearmanr(sd, level).statistic)}
        about |= {f"level_p{p}": float(np.percentile(level, p) / np.median(level)) for p in (1, 5)}
        if truth is not None:
            labels, neural = read_table(next(truth.rglob(f"{stem}_desc-neural_timeseries.tsv")))
            own = neural[:, [labels.index(label) for label, there in zip(names, known, strict=True) if there]]
            goal = high_pass(fill_censored(drop(own, recipe), recipe), recipe)
            about |= {"gain_spread": spread(sd / goal.std(0)), "r": float(np.median(correlations(values, goal)))}
        found[name] = about
    return found


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--truth", type=Path, help="truth/ of the simulated data")
    options = parser.parse_args()
    rows = [one(raw, options.truth) for raw in sorted(options.outdir.glob("derivatives/**/*_desc-raw_timeseries.tsv"))]
    result: dict[str, Any] = {"recordings": len(rows)}
    for name in ("grand_mean", "percent"):
        result[name] = {key: float(np.median([row[name][key] for row in rows])) for key in rows[0][name]}
    tools.show(result, options.json)


if __name__ == "__main__":
    main()
