"""The conditional Gaussian: E[hidden | visible] at each step, from the covariance of training subjects.

The linear bar of masked reconstruction (docs/metrics.md): a ridge regression of every hidden parcel on every visible
one at the same step. A network that does not beat it on unseen people has learnt no more than a covariance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from brainlm_model.baselines import Mask, Predictor, Windows, visible
from brainlm_model.eval.statistics import masked_r2

RIDGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
DEFAULT_RIDGE = 0.1  # where there is no validation subject to choose it on


class ConditionalGaussian:
    """Normal distribution over the parcels of one step, mean 0 (series are demeaned), steps independent.

    Parameters
    ----------
    covariance: (parcel, parcel) second moments of training subjects.
    ridge: share of the mean variance that is added to the diagonal.
    """

    def __init__(self, covariance: NDArray[np.float64], ridge: float) -> None:
        self.ridge = ridge
        self.covariance = covariance + ridge * np.diag(covariance).mean() * np.eye(len(covariance))
        self.precision = np.linalg.inv(self.covariance)

    def predict(self, x_BPT: Windows, mask_BPT: Mask) -> Windows:
        """See `Predictor`. What is visible stays the same within a patch, so there is one solve a patch."""
        seen = visible(x_BPT, mask_BPT)
        predicted = np.where(seen, x_BPT, 0)
        for x_PT, seen_PT in zip(predicted, seen, strict=True):
            # Steps that show the same parcels share one factorisation: within a patch all of them do.
            patterns, which = np.unique(seen_PT, axis=1, return_inverse=True)
            for number, known in enumerate(patterns.T):
                if known.any() and not known.all():
                    steps = np.flatnonzero(which == number)
                    x_PT[np.ix_(~known, steps)] = self._expect(known, x_PT[np.ix_(known, steps)])
        return predicted

    def _expect(self, known: NDArray[np.bool_], x_KT: Windows) -> NDArray[np.float64]:
        """E[hidden | visible], (hidden, time), by whichever of two equal forms solves the smaller system."""
        # With covariance S and precision Q = S^-1, both split into hidden (h) and visible (v) parcels:
        #     E[h | v] = S_hv S_vv^-1 v     a system of as many equations as there are visible parcels
        #              = -Q_hh^-1 Q_hv v    a system of as many equations as there are hidden parcels
        if 2 * known.sum() < len(known):
            factor = cho_factor(self.covariance[np.ix_(known, known)])
            return self.covariance[np.ix_(~known, known)] @ cho_solve(factor, x_KT)
        factor = cho_factor(self.precision[np.ix_(~known, ~known)])
        return -cho_solve(factor, self.precision[np.ix_(~known, known)] @ x_KT)


def second_moments(train: Iterable[Windows]) -> NDArray[np.float64]:
    """Second moments (parcel, parcel) of recordings (parcel, time); NaN is left out pair by pair.

    Pairwise gaps can make the matrix indefinite, so its negative eigenvalues are set to 0.
    """
    total, count = np.zeros(()), np.zeros(())
    for recording in train:
        # S_ij = sum over steps that know both of x_i x_j / how many there are: zeros add nothing to the sum, and K K'
        # counts.
        known = np.isfinite(recording)
        values = np.where(known, recording, 0).astype(np.float64)
        total = total + values @ values.T
        count = count + known.astype(np.float64) @ known.T
    moments = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    if count.min() == count.max():
        return moments
    # The nearest positive semi-definite matrix (Frobenius): the same eigenvectors, no negative eigenvalue.
    values, vectors = np.linalg.eigh(moments)
    return (vectors * np.maximum(values, 0)) @ vectors.T


def fit(train: Iterable[Windows], ridge: float = DEFAULT_RIDGE) -> ConditionalGaussian:
    """A conditional Gaussian from training subjects with a given ridge."""
    return ConditionalGaussian(second_moments(train), ridge)


def fit_tuned(train: Iterable[Windows], validation: Sequence[tuple[Windows, Mask]]) -> ConditionalGaussian:
    """As `fit`, with the ridge of `RIDGES` that has the highest flat R2 over masked windows of validation subjects.

    Parameters
    ----------
    validation: pairs of windows (batch, parcel, time) and masks; at least one.
    """
    moments = second_moments(train)
    return best_of([ConditionalGaussian(moments, ridge) for ridge in RIDGES], validation)


P = TypeVar("P", bound=Predictor)


def best_of(candidates: Sequence[P], validation: Sequence[tuple[Windows, Mask]]) -> P:
    """The candidate with the highest `score_of`."""
    return candidates[int(np.argmax([score_of(candidate, validation) for candidate in candidates]))]


def score_of(candidate: Predictor, validation: Sequence[tuple[Windows, Mask]]) -> float:
    """Flat R2 over masked windows, the mean over the windows."""
    values = []
    for x_BPT, mask_BPT in validation:
        total = masked_r2.sums(x_BPT, candidate.predict(x_BPT, mask_BPT), mask_BPT & np.isfinite(x_BPT))
        values.append(float(masked_r2.r2(total.sum(axis=0))))
    return float(np.nanmean(values))
