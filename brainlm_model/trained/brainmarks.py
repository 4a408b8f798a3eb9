"""A trained model as Brainmarks (Lane et al., 2025, arXiv:2510.13768) takes one; its plug-in registers these two.

Shapes: N samples, B windows, P parcels, T steps, D width, F = P (P + 1) / 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainlm_data import InputError, ParcelSeries, Scaler, resample_series
from brainlm_model.trained.connectivity import log_connectivity
from brainlm_model.trained.embedding import windows_of

if TYPE_CHECKING:
    from brainlm_model.trained.checkpoint import TrainedModel

SPACES = {424: "a424", 400: "schaefer400", 450: "schaefer400_tians3"}  # of Brainmarks, by the number of parcels
QUARTERS = (0.25, 0.5, 0.75)


class Transform:
    """From a sample of Brainmarks to what the model takes: windows (B, P, T), and connectivity (F,).

    A sample has `bold` (T, P) with mean 0 and SD 1 of each parcel, `mean` and `std` (1, P), and `tr`, s. It is given
    its amplitude back, resampled to the model's rate, and scaled by what `fit` found; nothing is filtered or denoised.
    With fewer steps than a window the rest is unknown to the model, but for the mean that fills the last patch.
    """

    def __init__(self, model: TrainedModel) -> None:
        self.config, self.scaler = model.config, model.scaler
        self.rate_hz = model.card.data.rate_hz if model.card.data is not None else None

    def fit(self, train_dataset: Iterable[Mapping[str, Any]]) -> None:
        """Median and interquartile range of each parcel in the training samples: units are not those of the model."""
        signals = (_signal(sample) for sample in train_dataset)
        series = np.concatenate([(values - values.mean(axis=0)).astype(np.float32) for values in signals])
        low, median, high = np.quantile(series, QUARTERS, axis=0).astype(np.float32)
        self.scaler = Scaler(median, np.where(high > low, high - low, np.float32(np.nan)))

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """The sample with `bold` (B, P, T) and `connectivity` (F,), 0 where a parcel does not vary.

        Raises
        ------
        InputError: another number of parcels than the model's.
        Refused: a sample too short to be resampled.
        """
        values = _signal(sample)
        tr_s = float(sample["tr"])
        if self.rate_hz is not None and not np.isclose(1 / tr_s, self.rate_hz, rtol=1e-3):
            values = np.asarray(resample_series(ParcelSeries(values, rate_hz=1 / tr_s), self.rate_hz).values, float)
        windows = windows_of(_filled(values, self.config.window, self.config.patch), self.scaler, self.config)
        connectivity = np.nan_to_num(log_connectivity(values)).astype(np.float32)
        return {**sample, "bold": windows, "connectivity": torch.from_numpy(connectivity)}


class Wrapper(nn.Module):
    """The model's encoder; a batch is what `Transform` made of samples, collated."""

    def __init__(self, model: TrainedModel) -> None:
        """Raises InputError where Brainmarks has no space of so many parcels."""
        super().__init__()
        parcels = model.config.parcels
        if parcels not in SPACES:
            known = ", ".join(f"{number} ({name})" for number, name in SPACES.items())
            raise InputError(f"Brainmarks: a model of {parcels} parcels", f"its spaces have {known}")
        self.__space__ = SPACES[parcels]
        self.network = model.network

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """CLS (N, 1, D), connectivity (N, 1, F) and parcels (N, P, D), means over windows; unknown parcels are 0."""
        x_NBPT = batch["bold"]
        encoded = self.network.encode(x_NBPT.flatten(0, 1))
        cls, _, parcels = (part.unflatten(0, x_NBPT.shape[:2]) for part in encoded)
        return cls.mean(1, keepdim=True), batch["connectivity"][:, None], parcels.nanmean(1).nan_to_num()


def _signal(sample: Mapping[str, Any]) -> NDArray[np.float64]:
    """(T, P) with its amplitude."""
    return np.asarray(sample["bold"] * sample["std"] + sample["mean"], np.float64)


def _filled(values: NDArray[np.floating], window: int, patch: int) -> NDArray[np.float64]:
    """(T, P) at least `window` steps long: whole patches by the mean of each parcel, then NaN."""
    steps = len(values)
    if steps >= window:
        return np.asarray(values, np.float64)
    filled = np.full((window, values.shape[1]), np.nan)
    filled[:steps] = values
    filled[steps : math.ceil(steps / patch) * patch] = values.mean(axis=0)
    return filled
