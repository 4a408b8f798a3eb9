"""The linear model that a fine-tuned network stands beside: ridge regression on correlations between parcels.

On traits it is hard to beat: it sees the same recordings, the same subjects, and its strength is chosen on the same
validation subjects.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STRENGTHS = np.logspace(-4, 3, 15)  # of the ridge, as shares of the features' total variance


def ridge(features: dict[str, Array], targets: dict[str, Array]) -> tuple[dict[str, Array], float]:
    """Predictions of every split, and the strength that was best on validation subjects.

    Parameters
    ----------
    features: (recording, feature) by split. targets: (recording, output) of `train` and `validation`.
    """
    mean = features["train"].mean(0)
    centred = {split: values - mean for split, values in features.items()}
    level = targets["train"].mean(0)
    # There are far more features than recordings, so by the kernel K = X X' = V diag(d) V': the coefficients are
    # X' V / (d + strength) V' y, and predictions of other recordings X* need X* X' alone.
    kernel = centred["train"] @ centred["train"].T
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0)
    total = float(values.sum()) or 1.0  # 0 where all recordings have the same features: the mean is predicted
    projected = vectors.T @ (targets["train"] - level)
    across = {split: x @ centred["train"].T @ vectors for split, x in centred.items()}  # X* X' V

    def predict(split: str, strength: float) -> Array:
        shrunk = projected / (values + strength * total / len(values))[:, None]
        return across[split] @ shrunk + level

    errors = []
    for strength in STRENGTHS:
        errors.append(float(((predict("validation", strength) - targets["validation"]) ** 2).mean()))
    best = float(STRENGTHS[int(np.argmin(errors))])
    return {split: predict(split, best) for split in features}, best
