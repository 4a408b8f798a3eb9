"""Low-rank (PCA) reconstruction: principal components of training subjects, fitted to what is visible of a step.

Probabilistic PCA (Tipping & Bishop, 1999): a covariance of `rank` components plus the same noise in every parcel. Its
expectation is the components' ridge regression on the visible parcels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from brainlm_model.baselines import Mask, Windows
from brainlm_model.baselines.gaussian import ConditionalGaussian, best_of, second_moments

RANKS = (5, 10, 20, 40, 80, 160)
DEFAULT_RANK = 20  # where there is no validation subject to choose it on


class LowRank(ConditionalGaussian):
    """See `baselines.Predictor`.

    Parameters
    ----------
    moments: (parcel, parcel) second moments of training subjects. rank: components; at most all parcels but one.
    """

    def __init__(self, moments: NDArray[np.float64], rank: int) -> None:
        self.rank = min(rank, len(moments) - 1)
        # Maximum likelihood: the noise's variance is the mean of the eigenvalues that are left out, and the loadings
        # are W = V_r (values_r - noise)^1/2, so that W W' + noise I has the data's own variance along every component.
        values, vectors = np.linalg.eigh(moments)
        noise = max(float(np.maximum(values[: -self.rank], 0).mean()), 1e-6 * float(values[-1]))
        loadings = vectors[:, -self.rank :] * np.sqrt(np.maximum(values[-self.rank :] - noise, 0))
        super().__init__(loadings @ loadings.T + noise * np.eye(len(moments)), ridge=0.0)


def fit(train: Iterable[Windows], rank: int = DEFAULT_RANK) -> LowRank:
    """Components of training subjects."""
    return LowRank(second_moments(train), rank)


def fit_tuned(train: Iterable[Windows], validation: Sequence[tuple[Windows, Mask]]) -> LowRank:
    """As `fit`, with the rank of `RANKS` that has the highest flat R2 over masked windows of validation subjects."""
    moments = second_moments(train)
    ranks = [rank for rank in RANKS if rank < len(moments)] or [len(moments) - 1]  # of a few parcels: what there is
    return best_of([LowRank(moments, rank) for rank in ranks], validation)
