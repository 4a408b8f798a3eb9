"""The temporal chain of one recording: from what is requested of all to the operators of `operators.Temporal`.

Stages filter and denoise, the import of preprocessed images and the embedding of one image go through these functions,
so the same request means the same series wherever a recording comes from:

    recipe, notes = recipe_of(name, requested, tr_s, n_volumes, dropped, empty, fd)   E, C, H and L
    confounds = confounds_of(patterns, table, recipe, where)                          what D removes
    regression, limits = regression_of(name, confounds.values, series, recipe, components)   D
    series = Temporal(recipe, regression, scale).apply(series)                        g, E, C, H, D, L
    series = at_rate(series, tr_s, hz, dropped)                                       R
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainlm_data import strategies
from brainlm_data.errors import Refused
from brainlm_data.methods.operators import Array, HighPass, Recipe, drop, fill_censored, high_pass, low_pass
from brainlm_data.methods.regression import Limits, Regression

LEFT = 1e-3  # a confound of which the filter leaves a smaller share (of its norm) lies outside the band
LEFT_OF_COMPONENT = 1e-8  # a component of which the confounds leave a smaller share (of its norm) consists of them


@dataclass(frozen=True)
class Requested:
    """What is requested of every recording; `Recipe` is what comes of it for one.

    Attributes
    ----------
    low_hz, high_hz: edges of high-pass and low-pass; None: that side stays open. method: of the high-pass.
    censor_fd_mm: volumes that moved more are interpolated; None: only those without an image are.
    min_volumes: a recording with fewer good ones is refused.
    """

    low_hz: float | None = None
    high_hz: float | None = None
    method: HighPass = "butterworth"
    censor_fd_mm: float | None = None
    min_volumes: int = 0


def recipe_of(
    name: str,
    requested: Requested,
    tr_s: float,
    n_volumes: int,
    dropped: int,
    empty: Collection[int],
    fd: NDArray[np.floating] | None = None,
) -> tuple[Recipe, list[str]]:
    """E, C, H and L of one recording, and what differs from the request, in words.

    Parameters
    ----------
    name: of the recording, for messages. dropped: volumes at the start. empty: volumes without an image.
    fd: (volume,) framewise displacement, mm; NaN where unknown; None: nobody knows how the head moved.

    Raises
    ------
    Refused: motion is unknown and volumes are to be censored by it; too few good volumes; or a high-pass that this TR
        cannot hold.
    """
    bad = {int(volume) for volume in empty}
    if requested.censor_fd_mm is not None:
        if fd is None:
            raise Refused(
                f"{name}: no motion parameters, so volumes cannot be censored by FD", "leave --censor-fd-mm out"
            )
        bad.update(np.flatnonzero(np.nan_to_num(fd) > requested.censor_fd_mm).tolist())
    censored = tuple(sorted(volume for volume in bad if volume >= dropped))
    left = n_volumes - dropped - len(censored)
    if left < requested.min_volumes:
        raise Refused(
            f"{name}: {left} of {n_volumes} volumes are left ({dropped} dropped, {len(censored)} censored)",
            f"filter.min_volumes is {requested.min_volumes}, filter.censor_fd_mm {requested.censor_fd_mm}",
        )

    low, high, nyquist = requested.low_hz, requested.high_hz, 0.5 / tr_s
    if low is not None and low >= nyquist:
        raise Refused(
            f"{name}: a high-pass of {low:g} Hz, which is not below the Nyquist frequency, {nyquist:g} Hz",
            "lower filter.low_hz (--low-hz); for a model's band, a recording of shorter TR",
        )
    notes = []
    if high is not None and high >= nyquist:
        notes.append(f"requested upper edge {high:g} Hz is not below Nyquist: the band ends at {nyquist:g} Hz")
        high = None
    seconds = (n_volumes - dropped) * tr_s
    if low is not None and low * seconds < 1:
        notes.append(f"one period of {low:g} Hz is longer than the recording ({seconds:g} s)")
    return Recipe(tr_s, n_volumes, dropped, censored, requested.method, low, high), notes


def before_regression(x: Array, recipe: Recipe) -> Array:
    """E, C and H: what data and regressors go through before D."""
    return high_pass(fill_censored(drop(x, recipe), recipe), recipe)


@dataclass(frozen=True)
class Confounds:
    """Confounds of one recording, ready for D.

    Attributes
    ----------
    values: (steps, k) after E, C and H. columns: their names. outside: names of those that were left out, because they
        lie outside the band.
    """

    values: Array
    columns: list[str]
    outside: list[str]


def confounds_of(patterns: Iterable[str], table: Mapping[str, ArrayLike], recipe: Recipe, where: Path) -> Confounds:
    """The columns of a confounds table that match, filtered as the data are.

    Of a slow cosine the filter leaves little but round-off, which must not become a regressor.

    Parameters
    ----------
    table: (volume,) values by column. where: the table's file, for messages.

    Raises
    ------
    Refused: a pattern that matches no column, or a column without any value.
    """
    columns = strategies.select(patterns, list(table), where)
    values = np.empty((recipe.n_volumes, len(columns)))
    for place, name in enumerate(columns):
        values[:, place] = table[name]
    names = np.array(columns, dtype=object)
    empty = np.isnan(values).all(0)
    if empty.any():
        raise Refused(f"{where}: {', '.join(names[empty])} n/a in every volume", "a strategy without it")
    raw = fill_censored(drop(np.nan_to_num(values), recipe), recipe)
    filtered = high_pass(raw, recipe)
    before, after = np.linalg.norm(raw - raw.mean(0), axis=0), np.linalg.norm(filtered, axis=0)
    constant = before <= 1e-9 * np.linalg.norm(raw, axis=0)
    outside = constant | (after <= LEFT * before)
    return Confounds(filtered[:, ~outside], names[~outside].tolist(), names[outside].tolist())


def regression_of(
    name: str, confounds: Array, series: Array, recipe: Recipe, components: Sequence[tuple[Array, Array]] = ()
) -> tuple[Regression, Limits]:
    """D: confounds go as a whole; then the noise part of a joint fit of noise and kept components (non-aggressive).

    The order matters. Were confounds fitted jointly with the kept components, the global signal, which is nearly a sum
    of them, would be split into large parts that cancel, and taking one of these away would add variance. Where a
    parcel would still gain some, the operator is limited (`Regression.never_adding`).

    Parameters
    ----------
    confounds: (steps, c), filtered as the data are. series: (volume, parcel) as acquired, NaN columns where
        there are no data. components: (steps, k) noise and (steps, j) kept ones of each decomposition; their operators
        are averaged.

    Raises
    ------
    Refused: as many regressors as volumes.
    """
    most = max((noise.shape[1] + kept.shape[1] for noise, kept in components), default=0)
    if confounds.shape[1] + most >= len(confounds):
        raise Refused(
            f"{name}: {confounds.shape[1] + most} regressors for {len(confounds)} volumes",
            "a smaller strategy (denoise.strategy, --strategy), fewer denoise.confounds or denoise.n_components",
        )
    first = Regression.fit(confounds, confounds[:, :0])
    each = [Regression.fit(_left(noise, first), _left(kept, first)) for noise, kept in components]
    both = first.then(Regression.mean(each)) if each else first
    known = ~np.isnan(series).any(0)
    return both.never_adding(before_regression(series[:, known], recipe), partial(low_pass, recipe=recipe))


def _left(columns: Array, first: Regression) -> Array:
    """What confounds leave of components; 0 where that is round-off, which must not become a regressor."""
    left = first.apply(columns)
    left[:, np.linalg.norm(left, axis=0) <= LEFT_OF_COMPONENT * np.linalg.norm(columns, axis=0)] = 0
    return left
