"""Does an image sit on a set of tissue maps? How well, and how far off: for QC, by other means than the registration.

The image is regressed on tissue probabilities and a smooth bias field. The shift of the maps at which that fits best
is the offset: 0 mm where the registration is right. (The overlap of brain masks would not do: it hardly falls when an
image is a centimetre off, because brains are round.)
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def resampled(source: Path, affine: Array, shape: tuple[int, ...], order: int = 1) -> NDArray[np.float32]:
    """An image on another grid of the same space (linear; zero outside); a fourth axis stays."""
    from scipy.ndimage import affine_transform

    image: Any = nib.load(source)
    data = np.asarray(image.dataobj, dtype=np.float32)
    to_voxel = np.linalg.inv(image.affine) @ affine
    volumes = data[..., None] if data.ndim == 3 else data
    moved = [
        affine_transform(volumes[..., i], to_voxel[:3, :3], to_voxel[:3, 3], shape[:3], order=order)
        for i in range(volumes.shape[3])
    ]
    return moved[0] if data.ndim == 3 else np.stack(moved, -1)


class Alignment:
    """An image (x, y, z) against tissue maps (x, y, z, k) within a mask, on one grid of `zooms` mm.

    Attributes
    ----------
    r2: share of the image's variance in the mask that the maps explain beyond a quadratic bias field.
    offset: (3,) mm, the shift of the maps at which they explain most; sub-voxel by a parabola on each axis.
    """

    REACH = 3  # voxels that are looked at in each direction, and the rim that is left out for it

    def __init__(
        self, image: NDArray[Any], tissues: NDArray[Any], mask: NDArray[np.bool_], zooms: Iterable[float]
    ) -> None:
        rim = self.REACH
        inside = mask.copy()
        for axis in range(3):
            inside[(slice(None),) * axis + (np.r_[:rim, -rim:0],)] = False
        self._where = np.argwhere(inside)
        self._tissues = np.asarray(tissues, dtype=np.float64)
        values = np.asarray(image, dtype=np.float64)[tuple(self._where.T)]
        self._bias = _smooth(self._where)
        self._values = _residual(self._bias, np.minimum(values, np.percentile(values, 99)))
        self.r2 = self._fit((0, 0, 0))
        self.offset = self._search() * np.array(list(zooms))

    @property
    def offset_mm(self) -> float:
        """Length of `offset`."""
        return float(np.linalg.norm(self.offset))

    def _fit(self, shift: tuple[int, ...]) -> float:
        """R2 with the maps moved by whole voxels."""
        maps = self._tissues[tuple((self._where - np.array(shift)).T)]
        design = _residual(self._bias, maps)
        gram = design.T @ design + 1e-9 * np.eye(design.shape[1])
        product_ = design.T @ self._values
        return float(product_ @ np.linalg.solve(gram, product_) / (self._values @ self._values))

    def _search(self) -> Array:
        """Best shift in voxels: every second voxel first, then its neighbours, then a parabola."""
        found: dict[tuple[int, ...], float] = {}
        best: tuple[int, ...] = (0, 0, 0)
        for step in (2, 1, 1):
            for move in product((-step, 0, step), repeat=3):
                shift = tuple(int(np.clip(b + m, -self.REACH, self.REACH)) for b, m in zip(best, move, strict=True))
                if shift not in found:
                    found[shift] = self._fit(shift)
            best = max(found, key=lambda s: found[s])
        fine = np.array(best, dtype=np.float64)
        for axis in range(3):
            low, high = (tuple(b + d * (a == axis) for a, b in enumerate(best)) for d in (-1, 1))
            if low in found and high in found:
                curve = found[low] - 2 * found[best] + found[high]
                fine[axis] += 0.5 * (found[low] - found[high]) / curve if curve < 0 else 0.0
        return fine


def _smooth(where: NDArray[np.intp]) -> Array:
    """Orthonormal basis of second-order polynomials at these voxels (n, 10)."""
    x, y, z = ((where - where.mean(0)) / np.maximum(where.std(0), 1)).T
    return np.linalg.qr(np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], 1))[0]


def _residual(basis: Array, values: Array) -> Array:
    """What is left of the columns of `values` beyond `basis`."""
    return values - basis @ (basis.T @ values)
