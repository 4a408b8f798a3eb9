"""Baselines of masked reconstruction, one small module each, all with the same interface.

`fit(train) -> Predictor`, where `train` are recordings (parcel, time) of training subjects; then
`predict(x_BPT, mask_BPT) -> x_hat_BPT`: scaled windows with the masked values predicted and the others as they came.
NaN in `x_BPT` means not known; a known and unmasked value is visible. Adding one: write `baselines/<name>.py` and
list it in `MASKED`.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

# of masked reconstruction: module of this package -> what figures and tables call it. The Gaussian is always there
MASKED = {
    "gaussian": "conditional Gaussian",
    "lagged": "conditional Gaussian over three steps",
    "pca": "principal components (PCA)",
    "mean": "mean of visible parcels",
    "interpolation": "linear interpolation in time",
}


def _known(name: str) -> str:
    if name not in MASKED:
        raise ValueError(f"no baseline {name!r}: one of {', '.join(MASKED)}")
    return name


BaselineName = Annotated[str, AfterValidator(_known)]  # in a section of config.yaml
Windows = NDArray[np.floating]
Mask = NDArray[np.bool_]


class Predictor(Protocol):
    """What every baseline, and the model, can do."""

    def predict(self, x_BPT: Windows, mask_BPT: Mask) -> Windows:
        """Windows (batch, parcel, time) with masked and unknown values predicted; float, never NaN there."""
        ...


def visible(x_BPT: Windows, mask_BPT: Mask) -> Mask:
    """Which values a method may look at."""
    return ~mask_BPT & np.isfinite(x_BPT)
