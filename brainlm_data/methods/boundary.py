"""The white-matter surface of a T1w against a BOLD reference (Greve and Fischl, 2009, NeuroImage 48:63).

Across it the BOLD signal rises, all over the brain, if the two are aligned and of one person. Here that is a check of a
registration that was made by mutual information; as a cost to be minimised it was less exact (docs/stages/coreg.md).
Imports numba: import inside functions.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods.interp import kernel, linear_at, padded
from brainlm_data.methods.rigidfit import Array, Volume

BESIDE_MM = 2.0  # distance from the boundary at which it is sampled on both sides
FINE_MM = 1.0  # of the white-matter map from which the surface is made
SLOPE = 0.5  # of the cost, a percent of contrast: FSL's default


@kernel
def _across(moving: Any, inner: Any, outer: Any, m: Any, slope: float) -> Any:
    """Boundary cost (0 to 2, mean over points inside), and the share of points that are inside."""
    nx, ny, nz = moving.shape[0] - 4, moving.shape[1] - 4, moving.shape[2] - 4
    total, inside = 0.0, 0
    for n in range(len(inner)):
        values = (0.0, 0.0)
        both = True
        for side in range(2):
            place = inner if side == 0 else outer
            p, q, r = place[n, 0], place[n, 1], place[n, 2]
            x = m[0, 0] * p + m[0, 1] * q + m[0, 2] * r + m[0, 3]
            y = m[1, 0] * p + m[1, 1] * q + m[1, 2] * r + m[1, 3]
            z = m[2, 0] * p + m[2, 1] * q + m[2, 2] * r + m[2, 3]
            if not (0 <= x <= nx - 1 and 0 <= y <= ny - 1 and 0 <= z <= nz - 1):
                both = False
                break
            value = float(linear_at(moving, x, y, z))
            values = (value, 0.0) if side == 0 else (values[0], value)
        if both:
            # Greve and Fischl: q = 100 (grey - white) / mean of both, in percent; cost 1 - tanh(slope q): 0 for a clear
            # rise, 1 without contrast, 2 where the signal falls. In EPI grey matter is brighter than white.
            white, grey = values
            mean = 0.5 * (white + grey)
            contrast = 100 * (grey - white) / mean if mean > 1e-6 else 0.0
            total += 1 - np.tanh(slope * contrast)
            inside += 1
    if inside == 0:
        return 1.0, 0.0
    return total / inside, inside / len(inner)


class Boundary:
    """The white-matter surface of a T1w against a BOLD reference."""

    def __init__(self, white: Volume, grey: Volume, bold: Volume, slope: float = SLOPE, number: int = 12000) -> None:
        self.inner, self.outer = surface(white, grey, number)
        self._slope = slope
        self._see(bold)

    def _see(self, bold: Volume) -> None:
        self._moving, self._to_voxel = padded(bold.data), bold.inverse

    def against(self, bold: Volume) -> Boundary:
        """The same surface against another BOLD reference; to find the surface takes longest."""
        other = copy(self)
        other._see(bold)
        return other

    def __call__(self, matrix: Array) -> float:
        """Cost: 0 where the signal rises outwards everywhere, 1 where it does as often as not."""
        return float(_across(self._moving, self.inner, self.outer, self._to_voxel @ matrix, self._slope)[0])


def surface(white: Volume, grey: Volume, number: int) -> tuple[Array, Array]:
    """Points (n, 3), RAS mm, `BESIDE_MM` inside and outside of the border between white and grey matter.

    Voxels near a white-matter probability of .5 are moved along its gradient onto it; those without grey matter outside
    (ventricles, brain stem) are left out. At most `number`, spread evenly at random.
    """
    from scipy.ndimage import gaussian_filter

    white = _fine(white)
    spacing = np.sqrt((white.affine[:3, :3] ** 2).sum(0))
    smooth = gaussian_filter(white.data, 1.0 / spacing)  # SD of 1 mm
    cells = np.argwhere((smooth > 0.3) & (smooth < 0.7))
    rng = np.random.default_rng(0)
    cells = cells[np.sort(rng.permutation(len(cells))[: 4 * number])]
    # A gradient per voxel, times the inverse affine, is one per mm: dw/dx = dw/dv dv/dx.
    slopes = np.stack([_slope(smooth, cells, axis) for axis in range(3)], 1) @ white.inverse[:3, :3]
    steep = np.linalg.norm(slopes, axis=1)
    cells, slopes, steep = cells[steep > 0.03], slopes[steep > 0.03], steep[steep > 0.03]
    inward = slopes / steep[:, None]
    points = cells @ white.affine[:3, :3].T + white.affine[:3, 3]
    # One step of Newton's method towards probability .5 along the gradient, at most 2 mm.
    points = points + inward * np.clip((0.5 - smooth[tuple(cells.T)]) / steep, -2, 2)[:, None]
    inner, outer = points + BESIDE_MM * inward, points - BESIDE_MM * inward
    good = (white.at(inner) > 0.5) & (grey.at(outer) > 0.5)
    inner, outer = inner[good][:number], outer[good][:number]
    return np.ascontiguousarray(inner), np.ascontiguousarray(outer)


def _fine(white: Volume) -> Volume:
    """The map on a grid of about `FINE_MM`, trilinear, around where it is above 0; as it is where that is its grid."""
    from scipy.ndimage import affine_transform

    # a gradient is a difference over two voxels: of a coarse map, it would reach across a gyrus
    steps = np.maximum(np.round(np.sqrt((white.affine[:3, :3] ** 2).sum(0)) / FINE_MM), 1).astype(int)
    inside = np.argwhere(white.data > 0)
    if (steps == 1).all() or len(inside) == 0:
        return white
    low, high = np.maximum(inside.min(0) - 2, 0), inside.max(0) + 3
    part = white.data[tuple(slice(start, end) for start, end in zip(low, high, strict=True))]
    # voxel v of the new grid is voxel low + v / steps of the old one
    grid = np.diag([*(1 / steps), 1.0])
    grid[:3, 3] = low
    shape = tuple((np.array(part.shape) - 1) * steps + 1)
    fine = affine_transform(part, np.diag(1 / steps), output_shape=shape, order=1, mode="nearest")
    return Volume(np.asarray(fine, np.float32), white.affine @ grid)


def _slope(data: NDArray[np.float32], cells: NDArray[Any], axis: int) -> Array:
    """Central difference along an axis at cells (n, 3), a voxel."""
    step = np.eye(3, dtype=int)[axis]
    last = np.array(data.shape) - 1
    high, low = np.minimum(cells + step, last), np.maximum(cells - step, 0)
    return np.asarray((data[tuple(high.T)] - data[tuple(low.T)]) / 2, dtype=np.float64)
