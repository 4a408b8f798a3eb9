"""Ridge regressions of the next steps: each parcel on its own past (`ar`), all on the last steps of all (`var`).

Direct forecasts: each of the next steps has weights of its own, so errors do not add up from step to step (Marcellino
et al., 2006). Shapes as in `forecast`; L steps of the past that are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from brainlm_model.baselines.forecast import Array, Forecast, components, lags, ridge, scores

Read = Callable[[], Iterable[Array]]  # windows (B, P, T) of the training recordings, one recording after another


def window_moments(read: Read) -> Array:
    """Second moments (P, T, T) of the steps of windows, a parcel at a time."""
    total = np.zeros(())
    for x_BPT in read():
        x_PBT = np.nan_to_num(x_BPT).transpose(1, 0, 2)
        total = total + x_PBT.transpose(0, 2, 1) @ x_PBT
    return total


def fit_ar(moments_PTT: Array, steps: int, order: int, penalty: float) -> Forecast:
    """Each parcel on its own last `order` steps; `moments_PTT` is what `window_moments` gives."""
    # All regressions are blocks of the moments of whole windows: X'X is (past, past), X'Y is (past, future).
    past = slice(moments_PTT.shape[1] - steps - order, moments_PTT.shape[1] - steps)
    future = slice(moments_PTT.shape[1] - steps, None)
    weights_PLF = ridge(moments_PTT[:, past, past], moments_PTT[:, past, future], penalty)

    def forecast(past_BPH: Array, steps: int) -> Array:
        x_PBL = np.nan_to_num(past_BPH[:, :, -order:]).transpose(1, 0, 2)
        return (x_PBL @ weights_PLF[:, :, :steps]).transpose(1, 0, 2)

    return forecast


def fit_var(read: Read, steps: int, order: int, count: int, penalty: float) -> Forecast:
    """All principal components on the last `order` steps of all; what is outside of them is forecast as 0.

    `count`: components; at most as many as there are parcels.
    """
    basis_PK = components(read(), count)
    # An input is the last `order` steps of all K scores, an output the next `steps`: X'X and X'Y are summed window by
    # window, so that memory does not grow with the cohort.
    size = order * basis_PK.shape[1]
    xx, xy = np.zeros((size, size)), np.zeros((size, steps * basis_PK.shape[1]))
    for x_BPT in read():
        runs = np.concatenate(list(lags(scores(x_BPT, basis_PK), order + steps)))
        flat = runs.reshape(len(runs), -1)
        inputs, outputs = flat[:, :size], flat[:, size:]
        xx += inputs.T @ inputs
        xy += inputs.T @ outputs
    weights = ridge(xx, xy, penalty)

    def forecast(past_BPH: Array, steps: int) -> Array:
        z_BTK = scores(past_BPH[:, :, -order:], basis_PK)
        forecasts = (z_BTK.reshape(len(z_BTK), -1) @ weights).reshape(len(z_BTK), -1, basis_PK.shape[1])
        return (forecasts[:, :steps] @ basis_PK.T).transpose(0, 2, 1)

    return forecast
