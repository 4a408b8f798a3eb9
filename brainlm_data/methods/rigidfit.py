"""A rigid fit of two contrasts of one head by mutual information (Mattes et al., 2003, doi:10.1109/TMI.2003.809072).

Points of the T1w are carried into the BOLD reference, which is interpolated there (linear); nothing is resampled. So a
whole fit is some thousand evaluations of a millisecond, and many starts can be tried.

Matrices (4, 4) map points of the T1w to points of the BOLD reference, RAS mm. Imports numba: import inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods.interp import kernel, linear_at, padded, sample
from brainlm_data.methods.rigid import about

Array = NDArray[np.floating[Any]]
Cost = Callable[[Array], float]
BINS = 32
RADIUS_MM = 60.0  # a turn of 1/60 rad counts as a shift of 1 mm: typical distance of brain from its centre
TURNS_DEG = (-60.0, -30.0, 0.0, 30.0, 60.0)  # about each axis, where a search begins
SEARCH_MM = 8.0  # detail at which starts are compared


@dataclass(frozen=True)
class Volume:
    """A volume (x, y, z) and its voxel -> RAS mm affine."""

    data: NDArray[np.float32]
    affine: Array
    inverse: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inverse", np.linalg.inv(self.affine))

    def smoothed(self, size_mm: float) -> Volume:
        """As voxels of `size_mm` would hold it, on the same grid."""
        from scipy.ndimage import gaussian_filter

        # full width at half maximum = 2.355 SD; widths add in squares (as in `registration.working`)
        spacing = np.sqrt((self.affine[:3, :3] ** 2).sum(0))
        sigma = np.sqrt(np.maximum(size_mm**2 - spacing**2, 0)) / 2.355 / spacing
        if not sigma.any():
            return self
        return Volume(gaussian_filter(self.data, sigma, truncate=2.5), self.affine)

    def points(self) -> Array:
        """Centres (n, 3) of a mask's voxels, mm."""
        voxels = np.argwhere(self.data > 0.5)
        return np.asarray(voxels @ self.affine[:3, :3].T + self.affine[:3, 3])

    def at(self, points: Array) -> NDArray[np.float32]:
        """Linear interpolation at points (n, 3), mm; NaN outside."""
        return sample(padded(self.data), points, self.inverse, cubic=False)


@kernel
def _information(moving: Any, points: Any, bins: Any, m: Any, number: int) -> float:
    """Mutual information (nats) times the share of points inside; `moving` is padded and scaled to 0..number - 1.

    That product is the log-likelihood ratio of "the two are related" a point, so that leaving the field of view is
    never a gain.
    """
    nx, ny, nz = moving.shape[0] - 4, moving.shape[1] - 4, moving.shape[2] - 4
    joint = np.zeros((number, number + 1))
    inside = 0
    for n in range(len(points)):
        p, q, r = points[n, 0], points[n, 1], points[n, 2]
        x = m[0, 0] * p + m[0, 1] * q + m[0, 2] * r + m[0, 3]
        y = m[1, 0] * p + m[1, 1] * q + m[1, 2] * r + m[1, 3]
        z = m[2, 0] * p + m[2, 1] * q + m[2, 2] * r + m[2, 3]
        if 0 <= x <= nx - 1 and 0 <= y <= ny - 1 and 0 <= z <= nz - 1:
            # The value counts for its two nearest bins by its distance from each: a linear Parzen window, so that the
            # histogram changes continuously with the matrix.
            value = linear_at(moving, x, y, z)
            low = int(value)
            share = value - low
            joint[bins[n], low] += 1 - share
            joint[bins[n], low + 1] += share
            inside += 1
    if inside < 50:
        return 0.0
    # With counts n_ab of N points: N I = sum n_ab log(n_ab N / (n_a n_b)).
    rows, columns = joint.sum(1), joint.sum(0)
    total = 0.0
    for a in range(number):
        for b in range(number):
            if joint[a, b] > 0:
                total += joint[a, b] * np.log(joint[a, b] * inside / (rows[a] * columns[b]))
    return total / len(points)


def _scaled(data: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values as places 0 .. BINS - 1 between the 1st and 99th percentile of `among`."""
    low, high = np.percentile(among, [1, 99])
    top = np.float32(BINS - 1)
    return np.clip((data - low) * (top / max(high - low, 1e-6)), 0, top - 1e-3).astype(np.float32)


class Information:
    """Mutual information of a T1w, at points within its mask, with a BOLD reference.

    Parameters
    ----------
    spacing_mm: of the points and of the detail that is compared; points lie at random places within their cells.

    Attributes
    ----------
    points: (n, 3) T1w points, RAS mm. bins: (n,) the T1w's values there, 0 .. BINS - 1.
    moving: the BOLD reference, smoothed and scaled to 0 .. BINS - 1. to_voxel: its RAS mm -> voxel.
    """

    def __init__(self, t1w: Volume, where: Volume, bold: Volume, spacing_mm: float) -> None:
        rng = np.random.default_rng(0)
        places = where.points()
        cell_mm = float(np.cbrt(abs(np.linalg.det(where.affine[:3, :3]))))
        keep = rng.random(len(places)) < (cell_mm / spacing_mm) ** 3  # one per cube of `spacing_mm`, on average
        # On a regular grid, interpolation would smooth more between voxels than at them, and the cost have ripples.
        points = places[keep] + rng.uniform(-0.5, 0.5, (int(keep.sum()), 3)) * cell_mm
        values = t1w.smoothed(spacing_mm).at(points)
        known = np.isfinite(values)
        self.points = np.ascontiguousarray(points[known])
        self.bins = np.rint(_scaled(values[known], values[known])).astype(np.int16)
        smooth = bold.smoothed(spacing_mm)
        present = smooth.data[smooth.data > 0.2 * np.percentile(smooth.data, 98)]
        self.moving = _scaled(smooth.data, present if present.size else smooth.data)
        self.to_voxel = bold.inverse
        self._padded = padded(self.moving)

    def __call__(self, matrix: Array) -> float:
        """Mutual information (nats) times the share of points inside the field of view."""
        return float(_information(self._padded, self.points, self.bins, self.to_voxel @ matrix, BINS))

    def negative(self, matrix: Array) -> float:
        """The same as a cost."""
        return -self(matrix)


def fit(cost: Cost, start: Array, centre: Array, reach_mm: float, precision_mm: float) -> Array:
    """The rigid change of `start` that minimises a cost (Powell, 1964).

    Parameters
    ----------
    centre: T1w point about which is turned. reach_mm: size of the first steps. precision_mm: where to stop.
    """
    from scipy.optimize import minimize

    def moved(x: Array) -> Array:
        return np.asarray(start @ about(x[3:] * reach_mm / RADIUS_MM, x[:3] * reach_mm, centre))

    minimum = minimize(
        lambda x: cost(moved(x)), np.zeros(6), method="Powell",
        options={"xtol": precision_mm / reach_mm, "ftol": 1e-5, "direc": np.eye(6)},
    )  # fmt: skip
    return moved(minimum.x)


def search(cost: Cost, shifts: Sequence[Array], centre: Array, tried: int = 6) -> Array:
    """The best rigid map from many starts: each shift with 125 turns.

    Parameters
    ----------
    shifts: (3,) mm each, BOLD point - T1w point. centre: T1w point about which is turned.
    tried: how many of the best starts are fitted; the shifts without a turn always are.
    """
    starts = [about(np.zeros(3), shift, centre) for shift in shifts]
    turned = []
    for shift, turn in product(shifts, product(TURNS_DEG, repeat=3)):
        turned.append(about(np.deg2rad(np.array(turn)), shift, centre))
    best = np.argsort([cost(start) for start in turned], kind="stable")[:tried]
    starts += [turned[place] for place in best]
    poses = [fit(cost, start, centre, SEARCH_MM, 0.5) for start in starts]
    return min(poses, key=cost)


def gain(information: Information, matrix: Array, shift_mm: float = 8.0) -> float:
    """Mutual information over its mean when the image is shifted either way along each axis; 1: no gain.

    Says whether a map lies in a clear optimum; the overlap of masks does not.
    """
    shifted = []
    for axis in range(3):
        for sign in (-1, 1):
            step = np.eye(4)
            step[axis, 3] = sign * shift_mm
            shifted.append(information(matrix @ step))
    return information(matrix) / max(float(np.mean(shifted)), 1e-6)


def mirror_gain(information: Information, matrix: Array, centre: Array) -> float:
    """Mutual information over that with the T1w's mirror image (left for right), fitted from the same place.

    No brain is symmetric: a T1w fits an EPI of the same brain better than its mirror image does. A header with left
    and right exchanged gives less than 1, and the T1w of somebody else about 1.
    """
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[0, 3] = 2 * centre[0]

    fitted = fit(information.negative, matrix @ mirror, centre, 4.0, 0.2)
    return information(matrix) / max(information(fitted), 1e-6)
