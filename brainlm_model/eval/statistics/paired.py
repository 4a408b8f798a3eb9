"""Paired tests of two methods on the same people: sign flips, correction for many tests, verdicts.

Shapes: R recordings, S subjects, X whatever is tested side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.statistics.subjects import by_subject

Array = NDArray[np.float64]
FLIPS = 5000  # of signs, for one test
FLIPS_EACH = 200  # of signs, for each of many tests that are corrected together
CHUNK = 5000  # flips at once, of many tests
LEVEL = 0.05


# One test and many draw their signs in different ways, one as floats at once, the other as small integers in chunks.
# They stay two functions: one of them for both would draw other signs, and change p values.


def sign_flip(difference_R: Array, subjects: Sequence[str], seed: int) -> float:
    """Two-sided p of a mean difference: signs of the subjects' means are flipped; NaN left out.

    If two methods are equally good, a subject's difference is as likely to be positive as negative. p is the share of
    random signs for which the sum is at least as far from 0 as the one that was seen, which counts as one of them.
    """
    each_S = by_subject(difference_R[:, None], subjects)[0][:, 0]
    each_S = each_S[np.isfinite(each_S)]
    if not len(each_S):
        return float("nan")
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(FLIPS, len(each_S)))
    reached = np.abs(signs @ each_S) >= abs(each_S.sum()) - 1e-12
    return float((1 + reached.sum()) / (1 + FLIPS))


def sign_flips(difference_RX: Array, subjects: Sequence[str], seed: int) -> Array:
    """`sign_flip` of many differences, p (X,): the same flips for all; NaN where nobody differs.

    There are `FLIPS_EACH` flips for each of X, so that a corrected p can still be small. NaN counts as no difference.
    """
    each_SX = np.nan_to_num(by_subject(difference_RX, subjects)[0])
    observed = np.abs(each_SX.sum(0)) - 1e-12 * np.abs(each_SX).sum(0)  # sums that differ by rounding alone are equal
    # The smallest p is 1 / (1 + flips), and Holm multiplies it by up to X: so many more flips are needed.
    flips = max(FLIPS_EACH * each_SX.shape[1], FLIPS)
    rng, reached = np.random.default_rng(seed), np.zeros(each_SX.shape[1])
    for first in range(0, flips, CHUNK):
        count = min(CHUNK, flips - first)
        signs = 2.0 * rng.integers(0, 2, size=(count, len(each_SX)), dtype=np.int8) - 1  # -1 or 1
        reached += (np.abs(signs @ each_SX) >= observed).sum(0)
    p = (1 + reached) / (1 + flips)
    return np.where(np.abs(each_SX).sum(0) > 0, p, np.nan)


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm, 1979); NaN stays NaN and does not count."""
    # From the smallest p up, the k-th of m (from 0) is multiplied by m - k, and none may be below the one before it.
    values = np.asarray(p, dtype=float)
    order = [i for i in np.argsort(values) if np.isfinite(values[i])]
    corrected, highest = np.full(len(values), np.nan), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * values[place]))
        corrected[place] = highest
    return corrected.tolist()


def least_p(subjects: int, tests: int) -> float:
    """The least p of sign flips, all signs the same, that so few subjects allow, corrected for so many tests (Holm)."""
    return min(1.0, tests * 2 * 0.5**subjects)


def verdict(difference: float, p: float) -> str:
    """better, worse, or not distinguishable, by a corrected p."""
    if not p < LEVEL:
        return "not distinguishable"
    return "better" if difference > 0 else "worse"
