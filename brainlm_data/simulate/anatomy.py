"""A subject's head: tissue maps of the MNI152 template, warped, with intensities of its own.

`x = z + v(z)`, `z = A^-1 y` takes a point y of the subject (T1w scanner space, RAS mm) to the template point x: A is an
affine (rotation, size, shear, shift), v a smooth random field of two scales. Images are pulled through this map; the
map that registration estimates, template -> subject, is its inverse, found by fixed-point iteration and written as
truth. Skull, scalp, eyes and vessels are added around the template's brain, which comes without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.simulate.kernels import blend, pull_tissues, trilinear
from brainlm_data.simulate.plan import Plan

TISSUES = ("gm", "wm", "csf", "vessel", "skull", "scalp", "eye")
FINE_SHAPE = (204, 244, 212)  # the 1 mm grid on which heads are defined, template and subject alike
FINE_ORIGIN = np.array([-102.0, -140.0, -92.0])  # mm of its first voxel
FIELD_STEP = 4.0  # mm between the nodes of the warp field, which is linear between them
FIELD_SHAPE = tuple(int(n // FIELD_STEP) + 14 for n in FINE_SHAPE)
FIELD_ORIGIN = FINE_ORIGIN - 6 * FIELD_STEP
Array = NDArray[np.floating[Any]]


def grid_affine(origin: Array, step: float) -> Array:
    """Voxel -> mm of an axis-aligned grid."""
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = origin
    return affine


def voxel_points(shape: tuple[int, ...], affine: Array) -> Array:
    """Centres (x, y, z, 3) of the voxels of a grid, mm."""
    return np.asarray(np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3])


@lru_cache(maxsize=1)
def template_tissues() -> NDArray[np.uint8]:
    """Tissue shares (FINE_SHAPE + TISSUES), 255 is all of a voxel, in template space."""
    from nilearn import datasets
    from scipy.ndimage import distance_transform_edt

    def load(loader: Any) -> NDArray[np.float32]:
        image = loader(resolution=1)
        return _onto_fine(np.asarray(image.dataobj, dtype=np.float32), image.affine)

    out = np.zeros((*FINE_SHAPE, len(TISSUES)), np.uint8)

    def put(tissue: str, share: Array) -> None:
        out[..., TISSUES.index(tissue)] = np.round(np.float32(255) * share)

    mask = load(datasets.load_mni152_brain_mask)
    outside = distance_transform_edt(mask < 0.5).astype(np.float32)  # mm from the brain
    gm = load(datasets.load_mni152_gm_template) * mask
    wm = load(datasets.load_mni152_wm_template) * mask
    total = np.maximum(gm + wm, 1)
    put("gm", gm / total)
    put("wm", wm / total)
    csf = mask - (gm + wm) / total
    del gm, wm, total, mask

    # mm along each axis, as (n, 1, 1), (1, n, 1) and (1, 1, n): together they span the grid without filling it
    x, y, z = np.indices(FINE_SHAPE, dtype=np.float32, sparse=True)
    x, y, z = x + np.float32(FINE_ORIGIN[0]), y + np.float32(FINE_ORIGIN[1]), z + np.float32(FINE_ORIGIN[2])
    sinus = (np.abs(x) < 4) & (outside > 0) & (outside < 6) & (z > 0)  # superior sagittal sinus
    arteries = (np.abs(x) < 14) & (np.abs(y - 2) < 14) & (np.abs(z + 26) < 5) & (csf > 0.3)  # circle of Willis
    vessel = np.where(arteries, csf * np.float32(0.7), sinus * np.float32(0.9))
    csf += np.clip(3.5 - outside, 0, 1) * (outside > 0)
    csf *= 1 - vessel
    put("csf", csf)
    put("vessel", vessel)
    del csf, sinus, arteries
    eye = np.clip(13 - np.sqrt((np.abs(x) - 33) ** 2 + (y - 62) ** 2 + (z + 40) ** 2), 0, 1) * (outside > 0)
    put("eye", eye)
    thick = 5 + 1.5 * np.cos(y / 25) + 2 * (z < -20).astype(np.float32)  # bone is not equally thick everywhere
    put("skull", np.clip(outside - 2.5, 0, 1) * np.clip(3.5 + thick - outside, 0, 1) * (1 - vessel) * (1 - eye))
    put("scalp", np.clip(outside - 2.5 - thick, 0, 1) * np.clip(9.5 + thick - outside, 0, 1) * (1 - eye))
    return out


def _onto_fine(data: Array, affine: Array) -> Array:
    """A 1 mm template placed into the fine grid; both have whole millimetres, so nothing is interpolated."""
    start = np.round(affine[:3, 3] - FINE_ORIGIN).astype(int)
    if not np.allclose(affine[:3, :3], np.eye(3)) or (start < 0).any() or (start + data.shape > FINE_SHAPE).any():
        raise ValueError(f"template grid {data.shape} {affine.tolist()} does not fit into the 1 mm grid")
    out = np.zeros(FINE_SHAPE, np.float32)
    out[tuple(slice(s, s + n) for s, n in zip(start, data.shape, strict=True))] = data
    return out


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], step_mm: float, sigma_mm: float) -> Array:
    """Gaussian random field (shape) of unit SD and smoothness `sigma_mm`."""
    from scipy.ndimage import gaussian_filter

    pad = int(np.ceil(2 * sigma_mm / step_mm))
    field = gaussian_filter(rng.standard_normal([n + 2 * pad for n in shape]), sigma_mm / step_mm, mode="wrap")
    field = field[tuple(slice(pad, pad + n) for n in shape)]
    return np.asarray(field / field.std(), dtype=np.float32)


@dataclass(frozen=True)
class Warp:
    """The map between template and subject of the module's text. `affine` is A, `field` is v at its nodes, mm."""

    affine: Array
    field: NDArray[np.float32]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Warp:
        """A head of 93 to 107 % size, turned up to some 6 degrees, with 3 mm of smooth and 0.8 mm of fine change."""
        from scipy.spatial.transform import Rotation

        affine = np.eye(4)
        turn = Rotation.from_rotvec(np.deg2rad(3.0) * rng.standard_normal(3)).as_matrix()
        shear = np.eye(3) + np.triu(0.02 * rng.standard_normal((3, 3)), 1)
        size = rng.uniform(0.95, 1.05) * (1 + rng.uniform(-0.02, 0.02, 3))
        affine[:3, :3] = turn @ shear @ np.diag(size)
        affine[:3, 3] = 5.0 * rng.standard_normal(3)
        components = []
        for _ in range(3):  # mm along x, y and z
            smooth = smooth_field(rng, FIELD_SHAPE, FIELD_STEP, 20.0)
            fine = smooth_field(rng, FIELD_SHAPE, FIELD_STEP, 8.0)
            components.append(1.7 * smooth + 0.5 * fine)
        field = np.stack(components, axis=-1)
        return cls(affine, np.ascontiguousarray(field, dtype=np.float32))

    def _v(self, points: Array) -> Array:
        return np.asarray(trilinear(self.field, (points - FIELD_ORIGIN) / FIELD_STEP))

    def to_subject(self, points: Array, tolerance_mm: float = 1e-4) -> Array:
        """Template points (n, 3) -> subject points, RAS mm, to `tolerance_mm`."""
        # x = z + v(z) is solved for z by iterating z <- x - v(z), which converges where v changes by less than 1 per mm
        z = points.copy()
        for _ in range(200):
            step = points - self._v(z) - z
            z += step
            if np.abs(step).max() < tolerance_mm:
                return np.asarray(z @ self.affine[:3, :3].T + self.affine[:3, 3])
        raise ArithmeticError("the warp folds: it has no inverse")


@dataclass(frozen=True)
class Head:
    """A subject's head on the 1 mm grid of its own space (first voxel at `origin`, axes along RAS)."""

    warp: Warp
    origin: Array
    tissues: NDArray[np.uint8]  # FINE_SHAPE + TISSUES
    parcels: NDArray[np.int16]  # FINE_SHAPE: row of the atlas table + 1; 0 none

    @classmethod
    def draw(cls, plan: Plan, label: str, atlas: NDArray[np.int16], atlas_affine: Array) -> Head:
        """Head of subject `label`. `atlas`: rows + 1 on a grid of template space."""
        warp = Warp.draw(plan.rng(label, "warp"))
        origin = FINE_ORIGIN + np.round(warp.affine[:3, 3])  # the box follows the head
        inverse = np.linalg.inv(warp.affine)
        tissues, parcels = pull_tissues(
            template_tissues(), atlas, np.linalg.inv(atlas_affine), inverse @ grid_affine(origin, 1.0),
            warp.field, FIELD_ORIGIN, FIELD_STEP, FINE_ORIGIN,
        )  # fmt: skip
        return cls(warp, origin, tissues, parcels)

    @property
    def affine(self) -> Array:
        """Voxel -> T1w scanner space."""
        return grid_affine(self.origin, 1.0)

    def paint(self, intensities: Mapping[str, float]) -> NDArray[np.float32]:
        """An image of the head: each tissue's share times its intensity."""
        weights = np.array([intensities[t] for t in TISSUES], np.float32) / 255
        return np.asarray(blend(self.tissues.reshape(-1, len(TISSUES)), weights).reshape(FINE_SHAPE))
