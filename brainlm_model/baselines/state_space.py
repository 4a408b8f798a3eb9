"""A linear state-space model of the principal components: subspace identification, then a Kalman filter.

x[t+1] = A x[t] + w, z[t] = C x[t] + v, where z are principal components of the parcels. The states are the directions
of the past that are most correlated with the future (canonical variates: Larimore, 1990; Van Overschee & De Moor,
1996); A, C and the noises are regressions on them. Forecasts: filter the past with the steady Kalman gain, then run A
on.
Shapes as in `forecast`; D states, L lags.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from brainlm_model.baselines.autoregression import Read
from brainlm_model.baselines.forecast import Array, components, lags, scores

RIDGE = 1e-3  # share of the mean variance added to moments before they are factored
RADIUS = 0.999  # largest absolute eigenvalue of A: what is forecast must not grow
ITERATIONS = 200  # of the Riccati equation


@dataclass(frozen=True)
class StateSpace:
    """`basis_PK`: principal components. A (D, D), C (K, D), gain (D, K): see above."""

    basis_PK: Array
    transition: Array
    output: Array
    gain: Array

    def __call__(self, past_BPH: Array, steps: int) -> Array:
        """See `forecast`."""
        z_BTK = scores(past_BPH, self.basis_PK)
        state = np.zeros((len(z_BTK), len(self.transition)))
        for z_BK in z_BTK.transpose(1, 0, 2):  # x[t+1 | t] = A x[t | t-1] + K (z[t] - C x[t | t-1])
            state = state @ self.transition.T + (z_BK - state @ self.output.T) @ self.gain.T
        forecasts = []
        for _ in range(steps):  # without data: x[t+1] = A x[t], and the parcels are V C x
            forecasts.append(state @ self.output.T @ self.basis_PK.T)
            state = state @ self.transition.T
        return np.stack(forecasts, axis=2)


def fit_state_space(read: Read, count: int, order: int, states: int) -> StateSpace:
    """From training windows: `count` components, `order` lags of past and of future, `states` states at most."""
    basis_PK = components(read(), count)
    k = basis_PK.shape[1]
    moments, rows = np.zeros((2 * order * k, 2 * order * k)), 0
    for x_BPT in read():
        runs = np.concatenate(list(lags(scores(x_BPT, basis_PK), 2 * order)))
        flat = runs.reshape(len(runs), -1)
        moments += flat.T @ flat
        rows += len(flat)
    # Joint second moments of runs of 2 `order` steps: the first half is the past p, the second the future f.
    moments /= rows
    moments += (RIDGE * np.trace(moments) / len(moments) + 1e-12) * np.eye(len(moments))
    past, future, now = slice(0, order * k), slice(order * k, None), slice(order * k, (order + 1) * k)
    later = slice(k, (order + 1) * k)  # the past one step on
    # Canonical variates: with S_pp = L_p L_p' and S_ff = L_f L_f', the singular values of L_f^-1 S_fp L_p'^-1 are the
    # correlations of past and future. The right vectors v, as v' L_p^-1 p, are the directions of the past that say most
    # of the future; times the root of their correlation they are the states (balanced realisation).
    factor_p, factor_f = (cholesky(moments[part, part], lower=True) for part in (past, future))
    half = solve_triangular(factor_f, moments[future, past], lower=True)
    _, s, vt = np.linalg.svd(solve_triangular(factor_p, half.T, lower=True).T)
    chosen = min(states, len(s))
    to_state = np.sqrt(s[:chosen, None]) * solve_triangular(factor_p.T, vt[:chosen].T, lower=False).T
    # Regression of [x[t+1]; z[t]] on x[t]: its coefficients are A and C, its residuals the noises w and v. x[t+1] is
    # the same function of the past one step later, so all moments that are needed are blocks of `moments`.
    both = np.block([[to_state @ moments[later, past]], [moments[now, past]]]) @ to_state.T  # of [x[t+1]; z[t]], x[t]
    variance = to_state @ moments[past, past] @ to_state.T
    system = np.linalg.solve(variance, both.T).T
    corner = to_state @ moments[later, now]
    noise = np.block([[to_state @ moments[later, later] @ to_state.T, corner], [corner.T, moments[now, now]]])
    noise -= system @ both.T
    transition, output = system[:chosen], system[chosen:]
    radius = np.abs(np.linalg.eigvals(transition)).max()
    transition = transition * min(1.0, RADIUS / max(radius, 1e-12))
    return StateSpace(basis_PK, transition, output, _gain(transition, output, noise, variance))


def _gain(transition: Array, output: Array, noise: Array, start: Array) -> Array:
    """Steady Kalman gain (D, K) of noises that may be correlated, by iterating the Riccati equation."""
    d = len(transition)
    q, s, r = noise[:d, :d], noise[:d, d:], noise[d:, d:]
    error = start
    gain = np.zeros((d, len(output)))
    # P: error covariance of the state one step ahead. q, s, r: of w, of w with v, of v.
    #     K = (A P C' + s) (C P C' + r)^-1,    P <- A P A' + q - K (A P C' + s)'
    for _ in range(ITERATIONS):
        cross = transition @ error @ output.T + s
        innovation = output @ error @ output.T + r
        new = np.asarray(np.linalg.solve(innovation, cross.T).T, dtype=np.float64)
        later = transition @ error @ transition.T + q - new @ cross.T
        error = np.array((later + later.T) / 2, dtype=np.float64)
        done = np.abs(new - gain).max() < 1e-9
        gain = new
        if done:
            break
    return gain
