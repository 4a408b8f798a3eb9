"""An analytic head: a sum of Gaussians, evaluated where it is asked for, so that moving it interpolates nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods.rigid import about

RNG = np.random.default_rng(7)
CENTRES = RNG.uniform(-1, 1, (60, 3)) * [28, 34, 24]
WIDTHS = RNG.uniform(6, 11, 60)
HEIGHTS = RNG.uniform(-0.5, 1.0, 60)
SHAPE = (26, 28, 22)
AFFINE = np.diag([-4.0, 4.0, 4.0, 1.0])  # LAS, as scanners store it
AFFINE[:3, 3] = [50, -54, -42]
CENTRE = np.zeros(3)


def head(points: NDArray[Any]) -> NDArray[np.float64]:
    """Signal at RAS points (n, 3): a bright ellipsoid with a soft rim, and structure in it."""
    radius = np.sqrt(((points / [38, 44, 34]) ** 2).sum(1))
    value = 1.0 / (1.0 + np.exp((radius - 1) * 12))
    squared = ((points[:, None] - CENTRES) ** 2).sum(2)
    return 1000 * value * (1 + (HEIGHTS * np.exp(-squared / (2 * WIDTHS**2))).sum(1))


def motions(params: NDArray[Any]) -> NDArray[np.float64]:
    """Motion matrices (T, 4, 4) of (T, 6): translation (mm) and rotation vector (rad) about the origin."""
    return np.stack([about(p[3:], p[:3], CENTRE) for p in params])


def series(matrices: NDArray[Any], noise: float = 3.0, seed: int = 0) -> NDArray[np.float32]:
    """The moved head on the grid (x, y, z, T): a point p of the head at rest is found at matrix @ p."""
    rng = np.random.default_rng(seed)
    grid = np.indices(SHAPE).reshape(3, -1).T @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    volumes = []
    for matrix in matrices:
        back = np.linalg.inv(matrix)
        volumes.append(head(grid @ back[:3, :3].T + back[:3, 3]).reshape(SHAPE) + rng.normal(0, noise, SHAPE))
    return np.stack(volumes, -1).astype(np.float32)


def save(path: Path, data: NDArray[Any], affine: NDArray[Any] = AFFINE, tr: float = 2.0) -> Path:
    """Write a run with units in its header."""
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    if data.ndim > 3:
        image.header["pixdim"][4] = tr
    nib.save(image, path)
    return path


def walk(volumes: int, seed: int = 1, scale: float = 1.0) -> NDArray[np.float64]:
    """A random walk of motion parameters, the first at rest."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, scale, (volumes, 6)) * [0.2, 0.2, 0.3, 0.004, 0.003, 0.003]
    steps[0] = 0
    return np.cumsum(steps, 0)


def relative(matrices: NDArray[Any]) -> NDArray[np.float64]:
    """Motion from the first volume to each: free of the choice of reference."""
    return matrices @ np.linalg.inv(matrices[0])


def error(found: NDArray[Any], truth: NDArray[Any]) -> tuple[float, float]:
    """Largest error of the head's centre (mm) and of the rotation (degrees)."""
    difference = relative(found) @ np.linalg.inv(relative(truth))
    angle = np.arccos(np.clip((np.trace(difference[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))
    return float(np.linalg.norm(difference[:, :3, 3], axis=1).max()), float(np.degrees(angle).max())
