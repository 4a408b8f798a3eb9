"""The reference volume of head-motion correction, and what a first look at the run says of its volumes.

Volumes before the steady state, volumes without an image and volumes that do not fit are kept out of the reference.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import Refused
from brainlm_data.methods.nuisance import non_steady
from brainlm_data.methods.realign import Realigner
from brainlm_data.reading.image import Run, Volume, cleaned

LOST = 0.5  # a volume with less than this share of the finite voxels that others have holds no image


@dataclass(frozen=True)
class Look:
    """What one reading of a run says of its volumes.

    Attributes
    ----------
    n_steady: volumes before the steady state (nipype's rule, as fMRIPrep), and those before the first image.
    empty: volumes without an image: (nearly) nothing finite, or one value everywhere.
    not_finite: whether any other volume has non-finite voxels.
    held: the volumes asked for, cleaned.
    """

    n_steady: int
    empty: tuple[int, ...]
    not_finite: bool
    held: dict[int, Volume]


def look(source: Run, wanted: Collection[int]) -> Look:
    """Read the run to its end, so that a truncated file is refused before any fit; hold the volumes wanted."""
    means, shares = np.zeros(source.n_volumes), np.zeros(source.n_volumes)
    held: dict[int, Volume] = {}
    for index, volume in enumerate(source):
        good = np.isfinite(volume)
        share = float(good.mean())
        values = volume if share == 1 else volume[good]
        if share and values.max() > values.min():
            means[index], shares[index] = values.mean(dtype=np.float64), share
        if index in wanted:
            held[index] = cleaned(volume)
    lost = (shares == 0) | (shares < LOST * shares.max())
    first = int(np.argmin(lost))  # 0 where all are lost: the fit then refuses the run
    means[lost] = np.median(means[~lost]) if (~lost).any() else 0
    steady = first + non_steady(means[first:])
    return Look(steady, tuple(int(i) for i in np.flatnonzero(lost)), bool((shares[~lost] < 1).any()), held)


def typical(volumes: Sequence[Volume]) -> int:
    """Which volume lies nearest to the voxelwise median of all: spikes and moved volumes are far from it."""
    small = [volume[::2, ::2, ::2] for volume in volumes]  # every second voxel is enough
    median = np.median(np.stack(small), axis=0)
    return int(np.argmin([float(np.square(values - median).sum()) for values in small]))


def averaged(
    volumes: Sequence[Volume], seed: int, realigner: Realigner, source: Run, how: Literal["mean", "median"]
) -> Volume:
    """Voxelwise mean or median of volumes realigned to one of them (`seed`), without those that do not fit."""
    from brainlm_data.methods.interp import coefficients, sample

    points = np.indices(source.shape).reshape(3, -1).T.astype(np.float64)
    inverse = np.linalg.inv(source.affine)
    fits = [realigner.fit(volume) for volume in volumes]
    others = [fit.residual for index, fit in enumerate(fits) if index != seed]
    limit = np.inf
    if others:
        limit = 2 * np.median(others)
    total, count = np.zeros(len(points)), np.zeros(len(points), np.int32)
    kept: list[Volume] = []  # only the median needs them all at once
    for index, (volume, fit) in enumerate(zip(volumes, fits, strict=True)):
        if index != seed and fit.residual > limit:
            continue
        value = sample(coefficients(volume), points, inverse @ fit.matrix @ source.affine) / max(fit.gain, 0.1)
        if how == "median":
            kept.append(value)
        else:
            total += np.nan_to_num(value)
            count += np.isfinite(value)
    # the seed volume is everywhere in its own field of view: no voxel is without a value
    average = np.nanmedian(kept, 0) if how == "median" else total / count
    return np.asarray(average, np.float32).reshape(source.shape)


def epi_mask(reference: Volume) -> NDArray[np.bool_]:
    """The brain of an EPI image without non-finite voxels: nilearn's `compute_epi_mask` with an opening of 1.

    Rewritten, as importing nilearn takes longer than many a run's whole mask, reference and parameters.
    """
    from scipy import ndimage

    image = ndimage.gaussian_filter(reference, 1 / np.sqrt(8 * np.log(2)))  # 1 voxel FWHM
    # Air and brain are two heaps in the histogram. The threshold is where it is emptiest, between its 20th and 85th
    # percentile: in the middle of the widest gap between neighbours in the sorted values.
    values = np.sort(image, axis=None)
    low, high = int(np.floor(0.2 * len(values))), int(np.floor(0.85 * len(values)))
    gap = low + int(np.diff(values[low : high + 1]).argmax())
    mask = ndimage.binary_erosion(image >= (values[gap] + values[gap + 1]) / 2)
    # Eyes and skull hang on the brain by thin bridges, which the erosion has cut: the largest piece is the brain.
    pieces, number = ndimage.label(mask)
    if number == 0:
        return np.zeros(reference.shape, bool)
    size = np.bincount(pieces.ravel())
    largest = pieces == 1 + size[1:].argmax()
    return np.asarray(ndimage.binary_erosion(ndimage.binary_dilation(largest, iterations=2)))


def on_grid(path: Path, source: Run) -> Volume:
    """The first volume of an image on the grid of a run, by their headers; 0 outside. Raises Refused."""
    from brainlm_data.methods.interp import coefficients, sample

    image = Run(path)
    volume = cleaned(image.first())
    if image.shape == source.shape and np.allclose(image.affine, source.affine, atol=1e-4):
        return volume
    points = np.indices(source.shape).reshape(3, -1).T.astype(np.float64)
    sampled: NDArray[np.float32] = sample(coefficients(volume), points, np.linalg.inv(image.affine) @ source.affine)
    if np.isfinite(sampled).mean() < 0.5:
        raise Refused(f"{path}: shows less than half of the run's field of view", "is it this run's reference?")
    return np.nan_to_num(sampled).reshape(source.shape)
