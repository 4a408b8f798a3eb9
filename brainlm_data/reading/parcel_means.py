"""Parcel means of a 4-D image that is preprocessed already, one volume at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError, Refused
from brainlm_data.methods.operators import PERCENT, Recipe, percent_scale
from brainlm_data.reading.image import Run, cleaned

CENTRED = 2.0  # a mean below so many standard deviations over time: it was removed
MIN_COVERAGE = 0.5  # as stage sample: a parcel with a smaller share of its voxels in the image becomes NaN


def places(labels: NDArray[np.int64], affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Labelled voxels of an image: mm (n, 3), and the parcel of each, from 0 in the order of the labels."""
    points = np.argwhere(labels > 0) @ affine[:3, :3].T + affine[:3, 3]
    return points, np.unique(labels[labels > 0], return_inverse=True)[1]


class ParcelReader:
    """Parcel means at the atlas's voxels, trilinear in the image; memory does not grow with the number of volumes.

    Attributes
    ----------
    coverage: (parcel,) share of the voxels that lie on data in every volume; known after `read`.

    Parameters
    ----------
    points: (n, 3) mm in the image's own space. parcel: (n,) the parcel of each, from 0.
    """

    def __init__(
        self, run: Run, points: NDArray[np.float64], parcel: NDArray[np.int64], count: int | None = None
    ) -> None:
        self.run, self.points, self.parcel = run, points, parcel
        self.size = np.bincount(parcel, minlength=count or 0)
        self.coverage: NDArray[np.float64] = np.zeros(len(self.size))

    @classmethod
    def of(cls, run: Run, labels: NDArray[np.int64], affine: NDArray[np.float64]) -> ParcelReader:
        """A reader at the voxels of a label image (x, y, z) that lies in the space of the run."""
        points, parcel = places(labels, affine)
        return cls(run, points, parcel)

    def read(self, path: Path, stated: list[str]) -> tuple[NDArray[np.float64], float]:
        """Series (time, parcel), NaN rows for empty volumes, NaN columns outside the image; mean of the brain."""
        from brainlm_data.methods import interp

        usable, mean, empty = self._first_look()
        to_voxels = np.linalg.inv(self.run.affine)
        inside = interp.always_inside(self.points, to_voxels[None], usable)
        counted = np.bincount(self.parcel[inside], minlength=len(self.size))
        self.coverage = counted / np.maximum(self.size, 1)
        missing = (counted < MIN_COVERAGE * self.size) | (counted == 0)
        if missing.all():
            raise Refused(f"{path}: shows none of the atlas's parcels", "is it in the space that its name says?")
        if missing.any():
            stated.append(f"{missing.sum()} of {len(missing)} parcels are outside the image: unknown")
        series = np.full((self.run.n_volumes, len(self.size)), np.nan)
        points, parcel, total = self.points[inside], self.parcel[inside], 0.0
        for index, volume in enumerate(self.run):
            if index not in empty:
                values = interp.sample(interp.padded(cleaned(volume)), points, to_voxels, cubic=False)
                series[index] = np.bincount(parcel, values, len(self.size)) / np.maximum(counted, 1)
                total += float(values.mean(dtype=np.float64))
        series[:, missing] = np.nan
        mask = _brain_mask(path, self.run)
        if mask is None:
            return series, total / (len(series) - len(empty))
        return series, float(mean[mask & usable].mean(dtype=np.float64))

    def _first_look(self) -> tuple[NDArray[np.bool_], NDArray[np.float64], set[int]]:
        """Voxels with data in every volume, their means, and volumes without an image."""
        usable, varied = np.ones(self.run.shape, bool), np.zeros(self.run.shape, bool)
        total, empty = np.zeros(self.run.shape), set()
        for index, volume in enumerate(self.run):
            good = np.isfinite(volume)
            values = volume if good.all() else volume[good]
            if not values.size or values.max() == values.min():
                empty.add(index)
                continue
            usable &= good
            varied |= volume != 0
            total += cleaned(volume)
        if len(empty) == self.run.n_volumes:
            raise Refused(f"{self.run.path}: no volume holds an image", "export or download it again")
        return usable & varied, total / (self.run.n_volumes - len(empty)), empty


def mask_file(path: Path) -> Path:
    """Where fMRIPrep writes the brain mask of an image."""
    return path.with_name(f"{path.name.partition('_desc-')[0]}_desc-brain_mask.nii.gz")


def _brain_mask(path: Path, run: Run) -> NDArray[np.bool_] | None:
    """The brain mask that fMRIPrep writes beside an image, where it is there. Raises InputError on another grid."""
    beside = mask_file(path)
    if not beside.is_file():
        return None
    mask = Run(beside)
    if mask.shape != run.shape or not np.allclose(mask.affine, run.affine):
        raise InputError(f"{beside}: is not on the grid of {path.name}", "remove it, or give the mask of this image")
    return mask.first() > 0.5


def leading(series: NDArray[np.float64]) -> tuple[int, list[int]]:
    """Number of empty volumes at the start, and the others."""
    empty = np.isnan(series).all(1)
    first = int(np.argmin(empty))
    return first, [int(i) for i in np.flatnonzero(empty) if i > first]


def grand_mean_scale(units: str, series: NDArray[np.float64], brain: float, path: Path, stated: list[str]) -> float:
    """Factor of the grand-mean scaling that gives `units`. `brain`: mean of the brain; says so in `stated`.

    Raises
    ------
    Refused: the mean was removed from the image.
    """
    if not units.startswith("grand mean"):
        stated.append(f"units are the file's own, the card says {units or 'nothing'}: no scaling")
        return 1.0
    _check_mean(series, brain, units, path)
    over = "of the brain mask beside it" if mask_file(path).is_file() else "of the atlas's voxels (no mask beside it)"
    stated.append(f"scaled from a mean of {brain:.4g} {over} to {units}")
    return grand_mean(units) / brain


def scale_to(
    units: str, series: NDArray[np.float64], brain: float, recipe: Recipe, path: Path, stated: list[str]
) -> float | NDArray[np.float64]:
    """Factor that gives `units`, of the grand mean or of each parcel; see `grand_mean_scale`."""
    if units != PERCENT:
        return grand_mean_scale(units, series, brain, path, stated)
    _check_mean(series, brain, units, path)
    stated.append("scaled to percent of each parcel's own mean")
    return percent_scale(series, recipe)


def _check_mean(series: NDArray[np.float64], brain: float, units: str, path: Path) -> None:
    """Raises Refused where the mean was removed from the image."""
    there = series[~np.isnan(series).all(1)]
    spread = float(np.nanmedian(there.std(axis=0)))
    if not brain > CENTRED * spread:
        raise Refused(
            f"{path}: its mean was removed (brain mean {brain:.4g}, standard deviation {spread:.4g}), so it cannot be"
            f" scaled to {units}",
            "give the image from before its mean was removed, or series in the card's units as .tsv or .npy",
        )


def grand_mean(units: str) -> float:
    """The number in "grand mean 10000"."""
    return float(units.split()[-1])
