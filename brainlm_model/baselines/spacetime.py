"""The joint Gaussian over parcels and time, adapted to each window: the strongest closed form there is here.

It is what a model with `prior: spacetime` starts from (`models/spacetime.py`), so that any model can be told apart from
it. Covariance of training subjects, window's own autocorrelations; nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainlm_model.baselines import Mask, Windows, visible
from brainlm_model.baselines.gaussian import score_of, second_moments
from brainlm_model.models.prior import DEFAULT_RIDGE, best_ridge

if TYPE_CHECKING:
    from brainlm_model.models.prior import GaussianPrior

STRENGTH = 100.0  # steps that the population's covariance is worth, as `ModelConfig.strength`


class SpaceTime:
    """See `baselines.Predictor`.

    Parameters
    ----------
    moments: (parcel, parcel) second moments of training subjects. ridge: share of their mean variance on the diagonal.
    """

    def __init__(self, moments: NDArray[np.float64], ridge: float) -> None:
        self.moments, self.ridge = moments, ridge

    def predict(self, x_BPT: Windows, mask_BPT: Mask) -> Windows:
        """Windows one after another, each in the patches that its visible values come in."""
        import torch

        prior = self._prior()
        seen_BPT = visible(x_BPT, mask_BPT)
        predicted = np.where(seen_BPT, x_BPT, 0)
        for x_PT, seen_PT in zip(predicted, seen_BPT, strict=True):
            steps = _patch(seen_PT)
            x_1PNS = torch.from_numpy(x_PT.astype(np.float32))[None].unflatten(2, (-1, steps))
            hidden_1PN = torch.from_numpy(~seen_PT[None, :, ::steps])
            with torch.inference_mode():
                expected = prior(x_1PNS, hidden_1PN)
            x_hat_PT = (expected.filled + expected.innovation)[0].flatten(1).numpy()
            x_PT[~seen_PT] = x_hat_PT[~seen_PT]
        return predicted

    def _prior(self) -> GaussianPrior:
        import torch

        from brainlm_model.models.prior import GaussianPrior, shrunk

        prior = GaussianPrior(len(self.moments), STRENGTH, joint=True)
        prior.covariance.copy_(torch.from_numpy(shrunk(self.moments, np.ones_like(self.moments), self.ridge)))
        return prior


def _patch(seen_PT: Mask) -> int:
    """Steps of the longest patches, all alike, within each of which a window (parcel, time) shows the same parcels."""
    changes = np.flatnonzero((seen_PT[:, 1:] != seen_PT[:, :-1]).any(axis=0)) + 1
    return math.gcd(seen_PT.shape[1], *changes.tolist())


def fit(train: Iterable[Windows], ridge: float = DEFAULT_RIDGE) -> SpaceTime:
    """From training subjects with a given ridge."""
    return SpaceTime(second_moments(train), ridge)


def fit_tuned(train: Iterable[Windows], validation: Sequence[tuple[Windows, Mask]]) -> SpaceTime:
    """As `fit`, with the ridge that has the highest flat R2 over masked windows of validation subjects."""
    moments = second_moments(train)
    ridge, _ = best_ridge(lambda ridge: score_of(SpaceTime(moments, ridge), validation))
    return SpaceTime(moments, ridge)
