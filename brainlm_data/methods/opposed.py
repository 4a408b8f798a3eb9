"""The field from two images whose phase was encoded in opposed directions: they are distorted in opposed ways.

The field is that under which both images, undistorted, are the same (Andersson et al., 2003, doi:10.1016/
S1053-8119(03)00336-7): Gauss-Newton on cosines, coarse to fine, with a penalty of the bending energy. Imports numba:
import inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods import interp
from brainlm_data.methods.cosines import Cosines, OnGrid, against_all, least_squares
from brainlm_data.methods.distortion import LEAST_STRETCH

Array = NDArray[np.floating[Any]]
Volume3 = NDArray[np.float32]
LEVELS = ((10.0, 40.0), (6.0, 24.0), (4.0, 14.0))  # smoothing of the images, and half a period of the finest cosine, mm
STEPS = 6  # of Gauss-Newton at each level
PENALTY = 5.0  # mm^4: of a squared Laplacian (voxels per mm^2)^2 against squared differences of images of median 1
MARGIN_MM = 10.0


def field_between(
    images: tuple[Volume3, Volume3], factors: tuple[float, float], mask: NDArray[np.bool_], affine: Array, axis: int
) -> Volume3:
    """The field f (x, y, z) of two images on one grid.

    Parameters
    ----------
    images: (x, y, z) each; one position of the head.
    factors: k_i: image i shows at x + k_i f(x) what belongs to x, voxels along the axis; of opposed signs.
    mask: where they are compared. axis: of phase encoding.
    """
    from scipy.ndimage import gaussian_filter

    shape = mask.shape
    voxel_mm = np.sqrt((affine[:3, :3] ** 2).sum(0))
    # One median for both: they may differ by a gain.
    scaled = [np.asarray(image / np.median(image[mask]), dtype=np.float32) for image in images]
    weight = np.sqrt(mask / mask.sum())
    places = np.indices(shape, dtype=np.float64)
    coefficients = np.zeros((1, 1, 1))
    values = OnGrid([])
    for smooth_mm, half_period_mm in LEVELS:
        basis = Cosines.around(mask, voxel_mm, MARGIN_MM, half_period_mm=half_period_mm)
        values, slopes = basis.on(shape), basis.on(shape, axis)
        ridge = PENALTY * basis.roughness + 1e-9
        coefficients = basis.enlarged(coefficients)
        sigma = smooth_mm / 2.355 / voxel_mm  # full width at half maximum = 2.355 SD
        smooth = [gaussian_filter(image, sigma, truncate=2.5) for image in scaled]
        splines = [interp.coefficients(image) for image in smooth]
        gradients = [interp.coefficients(np.gradient(image, axis=axis)) for image in smooth]
        for _ in range(STEPS):
            # Undistorted image u_i = I_i(x + k_i f) (1 + k_i f'); residual r = u_1 - u_2. Its change with f is
            #     dr = a df + b df',   a = sum +-k_i I_i' (1 + k_i f'),   b = sum +-k_i I_i
            field, slope = values.sum(coefficients), slopes.sum(coefficients)
            residual, a, b = np.zeros(shape), np.zeros(shape), np.zeros(shape)
            for sign, factor, spline, gradient in zip((1, -1), factors, splines, gradients, strict=True):
                seen = places.copy()
                seen[axis] = np.clip(seen[axis] + factor * field, 0, shape[axis] - 1)
                at = seen.reshape(3, -1).T
                value = interp.sample(spline, at, np.eye(4)).reshape(shape)
                change = interp.sample(gradient, at, np.eye(4)).reshape(shape)
                stretch = np.maximum(1 + factor * slope, LEAST_STRETCH)
                residual += sign * value * stretch
                a += sign * factor * change * stretch
                b += sign * factor * value
            terms = [(weight * a, values), (weight * b, slopes)]
            downhill = against_all(terms, weight * residual) + ridge * coefficients
            coefficients = coefficients - least_squares([terms], downhill, ridge)
    return np.asarray(values.sum(coefficients), dtype=np.float32)
