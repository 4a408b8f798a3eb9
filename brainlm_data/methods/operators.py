"""The temporal operators: everything that happens to a recording on the right-hand side of `series = g . P . X ...`.

    E drop non-steady-state volumes    C interpolate censored ones    g grand-mean scaling
    H high-pass    D remove noise components, fitted jointly with the others    L low-pass    R resample

Each acts on columns of a (time, n) array alone, so it commutes with parcellation: applying it to parcel means equals
applying it to every voxel and parcellating afterwards. Arithmetic is float64. D is kept as two thin factors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError
from brainlm_data.files.reads import reads
from brainlm_data.methods.regression import Regression

Array = NDArray[np.float64]
HighPass = Literal["butterworth", "cosine"]
ORDER = 5  # of the Butterworth filters, as nilearn.signal.butterworth
PERCENT = "percent of the parcel's mean"  # units
GRAND_MEAN = 10_000.0  # FSL's and UK Biobank's
STOP = 0.9  # the anti-aliasing filter's edge, as a share of the new Nyquist frequency
SAME_RATE = 1e-5  # relative: headers hold a TR in single precision, cards a rate in six digits


@dataclass(frozen=True)
class Recipe:
    """The temporal operators of one recording, before D.

    Attributes
    ----------
    tr_s, n_volumes: of the recording as acquired.
    dropped: non-steady-state volumes at its start. censored: volumes to interpolate, counted from 0 as acquired.
    method: of H and L. low_hz, high_hz: edges that are really applied; None: that side is open.
    """

    tr_s: float
    n_volumes: int
    dropped: int = 0
    censored: tuple[int, ...] = field(default=())
    method: HighPass = "butterworth"
    low_hz: float | None = None
    high_hz: float | None = None

    @property
    def band(self) -> tuple[float, float]:
        """Effective band, Hz: 0 and the Nyquist frequency where a side is open.

        With cosines the lower edge is the highest one that is removed, which a short recording has below `low_hz`.
        """
        low = self.low_hz or 0.0
        if low and self.method == "cosine":
            # Cosine k makes k half periods in the recording, so its frequency is k / (2 T TR); the last one of the
            # basis is the highest that is removed.
            steps = self.n_volumes - self.dropped
            low = _cosine_count(steps, self.tr_s, low) / (2 * steps * self.tr_s)
        return (low, self.high_hz or 0.5 / self.tr_s)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        content = {**asdict(self), "order": ORDER, "effective_band": self.band}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read what `save` wrote. Raises InputError where it is damaged."""
        with reads(path):
            content = json.loads(path.read_text(encoding="utf-8"))
            known = {k: content[k] for k in cls.__dataclass_fields__}
            recipe = cls(**{**known, "censored": tuple(known["censored"])})
            if not recipe._is_possible():
                raise ValueError("values that no recording has")
            return recipe

    def _is_possible(self) -> bool:
        """Whether the values, as a file says them, are those of a recording."""
        counts = (self.n_volumes, self.dropped, *self.censored)
        edges = [edge for edge in (self.low_hz, self.high_hz) if edge is not None]
        if not all(type(count) is int for count in counts) or not 0 <= self.dropped < self.n_volumes:
            return False
        if not all(type(value) in (int, float) and 1e-6 < value < 60 for value in (self.tr_s, *edges)):
            return False
        nyquist = 0.5 / self.tr_s
        band = (self.low_hz or 0.0) < (self.high_hz or nyquist) <= nyquist
        return band and self.method in get_args(HighPass) and all(0 <= at < self.n_volumes for at in self.censored)


def drop(x: Array, recipe: Recipe) -> Array:
    """E: the volumes after the non-steady-state ones, (T - dropped, n)."""
    return x[recipe.dropped :]


def fill_censored(x: Array, recipe: Recipe) -> Array:
    """C: censored volumes interpolated linearly in time from their neighbours (nearest at the ends)."""
    bad = np.array([c - recipe.dropped for c in recipe.censored if c >= recipe.dropped], dtype=int)
    if not len(bad):
        return x
    good = np.setdiff1d(np.arange(len(x)), bad)
    out = x.copy()
    # With good volumes b < c < a around a censored one:  x_c = (1 - w) x_b + w x_a,  w = (c - b) / (a - b). At the
    # ends one of them does not exist: w is clipped to 0 or 1, which repeats the nearest good volume.
    place = np.zeros(len(bad), int)
    if len(good) > 1:
        place = np.clip(np.searchsorted(good, bad), 1, len(good) - 1)
    before, after = good[place - 1], good[place]
    weight = np.clip((bad - before) / np.maximum(after - before, 1), 0, 1)[:, None]
    out[bad] = (1 - weight) * x[before] + weight * x[after]
    return out


def high_pass(x: Array, recipe: Recipe) -> Array:
    """H: mean removed, and what is slower than `low_hz` (zero-phase Butterworth, or discrete cosines regressed out)."""
    x = x - x.mean(0)
    if recipe.low_hz is None:
        return x
    if recipe.method == "cosine":
        # The basis Q is orthonormal, so the regression's residual is x - Q Q' x.
        basis = cosines(len(x), recipe.tr_s, recipe.low_hz)
        return x - basis @ (basis.T @ x)
    return _butterworth(x, recipe, "highpass", recipe.low_hz)


def low_pass(x: Array, recipe: Recipe) -> Array:
    """L: what is faster than `high_hz` removed (zero-phase Butterworth)."""
    if recipe.high_hz is None:
        return x
    return _butterworth(x, recipe, "lowpass", recipe.high_hz)


def _butterworth(x: Array, recipe: Recipe, kind: str, edge_hz: float) -> Array:
    """Zero-phase Butterworth filter, series mirrored at both ends for one period of the edge.

    Mirroring (without change of sign) is what comes closest to a recording that has no ends: docs/stages/filter.md.
    """
    from scipy import signal

    # |H(f)|^2 = 1 / (1 + (f / edge)^(2 n)) for a low-pass of order n. Once forwards and once backwards: the phase
    # cancels, and the gain is |H|^2, one half at the edge. Second-order sections, as the polynomials of a narrow
    # high-pass lose their digits.
    sections = signal.butter(ORDER, edge_hz, kind, fs=1 / recipe.tr_s, output="sos")
    return signal.sosfiltfilt(sections, x, axis=0, padtype="even", padlen=padding(len(x), recipe.tr_s, edge_hz))


def padding(steps: int, tr_s: float, edge_hz: float) -> int:
    """Number of volumes to mirror: one period of the edge, at least 18 (scipy's choice), fewer than there are."""
    return min(max(18, int(np.ceil(1 / (edge_hz * tr_s)))), steps - 1)


def cosines(steps: int, tr_s: float, low_hz: float) -> Array:
    """Orthonormal discrete cosines slower than `low_hz`, without the constant, (steps, k); k may be 0."""
    # The discrete cosine transform of type II, rows k = 1 .. K:  sqrt(2 / T) cos(pi k (2 t + 1) / (2 T)).
    time, order = np.arange(steps)[:, None], np.arange(1, _cosine_count(steps, tr_s, low_hz) + 1)
    return np.sqrt(2 / steps) * np.cos(np.pi * (2 * time + 1) * order / (2 * steps))


def _cosine_count(steps: int, tr_s: float, low_hz: float) -> int:
    return min(int(np.floor(2 * steps * tr_s * low_hz + 1e-9)), steps - 1)


def percent_scale(x: Array, recipe: Recipe) -> Array:
    """g of each column of (T, n), (n,): its mean over the volumes that are neither dropped nor censored becomes 100.

    NaN where there is no positive mean to divide by.
    """
    kept = np.setdiff1d(np.arange(recipe.dropped, len(x)), recipe.censored)
    mean = x[kept].mean(0)
    return np.divide(100.0, mean, out=np.full(mean.shape, np.nan), where=mean > 0)


@dataclass(frozen=True)
class Temporal:
    """All operators of a recording from E to L: `apply` takes acquired series to denoised ones.

    `scale`: g, one number, or one for each column (`percent_scale`).
    """

    recipe: Recipe
    regression: Regression
    scale: float | Array

    @classmethod
    def load(
        cls, filter_recipe: Path, denoise_recipe: Path, grand_mean: float, target: float | None = GRAND_MEAN
    ) -> Temporal:
        """From the files of stages filter and denoise.

        Parameters
        ----------
        grand_mean: mean over brain and time of the sampled data, scanner units. target: what it becomes; None: as is.

        Raises
        ------
        InputError: one of them is damaged, or they are of two recordings.
        """
        scale = 1.0 if target is None else target / grand_mean
        recipe, regression = Recipe.load(filter_recipe), Regression.load(denoise_recipe)
        steps = recipe.n_volumes - recipe.dropped
        if len(regression.noise) != steps:
            raise InputError(
                f"{denoise_recipe}: {len(regression.noise)} volumes, {filter_recipe.name} has {steps}",
                "run stage denoise of this recording again",
            )
        return cls(recipe, regression, scale)

    def apply(self, x: NDArray[np.floating]) -> Array:
        """g, E, C, H, D, L on (T, n); dropped volumes come back as NaN. Columns with NaN stay NaN."""
        values = np.asarray(x, dtype=np.float64)
        steps = self.scale * fill_censored(drop(values, self.recipe), self.recipe)
        steps = low_pass(self.regression.apply(high_pass(steps, self.recipe)), self.recipe)
        out = np.full(values.shape, np.nan)
        out[self.recipe.dropped :] = steps
        return out


def highest_hz(tr_s: float, hz: float) -> float:
    """The highest frequency that TR and rate leave: Nyquist's, or the edge of the anti-aliasing filter."""
    nyquist = 0.5 / tr_s
    if not _is_lower(tr_s, hz):
        return nyquist
    return min(nyquist, STOP * hz / 2)


def _is_lower(tr_s: float, hz: float) -> bool:
    """Whether a rate is below that of the volumes."""
    return hz * tr_s < 1 - SAME_RATE


def _is_same(tr_s: float, hz: float) -> bool:
    """Whether a rate is that of the volumes, but for rounding."""
    return abs(hz * tr_s - 1) <= SAME_RATE


def at_rate(x: Array, tr_s: float, hz: float, dropped: int = 0) -> Array:
    """R on all columns of (T, n), (T', n): what comes at `hz` already stays as it is, parcels without data stay NaN.

    Parameters
    ----------
    dropped: volumes at the start that are NaN in every column.
    """
    if _is_same(tr_s, hz):
        return x
    known = ~np.isnan(x[dropped:]).all(0)
    moved = resample(x[:, known], tr_s, hz)
    out = np.full((len(moved), x.shape[1]), np.nan)
    out[:, known] = moved
    return out


def resample(x: Array, tr_s: float, hz: float) -> Array:
    """R: (T, n) at TR -> (T', n) at `hz`, T' = floor((T - 1) TR hz) + 1; never beyond the last volume.

    Where the new rate is lower, frequencies above its Nyquist are removed first (zero-phase Butterworth), or they
    would fold into the band. Then a cubic spline through the volumes. Leading NaN rows (dropped volumes) stay NaN.
    """
    from scipy import interpolate, signal

    total = int(np.floor((len(x) - 1) * tr_s * hz + 1e-9)) + 1
    out = np.full((total, x.shape[1]), np.nan)
    known = np.isfinite(x).all(axis=1) if x.shape[1] else np.zeros(len(x), bool)
    if known.sum() < 4:
        return out
    first = int(np.argmax(known))
    values, times = x[first:], np.arange(first, len(x)) * tr_s
    if _is_lower(tr_s, hz):
        # What lies above the new Nyquist hz / 2 would come back mirrored about it: it goes first, from STOP of it on.
        sections = signal.butter(8, STOP * hz / 2, "lowpass", fs=1 / tr_s, output="sos")
        values = signal.sosfiltfilt(sections, values, axis=0, padlen=min(60, len(values) - 1))
    new = np.arange(total) / hz
    inside = new >= times[0] - 1e-9
    out[inside] = interpolate.CubicSpline(times, values, axis=0)(np.minimum(new[inside], times[-1]))
    return out


def invalid_steps(steps: int, hz: float, tr_s: float, dropped: int, censored: Sequence[int]) -> list[int]:
    """Steps of R that lie before the first kept volume, or less than one volume away from a censored one."""
    # Step i lies at i / hz seconds, or is volume i. Between two volumes the spline takes from both, so it is invalid
    # where one is.
    place = np.arange(steps) / (1.0 if _is_same(tr_s, hz) else hz * tr_s)  # in volumes
    bad = place < dropped - 1e-9
    for volume in censored:
        bad |= np.abs(place - volume) < 1 - 1e-9
    return [int(i) for i in np.flatnonzero(bad)]
