"""Rigid least-squares realignment of one volume to a reference, in mm.

Inverse-compositional Gauss-Newton (Baker & Matthews 2004, doi:10.1023/B:VISI.0000011205.11775.fd), as SPM's realign and
AFNI's 3dvolreg minimise the squared difference: the reference's gradients are computed once; cubic B-splines, coarse to
fine, from the previous volume's result. Images are not smoothed: what differs between volumes besides motion (signal of
regions, respiration, coil sensitivity) is smooth, and pulls a fit of smoothed images more. Residuals have Huber weights
(scale from their median absolute deviation) and each volume a gain, so that signal drop-out, spikes and slices of wrong
intensity in single volumes do not pull it either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainlm_data.methods.interp import PAD, Float, coefficients, cubic_at, kernel
from brainlm_data.methods.rigid import Matrix, about

EXACT = 1e-3  # residual below which a volume is the reference itself, and says nothing of others
MAX_POINTS = 100_000  # of a level; where the head has more voxels, every second (third, ..) is used
FEW = 20_000  # points that are enough for the first step on a level, after which all are asked
EMPTY = 0.05  # gain below which a volume holds no image
RADIUS = 50.0  # mm; scales rotations, as framewise displacement does
HUBER, TUKEY = 1.345, 4.685  # standard deviations; both 95% efficient for Gaussian noise
SMOOTH, SLOPE = np.array([1, 4, 1]) / 6.0, np.array([-0.5, 0.0, 0.5])  # the cubic B-spline and its slope at integers


@dataclass(frozen=True)
class Fit:
    """A volume's motion matrix (RAS, reference -> volume), its gain, and its residual (share of the contrast)."""

    matrix: Matrix
    gain: float
    residual: float


@kernel
def _residuals(source: Float, points: Float, m: Matrix, reference: Float, gain: float, out: Float) -> None:
    """Moved volume minus gain * reference at each point; NaN outside the field of view."""
    # e(p) = moved(M p) - gain * reference(p). `source` has PAD = 2 voxels of margin on each side.
    nx, ny, nz = source.shape[0] - 4, source.shape[1] - 4, source.shape[2] - 4
    g = np.float32(gain)
    for n in range(len(points)):
        p, q, r = points[n, 0], points[n, 1], points[n, 2]
        x = m[0, 0] * p + m[0, 1] * q + m[0, 2] * r + m[0, 3]
        y = m[1, 0] * p + m[1, 1] * q + m[1, 2] * r + m[1, 3]
        z = m[2, 0] * p + m[2, 1] * q + m[2, 2] * r + m[2, 3]
        if 0.0 <= x <= nx - 1.0 and 0.0 <= y <= ny - 1.0 and 0.0 <= z <= nz - 1.0:
            out[n] = cubic_at(source, x, y, z) - g * reference[n]
        else:
            out[n] = np.nan


@kernel
def _normal(design: Float, residual: Float, limit: float, redescend: bool) -> tuple[Matrix, Matrix]:
    """Weighted normal equations: sum of w d d' and of w d e, with Huber's weights, or Tukey's, which fall to zero.

    NaN residuals are left out.
    """
    # Minimise sum over points of w (d' s - e)^2 for the step s: (sum w d d') s = sum w d e. The weights w(e) are
    #     Huber: 1 for |e| <= c, c / |e| beyond: an outlier counts linearly instead of squared;
    #     Tukey: (1 - (e / c)^2)^2 for |e| < c, 0 beyond: an outlier does not count at all.
    # The eighth column of the design is padding, for the compiler's sake.
    left, right = np.zeros((8, 8)), np.zeros(8)
    part, side = np.zeros((8, 8), np.float32), np.zeros(8, np.float32)
    c = np.float32(limit)
    for begin in range(0, len(residual), 512):  # short float32 sums, then float64
        part[:] = 0
        side[:] = 0
        for n in range(begin, min(begin + 512, len(residual))):
            e = residual[n]
            if np.isnan(e):
                continue
            if redescend:
                share = e / c
                w = (np.float32(1.0) - share * share) ** 2 if abs(share) < 1 else np.float32(0.0)
            else:
                w = np.float32(1.0) if abs(e) <= c else c / abs(e)
            for i in range(8):
                wd = w * design[n, i]
                side[i] += wd * e
                for j in range(8):
                    part[i, j] += wd * design[n, j]
        left += part
        right += side
    return left, right


def _blocks(volume: Float, factor: tuple[int, int, int]) -> Float:
    """Means of blocks of voxels; the last block is filled up with edge values."""
    if factor == (1, 1, 1):
        return volume
    return np.asarray(_block_means(np.ascontiguousarray(volume, np.float32), *factor))


@kernel
def _block_means(volume: Float, fx: int, fy: int, fz: int) -> Float:
    nx, ny, nz = volume.shape
    out = np.zeros((-(-nx // fx), -(-ny // fy), -(-nz // fz)), np.float32)
    for i in range(out.shape[0] * fx):
        for j in range(out.shape[1] * fy):
            row, sums = volume[min(i, nx - 1), min(j, ny - 1)], out[i // fx, j // fy]
            for k in range(out.shape[2]):
                for part in range(fz):
                    sums[k] += row[min(k * fz + part, nz - 1)]
    out /= np.float32(fx * fy * fz)
    return out


@dataclass(frozen=True)
class _Points:
    """Voxels of the reference: places (n, 3), values (n,) and design (n, 8: 6 motions, gain, padding)."""

    places: Float
    reference: Float
    design: Float

    def few(self) -> _Points:
        """About `FEW` of them, spread evenly."""
        step = max(1, len(self.places) // FEW)
        if step == 1:
            return self
        parts = (np.ascontiguousarray(part[::step]) for part in (self.places, self.reference, self.design))
        return _Points(*parts)


class _Level:
    """The reference at one resolution: points, values and design (6 motions, gain) within the head."""

    def __init__(self, reference: Float, affine: Matrix, factor: tuple[int, int, int], centre: Matrix) -> None:
        self.factor = factor
        small = _blocks(reference, factor)
        grid = np.diag([*(float(f) for f in factor), 1.0])
        grid[:3, 3] = (np.array(factor) - 1) / 2
        self.affine = affine @ grid
        self.inverse = np.linalg.inv(self.affine)
        # On a cubic spline s(x) = sum_k c_k B(x - k): at integers B is (1, 4, 1) / 6 and its slope (-1, 0, 1) / 2, so
        # that values and slopes there are short correlations with c, the slope along one axis and smoothing along the
        # others.
        spline = coefficients(small)[PAD:-PAD, PAD:-PAD, PAD:-PAD].astype(np.float64)
        slopes = []
        for axis in range(3):
            slope = spline
            for other in range(3):
                slope = ndimage.correlate1d(slope, SLOPE if other == axis else SMOOTH, other, mode="mirror")
            slopes.append(slope)
        head = small > 0.15 * np.percentile(small, 98)
        head = ndimage.binary_dilation(head)
        for axis, size in enumerate(head.shape):
            if size > 4:  # without the outermost voxels, where mirroring halves the slopes
                np.moveaxis(head, axis, 0)[[0, -1]] = False
        index = np.argwhere(head)
        index = index[:: -(-len(index) // MAX_POINTS) or 1]
        chosen = tuple(index.T)
        # Per mm: dI/dx = dI/dv dv/dx, and dv/dx is the inverse affine.
        gradient = np.stack([slope[chosen] for slope in slopes], 1) @ self.inverse[:3, :3]
        # Derivatives of I(x + t + r x arm): g for the translation t (mm), arm x g for small rotations r about the
        # centre. Rotations are in mm on a sphere of RADIUS, so that all six steps have one scale. The last: of gain *
        # reference.
        arm = index @ self.affine[:3, :3].T + self.affine[:3, 3] - centre
        values = small[chosen].astype(np.float32)
        design = np.zeros((len(index), 8), np.float32)
        design[:, :3] = gradient
        design[:, 3:6] = np.cross(arm, gradient) / RADIUS
        design[:, 6] = values
        self.points = _Points(index.astype(np.float32), values, design)
        self.few = self.points.few()
        self.contrast = float(values.std()) if len(index) else 0.0

    def fit(
        self, moved: Float, start: Fit, centre: Matrix, tolerance: float, iterations: int, usual: float | None = None
    ) -> Fit:
        """Gauss-Newton from `start` until a step moves the head by less than `tolerance` mm.

        Where `usual`, the residual of good volumes, is given, what is far beyond it has no weight at all.
        """
        # Inverse-compositional: the step is sought for the reference, where the design is the same in every iteration,
        # and its inverse is composed with the motion so far: M <- M S(s)^-1. Only residuals are computed anew.
        source = coefficients(_blocks(moved, self.factor))
        matrix, gain = start.matrix, start.gain
        for number in range(iterations):
            at = self.few if number == 0 else self.points
            residual = np.empty(len(at.places), np.float32)
            _residuals(source, at.places, self.inverse @ matrix @ self.affine, at.reference, gain, residual)
            sampled = np.abs(residual[::5])
            inside = sampled[np.isfinite(sampled)]
            if len(inside) < 100:
                return Fit(matrix, gain, np.inf)
            # 1.4826 MAD is a standard deviation of Gaussian residuals, and half of the points may be outliers.
            scale = 1.4826 * float(np.median(inside))
            limit = HUBER * scale
            if usual is not None:
                limit = TUKEY * usual * self.contrast
            left, right = _normal(at.design, residual, limit if limit > 0 else np.inf, usual is not None)
            # Nothing determines the padding's step: a small ridge there makes the system regular, and its step zero.
            left[np.diag_indices(8)] += 1e-6 * np.diag(left).max() * np.array([0, 0, 0, 0, 0, 0, 0, 1])
            step = np.linalg.lstsq(left, right, rcond=None)[0]
            gain_before, gain = gain, gain + step[6]
            # Residuals are in units of the volume, gradients in those of the reference: the gain lies between them.
            motion = np.clip(step[:6] / max(gain_before, 1e-3), -10, 10)
            matrix = matrix @ np.linalg.inv(about(motion[3:] / RADIUS, motion[:3], centre))
            if at is self.points and np.linalg.norm(motion) < tolerance:
                break
        return Fit(matrix, gain, scale / (self.contrast * gain) if gain > EMPTY else np.inf)


class Realigner:
    """Realigns volumes to a reference, one after the other.

    Parameters
    ----------
    reference: (x, y, z) finite. affine: its voxel -> RAS mm.
    coarse_mm: voxel sizes of the coarse levels, coarsest first; the last level is the image's own grid.
    tolerance: mm; a step that moves the head by less ends the iteration.
    """

    def __init__(
        self, reference: Float, affine: Matrix, coarse_mm: tuple[float, ...] = (8.0,), tolerance: float = 0.01
    ) -> None:
        # Rotations are about the middle of the image: a turn about a point far away is nearly a shift, and the two
        # could not be told apart.
        zooms = np.sqrt((affine[:3, :3] ** 2).sum(0))
        self.centre = affine[:3, :3] @ ((np.array(reference.shape) - 1) / 2) + affine[:3, 3]
        self.tolerance = tolerance
        factors: list[tuple[int, int, int]] = []
        for size in (*coarse_mm, 0.0):
            # at least 6 voxels remain along each axis
            fx, fy, fz = (
                max(1, min(round(size / z), n // 6)) for z, n in zip(zooms, reference.shape, strict=True)
            )  # fmt: skip
            if (fx, fy, fz) not in factors:
                factors.append((fx, fy, fz))
        self.levels = [_Level(reference, affine, factor, self.centre) for factor in factors]
        self._good = Fit(np.eye(4), 1.0, np.inf)
        self._usual: list[float] = []

    def fit(self, volume: Float) -> Fit:
        """Motion of the next volume.

        It starts from the last volume that fitted well. Where the residual is unusual (over twice the median so far),
        two more fits are tried and the best of the three is taken: from the resting position, and with the weights of
        the usual residual, which leave out a part of the head whose signal is lost.
        """
        volume = np.ascontiguousarray(volume)
        best = self._from(volume, Fit(self._good.matrix, 1.0, np.inf))
        usual = float(np.median(self._usual)) if self._usual else np.inf
        if best.residual > 2 * usual:
            others = (self._from(volume, Fit(np.eye(4), 1.0, np.inf)), self._from(volume, self._good, usual))
            best = min(best, *others, key=lambda fit: fit.residual)
        if np.isfinite(best.residual):
            if best.residual <= 4 * usual:
                self._good = best
            if best.residual > EXACT:
                self._usual.append(best.residual)
        return best if np.isfinite(best.residual) else Fit(self._good.matrix, best.gain, np.inf)

    def _from(self, volume: Float, fit: Fit, usual: float | None = None) -> Fit:
        for level in self.levels:
            last = level is self.levels[-1]
            tolerance = self.tolerance if last else 10 * self.tolerance
            fit = level.fit(volume, fit, self.centre, tolerance, 8 if last else 20, usual)
        return fit
