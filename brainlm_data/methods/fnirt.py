"""Warps of FSL: where a point of the reference (MNI152) lies in the image that was registered to it.

A displacement field (`applywarp`, `convertwarp --relout`) has, at each voxel of the reference, what is added to its FSL
coordinates to get the FSL coordinates of the other image, in mm. FSL coordinates are voxel numbers times voxel sizes,
in the order in which voxels are stored; x is counted from the other end where the affine's determinant is positive
(FSL's documentation of FLIRT and FNIRT). Spline coefficients, as `fnirt --cout` writes them, are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import Refused
from brainlm_data.reading.image import load_image

Array = NDArray[np.floating[Any]]
FIELD = 2006  # intent codes of FSL: a dense displacement field; the others are coefficients
COEFFICIENTS = {2007: "cubic splines", 2008: "cosines", 2009: "quadratic splines", 2016: "topup", 2017: "topup"}


def frame(affine: Array, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Voxel numbers -> FSL coordinates (mm) of an image, (4, 4)."""
    zooms = np.sqrt((affine[:3, :3] ** 2).sum(0))
    out = np.diag([*zooms, 1.0])
    if np.linalg.det(affine[:3, :3]) > 0:
        out[0, 0], out[0, 3] = -zooms[0], (shape[0] - 1) * zooms[0]
    return out


def moved(matrix: Array, points: Array) -> NDArray[np.float64]:
    """(n, 3) points under a (4, 4) matrix."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3], dtype=np.float64)


def read_matrix(path: Path) -> NDArray[np.float64]:
    """FLIRT's matrix (4, 4), between FSL coordinates of two images. Raises Refused where it is none."""
    try:
        matrix = np.loadtxt(path)
    except (OSError, ValueError) as error:
        raise Refused(f"{path.name}: not a matrix of FLIRT ({error})", "fetch it again") from error
    if matrix.shape != (4, 4) or abs(np.linalg.det(matrix[:3, :3])) < 1e-6:
        raise Refused(f"{path.name}: not an invertible matrix of 4 x 4", "fetch it again")
    return matrix


@dataclass(frozen=True)
class Field:
    """A dense, relative displacement field.

    Attributes
    ----------
    displacement: (x, y, z, 3) mm, between FSL coordinates. affine: of the reference, voxel -> RAS mm.
    """

    displacement: NDArray[np.float32]
    affine: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> Field:
        """Raises Refused where it is spline coefficients, absolute coordinates, or no field at all."""
        image = load_image(path, remedy="fetch it again")
        data = np.asarray(image.dataobj, dtype=np.float32)
        intent = int(image.header["intent_code"])
        dense = "make it dense: convertwarp --ref=REF --warp1=WARP --relout --out=FIELD"
        if intent in COEFFICIENTS:
            raise Refused(f"{path.name}: coefficients ({COEFFICIENTS[intent]}), not a displacement field", dense)
        if data.ndim != 4 or data.shape[3] != 3 or intent not in (0, FIELD):
            raise Refused(f"{path.name}: shape {data.shape}, intent {intent}: not a displacement field", dense)
        affine = np.asarray(image.affine, dtype=np.float64)
        if not np.isfinite(data).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
            raise Refused(f"{path.name}: values or affine are not finite", dense)
        shape = data.shape[:3]
        own = moved(frame(affine, shape), np.argwhere(np.ones(shape, bool)).astype(float)).reshape(*shape, 3)
        # values that are nearly the voxels' own coordinates; as applywarp tells one kind from the other
        if (data - own).std(axis=(0, 1, 2)).sum() < data.std(axis=(0, 1, 2)).sum():
            raise Refused(f"{path.name}: absolute coordinates, not displacements", dense)
        return cls(data, affine)

    def coordinates(self, points: Array) -> NDArray[np.float64]:
        """FSL coordinates in the other image (n, 3) of points in the reference (RAS mm); NaN outside of the field."""
        from brainlm_data.methods import interp

        to_voxels = np.linalg.inv(self.affine)
        own = moved(frame(self.affine, self.displacement.shape[:3]) @ to_voxels, points)
        steps = []
        for axis in range(3):
            component = interp.padded(self.displacement[..., axis])
            steps.append(interp.sample(component, points, to_voxels, cubic=False))
        return own + np.stack(steps, 1)


def places_in(
    field: Field, points: Array, affine: Array, shape: tuple[int, int, int], before: Array | None = None
) -> NDArray[np.float64]:
    """Points of the reference (RAS mm) in an image that was registered to it, as RAS mm of that image.

    Parameters
    ----------
    affine, shape: of the image. before: FLIRT's matrix from the image to the one that the field belongs to (`premat`).
    """
    there = field.coordinates(points)
    if before is not None:
        there = moved(np.linalg.inv(before), there)  # `premat` goes the other way: image -> the field's image
    # FSL coordinates -> voxel numbers -> RAS mm
    return moved(affine @ np.linalg.inv(frame(affine, shape)), there)
