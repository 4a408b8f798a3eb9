"""Linear interpolation in time, each parcel from its own visible patches: what smoothness alone predicts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from brainlm_model.baselines import Mask, Windows, visible


class Interpolation:
    """Joins visible values by straight lines and holds the first and last; 0 for a parcel with nothing visible."""

    def predict(self, x_BPT: Windows, mask_BPT: Mask) -> Windows:
        """See `Predictor`."""
        seen = visible(x_BPT, mask_BPT)
        predicted = np.where(seen, x_BPT, 0)
        steps = np.arange(x_BPT.shape[2])
        for series, known in zip(predicted.reshape(-1, len(steps)), seen.reshape(-1, len(steps)), strict=True):
            if known.any():
                series[~known] = np.interp(steps[~known], steps[known], series[known])
        return predicted


def fit(train: Iterable[Windows]) -> Interpolation:
    """Nothing is learnt from training subjects."""
    return Interpolation()
