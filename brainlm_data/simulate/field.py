"""The magnetic field of a head, in Hz, and the distortion of echo planar images that it makes.

The field is a sum of Gaussians around the air of sinuses and ear canals, where signal drops out as well. It moves with
the head; that it changes with the head's angle to the scanner's field is left out. Along the phase encoding axis,
signal from y appears at y + u(y), u = +-field * TotalReadoutTime voxels (+ for "j", - for "j-"), divided by 1 + du/dy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.simulate.anatomy import Head
from brainlm_data.simulate.kernels import bells, displaced
from brainlm_data.simulate.plan import Plan

DROPOUTS = ((0, 38, -24, 16, 0.75), (52, -14, -34, 13, 0.5), (-52, -14, -34, 13, 0.5))  # x, y, z, SD (mm), depth
WIDER = 1.6  # SD of the field against that of the drop-out, which is where the field is steep
Array = NDArray[np.floating[Any]]


def sign_of(direction: str) -> int:
    """Of the displacement where the field is positive."""
    return -1 if direction.endswith("-") else 1


@dataclass(frozen=True)
class Field:
    """A head's field: Gaussians at `centres` (n, 3), T1w scanner space, of SDs `widths` (n,), mm, and `heights`, Hz."""

    centres: Array
    widths: Array
    heights: Array

    @classmethod
    def of(cls, plan: Plan, head: Head) -> Field:
        """The field that displaces signal by `plan.distortion_mm` where it is strongest."""
        places = np.array([[x, y, z] for x, y, z, _, _ in DROPOUTS], float)
        centres = head.warp.to_subject(places)
        widths = WIDER * np.array([sd for *_, sd, _ in DROPOUTS], float)
        heights = np.array([depth for *_, depth in DROPOUTS], float)
        unscaled = cls(centres, widths, heights)
        strongest = unscaled.hz(centres, np.eye(4)).max()
        hz = plan.distortion_mm / plan.voxel_mm / plan.readout_s
        return cls(centres, widths, heights * hz / strongest)

    def hz(self, points: Array, pose: Array) -> Array:
        """The field (n,) at points (n, 3) of a space into which `pose` (4, 4) takes the T1w scanner space."""
        return np.asarray(bells(points, self._posed(pose), self.widths, self.heights))

    def displacement(
        self, plan: Plan, affine: Array, pose: Array, direction: str, empty: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What an echo planar image on a grid of cubes shows, each (x, y, z): where a voxel's signal comes from,
        in voxels along y from the voxel itself, and by what factor it is brighter.

        `pose`: as for `hz`. Where `empty`, there is no displacement.
        """
        to_voxel = np.linalg.inv(affine)
        centres = self._posed(pose) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        heights = sign_of(direction) * plan.readout_s * self.heights
        skip = np.zeros(plan.shape, bool) if empty is None else empty
        shift, factor = displaced(skip, centres, self.widths / plan.voxel_mm, heights)
        return shift, factor

    def _posed(self, pose: Array) -> Array:
        return np.asarray(self.centres @ pose[:3, :3].T + pose[:3, 3])
