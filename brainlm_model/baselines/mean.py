"""The mean of the visible parcels at each step: what the global signal alone predicts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from brainlm_model.baselines import Mask, Windows, visible


class MeanOfVisible:
    """Predicts every hidden value by the mean of the visible parcels at that step; 0 where none is visible."""

    def predict(self, x_BPT: Windows, mask_BPT: Mask) -> Windows:
        """See `Predictor`."""
        seen = visible(x_BPT, mask_BPT)
        # x_hat(t) = sum of the visible values at t / how many there are; the 1 stands in where none is.
        count = seen.sum(axis=1, keepdims=True)
        mean = np.where(seen, x_BPT, 0).sum(axis=1, keepdims=True) / np.maximum(count, 1)
        return np.where(seen, x_BPT, mean)


def fit(train: Iterable[Windows]) -> MeanOfVisible:
    """Nothing is learnt from training subjects."""
    return MeanOfVisible()
