"""Susceptibility distortion of echo-planar images: signal is displaced along the phase-encoding axis.

Where the magnetic field deviates by B Hz, an EPI displaces signal by B times its total readout time, in voxels along
the axis that is encoded by phase (Jezzard and Balaban, 1995, doi:10.1002/mrm.1910340111). `Shift` says so of the BOLD
reference: what belongs to x is seen at x + s(x), and squeezed by 1 + ds/dx, with which its values are multiplied. How s
is found: `methods/opposed.py`, `methods/fieldmap.py`, `methods/fieldless.py`. Imports numba: import inside functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError
from brainlm_data.methods import interp
from brainlm_data.reading.image import load_output
from brainlm_data.stage import Facts

Array = NDArray[np.floating[Any]]
Volume3 = NDArray[np.float32]
AXES = "ijk"
LEAST_STRETCH = 0.1  # signal that is squeezed together more cannot be told apart


@dataclass(frozen=True)
class PhaseEncoding:
    """Axis (0, 1, 2) of the stored image and direction (1, -1; 0: not known) in which it was encoded by phase."""

    axis: int
    sign: int

    @classmethod
    def of(cls, text: str) -> PhaseEncoding:
        """From BIDS's PhaseEncodingDirection (i, i-, j, ...). Raises ValueError for anything else."""
        if text not in {axis + sign for axis in AXES for sign in ("", "-")}:
            raise ValueError(f"PhaseEncodingDirection {text!r} is not one of i, i-, j, j-, k, k-")
        return cls(AXES.index(text[0]), -1 if text.endswith("-") else 1)

    def __str__(self) -> str:
        return AXES[self.axis] + ("-" if self.sign < 0 else "")


@dataclass(frozen=True)
class Shift:
    """s(x) on the grid of a BOLD reference.

    Attributes
    ----------
    values: (x, y, z), voxels along the axis, positive towards higher indices: what belongs to x is seen at x + s(x).
    affine: voxel -> RAS mm. axis: of the phase encoding.
    """

    values: Volume3
    affine: Array
    axis: int

    @property
    def edge_mm(self) -> Array:
        """(3,) the step from one voxel to the next along the axis, RAS mm."""
        return np.asarray(self.affine[:3, self.axis])

    @property
    def mm(self) -> Volume3:
        """The values in mm."""
        return np.asarray(self.values * np.linalg.norm(self.edge_mm), dtype=np.float32)

    @cached_property
    def stretch(self) -> Volume3:
        """1 + ds/dx, by which values are multiplied."""
        slope = np.gradient(self.values, axis=self.axis)
        return np.asarray(np.maximum(1 + slope, LEAST_STRETCH), dtype=np.float32)

    @property
    def reversed(self) -> Shift:
        """The same the other way."""
        return Shift(-self.values, self.affine, self.axis)

    def carried(self, points: Array) -> tuple[Array, Array]:
        """Where signal of points (n, 3), RAS mm, is seen, and its stretch (n,); beyond the grid as at its rim."""
        to_voxel = np.linalg.inv(self.affine)
        voxels = points @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        voxels = np.clip(voxels, 0, np.array(self.values.shape) - 1)
        there = interp.sample(interp.padded(self.values), voxels, np.eye(4), cubic=False)
        stretch = interp.sample(interp.padded(self.stretch), voxels, np.eye(4), cubic=False)
        return points + there[:, None] * self.edge_mm, stretch

    def undistorted(self, volume: Volume3) -> Volume3:
        """A volume on the same grid, with its signal where it belongs; what was seen outside is that of the rim."""
        seen = np.indices(volume.shape, dtype=np.float64)
        seen[self.axis] = np.clip(seen[self.axis] + self.values, 0, volume.shape[self.axis] - 1)
        values = interp.sample(interp.coefficients(volume), seen.reshape(3, -1).T, np.eye(4))
        return np.asarray(values.reshape(volume.shape) * self.stretch, dtype=np.float32)

    def write(self, path: Path) -> Facts:
        """The image, in mm, and what its sidecar must say for `read`."""
        image = nib.Nifti1Image(self.mm, self.affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, path)
        return {
            "Units": "mm along PhaseEncodingAxis: signal of a voxel is seen so far ahead",
            "PhaseEncodingAxis": AXES[self.axis],
        }

    @classmethod
    def read(cls, path: Path, facts: Facts) -> Shift:
        """What `write` has written. Raises InputError where the sidecar does not say the axis."""
        if facts.get("PhaseEncodingAxis") not in tuple(AXES):
            raise InputError(f"{path}: its JSON sidecar has no PhaseEncodingAxis", "run stage distortion again")
        axis = AXES.index(facts["PhaseEncodingAxis"])
        image = load_output(path)
        affine = np.asarray(image.affine, dtype=np.float64)
        mm = np.asarray(image.dataobj, dtype=np.float32)
        return cls(mm / np.float32(np.linalg.norm(affine[:3, axis])), affine, axis)
