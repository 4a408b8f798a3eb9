"""D, the regression of noise: one operator of a recording, as two thin factors, that never adds variance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.arrays import reads_arrays

Array = NDArray[np.float64]
ROUND_OFF = 1e-9  # relative, of a variance
BISECTIONS = 12  # of the interval in which a limit lies
LEAST_SLOW = 1e-6  # of the largest singular value: what the low-pass leaves less of is no direction
COLUMNS_AT_ONCE = 256  # of a matrix of time by time that is never whole in memory


@dataclass(frozen=True)
class Limits:
    """What keeps an operator from adding variance.

    Attributes
    ----------
    singular_value: to which those above it were reduced; None: none was.
    directions: in which regressors' slow parts were taken away as well.
    """

    singular_value: float | None = None
    directions: int = 0


@dataclass(frozen=True)
class Regression:
    """D: x - noise @ (readout @ x); both (steps, k) and (k, steps), k columns of noise."""

    noise: Array
    readout: Array

    @classmethod
    def of_nothing(cls, steps: int) -> Regression:
        """The regression that removes nothing."""
        return cls(np.zeros((steps, 0)), np.zeros((0, steps)))

    @classmethod
    def fit(cls, noise: Array, kept: Array) -> Regression:
        """The non-aggressive regression: a full fit of noise and kept columns, of which the noise part is removed.

        Parameters
        ----------
        noise, kept: (steps, k) and (steps, j) regressors, filtered as the data are, so that no filtered frequency
            comes back (Lindquist et al., 2019).
        """
        if noise.shape[1] == 0:
            return cls(noise, noise.T)
        # Least squares of x on [N, K]:  (a, b) = [N, K]^+ x, and D x = x - N a. Only N's own part goes: what noise and
        # kept regressors share is fitted by both together, and not taken away with N alone. `readout` is the first
        # rows of the pseudoinverse, so D = 1 - N readout without ever forming a T x T matrix. Columns of unit norm
        # make one threshold (1e-8) mean the same for motion in mm and for signal in thousands.
        design = np.concatenate([noise, kept], axis=1)
        scale = np.linalg.norm(design, axis=0)
        scale[scale == 0] = 1
        inverse = np.linalg.pinv(design / scale, rcond=1e-8) / scale[:, None]
        return cls(noise, inverse[: noise.shape[1]])

    @classmethod
    def mean(cls, each: Sequence[Regression]) -> Regression:
        """The mean of several operators, as two thin factors again."""
        # The mean of N1 R1, N2 R2, ... is [N1, N2, ...] [R1; R2; ...] / n.
        noise = np.hstack([one.noise for one in each])
        return cls(noise, np.vstack([one.readout for one in each]) / len(each))

    def then(self, second: Regression) -> Regression:
        """This operator, and after it a second one, as one."""
        # (1 - N2 R2) (1 - N1 R1)  =  1 - [N1, N2] [R1; R2 (1 - N1 R1)]
        readout = second.readout - (second.readout @ self.noise) @ self.readout
        return type(self)(np.hstack([self.noise, second.noise]), np.vstack([self.readout, readout]))

    def never_adding(self, x: Array, after: Callable[[Array], Array]) -> tuple[Regression, Limits]:
        """The operator, changed just so far that no series of `x` gains variance.

        Removing one part of a joint fit is an oblique projection: where noise and kept columns are correlated, their
        parts partly cancel, and without the one, the other is larger than their sum was. And coefficients are fitted
        to all frequencies: behind a low-pass, a regressor whose fast part is in a series, and whose slow part is not,
        leaves its slow part.

        Parameters
        ----------
        x: (steps, n) series as D meets them. after: what follows D (the low-pass); variance is compared behind it.
        """

        def behind(series: Array) -> Array:
            filtered = after(series)
            return filtered - filtered.mean(0)

        before = np.square(behind(x)).sum(0)

        def adds(operator: Regression) -> bool:
            return bool((np.square(behind(operator.apply(x))).sum(0) > before * (1 + ROUND_OFF)).any())

        if self.noise.shape[1] == 0 or not adds(self):
            return self, Limits()
        limited, singular_value = self._limited(adds)
        if not adds(limited):
            return limited, Limits(singular_value)
        settled, directions = limited._without_slow_parts(x, behind, adds)
        return settled, Limits(singular_value, directions)

    def _limited(self, adds: Callable[[Regression], bool]) -> tuple[Regression, float | None]:
        """With singular values above 1 reduced until nothing is added; and to what, None where there were none."""
        # D differs from 1 in the span of N and R' only. With an orthonormal basis B of it,  D = 1 - B B' + B M B',
        # M = B' D B = U diag(s) V'.  Limiting s to c takes away  B U+ diag(s+ - c) V+' B'  of what is above c. With
        # v' x the parts of a series, ||D x||^2 = sum min(s, c)^2 (v' x)^2 + what is outside of the span: it grows with
        # c, and at c = 1 it is not above ||x||^2.
        basis = np.linalg.qr(np.hstack([self.noise, self.readout.T]))[0]
        inside = np.eye(basis.shape[1]) - (basis.T @ self.noise) @ (self.readout @ basis)
        left, values, right = np.linalg.svd(inside)
        if values[0] <= 1 + ROUND_OFF:
            return self, None

        def limited(limit: float) -> Regression:
            above = values > limit
            excess = basis @ left[:, above] * (values[above] - limit)
            return Regression(np.hstack([self.noise, excess]), np.vstack([self.readout, right[above] @ basis.T]))

        limit = _largest(1.0, float(values[0]), lambda value: adds(limited(value)))
        return limited(limit), limit

    def _without_slow_parts(
        self, x: Array, behind: Callable[[Array], Array], adds: Callable[[Regression], bool]
    ) -> tuple[Regression, int]:
        """Without what is left of its regressors behind the low-pass, in as few directions as needed; their number."""
        # Q: orthonormal basis of the regressors behind the low-pass L,  Q = L N G.  There, D changes a series in the
        # span of Q only, and what it leaves in it is Q e,  e = Q' L D x.  Without all of that, L D x - Q e is
        # (1 - Q Q') L x:  a projection, which adds nothing. Of  e = U diag(s) V'  over all series only what is above a
        # limit goes, so that most directions stay as they were fitted to all frequencies:
        #   L D x - Q U diag(1 - min(1, c / s)) U' e  =  L (1 - N G U diag(...) U' Q' L) D x.
        scale = np.linalg.norm(self.noise, axis=0)
        noise = self.noise / np.where(scale > 0, scale, 1)
        basis, values, mixed = np.linalg.svd(behind(noise), full_matrices=False)
        held = values > LEAST_SLOW * values[0]
        basis, source = basis[:, held], noise @ (mixed[held].T / values[held])
        turned, sizes, _ = np.linalg.svd(basis.T @ behind(self.apply(x)), full_matrices=False)
        readout = _composed((basis @ turned).T, behind)

        def without(limit: float) -> Regression:
            share = 1 - np.minimum(1, limit / np.maximum(sizes, np.finfo(float).tiny))
            more = share > 0
            return self.then(Regression(source @ turned[:, more] * share[more], readout[more]))

        limit = _largest(0.0, float(sizes[0]), lambda value: adds(without(value)))
        return without(limit), int((sizes > limit).sum())

    def apply(self, x: Array) -> Array:
        """(steps, n) without the noise part."""
        return x - self.noise @ (self.readout @ x)

    def save(self, path: Path) -> None:
        """Write both factors."""
        np.savez(path, noise=self.noise, readout=self.readout)

    @classmethod
    def load(cls, path: Path) -> Regression:
        """Read what `save` wrote. Raises InputError where it is damaged."""
        with reads_arrays(path) as arrays:
            noise, readout = arrays["noise"], arrays["readout"]
            if noise.ndim != 2 or readout.shape != noise.shape[::-1] or {noise.dtype.kind, readout.dtype.kind} != {"f"}:
                raise ValueError(f"noise {noise.dtype} {noise.shape}, readout {readout.dtype} {readout.shape}")
            if not (np.isfinite(noise).all() and np.isfinite(readout).all()):
                raise ValueError("numbers that are not finite")
            return cls(noise, readout)


def _largest(low: float, high: float, adds: Callable[[float], bool]) -> float:
    """The largest value between `low`, which adds nothing, and `high` at which nothing is added, by bisection."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if adds(middle):
            high = middle
        else:
            low = middle
    return low


def _composed(rows: Array, operator: Callable[[Array], Array]) -> Array:
    """rows @ L, (k, steps), of a linear operator L that is known by what it makes of columns."""
    steps = rows.shape[1]
    out = np.empty_like(rows)
    for start in range(0, steps, COLUMNS_AT_ONCE):
        some = slice(start, min(start + COLUMNS_AT_ONCE, steps))
        units = np.zeros((steps, some.stop - start))
        units[np.arange(start, some.stop), np.arange(some.stop - start)] = 1
        out[:, some] = rows @ operator(units)
    return out
