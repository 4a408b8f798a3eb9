"""Reading the truth of a simulated dataset, for benchmarks and tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.reads import reads
from brainlm_data.simulate.kernels import trilinear

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Displacement:
    """A displacement field (x, y, z, 3), mm, linear between its nodes; called with points it moves them."""

    field: NDArray[np.float32]
    affine: Array

    @classmethod
    def load(cls, path: Path) -> Displacement:
        """From `*_displacement.nii.gz` of `truth/`."""
        with reads(path, "simulate again"):
            image: Any = nib.load(path)
            return cls(np.ascontiguousarray(np.asarray(image.dataobj)[:, :, :, 0]), image.affine)

    def __call__(self, points: Array) -> Array:
        """Template points (n, 3), RAS mm -> the same points of the subject, T1w scanner space."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points + trilinear(self.field, points @ inverse[:3, :3].T + inverse[:3, 3]))
