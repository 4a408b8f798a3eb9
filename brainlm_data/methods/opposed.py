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
from brainlm_data.methods.distortion import LEAST_STRETCH, Shift
from brainlm_data.methods.rigidfit import Volume

Array = NDArray[np.floating[Any]]
Volume3 = NDArray[np.float32]
LEVELS = ((10.0, 40.0), (6.0, 24.0), (4.0, 14.0))  # smoothing of the images, and half a period of the finest cosine, mm
STEPS, ENOUGH = 6, 0.03  # of Gauss-Newton at each level; a smaller step, voxels, is the last one
PENALTY = 5.0  # mm^4: of a squared Laplacian (voxels per mm^2)^2 against squared differences of images of median 1
MARGIN_MM = 10.0
VOLUMES = 10  # at most, of an image with several
MOVED_MM = 0.1  # where the head has moved less between the two images, nothing is repeated


def field_of(
    one: Volume, two: Volume, factors: tuple[float, float], axis: int
) -> tuple[Volume3, Volume3, NDArray[np.bool_]]:
    """The field on the grid of the first image, the mean of both undistorted, and where the head is.

    Between the two the head may have moved: after a first field they are realigned, undistorted, and it is found again.
    """
    from scipy.ndimage import binary_dilation

    from brainlm_data.methods.fieldmap import brain_of
    from brainlm_data.methods.realign import Realigner

    first: Volume3 = one.data
    matrix: Array = np.eye(4)
    field, second = first, first
    for attempt in range(2):
        second = _onto(two, one, matrix)
        mask = binary_dilation(brain_of(first) | brain_of(second), iterations=2)
        field = field_between((first, second), factors, mask, one.affine, axis)
        straight = [
            Shift(np.asarray(factor * field, dtype=np.float32), one.affine, axis).undistorted(image)
            for factor, image in zip(factors, (first, second), strict=True)
        ]
        moved = Realigner(straight[0], one.affine).fit(straight[1]).matrix
        points = Volume(mask.astype(np.float32), one.affine).points()
        way = points @ (moved - np.eye(4))[:3, :3].T + moved[:3, 3]
        if np.linalg.norm(way, axis=1).max() < MOVED_MM or attempt:
            break
        matrix = matrix @ moved
    gain = np.median(first[mask]) / np.median(second[mask])
    magnitude = np.asarray((straight[0] + gain * straight[1]) / 2, dtype=np.float32)
    return field, magnitude, brain_of(magnitude)


def _onto(image: Volume, grid: Volume, matrix: Array) -> Volume3:
    """An image on the grid of another, whose points a matrix takes to its own; 0 outside."""
    to_voxel = image.inverse @ matrix @ grid.affine
    if image.data.shape == grid.data.shape and np.allclose(to_voxel, np.eye(4), atol=1e-4):
        return image.data
    voxels = np.indices(grid.data.shape, dtype=np.float64).reshape(3, -1).T
    values = interp.sample(interp.coefficients(image.data), voxels, to_voxel)
    return np.nan_to_num(values).reshape(grid.data.shape)


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
    unit = max(abs(factor) for factor in factors)  # while fitting, the field is in voxels
    voxel_mm = np.sqrt((affine[:3, :3] ** 2).sum(0))
    # One median for both: they may differ by a gain.
    scaled = [np.asarray(image / np.median(image[mask]), dtype=np.float32) for image in images]
    weight = np.sqrt(mask / mask.sum())
    places = np.indices(shape, dtype=np.float64)
    coefficients: Array = np.zeros((1, 1, 1))
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
                factor = factor / unit
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
            step = least_squares([terms], downhill, ridge)
            coefficients = coefficients - step
            if np.abs(values.sum(step)[mask]).max() < ENOUGH:
                break
    return np.asarray(values.sum(coefficients) / unit, dtype=np.float32)
