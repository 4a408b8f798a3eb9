"""R2 of masked values in three readings, with subject-bootstrap intervals and paired comparisons (docs/metrics.md).

Everything is computed from four sums per recording and parcel, (recording, parcel, 4): number of scored values, their
sum, their sum of squares, and the squared error of the prediction. Nothing is clipped at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS

Array = NDArray[np.float64]


def sums(truth: ArrayLike, predicted: ArrayLike, scored: ArrayLike) -> Array:
    """Four sums per parcel, (parcel, 4), from arrays (..., parcel, time); values that are not `scored` do not count.

    Raises
    ------
    ValueError: a scored value is NaN or infinite in truth or prediction.
    """
    # Zeros add nothing to a sum: what is not scored is set to 0, and `count` says how many values are left.
    count = np.asarray(scored, dtype=bool)
    y = np.where(count, np.asarray(truth, dtype=np.float64), 0)
    error = np.where(count, y - np.asarray(predicted, dtype=np.float64), 0)
    if not (np.isfinite(y).all() and np.isfinite(error).all()):
        raise ValueError("a scored value is not finite")
    axes = (*range(count.ndim - 2), count.ndim - 1)
    return np.stack([a.sum(axis=axes, dtype=np.float64) for a in (count, y, y**2, error**2)], axis=-1)


def r2(sums_4: Array) -> Array:
    """R2 = 1 - squared error / squared deviation from the mean, from sums (..., 4); NaN where nothing varies."""
    count, total, squares, error = np.moveaxis(sums_4, -1, 0)
    # sum (y - mean)^2 = sum y^2 - (sum y)^2 / n: the mean is that of the scored values themselves
    deviation = squares - total**2 / np.maximum(count, 1)
    defined = deviation > 1e-12 * np.maximum(squares, 1e-300)
    return np.where(defined, 1 - error / np.where(defined, deviation, 1), np.nan)


def r2_flat(sums_RP4: Array, weights_BR: Array) -> Array:
    """R2 over one flat list of all masked values of all recordings: sklearn's `r2_score`, as BrainLM has it, unclipped.

    `weights_BR`: how often each recording counts, one row per bootstrap draw. Returns one value per draw.
    """
    return r2(weights_BR @ sums_RP4.sum(axis=1))


def r2_recording(sums_RP4: Array, weights_BR: Array) -> Array:
    """Mean over recordings of each recording's own R2."""
    return _mean(r2(sums_RP4.sum(axis=1))[None], weights_BR)


def r2_parcel(sums_RP4: Array, weights_BR: Array) -> Array:
    """Mean over parcels of each parcel's own R2 over all recordings."""
    by_parcel = np.stack([r2(np.tensordot(weights, sums_RP4, axes=1)) for weights in weights_BR])
    return _mean(by_parcel, np.ones_like(by_parcel))


def mse(sums_RP4: Array, weights_BR: Array) -> Array:
    """Mean squared error over all masked values, in squared units of the scaled series."""
    count, _, _, error = np.moveaxis(weights_BR @ sums_RP4.sum(axis=1), -1, 0)
    return error / count


def _mean(values: Array, weights: Array) -> Array:
    """Weighted mean over the last axis of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    total = (np.where(defined, values, 0) * weights).sum(axis=-1)
    count = (defined * weights).sum(axis=-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


METRICS = {"r2_flat": r2_flat, "r2_recording": r2_recording, "r2_parcel": r2_parcel, "mse": mse}


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval over subjects; low and high are NaN where there is one subject."""

    value: float
    low: float
    high: float


def estimate(metric: str, sums_RP4: Array, weights_BR: Array) -> Estimate:
    """A metric of `METRICS` over all recordings, with the percentile interval of its bootstrap draws."""
    return _estimate(METRICS[metric](sums_RP4, np.ones((1, len(sums_RP4))))[0], METRICS[metric](sums_RP4, weights_BR))


@dataclass(frozen=True)
class Comparison:
    """How much better one method is than another on the same masked values.

    `difference` is of flat R2, with its paired subject-bootstrap interval; `ahead` of `subjects` have the higher R2
    with the first method. `verdict`: "better" or "worse" where the interval leaves out 0.
    """

    difference: Estimate
    ahead: int
    subjects: int

    @property
    def verdict(self) -> str:
        """better, worse, or not distinguishable."""
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "not distinguishable"

    @property
    def firm(self) -> bool:
        """False where there are too few subjects for any test to reach p < .05, whatever the interval says."""
        return self.subjects >= ENOUGH_SUBJECTS


def compare(first_RP4: Array, second_RP4: Array, subjects: Sequence[str], weights_BR: Array) -> Comparison:
    """Paired comparison of two methods: the same draws of subjects for both."""
    everyone = np.ones((1, len(subjects)))
    value = r2_flat(first_RP4, everyone) - r2_flat(second_RP4, everyone)
    drawn = r2_flat(first_RP4, weights_BR) - r2_flat(second_RP4, weights_BR)
    # One subject at a time is a draw, too: the weights are 1 for its recordings and 0 for all others.
    names, owner = np.unique(np.asarray(subjects), return_inverse=True)
    each = (owner == np.arange(len(names))[:, None]).astype(np.float64)
    ahead = r2_flat(first_RP4, each) > r2_flat(second_RP4, each)
    return Comparison(_estimate(value[0], drawn), int(ahead.sum()), len(names))


def _estimate(value: float, drawn_B: Array) -> Estimate:
    low, high = interval(drawn_B)
    return Estimate(float(value), float(low), float(high))
