"""A smooth quantity in an image: a sum of few cosines over a box of its voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

Array = NDArray[np.floating[Any]]
Numbers = tuple[int, int, int]


@dataclass(frozen=True)
class Cosines:
    """Products of cosines along the three axes of a voxel grid (the basis of the discrete cosine transform, II).

    Attributes
    ----------
    low, size: (3,) the first voxel of the box, and its extent in voxels. Outside, the values of its rim hold on.
    numbers: how many cosines along each axis.
    voxel_mm: (3,) voxel size.
    """

    low: Array
    size: Array
    numbers: Numbers
    voxel_mm: Array

    @classmethod
    def around(
        cls, mask: NDArray[np.bool_], voxel_mm: Array, margin_mm: float, numbers: Numbers | None = None,
        half_period_mm: float = 0.0,
    ) -> Cosines:  # fmt: skip
        """Over the box around a mask and a margin; so many cosines, or down to a half period."""
        places = np.argwhere(mask)
        margin = margin_mm / voxel_mm
        low = places.min(0) - margin
        size = places.max(0) + margin + 1 - low
        if numbers is None:
            nx, ny, nz = (max(3, round(extent)) for extent in size * voxel_mm / half_period_mm)
            numbers = (nx, ny, nz)
        return cls(low, size, numbers, np.asarray(voxel_mm, dtype=np.float64))

    def along(self, axis: int, places: Array, slope: bool = False) -> Array:
        """(n, numbers[axis]): every cosine of one axis at places (n,), in voxels; or its derivative, per voxel."""
        # cos(pi k x), x from 0 to 1 through the box: k half periods fit into it
        order = np.pi * np.arange(self.numbers[axis])
        inside = (places + 0.5 - self.low[axis]) / self.size[axis]
        angle = np.clip(inside, 0, 1)[:, None] * order
        if not slope:
            return np.asarray(np.cos(angle))
        within = (inside >= 0) & (inside <= 1)
        return np.asarray(-np.sin(angle) * (order / self.size[axis]) * within[:, None])

    def on(self, shape: Sequence[int], slope: int | None = None) -> OnGrid:
        """Its sums on a whole grid; or their derivatives along the axis `slope`, per voxel."""
        bases = [self.along(axis, np.arange(shape[axis], dtype=np.float64), axis == slope) for axis in range(3)]
        return OnGrid(bases)

    def at(self, voxels: Array, slope: int | None = None) -> Array:
        """(n, all products): each product at places (n, 3), in voxels; or its derivative along an axis, per voxel."""
        bases = [self.along(axis, voxels[:, axis], axis == slope) for axis in range(3)]
        return np.asarray(np.einsum("na,nb,nc->nabc", *bases).reshape(len(voxels), -1))

    @property
    def roughness(self) -> Array:
        """(numbers): the squared Laplacian of each product, per mm^4, which is its bending energy."""
        squares = []
        for axis in range(3):
            squares.append((np.pi * np.arange(self.numbers[axis]) / (self.size[axis] * self.voxel_mm[axis])) ** 2)
        return np.asarray((squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]) ** 2)

    def enlarged(self, coefficients: Array) -> Array:
        """The coefficients of a basis with fewer cosines over the same box."""
        out = np.zeros(self.numbers)
        out[tuple(slice(n) for n in coefficients.shape)] = coefficients
        return out


@dataclass(frozen=True)
class OnGrid:
    """Sums of cosines on a voxel grid; `bases`: (voxels, numbers) of each axis."""

    bases: Sequence[Array]

    @property
    def squares(self) -> Array:
        """(numbers): the mean square of every product."""
        x, y, z = (np.square(basis).mean(0) for basis in self.bases)
        return np.asarray(x[:, None, None] * y[None, :, None] * z[None, None, :])

    def sum(self, coefficients: Array) -> Array:
        """(x, y, z) from coefficients (numbers)."""
        x, y, z = self.bases
        a, b, c = coefficients.shape
        # axis by axis: abc -> xbc -> xbz -> xyz
        return np.asarray(y @ ((x @ coefficients.reshape(a, b * c)).reshape(-1, b, c) @ z.T))

    def against(self, values: Array) -> Array:
        """(numbers): inner product of values (x, y, z) with every cosine, the transpose of `sum`."""
        x, y, z = self.bases
        part = y.T @ values @ z  # xyz -> xbc
        return np.asarray((x.T @ part.reshape(len(x), -1)).reshape(-1, *part.shape[1:]))


Terms = Sequence[tuple[Array, OnGrid]]  # pairs (w_i, B_i) that stand for sum_i w_i (B_i c), (x, y, z)


def least_squares(equations: Sequence[Terms], right: Array, ridge: Array, tolerance: float = 0.03) -> Array:
    """Coefficients c that minimise sum over equations |target - sum_i w_i (B_i c)|^2 + c' ridge c.

    By conjugate gradients on the normal equations, without any matrix.

    Parameters
    ----------
    right: (numbers) `against_all` of equations and their targets. ridge: (numbers).
    """
    shape = ridge.shape

    def normal(flat: Array) -> Array:
        c = flat.reshape(shape)
        out = ridge * c
        for terms in equations:
            made = sum(weight * cosines.sum(c) for weight, cosines in terms)
            out = out + against_all(terms, np.asarray(made))
        return np.asarray(out.ravel())

    # about the diagonal of the system: as if weights were the same everywhere
    diagonal = ridge + 1e-12
    for weight, cosines in (term for terms in equations for term in terms):
        diagonal = diagonal + float(np.square(weight).sum()) * cosines.squares
    system = LinearOperator((ridge.size, ridge.size), normal, dtype=np.float64)
    scaled = LinearOperator((ridge.size, ridge.size), lambda flat: flat / diagonal.ravel(), dtype=np.float64)
    return np.asarray(cg(system, right.ravel(), rtol=tolerance, maxiter=60, M=scaled)[0].reshape(shape))


def against_all(terms: Terms, target: Array) -> Array:
    """(numbers): the transposed terms of one equation applied to its target (x, y, z)."""
    return np.asarray(sum(cosines.against(weight * target) for weight, cosines in terms))
