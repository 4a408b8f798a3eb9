"""Forecasts: the next steps of every parcel from the steps before them, and what the linear forecasts are fitted from.

A forecast is a function of the past (B, P, H) and a number of steps F that gives (B, P, F): it never gets the future.
Values are scaled (0: the mean of the recording); NaN in the past is not known and counts as 0, no forecast is NaN.
Shapes: B windows, P parcels, H steps of the past, F steps of the future, T = H + F, K components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Forecast = Callable[[Array, int], Array]
PLACES = 40  # of a window in which a short past and a future are looked for


def persistence(past_BPH: Array, steps: int) -> Array:
    """The last value, on and on."""
    return np.repeat(np.nan_to_num(past_BPH[:, :, -1:]), steps, axis=2)


def mean(past_BPH: Array, steps: int) -> Array:
    """The mean of the recording: 0."""
    return np.zeros((*past_BPH.shape[:2], steps))


def components(windows: Iterable[Array], count: int) -> Array:
    """The `count` first principal components (P, K) of windows (B, P, T), by their second moments."""
    total: Array | None = None
    for x_BPT in windows:
        x = np.nan_to_num(x_BPT).transpose(1, 0, 2).reshape(x_BPT.shape[1], -1)  # (P, B T): one long series
        total = x @ x.T if total is None else total + x @ x.T
    assert total is not None
    # `eigh` sorts upwards: the last eigenvectors have the largest variance.
    vectors = np.linalg.eigh(total)[1]
    return vectors[:, ::-1][:, :count]


def lags(z_BTK: Array, length: int) -> Iterator[Array]:
    """Runs of `length` steps (places, length, K) of each window, at `PLACES` places spread over it."""
    for z_TK in z_BTK:
        starts = np.unique(np.linspace(0, len(z_TK) - length, PLACES).round().astype(int))
        yield z_TK[starts[:, None] + np.arange(length)]


def scores(x_BPT: Array, basis_PK: Array) -> Array:
    """Scores (B, T, K) on principal components."""
    return np.nan_to_num(x_BPT).transpose(0, 2, 1) @ basis_PK


def ridge(xx: Array, xy: Array, penalty: float) -> Array:
    """Weights (..., inputs, outputs) from moments; the penalty is a share of the inputs' mean second moment."""
    # (X'X + lambda I) W = X'Y, lambda = penalty * trace(X'X) / size. The 1e-12 keeps an input of zeros solvable.
    size = xx.shape[-1]
    level = np.trace(xx, axis1=-2, axis2=-1)[..., None, None] / size
    return np.linalg.solve(xx + (penalty * level + 1e-12) * np.eye(size), xy)
