"""ICA of whitened data: Picard-O, extended (Ablin, Cardoso and Gramfort, 2018, doi:10.1109/TSP.2018.2844203).

The package `picard` in single precision, with fewer passes over the data and more steps of FastICA before it. What is
left of double precision is what is small: matrices of components, and means over voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Voxels = NDArray[np.float32]
FIRST = 20  # steps of FastICA: after 5, the package's choice, Picard ends more often where one source is split in two
MEMORY = 7  # steps that L-BFGS remembers
LEAST_CURVATURE = 0.01  # below which the approximated Hessian is not trusted
HALVINGS = 10  # of a step, until the loss falls
SLACK = 1e-7  # relative: the loss of float32 values is not more exact


@dataclass(frozen=True)
class Rotated:
    """Sources (k, voxels), and what one pass over them gives: the moments of psi = tanh, the derivative of log cosh.

    `cross` (k, k): mean of psi(y_i) y_j. `slope` (k,): mean of psi'(y_i). `energy` (k,): mean of log cosh y_i.
    """

    sources: Voxels
    cross: Array
    slope: Array
    energy: Array

    @classmethod
    def of(cls, sources: Voxels) -> Rotated:
        """Measure sources."""
        count, voxels = sources.shape
        psi = np.empty_like(sources)
        slope, energy = np.empty(count), np.empty(count)
        for row, (y, t) in enumerate(zip(sources, psi, strict=True)):
            # psi' = 1 - tanh^2, and log cosh y = |y| - log(1 + |tanh y|), which does not overflow; a row at a time, as
            # it stays in the cache.
            np.tanh(y, out=t)
            slope[row] = 1 - float(t @ t) / voxels
            energy[row] = float(np.abs(y).sum() - np.log(1 + np.abs(t)).sum()) / voxels
        return cls(sources, (psi @ sources.T).astype(np.float64) / voxels, slope, energy)

    def by(self, rotation: Array) -> Rotated:
        """Of these sources, rotated."""
        return self.of(rotation.astype(np.float32) @ self.sources)

    @property
    def signs(self) -> Array:
        """(k,) 1 for sources with heavy tails, -1 for those with light ones: the density that fits each."""
        return np.sign(self.slope - np.diag(self.cross))


def unmixed(white: Voxels, start: Array, passes: int, tolerance: float) -> tuple[Array, Voxels, bool]:
    """The rotation whose rows of `rotation @ white` are as independent as possible.

    Parameters
    ----------
    white: (k, voxels), uncorrelated rows of unit variance. start: (k, k) orthogonal.
    passes: at most. tolerance: of the largest entry of the gradient.

    Returns
    -------
    rotation (k, k), sources (k, voxels), and whether the tolerance was reached.
    """
    rotation = start
    found = Rotated.of(start.astype(np.float32) @ white)
    for _ in range(FIRST):
        step = _orthogonal(found.cross - np.diag(found.slope))
        rotation, found = step @ rotation, found.by(step)
    memory: list[tuple[Array, Array]] = []  # steps, and by how much the gradient changed
    signs, step, before = found.signs, np.zeros_like(rotation), np.zeros_like(rotation)
    for number in range(passes):
        # The loss sum_i signs_i mean log cosh y_i, for rotations exp(E) near the one so far, E' = -E: gradient G, and
        # H a diagonal of its Hessian, exact where sources are independent.
        cross, slope = found.signs[:, None] * found.cross, found.signs * found.slope
        gradient = (cross - cross.T) / 2
        if np.abs(gradient).max() < tolerance:
            return rotation, found.sources, True
        curvature = slope - np.diag(cross)
        hessian = np.maximum((curvature[:, None] + curvature) / 2, LEAST_CURVATURE)
        if (found.signs != signs).any():
            memory = []  # another loss
        elif number:
            memory = [*memory, (step, gradient - before)][-MEMORY:]
        signs, before = found.signs, gradient
        step, following = _line_search(found, _direction(gradient, hessian, memory), signs)
        if following is None:
            memory = []
            step, following = _line_search(found, -gradient, signs)
        if following is None:
            break
        rotation, found = _exponential(step) @ rotation, following
    return rotation, found.sources, False


def _line_search(found: Rotated, direction: Array, signs: Array) -> tuple[Array, Rotated | None]:
    """The step along a direction that lowers the loss, halved as often as it takes, and the sources there."""
    loss = float(signs @ found.energy)
    step = direction
    for _ in range(HALVINGS):
        following = found.by(_exponential(step))
        if signs @ following.energy < loss + SLACK * abs(loss):
            return step, following
        step = step / 2
    return step, None


def _direction(gradient: Array, hessian: Array, memory: list[tuple[Array, Array]]) -> Array:
    """-H^-1 G, with H the diagonal one corrected by what past steps have shown (L-BFGS, two loops)."""
    left = gradient.copy()
    shares = []
    for step, change in reversed(memory):
        share = (step * left).sum() / (step * change).sum()
        shares.append(share)
        left -= share * change
    out = left / hessian
    for (step, change), share in zip(memory, reversed(shares), strict=True):
        out += step * (share - (change * out).sum() / (step * change).sum())
    return -(out - out.T) / 2


def _exponential(skew: Array) -> Array:
    """exp(E), a rotation where E' = -E."""
    from scipy.linalg import expm

    return np.asarray(expm(skew))


def _orthogonal(matrix: Array) -> Array:
    """The orthogonal matrix nearest to one: (M M')^-1/2 M."""
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)
