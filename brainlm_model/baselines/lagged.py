"""The conditional Gaussian with time: E[hidden | visible at this step and `LAG` steps before and after]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from brainlm_model.baselines import Mask, Windows
from brainlm_model.baselines.gaussian import DEFAULT_RIDGE, RIDGES, ConditionalGaussian, best_of, second_moments

LAG = 2  # steps


class LaggedGaussian:
    """See `baselines.Predictor`. `gaussian`: over the parcels of three steps, (3 parcel, 3 parcel)."""

    def __init__(self, gaussian: ConditionalGaussian) -> None:
        self.gaussian, self.ridge = gaussian, gaussian.ridge

    def predict(self, x_BPT: Windows, mask_BPT: Mask) -> Windows:
        """Three solves a patch: near its borders other parcels are visible before or after."""
        parcels = x_BPT.shape[1]
        hidden = np.where(mask_BPT, np.nan, x_BPT)
        three = np.stack([shifted(x_PT) for x_PT in hidden])  # (B, 3 P, T): as if there were three times the parcels
        expected = self.gaussian.predict(three, np.isnan(three))[:, parcels : 2 * parcels]  # the middle: now
        return np.where(mask_BPT | np.isnan(x_BPT), expected, x_BPT)


def shifted(x_PT: Windows) -> Windows:
    """A recording (3 parcel, time): its values `LAG` steps before, now, and after; NaN beyond its ends."""
    padded = np.pad(x_PT.astype(np.float32), ((0, 0), (LAG, LAG)), constant_values=np.nan)
    steps = x_PT.shape[1]
    return np.concatenate([padded[:, place : place + steps] for place in (0, LAG, 2 * LAG)])


def fit(train: Iterable[Windows], ridge: float = DEFAULT_RIDGE) -> LaggedGaussian:
    """From training subjects with a given ridge."""
    return LaggedGaussian(ConditionalGaussian(second_moments(_three(train)), ridge))


def fit_tuned(train: Iterable[Windows], validation: Sequence[tuple[Windows, Mask]]) -> LaggedGaussian:
    """As `fit`, with the ridge that has the highest flat R2 over masked windows of validation subjects."""
    moments = second_moments(_three(train))
    return best_of([LaggedGaussian(ConditionalGaussian(moments, ridge)) for ridge in RIDGES], validation)


def _three(train: Iterable[Windows]) -> Iterator[Windows]:
    """Windows of three steps; those beyond a recording's ends, where one of them is missing, are left out."""
    return (shifted(x)[:, LAG:-LAG] for x in train)
