"""Autoregression averaged with a Gaussian process of the window itself."""

import numpy as np
import pytest

from brainlm_model.baselines import window_process
from brainlm_model.baselines.forecast import mean, persistence

PARCELS, PAST, FUTURE = 6, 120, 10


def smooth(seed: int, memory: float, windows: int = 8) -> np.ndarray:
    """Windows (B, P, T) of independent autoregressions of order one with unit variance."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((windows, PARCELS, PAST + FUTURE))
    for step in range(1, x.shape[2]):
        x[:, :, step] = memory * x[:, :, step - 1] + np.sqrt(1 - memory**2) * x[:, :, step]
    return x


def error(forecast: np.ndarray, x: np.ndarray) -> float:
    return float(((forecast - x[:, :, PAST:]) ** 2).mean())


def process(x: np.ndarray, noise: float = 0.01) -> np.ndarray:
    return window_process.continue_components(x[:, :, :PAST], np.eye(PARCELS), FUTURE, noise)


def test_what_is_smooth_goes_on_and_noise_does_not() -> None:
    x = smooth(0, 0.95, 24)
    best = 0.95 ** np.arange(1, FUTURE + 1) * x[:, :, PAST - 1 : PAST]  # what the process itself predicts
    assert error(process(x), x) < 0.5 * error(best, x) + 0.5 * error(0 * best, x)
    noise = smooth(1, 0.0, 24)
    assert error(process(noise), noise) < 1.1 * error(0 * best, noise)


def test_each_window_has_its_own_memory() -> None:
    """A window among others is forecast as it is alone."""
    x = np.concatenate([smooth(0, 0.95, 2), smooth(1, 0.2, 2)])
    np.testing.assert_allclose(process(x)[3:], process(x[3:]), atol=1e-9)


def test_it_is_the_textbook_formula() -> None:
    """One component, with its kernel measured plainly: E[f | p] = K_fp (K_pp + noise)^-1 p."""
    z = smooth(2, 0.9, 1)[0, :1, :PAST]
    lags = window_process.LAGS * PAST
    r = np.array([(z[0, : PAST - k] * z[0, k:]).sum() for k in range(int(np.ceil(lags)))]) / (z[0] ** 2).sum()
    r *= 0.5 + 0.5 * np.cos(np.pi * np.arange(len(r)) / lags)
    r = np.concatenate([r, np.zeros(PAST + FUTURE - len(r))])
    period = np.concatenate([r, [0], r[:0:-1]])
    r = np.fft.ifft(np.maximum(np.fft.fft(period).real, 0)).real
    steps = np.arange(PAST + FUTURE)
    kernel = r[np.abs(steps[:, None] - steps)]
    within = kernel[:PAST, :PAST] + 0.1 * np.eye(PAST)
    expected = kernel[PAST:, :PAST] @ np.linalg.solve(within, z[0])
    found = window_process.continue_components(z[None], np.eye(1), FUTURE, 0.1)[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_mean_of_both_and_nothing_known_is_zero() -> None:
    x = smooth(3, 0.9)
    forecast = window_process.fit_mean(persistence, np.eye(PARCELS), 0.01)
    found = forecast(x[:, :, :PAST], FUTURE)
    np.testing.assert_allclose(2 * found, persistence(x[:, :, :PAST], FUTURE) + process(x))
    x[0, 2] = np.nan
    x[1] = 0
    found = window_process.fit_mean(mean, np.eye(PARCELS), 0.01)(x[:, :, :PAST], FUTURE)
    assert np.isfinite(found).all() and found[0, 2] == pytest.approx(0) and not found[1].any()
