"""Decoding the sixes and nines of van Gerven et al. (2010), ten folds over all 100: every method on the same folds.

    python -m benchmarks.digits FILE --json [--folds 10] [--penalties]

FILE is `digit69_28x28.mat` (90 + 10 patterns of 3,092 voxels, 28 x 28 pictures); its own split is not used, because ten
test pictures say little. A fold holds ten pictures, as many of each digit as there are; everything is learnt on the
other 90, z-scores included. `methods`: for each method `two_way` (against the other pictures of the fold; chance .5),
`n_way_top1` (by a classifier of ten digits, among 5 drawn classes; chance .2), `pixel_r` and `ssim`, each with `value`
and the ends `low`, `high` of a 95 % interval over pictures, and `less_ridge`: the same of the difference to
`ridge_pixels`, paired, and `less_ridge_latents`. The methods are those of the stage `decode` (docs/decode.md) with
default sections. `ridge_start`: the same table for the same networks with `decode.start: ridge`.

`--penalties`, in place of all that: the mean squared error of leaving out each training row of a fold, by penalty of
ridge regression to the pixels and to the latents, in closed form; no test row is looked at.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Literal

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
from numpy.typing import NDArray

from brainlm_data import Patterns
from brainlm_model.decode.autoencoder import learnt
from brainlm_model.decode.learn import Recipe
from brainlm_model.decode.methods import painted_samples, scores, simple, summaries
from brainlm_model.decode.patterns import from_mat
from brainlm_model.decode.stages import decode, diffusion, scmbm
from brainlm_model.training.machine import use_threads

Array = NDArray[np.float64]
Pictures = dict[str, Array]  # by method
SEED = 0
STARTS: tuple[Literal["noise", "ridge"], ...] = ("noise", "ridge")  # of the sampler
N_WAY = 5


def folds_of(category: NDArray[np.str_], folds: int) -> NDArray[np.int64]:
    """The fold (n,) of each picture: those of a category are dealt out in an order that is drawn."""
    fold = np.empty(len(category), np.int64)
    rng = np.random.default_rng(SEED)
    for name in np.unique(category):
        rows = rng.permutation(np.flatnonzero(category == name))
        fold[rows] = np.arange(len(rows)) % folds
    return fold


def decoded(patterns: Patterns) -> dict[str, tuple[Pictures, Pictures]]:
    """By start: samples of the painters, and pictures of the simpler methods, of the test rows; from training rows."""
    encoder, _ = scmbm.learnt(patterns, scmbm.Config())
    painted, _ = diffusion.learnt(patterns, encoder, False, diffusion.Config())
    others = simple(patterns, painted)
    made: dict[str, tuple[Pictures, Pictures]] = {}
    for start in STARTS:
        how = decode.sampling(decode.Config(start=start))
        made[start] = painted_samples(patterns, painted, False, how), others
    return made


def run(patterns: Patterns, folds: int) -> dict[str, Any]:
    """All folds, and every measure over all pictures."""
    begin = time.process_time()
    fold = folds_of(patterns.category, folds)
    order = np.concatenate([np.flatnonzero(fold == number) for number in range(folds)])
    samples: dict[str, dict[str, list[Array]]] = {start: {} for start in STARTS}
    others: dict[str, dict[str, list[Array]]] = {start: {} for start in STARTS}
    for number in range(folds):
        for start, made in decoded(patterns.split_as(fold == number)).items():
            for parts, by_name in zip((samples[start], others[start]), made, strict=True):
                for name, pictures in by_name.items():
                    parts.setdefault(name, []).append(pictures)
        print(f"fold {number + 1} of {folds}: {time.process_time() - begin:.0f} CPU s", file=sys.stderr, flush=True)
    test = patterns.rows(order)
    tables = {}
    for start in STARTS:
        joined = {name: np.concatenate(parts, axis=1) for name, parts in samples[start].items()}
        simpler = {name: np.concatenate(parts) for name, parts in others[start].items()}
        tables[start] = summaries(scores(joined, simpler, test, fold[order], N_WAY), test, SEED)
    return {
        "pictures": len(order), "folds": folds, "n_way": N_WAY, "samples": decode.Config().samples,
        "cpu_s": time.process_time() - begin, "methods": tables["noise"], "ridge_start": tables["ridge"],
    }  # fmt: skip


def left_out(x_NV: Array, y_N: Array, penalty: float) -> float:
    """Mean squared error of ridge regression with an intercept, for rows that are left out one by one, exactly."""
    n = len(x_NV)
    centred = x_NV - x_NV.mean(axis=0)
    kernel = centred @ centred.T
    hat = 1 / n + kernel @ np.linalg.pinv(kernel + penalty * np.eye(n))
    residual = (y_N - hat @ y_N) / (1 - np.diag(hat))[:, None]
    return float((residual**2).mean())


def penalties(patterns: Patterns, folds: int) -> dict[str, Any]:
    """By target: mean over folds of `left_out` for each penalty, from .001 to a million."""
    fold = folds_of(patterns.category, folds)
    config = diffusion.Config()
    recipe = Recipe(config.autoencoder_steps, config.batch_size, 5e-3)
    found: dict[str, dict[str, list[float]]] = {"pixels": {}, "latents": {}}
    for number in range(folds):
        training = patterns.split_as(fold == number).of("train")
        seen, x_NV = training.seen() / 255, training.patterns.astype(np.float64)
        latents = learnt(seen, recipe, SEED)[0].encoded(seen)
        for name, target in (("pixels", seen), ("latents", latents)):
            for penalty in 10.0 ** np.arange(-3, 7):
                loss = left_out(x_NV, target.reshape(len(x_NV), -1), penalty)
                found[name].setdefault(f"{penalty:g}", []).append(loss)
    return {name: {key: float(np.mean(each)) for key, each in by.items()} for name, by in found.items()}


def main() -> None:
    options = tools.parser(__doc__)
    options.add_argument("file", type=Path, help="digit69_28x28.mat")
    options.add_argument("--folds", type=int, default=10)
    options.add_argument("--penalties", action="store_true")
    given = options.parse_args()
    use_threads(1)
    measure = penalties if given.penalties else run
    tools.show(measure(from_mat(given.file), given.folds), given.json)


if __name__ == "__main__":
    main()
