"""Registration with ANTs (Avants et al., 2011), through antspyx: thin, seeded, and with measures of what came out.

Transforms are ITK files, named as fMRIPrep does: `from-A_to-B` resamples an image in A onto B, so it maps points of B
to points of A. Images come in through nibabel's affine and are put on isotropic RAS grids, so that oblique, sheared or
oddly coded headers never reach ITK. Import this module inside functions: antspyx takes a while.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError
from brainlm_data.files.reads import reads
from brainlm_data.methods import lean
from brainlm_data.methods.hdf5 import check_transform, seal_transform, without_times
from brainlm_data.methods.rigid import read_itk

ants = lean.antspyx()
Points = NDArray[np.float64]
SEED = 1
LPS = np.array([-1.0, -1.0, 1.0])


def to_ants(data: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """An ANTs image (float32) of a volume and its voxel -> RAS mm affine (no shear, as ITK wants it)."""
    # The affine's columns are voxel edges in mm: their lengths are the spacing, their directions the direction matrix.
    # ITK counts mm towards left and posterior where NIfTI counts them towards right and anterior: the first two axes
    # flip.
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


def working(data: NDArray[Any], affine: NDArray[np.float64], size_mm: float) -> Any:
    """A volume on an isotropic RAS grid that holds all of it, as an ANTs image; smoothed first where it is coarser."""
    from scipy.ndimage import affine_transform, gaussian_filter

    # A Gaussian of full width at half maximum w has sigma = w / 2.355. Widths add in squares, so an image of `spacing`
    # that should look like one of `size_mm` is smoothed by sqrt(size^2 - spacing^2), in voxels; one that is as coarse
    # already is not.
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    sigma = np.sqrt(np.maximum(size_mm**2 - spacing**2, 0)) / 2.355 / spacing
    # The smallest box with axes along RAS that holds the eight corners, from a multiple of the voxel size on.
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in data.shape], indexing="ij"), -1).reshape(-1, 3)
    places = corners @ affine[:3, :3].T + affine[:3, 3]
    low = np.floor(places.min(0) / size_mm) * size_mm
    shape = tuple(int(n) for n in np.ceil((places.max(0) - low) / size_mm) + 1)
    grid = np.diag([size_mm, size_mm, size_mm, 1.0])
    grid[:3, 3] = low
    # Voxel of the new grid -> mm -> voxel of the image: where each new voxel's value is looked up.
    to_voxel = np.linalg.inv(affine) @ grid
    smooth = gaussian_filter(np.asarray(data, np.float32), sigma, truncate=2.5) if sigma.any() else data
    return to_ants(affine_transform(smooth, to_voxel[:3, :3], to_voxel[:3, 3], shape, order=1), grid)


def native(data: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """A volume as an ANTs image on its own grid; on an isotropic RAS grid where its affine has shear."""
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    # Axes of unit length are orthogonal exactly where A'A is the identity; shear shows in its other entries.
    axes = affine[:3, :3] / spacing
    if np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        return to_ants(data, affine)
    return working(data, affine, float(np.cbrt(abs(np.linalg.det(affine[:3, :3])))))


def working_mask(data: NDArray[Any], affine: NDArray[np.float64], size_mm: float) -> Any:
    """A mask on the grid that `working` makes, as 0 and 1."""
    soft = working(np.asarray(data > 0, np.float32), affine, size_mm)
    return soft.new_image_like((soft.numpy() > 0.5).astype(np.float32))


def box_around(mask: Any, margin_mm: float) -> tuple[slice, slice, slice]:
    """The part of a mask's grid that holds the mask and a margin; the whole grid where the mask is empty."""
    inside = np.argwhere(mask.numpy() > 0)
    if len(inside) == 0:
        return (slice(None), slice(None), slice(None))
    reach = np.ceil(margin_mm / np.asarray(mask.spacing)).astype(int)
    low, high = np.maximum(inside.min(0) - reach, 0), inside.max(0) + reach + 1
    x, y, z = (slice(int(start), int(end)) for start, end in zip(low, high, strict=True))
    return x, y, z


def part(image: Any, box: tuple[slice, slice, slice]) -> Any:
    """An ANTs image within a box of its grid."""
    affine = affine_of(image)
    affine[:3, 3] += affine[:3, :3] @ [edge.start or 0 for edge in box]
    return to_ants(image.numpy()[box], affine)


def back_onto(image: Any, affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float32]:
    """An ANTs image at the voxels of another grid, trilinear; beyond its edge, the edge's value."""
    from scipy.ndimage import affine_transform

    to_voxel = np.linalg.inv(affine_of(image)) @ affine
    return np.asarray(
        affine_transform(image.numpy(), to_voxel[:3, :3], to_voxel[:3, 3], tuple(shape), order=1, mode="nearest")
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that takes all temporary files of ANTs (it leaves some behind) and is removed afterwards."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


def bias_field(image: Any, mask: Any, iterations: int, spline_mm: float = 160.0) -> Any:
    """Multiplicative bias field on the image's grid, mean 1 within the mask, by N4 (Tustison et al., 2010)."""
    if iterations == 0 or not (mask.numpy() > 0).any():
        return image.new_image_like(np.ones(image.shape, np.float32))
    field = ants.n4_bias_field_correction(
        image, mask=mask, shrink_factor=2, convergence={"iters": [iterations] * 3, "tol": 1e-6},
        spline_param=spline_mm,
        return_bias_field=True,
    ).numpy()  # fmt: skip
    return image.new_image_like(np.clip(field / field[mask.numpy() > 0].mean(), 0.1, 10))


def linear(fixed: Any, moving: Any, mask: Any, kind: Literal["Rigid", "Affine"], target: Path) -> float:
    """Rigid or affine registration by mutual information within `mask` (on the fixed grid); writes one ITK transform.

    The start is the best of many rigid ones (`rigidfit.search`): the two headers as they are, centres of mass, and the
    tops of both (a neck pulls the centre of mass down), each with turns about all axes.

    Returns
    -------
    Mutual information (nats) within the mask afterwards.
    """
    from brainlm_data.methods.rigidfit import SEARCH_MM, Information, Volume, search

    # Three guesses of the translation. A point p of the fixed image lies at p + shift in the moving one.
    centres = [np.asarray(ants.get_center_of_mass(image)) * LPS for image in (fixed, moving)]
    shifts = [np.zeros(3), centres[1] - centres[0], (_top(moving) - _top(fixed)) * LPS]
    first, where, second = (Volume(image.numpy(), affine_of(image)) for image in (fixed, mask, moving))
    inside = where.points()
    cost = Information(first, where, second, SEARCH_MM).negative
    with scratch() as folder:
        best = search(cost, shifts, inside.mean(0) if len(inside) else centres[0])
        start = folder / "start.mat"
        ants.write_transform(_affine_transform(best), str(start))
        # Twice, coarse then fine, each from blurred to sharp: of 4 voxels at once the cost has few local optima, voxel
        # by voxel it sees the detail.
        _, coarse = _linear(fixed, moving, mask, kind, start, folder / "coarse_", (4, 2), (60, 30))
        quality, transform = _linear(fixed, moving, mask, kind, coarse, folder / "x_", (2, 1), (50, 30))
        fit = folder / "fit.mat"
        ants.write_transform(ants.read_transform(str(transform)), str(fit))
        _copy(fit, target)
    return quality


def _copy(source: Path, target: Path) -> None:
    """Copy what ANTs wrote, which says nothing of a full disk.

    Raises
    ------
    OSError: it is empty, or the copy does not fit.
    """
    content = source.read_bytes()
    if not content:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))
    target.write_bytes(content)


def _linear(
    fixed: Any,
    moving: Any,
    mask: Any,
    kind: str,
    start: Path,
    prefix: Path,
    levels: Sequence[int],
    steps: Sequence[int],
) -> tuple[float, Path]:
    fitted = ants.registration(
        fixed, moving, kind, initial_transform=str(start), mask=mask, mask_all_stages=True, random_seed=SEED,
        outprefix=str(prefix), aff_metric="mattes", aff_sampling=32, aff_random_sampling_rate=1.0,
        aff_iterations=tuple(steps), aff_shrink_factors=tuple(levels),
        aff_smoothing_sigmas=tuple(level // 2 for level in levels),
    )  # fmt: skip
    (transform,) = fitted["fwdtransforms"]  # ANTs collapses the start and the fit into one
    return similarity(fixed, fitted["warpedmovout"], mask), Path(transform)


def _affine_transform(matrix: NDArray[Any]) -> Any:
    """An ANTs transform of a matrix (4, 4), RAS mm."""
    transform = ants.new_ants_transform(dimension=3, transform_type="AffineTransform")
    # With F the flip of the first two axes, x' = M x + t in RAS is F x' = (F M F) F x + F t in LPS.
    lps = LPS[:, None] * matrix[:3, :3] * LPS
    ants.set_ants_transform_parameters(transform, np.concatenate([lps.ravel(), LPS * matrix[:3, 3]]))
    return transform


def _top(image: Any) -> NDArray[np.float64]:
    """The crown of a head, LPS mm: centre of its upper 70 mm, at the height of the first large axial section."""
    data, affine = image.numpy(), affine_of(image)
    voxels = np.argwhere(data > data.mean())
    if len(voxels) == 0:
        return np.asarray(ants.get_center_of_mass(image))
    places = voxels @ affine[:3, :3].T + affine[:3, 3]
    voxel_mm3 = abs(np.linalg.det(affine[:3, :3]))
    # Area of axial sections: volume of their voxels over their thickness. A few bright voxels above the head make no
    # section of 20 cm2, so the crown is the topmost one that is as large.
    section = np.floor(places[:, 2] / 5).astype(int)  # 5 mm thick
    area = np.bincount(section - section.min()) * voxel_mm3 / 5
    large = np.flatnonzero(area > 2000)  # mm2
    crown = 5.0 * ((large[-1] if len(large) else len(area) - 1) + section.min())
    middle = places[(places[:, 2] > crown - 70) & (places[:, 2] <= crown + 5)].mean(0)
    return np.array([middle[0], middle[1], crown]) * LPS


def nonlinear(
    fixed: Any,
    moving: Any,
    mask: Any,
    start: Path,
    forward: Path,
    inverse: Path,
    iterations: Sequence[int],
    metric: Literal["CC", "mattes"] = "CC",
) -> Any:
    """SyN (Avants et al., 2008) within `mask`, from an affine start; writes ITK composites.

    The metric is never evaluated outside the brain, so that `moving` needs no skull stripping: a mask that misses the
    true border a little costs more than the skull that is left.

    Parameters
    ----------
    iterations: coarse to fine; the last level is the images' own grid. All zeros: the composites hold the start alone.
    metric: CC, local correlation, for images of one contrast; mattes, mutual information, for two.

    Returns
    -------
    The moving image on the fixed grid.
    """
    with scratch() as folder:
        # SyN looks for a diffeomorphism: each image goes half of the way, along velocity fields that are smoothed at
        # every step (`flow_sigma`), so that the map has an inverse and does not fold.
        fitted = ants.registration(
            fixed, moving, "SyNOnly", initial_transform=str(start), mask=mask, mask_all_stages=True, random_seed=SEED,
            outprefix=f"{folder}/x_", write_composite_transform=True, syn_metric=metric,
            syn_sampling=1 if metric == "CC" else 32, reg_iterations=tuple(iterations), flow_sigma=3, total_sigma=0,
        )  # fmt: skip
        for key, target in (("fwdtransforms", forward), ("invtransforms", inverse)):
            source = fitted[key] if isinstance(fitted[key], str) else fitted[key][0]
            _copy(Path(source), target)
            without_times(target)
            seal_transform(target)
        return fitted["warpedmovout"]


def map_points(points: Points, transforms: Sequence[Path]) -> Points:
    """Points (n, 3), RAS mm, through ITK transforms; the first transform is applied first.

    Raises
    ------
    InputError: ITK cannot read a transform.
    """
    import pandas as pd

    table = pd.DataFrame(np.asarray(points, dtype=np.float64) * LPS, columns=["x", "y", "z"])
    for transform in transforms:
        _check_readable(transform)
        with reads(transform):
            table = ants.apply_transforms_to_points(3, table[["x", "y", "z"]], [str(transform)])
    return table[["x", "y", "z"]].to_numpy(np.float64) * LPS


def _check_readable(transform: Path) -> None:
    """Applying a transform that ITK cannot read is a segmentation fault (antspyx 0.6); reading it alone raises.

    A text file that ends early is the identity to ITK, without a word: `read_itk` counts its numbers.
    """
    if transform.suffix == ".txt":
        read_itk(transform)
    if transform.suffix == ".h5":
        check_transform(transform)
    try:
        ants.read_transform(str(transform))
    except Exception as error:  # ITK's exceptions have no type of their own here, and many lines
        raise InputError(f"{transform}: not a readable transform", "run the stage that writes it again") from error


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


def jacobian_range(mask: Any, transform: Path, step_mm: float = 6.0) -> tuple[float, float]:
    """0.1 and 99.9 percent quantiles of the map's Jacobian determinant within a mask; below 0 the map folds."""
    where = np.argwhere(mask.numpy() > 0) @ affine_of(mask)[:3, :3].T + affine_of(mask)[:3, 3]
    axes = [np.arange(low, high + step_mm, step_mm) for low, high in zip(where.min(0), where.max(0), strict=True)]
    # The map on a lattice, so that its derivatives are differences between neighbours.
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    moved = map_points(lattice.reshape(-1, 3), [transform]).reshape(lattice.shape)
    # det(dm/dx) of the map m: how many times larger a small cube becomes. 1 keeps its volume; 0 and below, it is
    # folded.
    gradients = np.stack([np.gradient(moved, step_mm, axis=axis) for axis in range(3)], -1)
    grid = np.diag([step_mm, step_mm, step_mm, 1.0])
    grid[:3, 3] = lattice[0, 0, 0]
    inside = back_onto(mask, grid, lattice.shape[:3]) > 0.5
    low, high = np.quantile(np.linalg.det(gradients)[inside], [0.001, 0.999])
    return float(low), float(high)


def similarity(fixed: Any, moving: Any, mask: Any) -> float:
    """Mutual information (nats, 32 bins) of two images on one grid within a mask."""
    inside = mask.numpy() > 0
    joint, _, _ = np.histogram2d(_clipped(fixed.numpy()[inside]), _clipped(moving.numpy()[inside]), bins=32)
    # I(X; Y) = sum over bins p(x, y) log(p(x, y) / (p(x) p(y))): how much one image's intensity says of the other's.
    p = joint / joint.sum()
    outer = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    positive = p > 0
    return float((p[positive] * np.log(p[positive] / outer[positive])).sum())


def _clipped(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values clipped to their 1st and 99th percentile, so that bins are not spent on outliers."""
    low, high = np.percentile(values, [1, 99])
    return np.clip(values, low, high)


def similarity_gain(fixed: Any, moving: Any, mask: Any, shift_mm: float = 8.0) -> float:
    """Mutual information over what is left of it when `moving` is shifted either way along each axis; 1: no gain.

    Says whether a registration sits in a clear optimum, whatever the contrasts are; mask overlap does not.
    """
    # Six shifted copies. Where the fit is right every shift costs information; a ratio near 1 means that it does not
    # matter where the image lies.
    steps = max(1, round(shift_mm / float(fixed.spacing[0])))
    shifted = []
    for axis in range(3):
        for sign in (-1, 1):
            copy = moving.new_image_like(np.roll(moving.numpy(), sign * steps, axis))
            shifted.append(similarity(fixed, copy, mask))
    return similarity(fixed, moving, mask) / max(float(np.mean(shifted)), 1e-6)


def correlation(fixed: Any, moving: Any, mask: Any) -> float:
    """Pearson correlation of two images on one grid within a mask; 0 where one of them is flat."""
    inside = mask.numpy() > 0
    first, second = fixed.numpy()[inside], moving.numpy()[inside]
    if not (first.std() > 0 and second.std() > 0):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice overlap of two masks."""
    total = int(first.sum() + second.sum())
    if not total:
        return 0.0
    return 2.0 * int((first & second).sum()) / total
