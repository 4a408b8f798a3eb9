"""People as the unit of all statistics: bootstrap draws of subjects, and means over their recordings.

Shapes: R recordings, S subjects, B bootstrap draws, X whatever is estimated side by side (parcels, networks, methods).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.statistics.intervals import interval

Array = NDArray[np.float64]
ENOUGH_SUBJECTS = 6  # the fewest for which a sign test can reach p < .05: 2 x .5^6


def subject_draws(subjects: Sequence[str], draws: int, seed: int) -> Array:
    """Weights (B, R) of a bootstrap over subjects: all recordings of a subject come and go together."""
    # Drawing S subjects with replacement is one multinomial draw of how often each of them comes. All recordings of a
    # subject get its count: recordings of one person are no independent observations (Efron & Tibshirani, 1993).
    names, owner = np.unique(np.asarray(subjects), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return counts[:, owner].astype(np.float64)


def bootstrap(values_RX: Array, weights_BR: Array) -> tuple[Array, Array, Array]:
    """Means over recordings (X,) of what is not NaN, with their `interval` over the draws of `subject_draws`."""
    # Of draw b: sum_r w_br x_r / sum_r w_br over the recordings that are known, for all draws in one matrix product.
    known = np.isfinite(values_RX)
    filled = np.where(known, values_RX, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = filled.sum(0) / known.sum(0)
        drawn = (weights_BR @ filled) / (weights_BR @ known)
    return value, *interval(drawn)


def by_subject(values_RX: Array, subjects: Sequence[str]) -> tuple[Array, list[str]]:
    """Means over each subject's recordings (S, X), NaN left out; and the subjects, sorted."""
    names, owner = np.unique(np.asarray(subjects), return_inverse=True)
    known = np.isfinite(values_RX)
    member = (owner == np.arange(len(names))[:, None]).astype(float)  # (S, R): 1 where a recording is of the subject
    with np.errstate(invalid="ignore", divide="ignore"):
        return (member @ np.where(known, values_RX, 0)) / (member @ known), names.tolist()
