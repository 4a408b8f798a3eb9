"""Registration with ANTs (Avants et al., 2011), through antspyx: thin, seeded, and with checks of what came out.

Transforms are ITK files, named as fMRIPrep does: `from-A_to-B` resamples an image in A onto B, so it maps points of B
to points of A. Import this module inside functions: antspyx takes seconds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ants
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
SEED = 1
LPS = np.array([-1.0, -1.0, 1.0])


def to_ants(data: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """An ANTs image (float32) of a volume and its voxel -> RAS mm affine (no shear, as ITK wants it)."""
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    return ants.from_numpy(
        np.ascontiguousarray(data, dtype=np.float32), origin=tuple(affine[:3, 3] * LPS),
        spacing=tuple(float(s) for s in spacing), direction=LPS[:, None] * affine[:3, :3] / spacing,
    )  # fmt: skip


def affine_of(image: Any) -> NDArray[np.float64]:
    """Voxel -> RAS mm affine of an ANTs image."""
    affine = np.eye(4)
    affine[:3, :3] = LPS[:, None] * np.asarray(image.direction) * np.asarray(image.spacing)
    affine[:3, 3] = LPS * np.asarray(image.origin)
    return affine


def map_points(points: Points, transforms: Sequence[Path]) -> Points:
    """Points (n, 3), RAS mm, through ITK transforms; the first transform is applied first."""
    import pandas as pd

    table = pd.DataFrame(np.asarray(points, dtype=np.float64) * LPS, columns=["x", "y", "z"])
    for transform in transforms:
        table = ants.apply_transforms_to_points(3, table[["x", "y", "z"]], [str(transform)])
    return table[["x", "y", "z"]].to_numpy(np.float64) * LPS


def template_to_boldref(
    points: Points,
    bold_to_t1w: Path | None = None,
    t1w_to_mni: Path | None = None,
    bold_to_mni: Path | None = None,
) -> Points:
    """Template points -> boldref points (RAS mm): through the T1w, or directly where there is none."""
    if bold_to_mni is not None:
        return map_points(points, [bold_to_mni])
    if bold_to_t1w is None or t1w_to_mni is None:
        raise ValueError("neither bold_to_mni nor bold_to_t1w and t1w_to_mni")
    return map_points(points, [t1w_to_mni, bold_to_t1w])


def rigid(fixed: Any, moving: Any, mask: Any, target: Path, starts: Sequence[Any] = ("header", "centre")) -> float:
    """Rigid registration by mutual information, the best of several starts; writes one ITK transform.

    Parameters
    ----------
    fixed, moving: ANTs images. mask: where the metric is evaluated, on the fixed grid.
    starts: "header" trusts the two headers, "centre" aligns centres of mass.

    Returns
    -------
    Mutual information within the mask after registration (higher is better).
    """
    best = -np.inf
    with tempfile.TemporaryDirectory() as folder:
        for number, start in enumerate(starts):
            initial = "identity" if start == "header" else [str(_centred(fixed, moving, Path(folder) / "centre.mat"))]
            found = ants.registration(
                fixed, moving, "Rigid", initial_transform=initial, mask=mask, random_seed=SEED,
                outprefix=f"{folder}/{number}_", aff_metric="mattes", aff_sampling=32, aff_random_sampling_rate=1.0,
                aff_iterations=(200, 100, 50), aff_shrink_factors=(4, 2, 1), aff_smoothing_sigmas=(2, 1, 0),
                grad_step=0.1, mask_all_stages=True,
            )  # fmt: skip
            quality = similarity(fixed, found["warpedmovout"], mask)
            if quality > best:
                best = quality
                transform = _single(found["fwdtransforms"])
                ants.write_transform(transform, str(target))
    return float(best)


def _single(files: Sequence[str]) -> Any:
    """One affine transform from ANTs' list (initial and fitted ones are collapsed already where possible)."""
    transforms = [ants.read_transform(file) for file in files]
    if len(transforms) == 1:
        return transforms[0]
    matrix = np.eye(4)
    for transform in transforms:  # the first in the list is applied last to points' image, so it stands leftmost
        matrix = _matrix(transform) @ matrix if transform is transforms[0] else matrix @ _matrix(transform)
    out = ants.new_ants_transform(dimension=3, transform_type="AffineTransform")
    ants.set_ants_transform_parameters(out, np.concatenate([matrix[:3, :3].ravel(), matrix[:3, 3]]))
    return out


def _matrix(transform: Any) -> NDArray[np.float64]:
    """(4, 4) of an affine ITK transform, LPS."""
    numbers, centre = np.asarray(transform.parameters), np.asarray(transform.fixed_parameters)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return matrix


def _centred(fixed: Any, moving: Any, path: Path) -> Path:
    """An ITK translation of centre of mass onto centre of mass, as a file."""
    shift = np.asarray(ants.get_center_of_mass(moving)) - np.asarray(ants.get_center_of_mass(fixed))
    transform = ants.new_ants_transform(dimension=3, transform_type="AffineTransform")
    ants.set_ants_transform_parameters(transform, np.concatenate([np.eye(3).ravel(), shift]))
    ants.write_transform(transform, str(path))
    return path


def nonlinear(
    fixed: Any, moving: Any, forward: Path, inverse: Path, iterations: Sequence[int], mask: Any = None
) -> Any:
    """Affine, then SyN (Avants et al., 2008); writes ITK composites (moving onto fixed, and back).

    Parameters
    ----------
    fixed, moving: ANTs images, skull-stripped or not, alike. iterations: of SyN, coarse to fine; () stops after affine.
    mask: where the metric is evaluated, on the fixed grid.

    Returns
    -------
    The moving image on the fixed grid.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            fixed, moving, "SyN" if iterations else "Affine", outprefix=f"{folder}/x_", mask=mask, random_seed=SEED,
            write_composite_transform=True, aff_metric="mattes", aff_sampling=32, aff_random_sampling_rate=0.5,
            syn_metric="CC", syn_sampling=3, reg_iterations=tuple(iterations) or (0,), flow_sigma=3, total_sigma=0,
        )  # fmt: skip
        for source, target in ((found["fwdtransforms"], forward), (found["invtransforms"], inverse)):
            Path(source if isinstance(source, str) else source[0]).replace(target)
        return found["warpedmovout"]


def similarity(fixed: Any, moving: Any, mask: Any) -> float:
    """Mutual information (nats, 32 bins) of two images on one grid within a mask."""
    inside = mask.numpy() > 0
    first, second = fixed.numpy()[inside], moving.numpy()[inside]
    joint, _, _ = np.histogram2d(_ranked(first), _ranked(second), bins=32)
    p = joint / joint.sum()
    outer = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    positive = p > 0
    return float((p[positive] * np.log(p[positive] / outer[positive])).sum())


def _ranked(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values clipped to their 1st and 99th percentile, so that bins are not spent on outliers."""
    low, high = np.percentile(values, [1, 99])
    return np.clip(values, low, high)


def correlation(fixed: Any, moving: Any, mask: Any) -> float:
    """Pearson correlation of two images on one grid within a mask."""
    inside = mask.numpy() > 0
    return float(np.corrcoef(fixed.numpy()[inside], moving.numpy()[inside])[0, 1])


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice overlap of two masks."""
    total = int(first.sum() + second.sum())
    return 2.0 * int((first & second).sum()) / total if total else 0.0
