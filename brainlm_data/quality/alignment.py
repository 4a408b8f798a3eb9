"""Does an image sit on a set of tissue maps? How well, and how far off: for QC, by other means than the registration.

The image's local contrast is regressed on that of tissue probabilities. The shift of the maps at which that fits best
is the offset: 0 mm where the registration is right. (The overlap of brain masks would not do: it hardly falls when an
image is a centimetre off, because brains are round.)
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.reading.image import load_output

Array = NDArray[np.float64]
LOCAL_MM = 12.0  # width of the neighbourhood whose mean is removed: bias field and drop-out are smoother than that
RIM_MM = 8.0  # left out inside the mask: partial volume at the surface outweighs the contrast of tissues
REACH = 3  # voxels that are looked at in each direction
LEAST = 300  # voxels; with fewer there is nothing to say


def resampled(source: Path, affine: Array, shape: tuple[int, ...], order: int = 1) -> NDArray[np.float32]:
    """An image on another grid of the same space (linear; zero outside); a fourth axis stays."""
    from scipy.ndimage import affine_transform

    image = load_output(source)
    data = np.asarray(image.dataobj, dtype=np.float32)
    to_voxel = np.linalg.inv(image.affine) @ affine

    def moved(volume: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(affine_transform(volume, to_voxel[:3, :3], to_voxel[:3, 3], shape[:3], order=order))

    if data.ndim == 3:
        return moved(data)
    return np.stack([moved(volume) for volume in np.moveaxis(data, 3, 0)], -1)


class Alignment:
    """An image (x, y, z) against tissue maps (x, y, z, k) within a mask, on one grid with this affine.

    Attributes
    ----------
    r2: share of the image's local contrast that the maps explain; NaN where too little of the brain is there.
    offset: (3,) mm along the voxel axes, the shift of the maps at which they explain most, sub-voxel by a parabola on
        each axis; at most three voxels are looked at. NaN as `r2`.
    """

    def __init__(self, image: NDArray[Any], tissues: NDArray[Any], mask: NDArray[np.bool_], affine: Array) -> None:
        from scipy.ndimage import binary_erosion

        zooms = np.asarray(nib.affines.voxel_sizes(affine))
        width = LOCAL_MM / zooms
        inside = binary_erosion(mask, iterations=max(1, round(RIM_MM / float(zooms.mean()))))
        for axis in range(3):
            inside[(slice(None),) * axis + (np.r_[:REACH, -REACH:0],)] = False
        self._where = np.argwhere(inside)
        self.r2, self.offset = float("nan"), np.full(3, np.nan)
        if len(self._where) < LEAST:
            return
        everywhere = np.ones(mask.shape, bool)
        maps = [_local(tissues[..., i], everywhere, width) for i in range(tissues.shape[3])]
        self._maps = np.stack(maps, -1)
        values = _local(image, mask, width)[tuple(self._where.T)]
        values = np.clip(values, *np.percentile(values, [1, 99]))  # vessels
        self._values = values - values.mean()
        if self._values.any():
            self.r2 = self._fit((0, 0, 0))
            self.offset = self._search() * zooms

    @property
    def offset_mm(self) -> float:
        """Length of `offset`."""
        return float(np.linalg.norm(self.offset))

    def _fit(self, shift: tuple[int, ...]) -> float:
        """R2 with the maps moved by whole voxels."""
        # R2 = |X b|^2 / |y|^2 = y'X (X'X)^-1 X'y / y'y, both without mean. The 1e-9 keeps a map of zeros solvable.
        design = self._maps[tuple((self._where - np.array(shift)).T)]
        design = design - design.mean(0)
        gram = design.T @ design + 1e-9 * np.eye(design.shape[1])
        shared = design.T @ self._values
        return float(shared @ np.linalg.solve(gram, shared) / (self._values @ self._values))

    def _search(self) -> Array:
        """Best shift in voxels: all of them, then a parabola on each axis."""
        steps = range(-REACH, REACH + 1)
        fits: dict[tuple[int, ...], float] = {shift: self._fit(shift) for shift in product(steps, repeat=3)}
        best = max(fits, key=lambda shift: fits[shift])
        fine = np.array(best, dtype=np.float64)
        for axis in range(3):
            step = np.eye(3, dtype=int)[axis]
            low, high = tuple((np.array(best) - step).tolist()), tuple((np.array(best) + step).tolist())
            if low in fits and high in fits:
                # a parabola through three points has its top at (f_-1 - f_1) / (2 (f_-1 - 2 f_0 + f_1))
                curve = fits[low] - 2 * fits[best] + fits[high]
                if curve < 0:
                    fine[axis] += 0.5 * (fits[low] - fits[high]) / curve
        return fine


def _local(image: NDArray[Any], mask: NDArray[np.bool_], width: Array) -> Array:
    """The image without its local mean within the mask; 0 outside."""
    from scipy.ndimage import gaussian_filter

    weight = gaussian_filter(mask.astype(float), width)
    mean = gaussian_filter(np.where(mask, image, 0.0), width) / np.maximum(weight, 1e-3)
    return np.where(mask, image - mean, 0.0)
