"""One interpolation from the raw image to template space: motion, coregistration and normalization composed.

Imports numba: import this module inside functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError, Refused
from brainlm_data.methods import echoes, interp
from brainlm_data.methods.rigid import Matrix, read_itk
from brainlm_data.methods.slicetiming import SliceTimes, corrected, held
from brainlm_data.reading.image import Run, cleaned, load_output
from brainlm_data.stage import Files

Points = NDArray[np.floating[Any]]
MARGIN = 0.5  # voxels: a voxel's own extent beyond its centre
# A volume in which more than this share of the points leaves the field of view is left out, unless many are like it.
LOST, MOST_OUT_OF_VIEW = 0.02, 0.2
EVERY = 16  # of the points, one in so many decides about that
STEADY = 20  # volumes after the non-steady-state ones that T2* is fitted on


@dataclass(frozen=True)
class Grid:
    """A voxel grid in template space: shape (x, y, z) and affine (voxel -> RAS mm)."""

    shape: tuple[int, int, int]
    affine: Matrix

    @classmethod
    def of(cls, image: Any) -> Grid:
        """The grid of an image, as nibabel has it."""
        return cls(tuple(image.shape[:3]), np.asarray(image.affine, dtype=np.float64))

    @classmethod
    def around(cls, mask: NDArray[np.bool_], affine: Matrix, size_mm: float) -> Grid:
        """An isotropic RAS grid at multiples of `size_mm` that holds every voxel of a mask."""
        places = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
        low = np.floor(places.min(0) / size_mm)
        high = np.ceil(places.max(0) / size_mm)
        out = np.diag([size_mm, size_mm, size_mm, 1.0])
        out[:3, 3] = low * size_mm
        nx, ny, nz = (high - low + 1).astype(int)
        return cls((int(nx), int(ny), int(nz)), out)

    def points(self, chosen: NDArray[np.bool_] | None = None) -> Points:
        """RAS mm of every voxel, or of the chosen ones, (n, 3), in C order."""
        index = np.argwhere(np.ones(self.shape, bool) if chosen is None else chosen)
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]


def read(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """An image (3-D or 4-D, float32) and its grid."""
    image = load_output(path)
    return np.asarray(image.dataobj, dtype=np.float32), Grid.of(image)


def pick(data: NDArray[np.float32], grid: Grid, points: Points, outside: float = 0.0) -> NDArray[np.float32]:
    """Trilinear values of an image at RAS points; `outside` beyond its grid."""
    values = interp.sample(interp.padded(data), points, np.linalg.inv(grid.affine), cubic=False)
    return np.where(np.isfinite(values), values, np.float32(outside))


class Sampler:
    """Interpolates every volume of a run at fixed template points.

    Attributes
    ----------
    inside: (n,) which points lie on data in every volume but these: the fixed voxel set of this recording.
    out_of_view: volumes in which the head had left the field of view (`out_of_view`); they hold what their neighbours
        do, and stage filter interpolates them.
    t2star_s: (n_inside,) where echoes are combined (`methods/echoes.py`), point by point, so that the weights move with
        the head; else None.

    Parameters
    ----------
    inputs: bold, motion_xfm, boldref and one route to the template (bold_to_t1w and t1w_to_mni, or bold_to_mni);
        fieldmap with undistorted_to_t1w, slice_times and motion_params' sidecar where there are any; the echoes to be
        combined.
    points: (n, 3) RAS mm in template space.
    cubic: cubic B-spline, else trilinear.

    Raises
    ------
    Refused: as `Run`; there is not one motion transform for each volume; or echoes differ in shape or place.
    InputError: no route to the template.
    """

    def __init__(self, inputs: Files, points: Points, cubic: bool = True) -> None:
        self.run, self.cubic = Run(inputs["bold"]), cubic
        self._echoes = [Run(path) for path in echoes.images(inputs)] or [self.run]
        for echo in self._echoes:
            self._check_same_grid(echo)
        self.slice_times = None
        if inputs.get("slice_times"):
            self.slice_times = SliceTimes.load(inputs["slice_times"])
        facts = inputs.facts("motion_params")
        self._empty = frozenset[int](facts.get("EmptyVolumes", ()))
        may_be_holed = facts.get("HasNonFinite", True) or len(self._echoes) > 1  # motion saw one of them
        self._may_be_holed = self.run.dtype.kind == "f" and may_be_holed
        motion = read_itk(inputs["motion_xfm"])
        if len(motion) != self.run.n_volumes:
            raise Refused(
                f"{inputs['motion_xfm']}: {len(motion)} transforms for {self.run.n_volumes} volumes",
                "run stage motion again",
            )
        self.matrices = np.linalg.inv(self.run.affine) @ motion
        self.boldref_points, self.stretch = distorted(inputs, to_boldref(inputs, points))
        usable = self._usable(inputs["boldref"])
        self.out_of_view = out_of_view(self.boldref_points[::EVERY], self.matrices, usable)
        kept = np.setdiff1d(np.arange(len(motion)), self.out_of_view)
        for volume in self.out_of_view:
            self.matrices[volume] = self.matrices[kept[np.abs(kept - volume).argmin()]]
        self._empty |= set(self.out_of_view)
        self.inside = interp.always_inside(self.boldref_points, self.matrices, usable, MARGIN)
        self.t2star_s = None
        if len(self._echoes) > 1:
            self._times_s = inputs.meta["echo"]["EchoTimes"]
            self.t2star_s = echoes.t2star(self._means(facts.get("NumberOfNonSteadyStates", 0)), self._times_s)

    def _check_same_grid(self, echo: Run) -> None:
        same = echo.shape == self.run.shape and echo.n_volumes == self.run.n_volumes
        if not same or not np.allclose(echo.affine, self.run.affine, atol=1e-3):
            raise Refused(
                f"{echo.path}: not on the grid of {self.run.path.name}, or of another length, so that the two echoes"
                " cannot be combined",
                "export them again, or set select.echo to the number of one",
            )

    def _means(self, n_steady: int) -> NDArray[np.float64]:
        """Mean of each echo (echoes, n_inside) over some volumes in the steady state that hold an image."""
        good = [volume for volume in range(n_steady, self.run.n_volumes) if volume not in self._empty]
        chosen = set(good[:STEADY] or range(self.run.n_volumes))
        means = np.zeros((len(self._echoes), int(self.inside.sum())))
        points = self.boldref_points[self.inside]
        for mean, echo in zip(means, self._echoes, strict=True):
            for index, volume in enumerate(islice(echo, max(chosen) + 1)):
                if index in chosen:
                    mean += self._at(points, cleaned(volume), self.matrices[index]) / len(chosen)
        return means

    def _usable(self, boldref: Path) -> NDArray[np.bool_]:
        """Voxels that hold data: finite wherever there is an image, and not the zeros with which tools pad."""
        reference = np.asarray(load_output(boldref).dataobj)
        usable = np.isfinite(reference) & (reference != 0)
        if usable.shape != self.run.shape:
            return np.ones(self.run.shape, bool)  # a reference on a grid of its own
        if self._may_be_holed:
            for echo in self._echoes:
                for index, volume in enumerate(echo):
                    if index not in self._empty:
                        usable &= np.isfinite(volume)
        return usable

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Values (n_inside,) of each volume, in the order of the points; slice timing corrected where that is asked."""
        if self.t2star_s is None:
            yield from self._values(self.run)
            return
        weights = echoes.weights(self.t2star_s, self._times_s)
        for values in zip(*map(self._values, self._echoes), strict=True):
            yield np.asarray(sum(weight * value for weight, value in zip(weights, values, strict=True)), np.float32)

    def _values(self, run: Run) -> Iterator[NDArray[np.float32]]:
        """Values (n_inside,) of each volume of one echo."""
        points, stretch = self.boldref_points[self.inside], self.stretch[self.inside]
        volumes = held(run, self._empty)
        if self.slice_times is not None:
            volumes = corrected(volumes, self.slice_times)
        for volume, matrix in zip(volumes, self.matrices, strict=True):
            yield self._at(points, volume, matrix) * stretch

    def _at(self, points: Points, volume: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
        """Values of a volume at boldref points that are inside of it."""
        prepared = interp.coefficients if self.cubic else interp.padded
        return interp.sample(prepared(volume), points, matrix, self.cubic, MARGIN)


def out_of_view(points: Points, matrices: Points, usable: NDArray[np.bool_]) -> list[int]:
    """Volumes in which more than `LOST` of the points that are usually in view are not; none where there are many.

    One volume of a head that has moved far must not cost every parcel at the rim for the whole recording.
    """
    inside = np.array([interp.always_inside(points, matrix[None], usable, MARGIN) for matrix in matrices])
    usual = inside.mean(0) > 0.5
    if not usual.any():
        return []
    lost = 1 - inside[:, usual].mean(1)
    volumes = np.flatnonzero(lost > LOST)
    return volumes.tolist() if len(volumes) <= MOST_OUT_OF_VIEW * len(matrices) else []


def to_boldref(inputs: Files, points: Points) -> Points:
    """Template points -> points of the undistorted boldref, RAS mm. Raises InputError where no route is given."""
    from brainlm_data.methods.registration import template_to_boldref

    route = {name: inputs.get(name) for name in ("bold_to_t1w", "t1w_to_mni", "bold_to_mni")}
    if inputs.get("fieldmap"):
        route["bold_to_t1w"] = inputs["undistorted_to_t1w"]
    if route["bold_to_mni"] is None and (route["bold_to_t1w"] is None or route["t1w_to_mni"] is None):
        raise InputError(
            f"{inputs['bold']}: no transform to the template", "stage coreg writes bold_to_t1w or bold_to_mni"
        )
    return np.asarray(template_to_boldref(np.asarray(points, np.float64), **route), dtype=np.float64)


def distorted(inputs: Files, points: Points) -> tuple[Points, NDArray[np.float32]]:
    """Where the boldref shows the signal of undistorted points (n, 3), RAS mm, and how it is squeezed there (n,)."""
    from brainlm_data.methods.distortion import Shift

    if not inputs.get("fieldmap"):
        return points, np.ones(len(points), np.float32)
    return Shift.read(inputs["fieldmap"], inputs.facts("fieldmap")).carried(points)
