"""How well pictures were decoded: correlation, identification, structure and class of each; intervals over stimuli.

Shapes are in the names: N pictures (N, h, w) or (N, h, w, channel) with values from 0 to 1; C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import InputError
from brainlm_model.decode.classifier import DIGITS, Judge
from brainlm_model.decode.extra import needed
from brainlm_model.eval.statistics.intervals import interval

Array = NDArray[np.float64]
DRAWS = 2000  # of the bootstrap
SMALLEST_WINDOW = 7  # pixels of skimage's SSIM


def correlations(decoded_N: Array, seen_N: Array) -> Array:
    """Pearson's r (N, N) of each decoded picture (row) with each seen one; 0 where one of the two has no contrast."""
    rows, columns = _unit(decoded_N), _unit(seen_N)
    product: Array = rows @ columns.T
    return product


def _unit(pictures_N: Array) -> Array:
    """Pictures as rows without mean and of length one; without contrast they stay zero."""
    flat = pictures_N.reshape(len(pictures_N), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: Array = np.where(length > 1e-9, flat / np.maximum(length, 1e-9), 0.0)
    return unit


def pixel_r(decoded_N: Array, seen_N: Array) -> Array:
    """Correlation (N,) of each decoded picture with the one that was seen."""
    return np.diag(correlations(decoded_N, seen_N)).copy()


def two_way(decoded_N: Array, seen_N: Array, stimulus_N: NDArray[Any], among_N: NDArray[Any] | None = None) -> Array:
    """How often (N,) a decoded picture is nearer to the one that was seen than to another: chance is .5.

    Parameters
    ----------
    stimulus_N: what was seen, by name: the same picture, seen again, is no other one.
    among_N: only pictures of the same group are compared, as the test pictures of one fold; None: all.

    Raises
    ------
    InputError: a group with one stimulus alone, which cannot be mistaken for another.
    """
    r = correlations(decoded_N, seen_N)
    among_N = np.zeros(len(r)) if among_N is None else among_N
    scores = np.empty(len(r))
    for row in range(len(r)):
        others = (among_N == among_N[row]) & (stimulus_N != stimulus_N[row])
        if not others.any():
            raise InputError("decode: one test stimulus alone, which cannot be mistaken for another", "two or more")
        # a tie is half a mistake: a decoder that always gives the same picture is at chance
        scores[row] = np.mean((r[row, row] > r[row, others]) + 0.5 * (r[row, row] == r[row, others]))
    return scores


def ssim(decoded_N: Array, seen_N: Array) -> Array:
    """Structural similarity (N,) (Wang et al., 2004; scikit-image, window of 7 pixels, values from 0 to 1).

    Raises
    ------
    InputError: pictures of less than 7 pixels. ConfigError: scikit-image is not installed.
    """
    similarity = needed("skimage.metrics").structural_similarity
    if min(seen_N.shape[1:3]) < SMALLEST_WINDOW:
        raise InputError(f"decode: pictures of {seen_N.shape[1]} x {seen_N.shape[2]}", "7 x 7 pixels or more")
    channel = 2 if seen_N.ndim == 4 else None
    pairs = zip(seen_N, decoded_N, strict=True)
    return np.array([similarity(seen, decoded, data_range=1.0, channel_axis=channel) for seen, decoded in pairs])


def n_way(score_NC: Array, true_N: NDArray[np.int64], n: int, top: int = 1) -> Array:
    """Chance (N,) that the true class is among the `top` best scored of itself and n - 1 others, drawn at random.

    The published measure draws the others 1,000 times; this is the value that many draws approach. Of C - 1 other
    classes, h are scored at least as high as the true one. Among n - 1 drawn ones, their number is hypergeometric, and
    the true class is in the top k where fewer than k of them were drawn.
    """
    from scipy.stats import hypergeom

    classes = score_NC.shape[1]
    if not 2 <= n <= classes:
        raise InputError(f"decode: n_way {n} of {classes} classes", f"from 2 to {classes}")
    own = np.take_along_axis(score_NC, true_N[:, None], axis=1)
    ahead = (score_NC >= own).sum(axis=1) - 1  # itself
    chance: Array = hypergeom.cdf(top - 1, classes - 1, ahead, n - 1)
    return chance


def summary(scores_N: Array, stimulus_N: NDArray[Any], subject_N: NDArray[Any], seed: int) -> dict[str, Any]:
    """Mean with a 95 % interval over stimuli, and over subjects where there are several.

    Scores of one stimulus (or subject) are averaged first, and stimuli (subjects) are drawn with replacement.
    """
    low, high = over(scores_N, stimulus_N, seed)
    result = {"value": _means(scores_N, stimulus_N).mean(), "low": low, "high": high}
    if len(np.unique(subject_N)) > 1:
        result["subjects_low"], result["subjects_high"] = over(scores_N, subject_N, seed)
    return result


def over(scores_N: Array, unit_N: NDArray[Any], seed: int) -> tuple[float, float]:
    """Ends of the 95 % interval of the mean over units; NaN with one unit, or where all scores are the same."""
    means = _means(scores_N, unit_N)
    rng = np.random.default_rng(seed)
    drawn = means[rng.integers(len(means), size=(DRAWS, len(means)))].mean(axis=1)
    low, high = interval(drawn[:, None])
    return float(low[0]), float(high[0])


def _means(scores_N: Array, unit_N: NDArray[Any]) -> Array:
    """Mean of each unit."""
    _, place_N = np.unique(unit_N, return_inverse=True)
    means: Array = np.bincount(place_N, weights=scores_N) / np.bincount(place_N)
    return means


def measured(
    decoded_N: Array,
    seen_N: Array,
    stimulus_N: NDArray[Any],
    among_N: NDArray[Any] | None = None,
    n: int = 5,
    judge: Judge = DIGITS,
) -> dict[str, Array]:
    """Every measure (N,) by name; `n_way_top1` judges by the classifier's own view of the picture that was seen."""
    true_N = judge.scores(seen_N).argmax(axis=1)
    return {
        "two_way": two_way(decoded_N, seen_N, stimulus_N, among_N),
        "n_way_top1": n_way(judge.scores(decoded_N), true_N, n),
        "pixel_r": pixel_r(decoded_N, seen_N),
        "ssim": ssim(decoded_N, seen_N),
    }
