"""Rigid head motion: matrices, motion parameters as fMRIPrep has them, and ITK transform files.

A motion matrix (4, 4) maps points of the reference volume to points of a moved volume, both in RAS mm: it is what
resamples the moved volume onto the reference.

Motion parameters are MCFLIRT's, which fMRIPrep's confounds carry (FSL's `rotmat2euler` and `decompose_aff`): the
INVERSE matrix (moved -> reference) is written in FSL's coordinates (image axes scaled to mm, x towards the left) as a
rotation Rx Ry Rz, each in FSL's left-handed sense, about the centre of gravity of the reference; trans_* is how far
that centre moves. Image axes are first turned to the nearest RAS order, so that the way in which a file is stored
does not matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError

Matrix = NDArray[np.floating[Any]]
COLUMNS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def rotation(vector: Matrix) -> Matrix:
    """Rotation matrix (3, 3) of a rotation vector (radians), by Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    # R = 1 + sin(a) K + (1 - cos(a)) K^2, where K v = axis x v
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)


def about(vector: Matrix, translation: Matrix, centre: Matrix) -> Matrix:
    """Matrix of x -> R (x - centre) + centre + translation, R from a rotation vector."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(vector)
    matrix[:3, 3] = centre + translation - matrix[:3, :3] @ centre
    return matrix


def fsl_frame(affine: Matrix, shape: tuple[int, int, int]) -> Matrix:
    """RAS mm -> FSL coordinates of an image: its axes in RAS order, in mm from the first voxel, x towards the left."""
    ornt = nib.orientations.io_orientation(affine)
    canonical = affine @ nib.orientations.inv_ornt_aff(ornt, shape)
    size = np.asarray(shape)[np.argsort(ornt[:, 0])]
    zooms = np.sqrt((canonical[:3, :3] ** 2).sum(0))
    scale = np.diag([-zooms[0], zooms[1], zooms[2], 1.0])
    scale[0, 3] = (size[0] - 1) * zooms[0]
    return scale @ np.linalg.inv(canonical)


def parameters(matrices: Matrix, affine: Matrix, shape: tuple[int, int, int], centre: Matrix) -> Matrix:
    """Motion parameters (T, 6) of motion matrices (T, 4, 4): trans (mm), rot (rad); see the module's text.

    `affine`, `shape`: the reference image's. `centre`: its centre of gravity, RAS mm.
    """
    frame = fsl_frame(affine, shape)
    back = np.linalg.inv(frame)
    middle = frame @ np.append(centre, 1.0)
    out = np.empty((len(matrices), 6))
    for row, matrix in zip(out, matrices, strict=True):
        fsl = frame @ np.linalg.inv(matrix) @ back  # moved -> reference, in FSL's coordinates
        row[:3] = (fsl @ middle - middle)[:3]
        # Angles of R = Rx Ry Rz with Rx = [1 0 0; 0 c s; 0 -s c] and so on, see `matrices_of`:
        # R_02 = -sin(ry), R_12 = sin(rx) cos(ry), R_01 = cos(ry) sin(rz)
        row[3] = np.arctan2(fsl[1, 2], fsl[2, 2])
        row[4] = np.arctan2(-fsl[0, 2], np.hypot(fsl[0, 0], fsl[0, 1]))
        row[5] = np.arctan2(fsl[0, 1], fsl[0, 0])
    return out


def matrices_of(params: Matrix, affine: Matrix, shape: tuple[int, int, int], centre: Matrix) -> Matrix:
    """The inverse of `parameters`: (T, 6) -> (T, 4, 4)."""
    frame = fsl_frame(affine, shape)
    back = np.linalg.inv(frame)
    middle = (frame @ np.append(centre, 1.0))[:3]
    out = np.empty((len(params), 4, 4))
    for matrix, row in zip(out, params, strict=True):
        (sx, sy, sz), (cx, cy, cz) = np.sin(row[3:]), np.cos(row[3:])
        rx = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
        ry = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        rz = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
        fsl = np.eye(4)
        fsl[:3, :3] = rx @ ry @ rz
        fsl[:3, 3] = middle + row[:3] - fsl[:3, :3] @ middle
        matrix[:] = np.linalg.inv(back @ fsl @ frame)
    return out


def displacement(params: Matrix, radius: float = 50.0) -> Matrix:
    """Framewise displacement (T,) in mm, NaN for the first volume (Power et al., 2012)."""
    # FD = sum of |differences| of the six parameters, angles as arcs on a sphere of the radius of a head
    steps = np.abs(np.diff(params, axis=0)) * np.array([1, 1, 1, radius, radius, radius])
    return np.concatenate([[np.nan], steps.sum(1)])


def rms_displacement(params: Matrix, radius: float = 80.0) -> Matrix:
    """RMS over a sphere of the motion from the volume before, (T,) in mm, NaN first (Jenkinson, 1999; FSL's rmsdiff).

    The sphere lies around the centre of the motion parameters.
    """
    moves = matrices_of(params, np.diag([-1.0, 1.0, 1.0, 1.0]), (1, 1, 1), np.zeros(3))
    steps = np.linalg.inv(moves[1:]) @ moves[:-1] - np.eye(4)  # of the inverse matrices, as FSL has them
    # With [A b] the change of position x -> x + A x + b, its mean square over a ball of radius R is R^2 / 5 trace(A'A)
    # + b'b.
    square = radius**2 / 5 * (steps[:, :3, :3] ** 2).sum((1, 2)) + (steps[:, :3, 3] ** 2).sum(1)
    return np.concatenate([[np.nan], np.sqrt(square)])


def write_itk(path: Path, matrices: Matrix) -> None:
    """Write motion matrices (RAS) as an ITK text file (LPS), one transform a volume, as fMRIPrep does."""
    lines = ["#Insight Transform File V1.0"]
    for index, matrix in enumerate(matrices):
        lps = LPS @ matrix @ LPS
        numbers = " ".join(f"{value:.15g}" for value in [*lps[:3, :3].ravel(), *lps[:3, 3]])
        lines += [f"#Transform {index}", "Transform: MatrixOffsetTransformBase_double_3_3", f"Parameters: {numbers}",
                  "FixedParameters: 0 0 0", ""]  # fmt: skip
    path.write_text("\n".join(lines), encoding="utf-8")


def read_itk(path: Path) -> Matrix:
    """Read every transform of an ITK text file as RAS matrices (T, 4, 4); a centre of rotation is honoured.

    Raises
    ------
    InputError: not such a file, or a transform that is not a 3-D matrix with offset.
    """
    out: list[Matrix] = []
    numbers: list[float] = []
    try:
        text = path.read_text(encoding="utf-8")
        if not text.startswith("#Insight Transform File"):
            raise ValueError("its first line is not '#Insight Transform File V1.0'")
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key == "Transform" and "3_3" not in value:
                raise ValueError(f"transform of type{value}")
            if key == "Parameters":
                numbers = [float(v) for v in value.split()]
                if len(numbers) != 12:
                    raise ValueError(f"{len(numbers)} parameters, expected 12")
            elif key == "FixedParameters":
                centre = np.array([float(v) for v in value.split()] or [0.0, 0.0, 0.0])
                matrix = np.eye(4)
                matrix[:3, :3] = np.reshape(numbers[:9], (3, 3))
                matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
                out.append(LPS @ matrix @ LPS)
        if not out:
            raise ValueError("no transform in it")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not an ITK transform file ({error})", "run stage motion again") from error
    return np.stack(out)
