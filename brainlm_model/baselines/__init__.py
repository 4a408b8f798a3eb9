"""Baselines of masked reconstruction, one small module each, all with the same interface.

`fit(train) -> Predictor`, where `train` are recordings (parcel, time) of training subjects; then
`predict(x_BPT, mask_BPT) -> x_hat_BPT`: scaled windows with the masked values predicted and the others as they came.
NaN in `x_BPT` means not known; a known and unmasked value is visible. Adding one: write `baselines/<name>.py`, add its
name to `Baseline` and `LABELS` here, and its colour to `figures/style.py`.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Windows = NDArray[np.floating]
Mask = NDArray[np.bool_]
# What config.yaml may choose (the Gaussian is always there), and what figures and tables call each.
Baseline = Literal["spacetime", "lagged", "pca", "mean", "interpolation"]
LABELS = {
    "gaussian": "conditional Gaussian",
    "spacetime": "joint Gaussian over space and time",
    "lagged": "conditional Gaussian over three steps",
    "pca": "principal components (PCA)",
    "mean": "mean of visible parcels",
    "interpolation": "linear interpolation in time",
}


class Predictor(Protocol):
    """What every baseline, and the model, can do."""

    def predict(self, x_BPT: Windows, mask_BPT: Mask) -> Windows:
        """Windows (batch, parcel, time) with masked and unknown values predicted; float, never NaN there."""
        ...


def module(name: str) -> ModuleType:
    """The module of a baseline, with `fit` and, where validation subjects choose something, `fit_tuned`."""
    return import_module(f"{__name__}.{name}")


def visible(x_BPT: Windows, mask_BPT: Mask) -> Mask:
    """Which values a method may look at."""
    return ~mask_BPT & np.isfinite(x_BPT)
