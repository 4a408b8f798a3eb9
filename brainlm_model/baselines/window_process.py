"""Own past (AR), averaged with a Gaussian process on each principal component that has the window's autocorrelation.

The autoregression knows what is common to people, the process how smooth this very window is: its TR, its filter, its
person. The mean of both forecasts is better than either (docs/measurements.md). Shapes as in `forecast`.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_toeplitz

from brainlm_model.baselines.forecast import Array, Forecast, scores

LAGS = 0.15  # of the past: correlations further apart are taken as 0
COMPONENTS = 100


def fit_mean(regression: Forecast, basis_PK: Array, noise: float) -> Forecast:
    """The mean of a regression's forecast and the process's.

    Parameters
    ----------
    basis_PK: principal components of training windows. noise: variance of white noise, as a share of a component's.
    """

    def forecast(past_BPH: Array, steps: int) -> Array:
        process_BPF = continue_components(past_BPH, basis_PK, steps, noise)
        mean_BPF: Array = (regression(past_BPH, steps) + process_BPF) / 2
        return mean_BPF

    return forecast


def continue_components(past_BPH: Array, basis_PK: Array, steps: int, noise: float) -> Array:
    """Forecast (B, P, F) by a stationary Gaussian process on each component; what is outside of them is 0."""
    z_BKH = scores(past_BPH, basis_PK).transpose(0, 2, 1)
    forecasts = np.empty((*z_BKH.shape[:2], steps))
    for window, z_KH in enumerate(z_BKH):
        forecasts[window] = _continued(z_KH, steps, noise)
    return np.asarray(basis_PK @ forecasts)


def _continued(z_KH: Array, steps: int, noise: float) -> Array:
    """E[z at the next steps | z so far] = K_fp (K_pp + noise I)^-1 z of each component, (K, F)."""
    length = z_KH.shape[1]
    total = length + steps
    # r(k) = sum_t z_t z_t+k / H by the power spectrum, with zeros behind the series so that nothing wraps around
    power = np.abs(np.fft.rfft(z_KH, 2 * total, axis=1)) ** 2
    correlation = np.fft.irfft(power, axis=1)[:, :total]
    variance = correlation[:, :1].copy()
    correlation = np.divide(correlation, variance, out=np.zeros_like(correlation), where=variance > 0)
    lag = np.arange(total)
    lags = max(LAGS * length, 1)
    correlation *= np.where(lag < lags, 0.5 + 0.5 * np.cos(np.pi * lag / lags), 0)  # Tukey-Hanning window
    # the taper can make a correlation indefinite: its spectrum is set to zero where it is negative
    period = np.concatenate([correlation, np.zeros((len(z_KH), 1)), correlation[:, :0:-1]], axis=1)
    kernel = np.fft.irfft(np.maximum(np.fft.rfft(period, axis=1).real, 0), 2 * total, axis=1)[:, :total]
    # K_pp + noise I is constant along its diagonals: Levinson's recursion; K_fp reaches back from each step
    first_row = kernel[:, :length].copy()
    first_row[:, 0] += noise + 1e-6
    back_FH = np.arange(length, total)[:, None] - np.arange(length)
    continued = np.empty((len(z_KH), steps))
    for component, z_H in enumerate(z_KH):
        continued[component] = kernel[component][back_FH] @ solve_toeplitz(first_row[component], z_H)
    return continued
