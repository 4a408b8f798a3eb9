"""The field that was measured: phase difference, two phases, a map in Hz, or opposed phase encodings.

Each becomes a `Measured`: Hz on the grid of its own images, with a magnitude by which it is registered to the BOLD
reference. There it is carried over as a smooth map. Jezzard and Balaban, 1995, doi:10.1002/mrm.1910340111. Imports
numba: import inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods import interp
from brainlm_data.methods.cosines import Cosines, against_all, least_squares
from brainlm_data.methods.distortion import Shift
from brainlm_data.methods.rigidfit import Information, Volume, fit

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
HZ = {"Hz": 1.0, "rad/s": 1 / (2 * np.pi), "T": 42.577e6}  # of one unit; the last: proton gyromagnetic ratio / 2 pi
HALF_PERIOD_MM = 14.0  # of the finest cosine in a measured field
MARGIN_MM = 10.0
SMOOTH = 2.0  # mm^4: penalty of the squared Laplacian of a measured field, against squared errors
AROUND_MM = 15.0  # the magnitude is registered over the head and what is so near to it
ROUNDS = 2  # of registration of the magnitude and undistortion of the reference
LEVELS = ((8.0, 8.0, 0.5), (4.0, 2.0, 0.1))  # detail, first step and precision of that registration, mm


@dataclass(frozen=True)
class Measured:
    """A field in Hz (x, y, z) where `mask` is, the magnitude image on the same grid, and voxel -> RAS mm."""

    hz: Array
    mask: Mask
    magnitude: NDArray[np.float32]
    affine: Array


def smooth(values: Array, mask: Mask, voxel_mm: Array) -> Array:
    """Values (x, y, z) that are known within a mask as a smooth sum of cosines, everywhere."""
    basis = Cosines.around(mask, voxel_mm, MARGIN_MM, half_period_mm=HALF_PERIOD_MM)
    weight, cosines = np.sqrt(mask / mask.sum()), basis.on(mask.shape)
    terms, ridge = [(weight, cosines)], SMOOTH * basis.roughness + 1e-6
    right = against_all(terms, weight * np.where(mask, values, 0))
    return cosines.sum(least_squares([terms], right, ridge, 1e-3))


def brain_of(magnitude: NDArray[np.float32]) -> Mask:
    """The head in a magnitude image: brighter than a fifth of its brightest, largest piece, holes filled."""
    from scipy.ndimage import binary_erosion, binary_fill_holes, label

    bright = magnitude > 0.2 * np.percentile(magnitude, 98)
    pieces, number = label(binary_erosion(bright))
    if not number:
        return np.asarray(bright)
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.asarray(binary_fill_holes(pieces == largest))


def radians(phase: Array) -> Array:
    """A phase image in radians: what scanners store spans the circle, whatever its units (0 .. 4095, -4096 .. 4095)."""
    low, high = float(phase.min()), float(phase.max())
    if high - low <= 2 * np.pi * 1.01:
        return np.asarray(phase)
    # n grey values stand for the circle; an integer image holds the last but not the one after it
    return np.asarray((phase - low) / (high - low) * 2 * np.pi - np.pi)


def unwrapped(phase: Array, mask: Mask, voxel_mm: Array) -> Array:
    """A phase (x, y, z), radians, without its jumps of 2 pi, in a mask; but for whole turns of all of it.

    Differences of neighbours, taken back into half a turn, are those of the phase without jumps, as long as it changes
    by less than that from voxel to voxel. The smooth field with these differences is near it everywhere, which tells
    how many turns each voxel lacks (least-squares unwrapping: Ghiglia and Romero, 1994, doi:10.1364/JOSAA.11.000107).
    """
    basis = Cosines.around(mask, voxel_mm, MARGIN_MM, half_period_mm=HALF_PERIOD_MM)
    equations, right = [], np.zeros(basis.numbers)
    for axis in range(3):
        both = mask & np.roll(mask, -1, axis)
        np.moveaxis(both, axis, 0)[-1] = False
        difference = _turned(np.roll(phase, -1, axis) - phase)
        weight = np.sqrt(both / max(both.sum(), 1))
        # the derivative half a voxel on, which the difference is, is nearly that here
        terms = [(weight, basis.on(mask.shape, axis))]
        equations.append(terms)
        right += against_all(terms, weight * difference)
    coefficients = least_squares(equations, right, 0.01 * basis.roughness + 1e-9, 1e-3)
    near = basis.on(mask.shape).sum(coefficients)
    near += np.angle(np.mean(np.exp(1j * (phase - near)[mask])))
    return np.asarray(near + _turned(phase - near))


def _turned(angle: Array) -> Array:
    """Angles taken back into -pi .. pi."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def of_phases(phases: Sequence[Array], echo_s: Sequence[float], magnitude: Volume) -> Measured:
    """From the phase difference of two echoes (one image), or from both phases (two); echo times in s."""
    turn = radians(phases[0]) if len(phases) == 1 else _turned(radians(phases[1]) - radians(phases[0]))
    mask = brain_of(magnitude.data)
    voxel_mm = np.sqrt((magnitude.affine[:3, :3] ** 2).sum(0))
    # 2 pi f (TE2 - TE1) = phase difference
    hz = unwrapped(turn, mask, voxel_mm) / (2 * np.pi * (echo_s[1] - echo_s[0]))
    return Measured(hz, mask, magnitude.data, magnitude.affine)


def of_field(field: Array, unit: str, magnitude: Volume) -> Measured:
    """From a map of the field. Raises KeyError for a unit that BIDS does not know."""
    return Measured(field * HZ[unit], brain_of(magnitude.data), magnitude.data, magnitude.affine)


def carried(measured: Measured, bold: Volume, factor: float, axis: int) -> tuple[Shift, float, float]:
    """The shift of a BOLD reference, which share of its head the field covers, and how far it was moved onto it, mm.

    Parameters
    ----------
    factor: voxels along the axis per Hz: the total readout time, s, with the sign of the phase encoding.
    """
    from scipy.ndimage import binary_dilation

    magnitude, where = (
        Volume(measured.magnitude, measured.affine),
        Volume(measured.mask.astype(np.float32), measured.affine),
    )
    voxel_mm = np.sqrt((measured.affine[:3, :3] ** 2).sum(0))
    # A gradient-echo magnitude is nearly flat within the brain: skull, scalp and air say where the head is.
    around = binary_dilation(measured.mask, iterations=round(AROUND_MM / float(voxel_mm.mean())))
    where = Volume(around.astype(np.float32), measured.affine)
    # What is the same everywhere shifts the whole head, which its registration to the T1w takes up; of phases it is
    # not even known.
    hz = measured.hz - np.median(measured.hz[measured.mask])
    field = interp.padded(factor * smooth(hz, measured.mask, voxel_mm))
    centre, last = where.points().mean(0), np.array(measured.mask.shape) - 1
    voxels = np.indices(bold.data.shape).reshape(3, -1).T
    points = voxels @ bold.affine[:3, :3].T + bold.affine[:3, 3]
    shift = Shift(np.zeros(bold.data.shape, np.float32), bold.affine, axis)
    places: Array = points
    matrix: Array = np.eye(4)  # from points of the fieldmap to points of the reference
    for _ in range(ROUNDS):
        straight = Volume(shift.undistorted(bold.data), bold.affine)
        for detail_mm, reach_mm, precision_mm in LEVELS:
            cost = Information(magnitude, where, straight, detail_mm).negative
            matrix = fit(cost, matrix, centre, reach_mm, precision_mm)
        to_field = where.inverse @ np.linalg.inv(matrix)
        places = points @ to_field[:3, :3].T + to_field[:3, 3]
        values = interp.sample(field, np.clip(places, 0, last), np.eye(4), cubic=False)
        shift = Shift(values.reshape(bold.data.shape), bold.affine, axis)
    nearest = np.rint(places).astype(int)
    inside = ((nearest >= 0) & (nearest <= last)).all(1)
    covered = inside & measured.mask[tuple(np.clip(nearest, 0, last).T)]
    moved = Volume(measured.mask.astype(np.float32), measured.affine).points()
    way = moved @ (matrix - np.eye(4))[:3, :3].T + matrix[:3, 3]
    farthest = float(np.linalg.norm(way, axis=1).max()) if len(way) else 0.0
    return shift, float(covered[brain_of(bold.data).ravel()].mean()), farthest
