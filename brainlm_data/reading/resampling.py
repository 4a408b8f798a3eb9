"""Parcel series at another rate or in other units, as the pipeline makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.series import ParcelSeries
from brainlm_data.errors import InputError, Refused
from brainlm_data.methods.operators import Recipe, at_rate, drop, fill_censored, invalid_steps
from brainlm_data.reading.parcel_means import CENTRED, PERCENT, grand_mean
from brainlm_data.reading.timing import TR_S, impossible

FEWEST = 4  # volumes with data: what a cubic spline needs


@dataclass(frozen=True)
class Resampled:
    """`values`: (step, parcel), NaN for a parcel that is not `covered`.

    `dropped`: volumes at the start without data; `censored`: further ones, which were interpolated.
    """

    values: NDArray[np.float32]
    dropped: int
    censored: tuple[int, ...]
    covered: NDArray[np.bool_]


def resampled_values(values: NDArray[np.floating], tr_s: float, hz: float) -> Resampled:
    """Bring (volume, parcel) from its TR to `hz`.

    A parcel that is constant, or that has a value that is not finite, becomes NaN. Volumes without any data count as
    dropped (at the start) or censored: they are interpolated.

    Raises
    ------
    Refused: an impossible TR, too few volumes with data, no parcel with data, or values beyond 32-bit floats.
    """
    if problem := impossible(tr_s):
        raise Refused(f"a TR of {tr_s:g} s: {problem}", f"give seconds, {TR_S[0]:g} to {TR_S[1]:g}")
    x = np.asarray(values, dtype=np.float64)
    total = len(x)
    finite = np.isfinite(x)
    empty = ~finite.any(axis=1)
    if total - empty.sum() < FEWEST:
        raise Refused(f"{total - empty.sum()} volumes with data, fewer than {FEWEST}", "longer recordings")
    known = x[~empty]
    covered: NDArray[np.bool_] = np.asarray(finite[~empty].all(axis=0))
    covered[covered] = np.ptp(known[:, covered], axis=0) > 0
    if not covered.any():
        raise Refused("no parcel has data that vary", "look at how the series were written")
    dropped = int(np.argmin(empty))
    censored = tuple(int(v) for v in np.flatnonzero(empty) if v >= dropped)
    recipe = Recipe(tr_s, total, dropped, censored)
    whole = np.full((total, int(covered.sum())), np.nan)
    whole[dropped:] = fill_censored(drop(x[:, covered], recipe), recipe)
    moved = at_rate(whole, tr_s, hz, dropped)
    if np.abs(moved[np.isfinite(moved)]).max(initial=0) > np.finfo(np.float32).max:
        raise Refused("values beyond those of 32-bit floats", "is it damaged? Else scale it")
    out = np.full((len(moved), x.shape[1]), np.nan, np.float32)
    out[:, covered] = moved
    return Resampled(out, dropped, censored, covered)


def resample_series(series: ParcelSeries, hz: float) -> ParcelSeries:
    """A recording at `hz` steps per second; what its values are taken for is stated.

    Raises
    ------
    InputError: not (time, parcel), or a series whose rate nobody says.
    Refused: an impossible TR, too few steps with data, or none.

    Examples
    --------
    >>> import numpy as np
    >>> from brainlm_data import ParcelSeries, resample_series
    >>> slow = ParcelSeries(np.random.default_rng(0).normal(size=(100, 24)), rate_hz=0.5)
    >>> resample_series(slow, 1.0).shape
    (199, 24)
    """
    name = series.id or "the series"
    if series.values.ndim != 2:
        raise InputError(f"{name}: shape {series.values.shape}", "give (time, parcel)")
    if not series.rate_hz:
        raise InputError(f"{name}: its rate is not known", "give ParcelSeries(values, rate_hz=1 / TR)")
    tr_s = 1 / series.rate_hz
    made = resampled_values(series.values, tr_s, hz)
    valid = np.ones(len(made.values), bool)
    valid[invalid_steps(len(made.values), hz, tr_s, made.dropped, made.censored)] = False
    stated = [*series.stated, f"resampled from TR {tr_s:g} s to {hz:g} Hz"]
    return replace(series, values=made.values, rate_hz=hz, valid=valid, stated=stated)


def scale_series(series: ParcelSeries, units: str) -> ParcelSeries:
    """A recording in a scanner's units, in those of a card: `Card.units`.

    "grand mean 10000": times one number, so that the mean over parcels and steps is that. "percent ...": each parcel in
    percent of its own mean. Any other: as it is.

    Raises
    ------
    InputError: its mean was removed, as `standardize` and `detrend` of a masker do: then nobody can scale it.

    Examples
    --------
    >>> import numpy as np
    >>> from brainlm_data import ParcelSeries, scale_series
    >>> raw = ParcelSeries(np.random.default_rng(0).normal(500, 5, size=(100, 24)))
    >>> round(float(scale_series(raw, "grand mean 10000").values.mean()))
    10000
    """
    x = np.asarray(series.values, dtype=np.float64)
    by_parcel = units == PERCENT
    if not by_parcel and not units.startswith("grand mean"):
        return series
    known = np.isfinite(x)
    count = known.sum(0)
    mean_P = np.where(known, x, 0).sum(0) / np.maximum(count, 1)
    spread_P = np.sqrt(np.where(known, (x - mean_P) ** 2, 0).sum(0) / np.maximum(count, 1))
    level = float(mean_P[count > 0].mean()) if known.any() else np.nan
    if known.any() and not level > CENTRED * float(np.median(spread_P[count > 0])):
        raise InputError(
            f"{series.id or 'the series'}: its mean was removed (mean {level:.4g}), so it cannot be scaled to {units}",
            "extract it with standardize=False, detrend=False",
        )
    factor_P = np.full(x.shape[1], np.nan)
    if by_parcel:  # a parcel whose mean is not above 0 has no percent
        np.divide(100, mean_P, out=factor_P, where=mean_P > 0)
    else:
        factor_P[:] = grand_mean(units) / level
    stated = [*series.stated, f"scaled from a mean of {level:.4g} over its parcels to {units}"]
    return replace(series, values=x * factor_P, units=units, stated=stated)
