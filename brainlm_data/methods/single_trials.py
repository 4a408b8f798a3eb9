"""What a brain answers in single trials: the mean of some volumes, or betas of a general linear model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods.operators import Temporal

Array = NDArray[np.float64]
Hrf = Literal["glover", "spm"]
OVERSAMPLING = 20  # of the design, per volume


def in_window(
    times_s: Array, onsets_s: Array, window_s: tuple[float, float], good: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(trials, T): which good volumes lie in a window after the onset, both ends included."""
    after = times_s[None] - onsets_s[:, None]
    tolerance = 1e-6  # s: onsets are decimal numbers
    return (after >= window_s[0] - tolerance) & (after <= window_s[1] + tolerance) & good[None]


def means(series: NDArray[np.floating[Any]], chosen: NDArray[np.bool_]) -> Array:
    """(trials, V) means of a series (T, V) over the volumes chosen for each trial (trials, T), at least one each."""
    weights = chosen / chosen.sum(1, keepdims=True)
    return np.asarray(weights @ series, np.float64)


def design(times_s: Array, onsets_s: Array, durations_s: Array, hrf: Hrf) -> Array:
    """(T, trials): the expected response to each trial alone, at volumes whose times are given."""
    from nilearn.glm.first_level import compute_regressor

    columns = []
    for onset, duration in zip(onsets_s, durations_s, strict=True):
        event = np.array([[onset], [duration], [1.0]])
        columns.append(compute_regressor(event, hrf, times_s, oversampling=OVERSAMPLING)[0][:, 0])
    return np.stack(columns, axis=1)


def betas(series: NDArray[np.floating[Any]], columns: Array, separately: bool) -> Array:
    """Least-squares responses (trials, V) to the columns (T, trials) of a design, both filtered alike.

    Parameters
    ----------
    separately: a model for each trial, with one column for it and one for the sum of all others (LSS; Mumford et al.,
        2012), which is steadier where responses overlap; else one model with all columns (LSA).
    """
    if not separately:
        return np.asarray(np.linalg.pinv(columns) @ series, np.float64)
    total = columns.sum(1)
    out = np.empty((columns.shape[1], series.shape[1]))
    for trial, own in enumerate(columns.T):
        model = np.stack([own, total - own], axis=1)
        out[trial] = (np.linalg.pinv(model) @ series)[0]
    return out


def filtered(columns: Array, temporal: Temporal) -> Array:
    """A design (T, k) as the series is: without dropped volumes, censored ones interpolated, filtered, denoised."""
    unscaled: Temporal = replace(temporal, scale=1.0)
    return unscaled.apply(columns)[temporal.recipe.dropped :]
