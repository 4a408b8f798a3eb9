"""The field without a fieldmap: the displacement along phase encoding under which a BOLD reference fits its T1w.

The mutual information of the two is maximised over the coefficients of few cosines, with a penalty of the bending
energy, and over the rigid map, in turn. As registration-based correction in general (Studholme et al., 2000,
doi:10.1109/42.896788; Wang et al., 2017, doi:10.3389/fninf.2017.00017), but with 150 numbers in place of a free warp.
The stretch of intensities is left out while fitting: signal that is lost where the field is steep looks like it
(docs/decisions/distortion.md). Imports numba: import inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods import interp
from brainlm_data.methods.cosines import Cosines
from brainlm_data.methods.distortion import Shift
from brainlm_data.methods.rigidfit import BINS, Information, Volume, fit

Array = NDArray[np.floating[Any]]
NUMBERS = (5, 6, 5)  # cosines along right-left, posterior-anterior, inferior-superior
PENALTY = 100.0  # nats mm^2 per point, of a squared Laplacian
ROUNDS = ((8.0, 4.0), (4.0,))  # detail, mm, at which the field is fitted; the rigid map after each round
RIGID_MM, REACH_MM, PRECISION_MM = 2.5, 1.5, 0.03  # detail, first step and precision of the rigid map
MARGIN_MM = 10.0  # of the cosines' box around the brain
STEPS = 60  # at most, of a quasi-Newton method
PRIOR = 0.1  # counts that every cell of the joint histogram gets for the slope of its logarithm


@interp.kernel
def _counted(bins: Any, values: Any, number: int) -> Any:
    """Joint histogram (number, number + 1): a value counts for its two nearest bins by its distance from each."""
    joint = np.zeros((number, number + 1))
    for n in range(len(values)):
        low = int(values[n])
        share = values[n] - low
        joint[bins[n], low] += 1 - share
        joint[bins[n], low + 1] += share
    return joint


class _Cost:
    """Negative mutual information and penalty, with gradient, as a function of the cosines' coefficients."""

    def __init__(self, information: Information, matrix: Array, basis: Cosines, axis: int) -> None:
        points = information.points @ matrix[:3, :3].T + matrix[:3, 3]
        to_voxel = information.to_voxel
        voxels = points @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        moving = information.moving
        last = np.array(moving.shape) - 1
        inside = ((voxels >= 0) & (voxels <= last)).all(1)
        self._voxels, self._bins = voxels[inside], information.bins[inside]
        self._axis, self._last = axis, float(last[axis])
        self._products = basis.at(self._voxels).astype(np.float32)
        self._values = interp.padded(moving)
        self._slopes = interp.padded(np.gradient(moving, axis=axis))
        # of the displacement in mm: s is in voxels
        self._ridge = PENALTY * basis.roughness.ravel() * basis.voxel_mm[axis] ** 2

    def __call__(self, c: Array) -> tuple[float, Array]:
        seen = self._voxels.copy()
        seen[:, self._axis] = np.clip(seen[:, self._axis] + self._products @ c.astype(np.float32), 0, self._last)
        values = interp.sample(self._values, seen, np.eye(4), cubic=False).astype(np.float64)
        slopes = interp.sample(self._slopes, seen, np.eye(4), cubic=False)
        joint, number = _counted(self._bins, values, BINS), len(values)
        rows, columns = joint.sum(1)[:, None], joint.sum(0)[None]
        filled = joint > 0
        information = (
            joint[filled] * np.log((joint * number / (rows * columns + (rows * columns == 0)))[filled])
        ).sum()
        # With counts n_ab, d(N I) / d n_ab = log(n_ab N / (n_a n_b)) but for constants, and a value v between two bins
        # adds 1 - (v - low) to the one and v - low to the other: its slope is the difference of their logarithms.
        size = joint.shape[1]
        logs = np.log((joint + PRIOR) / ((rows + PRIOR * size) * (columns + PRIOR * BINS)))
        low = values.astype(np.int64)
        uphill = (logs[self._bins, low + 1] - logs[self._bins, low]) * slopes
        gradient = -(uphill.astype(np.float32) @ self._products) / number + self._ridge * c
        return -information / number + 0.5 * float(self._ridge @ (c * c)), np.asarray(gradient, dtype=np.float64)


def fitted(t1w: Volume, around: Volume, bold: Volume, brain: NDArray[np.bool_], matrix: Array, axis: int) -> Shift:
    """The displacement that makes a BOLD reference fit its T1w.

    Parameters
    ----------
    around: where in the T1w they are compared. brain: mask on the grid of the BOLD reference.
    matrix: (4, 4) rigid map from T1w points to BOLD points, RAS mm, to begin with.
    """
    from scipy.optimize import minimize

    voxel_mm = np.sqrt((bold.affine[:3, :3] ** 2).sum(0))
    basis = Cosines.around(brain, voxel_mm, MARGIN_MM, _per_axis(bold.affine))
    coefficients = np.zeros(int(np.prod(basis.numbers)))
    shift = Shift(np.zeros(bold.data.shape, np.float32), bold.affine, axis)
    for details in ROUNDS:
        for detail_mm in details:
            cost = _Cost(Information(t1w, around, bold, detail_mm), matrix, basis, axis)
            coefficients = minimize(cost, coefficients, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
        values = basis.on(bold.data.shape).sum(coefficients.reshape(basis.numbers))
        shift = Shift(np.asarray(values, dtype=np.float32), bold.affine, axis)
        matrix = rigid(t1w, around, Volume(shift.undistorted(bold.data), bold.affine), matrix)
    return shift


def rigid(t1w: Volume, around: Volume, bold: Volume, matrix: Array) -> Array:
    """The rigid map, fitted again from where it was."""
    cost = Information(t1w, around, bold, RIGID_MM).negative
    return fit(cost, matrix, around.points().mean(0), REACH_MM, PRECISION_MM)


def _per_axis(affine: Array) -> tuple[int, int, int]:
    """How many cosines each axis of the stored image gets: those of the anatomical axis that it is nearest to."""
    nearest = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax(0)
    a, b, c = (NUMBERS[axis] for axis in nearest)
    return a, b, c
