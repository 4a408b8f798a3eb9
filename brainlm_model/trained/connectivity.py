"""Second-order descriptions of a recording: connectivity on a logarithmic scale, of the series and of the model.

What tells people apart is how their parcels vary together. Covariances lie on a curved space, and the matrix logarithm
flattens it without a reference that would have to be fitted (Arsigny et al., SIAM J. Matrix Analysis 2007).
Shapes: P parcels, T steps, F = P (P + 1) / 2 features.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainlm_data import InputError

Array = NDArray[np.float64]
Series = NDArray[np.floating]
SHRINKAGE = 0.3  # share of the identity in a correlation matrix before its logarithm; from .2 to .5 all is alike
BAND_HZ = (0.01, 0.1)
STRENGTH = 400  # steps that the population's covariance is worth against a recording's own, in `adapted`
Copy = Literal["connectivity", "connectivity_band", "connectivity_global"]
SecondOrder = Literal[Copy, "adapted", "attention"]
COPIES: tuple[Copy, ...] = get_args(Copy)  # of one recording, as the trait readout takes it
KINDS: tuple[SecondOrder, ...] = get_args(SecondOrder)


def log_connectivity(series_TP: Series) -> Array:
    """Upper triangle (F,) of log(.7 C + .3 I), C the correlations of the parcels; off the diagonal times sqrt(2).

    NaN at the pairs of a parcel that is not known throughout, or does not vary. Steps without any value are left out.

    Raises
    ------
    InputError: an infinite value, less than two known parcels, or less than three steps.
    """
    z_TK, known_P = standardised(series_TP)
    return _log_of_correlations(z_TK, known_P)


def copies(series_TP: Series, rate_hz: float) -> Array:
    """`log_connectivity` (3, F) of the series, of its part within `BAND_HZ`, and of it without its global mean."""
    return np.stack([of_copy(name, series_TP, rate_hz) for name in COPIES])


def of_copy(name: str, series_TP: Series, rate_hz: float | None) -> Array:
    """`log_connectivity` (F,) of one of `COPIES`; `rate_hz`, of the series, is for `connectivity_band` alone.

    Raises
    ------
    InputError: as `log_connectivity`; a rate that is not known; a recording too short for the band.
    """
    z_TK, known_P = standardised(series_TP)
    if name == "connectivity_band":
        if rate_hz is None:
            raise InputError("connectivity_band: the sampling rate is not known", "kind connectivity needs none")
        z_TK = _in_band(z_TK, series_TP, rate_hz)
    if name == "connectivity_global":
        z_TK = without_global_mean(z_TK)
    return _log_of_correlations(z_TK, known_P)


def adapted(scaled_TP: Series, covariance_PP: Series) -> Array:
    """Upper triangle (F,) of log(R_0^-1/2 R R_0^-1/2), R the correlations of the covariance adapted to a recording.

    R_0 are the population's. Of a parcel that is not known throughout the recording, or does not vary, the covariance
    is what the population's normal distribution says of it given the known ones.

    Parameters
    ----------
    scaled_TP: a recording, scaled as the model's training data were. covariance_PP: the population's, of the model.

    Raises
    ------
    InputError: an infinite value; no parcel is known throughout and varies.
    """
    series_TP = _steps(scaled_TP)
    _refuse_infinite(series_TP, "adapted")
    known_P = np.asarray(np.isfinite(series_TP).all(axis=0))
    if len(series_TP):
        known_P &= np.asarray(np.ptp(np.nan_to_num(series_TP), axis=0) > 0)
    if not len(series_TP) or not known_P.any():
        raise InputError("adapted: no parcel is known throughout and varies", "look at the recording's quality page")
    population_PP = np.asarray(covariance_PP, dtype=np.float64)
    x_TK = series_TP[:, known_P].astype(np.float64)
    known_KK = population_PP[np.ix_(known_P, known_P)]
    scatter_KK = x_TK.T @ x_TK
    # The mode under an inverse-Wishart prior that is worth k steps of the population's covariance at the recording's
    # own amplitude a (as in models/prior.py):  C = (k a C_0 + X'X) / (k + T)
    amplitude = np.trace(scatter_KK) / len(x_TK) / np.trace(known_KK)
    own_KK = (STRENGTH * amplitude * known_KK + scatter_KK) / (STRENGTH + len(x_TK))
    covariance = _completed(own_KK, population_PP, known_P, amplitude)
    whiten = _power(_as_correlations(population_PP), -0.5)
    return _upper(_log(whiten @ _as_correlations(covariance) @ whiten))


def log_attention(attention_RR: Series) -> Array:
    """Upper triangle (P (P - 1) / 2,) of the logarithm of attention between parcels, mean of both directions.

    `attention_RR`: (1 + P, 1 + P), CLS first. NaN at the pairs of a parcel that was not known.
    """
    between_PP = np.asarray(attention_RR, dtype=np.float64)[1:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_PP = np.log(between_PP)
    log_PP = np.where(np.isfinite(log_PP), log_PP, np.nan)
    both: Array = ((log_PP + log_PP.T) / 2)[np.triu_indices(len(log_PP), 1)]
    return both


def standardised(series_TP: Series) -> tuple[Array, NDArray[np.bool_]]:
    """Known parcels (T, K) with mean 0 and variance 1, and which they are (P,).

    Raises InputError as `log_connectivity` does.
    """
    values = _steps(series_TP)
    _refuse_infinite(values, "connectivity")
    if len(values) < 3:
        raise InputError(f"connectivity: {len(values)} steps with data, at least 3 are needed", "a longer recording")
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    level = np.abs(values).max(axis=0)
    known_P = np.isfinite(spread) & (spread > 1e-9 * np.where(np.isfinite(level), level, 1))
    if known_P.sum() < 2:
        raise InputError(
            f"connectivity: {known_P.sum()} parcels are known throughout and vary, at least 2 are needed",
            "look at the recording's quality page",
        )
    return centred[:, known_P] / spread[known_P], known_P


def _refuse_infinite(values_TP: Array, what: str) -> None:
    count = int(np.isinf(values_TP).sum())
    if count:
        raise InputError(f"{what}: {count} infinite values", "NaN stands for what is not known")


def _steps(series_TP: Series) -> Array:
    """Steps that have data."""
    values = np.asarray(series_TP, dtype=np.float64)
    if values.ndim != 2:
        raise InputError(f"connectivity: a series of shape {values.shape}", "orientation: (time, parcel)")
    return values[~np.isnan(values).all(axis=1)]


def _in_band(z_TK: Array, series_TP: Series, rate_hz: float) -> Array:
    """The part of the series within `BAND_HZ`, with mean 0 and variance 1."""
    # Least squares on the cosines of a discrete cosine transform within the band, at the steps that have data: exact
    # where nothing is missing, and a gap needs no interpolation. Cosine k of N steps has the frequency k rate / (2 N).
    there = np.flatnonzero(~np.isnan(np.asarray(series_TP, dtype=np.float64)).all(axis=1))
    total = len(series_TP)
    hz = np.arange(total) * rate_hz / (2 * total)
    chosen = np.flatnonzero((hz >= BAND_HZ[0]) & (hz <= BAND_HZ[1]))
    if not len(chosen) or len(chosen) > len(there):
        raise InputError(
            f"connectivity_band: {len(there)} steps at {rate_hz:g} Hz do not hold {BAND_HZ[0]:g} to {BAND_HZ[1]:g} Hz",
            "a longer recording, or kind connectivity",
        )
    cosines = np.cos(np.pi * (there[:, None] + 0.5) * chosen / total)
    weights = np.linalg.lstsq(cosines, z_TK, rcond=None)[0]
    return _rescaled(cosines @ weights)


def without_global_mean(z_TK: Array) -> Array:
    """Residuals of a regression on the mean of all parcels, with mean 0 and variance 1."""
    mean_T = z_TK.mean(axis=1)
    power = mean_T @ mean_T
    slope_K = mean_T @ z_TK / power if power > 0 else np.zeros(z_TK.shape[1])
    return _rescaled(z_TK - mean_T[:, None] * slope_K)


def _rescaled(x_TK: Array) -> Array:
    """Mean 0 and variance 1; zeros where nothing is left."""
    centred = x_TK - x_TK.mean(axis=0)
    spread = centred.std(axis=0)
    there = spread > 1e-9
    return np.where(there, centred / np.where(there, spread, 1), 0)


def _log_of_correlations(z_TK: Array, known_P: NDArray[np.bool_]) -> Array:
    correlations_KK = z_TK.T @ z_TK / len(z_TK)
    shrunk_KK = (1 - SHRINKAGE) * correlations_KK + SHRINKAGE * np.eye(len(correlations_KK))
    log_PP = np.full((len(known_P), len(known_P)), np.nan)
    log_PP[np.ix_(known_P, known_P)] = _log(shrunk_KK)
    return _upper(log_PP)


def _completed(own_KK: Array, population_PP: Array, known_P: NDArray[np.bool_], amplitude: float) -> Array:
    """Covariance (P, P) of known and unknown parcels, whose relation to the known ones is the population's."""
    if known_P.all():
        return own_KK
    # Unknown given known parcels: x_u = W x_k + e, with W = C_uk C_kk^-1 and cov e = C_uu - W C_ku of the population.
    unknown_P = ~known_P
    known_KK = population_PP[np.ix_(known_P, known_P)]
    across_UK = population_PP[np.ix_(unknown_P, known_P)]
    w_UK = np.linalg.solve(known_KK, across_UK.T).T
    left_UU = amplitude * (population_PP[np.ix_(unknown_P, unknown_P)] - w_UK @ across_UK.T)
    covariance = np.empty_like(population_PP)
    covariance[np.ix_(known_P, known_P)] = own_KK
    covariance[np.ix_(unknown_P, known_P)] = w_UK @ own_KK
    covariance[np.ix_(known_P, unknown_P)] = (w_UK @ own_KK).T
    covariance[np.ix_(unknown_P, unknown_P)] = left_UU + w_UK @ own_KK @ w_UK.T
    return covariance


def _as_correlations(covariance_PP: Array) -> Array:
    deviation_P = np.sqrt(np.diag(covariance_PP))
    correlations: Array = covariance_PP / np.outer(deviation_P, deviation_P)
    return correlations


def _power(matrix_PP: Array, exponent: float) -> Array:
    """Power of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix_PP)
    powered: Array = (vectors * values**exponent) @ vectors.T
    return powered


def _log(matrix_PP: Array) -> Array:
    """Logarithm of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix_PP)
    logarithm: Array = (vectors * np.log(values)) @ vectors.T
    return logarithm


def _upper(matrix_PP: Array) -> Array:
    """Upper triangle (F,) with the diagonal; the rest times sqrt(2), so that lengths are those of the matrix."""
    rows, columns = np.triu_indices(len(matrix_PP))
    upper: Array = matrix_PP[rows, columns] * np.where(rows == columns, 1, np.sqrt(2))
    return upper
