"""A small head with known place: the bundled template's tissues under a known smooth map, with skull and bias.

Coarse, so that registration takes seconds; benchmarks/normalize.py measures accuracy on finer, richer heads.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from brainlm_data.methods.rigid import about

Points = NDArray[np.float64]
TURN = about(np.array([0.07, -0.05, 0.1]), np.array([5.0, -7.0, 9.0]), np.array([0.0, -20.0, 10.0]))
TURN[:3, :3] = TURN[:3, :3] @ np.diag([0.95, 1.04, 1.02])
EPI = about(np.array([-0.06, 0.04, 0.08]), np.array([-4.0, 6.0, 3.0]), np.array([0.0, -20.0, 10.0]))  # T1w -> EPI
T1W = {"gm": 600, "wm": 900, "csf": 220, "scalp": 800}
BOLD = {"gm": 1000, "wm": 760, "csf": 1350, "scalp": 330}


def to_t1w(points: Points) -> Points:
    """Template points -> T1w points, RAS mm: the truth."""
    z = points + _bend(points)
    return np.asarray(z @ TURN[:3, :3].T + TURN[:3, 3])


def to_epi(points: Points) -> Points:
    """T1w points -> EPI points, RAS mm: the truth."""
    return np.asarray(points @ EPI[:3, :3].T + EPI[:3, 3])


def _bend(points: Points) -> Points:
    x, y, z = points.T
    return 3 * np.stack([np.sin(y / 25), np.sin(z / 22 + 1), np.sin(x / 24)], 1)


def _from_t1w(points: Points) -> Points:
    inverse = np.linalg.inv(TURN)
    straight = points @ inverse[:3, :3].T + inverse[:3, 3]
    found = straight.copy()
    for _ in range(30):
        found = straight - _bend(found)
    return found


@lru_cache(maxsize=1)
def _tissues() -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float64]]:
    """Maps in template space, 2 mm, with room for a skull."""
    from nilearn import datasets

    mask, gm, wm = (
        getattr(datasets, f"load_mni152_{name}")(resolution=2) for name in ("brain_mask", "gm_template", "wm_template")
    )
    pad = 10
    brain, grey, white = (np.pad(np.asarray(m.dataobj, dtype=np.float32), pad) for m in (mask, gm, wm))
    affine = mask.affine.copy()
    affine[:3, 3] -= 2 * pad
    outside = 2 * distance_transform_edt(brain < 0.5)
    scalp = ((outside > 9) & (outside < 15)).astype(np.float32)
    csf = np.clip(brain - grey - white, 0, 1) + ((outside > 0) & (outside < 3))
    return {"gm": grey * brain, "wm": white * brain, "csf": csf.astype(np.float32), "scalp": scalp}, affine


def paint(points: Points, intensity: dict[str, float], size_mm: float) -> NDArray[np.float64]:
    """Values of a head at T1w points, as an image of voxels of `size_mm` would hold them."""
    maps, affine = _tissues()
    head = gaussian_filter(sum(intensity[name] * maps[name] for name in maps), size_mm / 2.355 / 2)
    inverse = np.linalg.inv(affine)
    places = _from_t1w(points)
    return np.asarray(map_coordinates(head, (places @ inverse[:3, :3].T + inverse[:3, 3]).T, order=1))


def _grid(shape: tuple[int, int, int], size_mm: float, flip: bool) -> NDArray[np.float64]:
    affine = about(np.array([0.05, 0.03, -0.04]), np.zeros(3), np.zeros(3))
    affine[:3, :3] = affine[:3, :3] * size_mm * np.array([-1 if flip else 1, 1, 1])
    affine[:3, 3] = np.array([3, -25, 18]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def t1w(path: Path, defaced: bool = False) -> Path:
    """A T1w of 3 mm, oblique, with bias and noise; without the lower front of the head where `defaced`."""
    shape, rng = (64, 78, 68), np.random.default_rng(5)
    affine = _grid(shape, 3.0, flip=False)
    voxels = np.indices(shape).reshape(3, -1).T
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    data = paint(points, T1W, 3.0) * np.exp(0.3 * np.sin(points[:, 0] / 60) + 0.2 * np.cos(points[:, 2] / 50))
    if defaced:
        data[(points[:, 1] > 45) & (points[:, 2] < -5)] = 0
    data = np.abs(data + rng.normal(0, 15, data.shape)).reshape(shape)
    nib.save(nib.Nifti1Image(data.astype(np.int16), affine), path)
    return path


def boldref(path: Path, mask: Path, shift: tuple[float, float, float] = (0, 0, 0)) -> None:
    """A BOLD reference of 4 mm and its brain mask; `shift`: its header is wrong by so much, mm."""
    shape, rng = (48, 56, 40), np.random.default_rng(6)
    affine = _grid(shape, 4.0, flip=True)
    points = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(EPI)
    places = points @ inverse[:3, :3].T + inverse[:3, 3]
    coil = np.exp(-0.25 * np.cos(points[:, 1] / 70))
    data = paint(places, BOLD, 4.0) * coil + rng.normal(0, 12, len(points))
    brain = paint(places, {"gm": 1, "wm": 1, "csf": 1, "scalp": 0}, 4.0) > 0.5
    affine[:3, 3] += shift
    nib.save(nib.Nifti1Image(np.abs(data).reshape(shape).astype(np.float32), affine), path)
    nib.save(nib.Nifti1Image(brain.reshape(shape).astype(np.uint8), affine), mask)


def brain_points(template: Any, step: int = 97) -> Points:
    """Points of the template's brain, RAS mm."""
    image: Any = nib.load(template)
    voxels = np.argwhere(np.asarray(image.dataobj) > 0)[::step]
    return np.asarray(voxels @ image.affine[:3, :3].T + image.affine[:3, 3])
