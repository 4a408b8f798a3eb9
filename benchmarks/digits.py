"""Decoding the sixes and nines of van Gerven et al. (2010), ten folds over all 100: every method on the same folds.

    python -m benchmarks.digits FILE --json [--folds 10]

FILE is `digit69_28x28.mat` (90 + 10 patterns of 3,092 voxels, 28 x 28 pictures); its own split is not used, because ten
test pictures say little. A fold holds ten pictures, as many of each digit as there are; everything is learnt on the
other 90, z-scores included. `methods`: for each method `two_way` (against the other pictures of the fold; chance .5),
`n_way_top1` (by a classifier of ten digits, among 5 drawn classes; chance .2), `pixel_r` and `ssim`, each with `value`
and the ends `low`, `high` of a 95 % interval over pictures. `difference`: of `decoded` to `ridge_pixels`, paired.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
from numpy.typing import NDArray

from brainlm_data import Patterns
from brainlm_model.decode import baselines
from brainlm_model.decode.patterns import from_mat
from brainlm_model.decode.pictures import measured, summary

SEED = 0


def folds_of(category: NDArray[np.str_], folds: int) -> NDArray[np.int64]:
    """The fold (n,) of each picture: those of a category are dealt out in an order that is drawn."""
    fold = np.empty(len(category), np.int64)
    rng = np.random.default_rng(SEED)
    for name in np.unique(category):
        rows = rng.permutation(np.flatnonzero(category == name))
        fold[rows] = np.arange(len(rows)) % folds
    return fold


def decoded(patterns: Patterns) -> dict[str, NDArray[np.float64]]:
    """Pictures of the test rows by every method, from training rows alone."""
    train, test = patterns.of("train"), patterns.of("test")
    x, seen, new = train.patterns, train.seen() / 255, test.patterns
    return {
        "ridge_pixels": baselines.ridge_pixels(x, seen, new),
        "nearest": baselines.nearest(x, seen, new),
        "mean": baselines.mean(seen, len(new)),
    }


def run(patterns: Patterns, folds: int) -> dict[str, Any]:
    """All folds, and every measure over all pictures."""
    fold = folds_of(patterns.category, folds)
    order = np.concatenate([np.flatnonzero(fold == number) for number in range(folds)])
    parts = [decoded(patterns.split_as(fold == number)) for number in range(folds)]
    seen, stimulus, subject = patterns.seen()[order] / 255, patterns.stimulus[order], patterns.subject[order]
    scores = {}
    for method in parts[0]:
        pictures = np.concatenate([part[method] for part in parts])
        scores[method] = measured(pictures, seen, stimulus, fold[order])
    methods: dict[str, Any] = {}
    for method, by_measure in scores.items():
        methods[method] = {name: summary(each, stimulus, subject, SEED) for name, each in by_measure.items()}
    return {"pictures": len(order), "folds": folds, "methods": methods}


def main() -> None:
    options = tools.parser(__doc__)
    options.add_argument("file", type=Path, help="digit69_28x28.mat")
    options.add_argument("--folds", type=int, default=10)
    given = options.parse_args()
    tools.show(run(from_mat(given.file), given.folds), given.json)


if __name__ == "__main__":
    main()
