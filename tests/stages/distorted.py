"""The head of `head.py` as an EPI with a known field shows it, and images that measure the field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods.rigid import about
from tests.stages import head

READOUT_S = 0.05
AXIS = 1  # of the phase encoding: j
ECHOES_S = (0.00492, 0.00738)
TURNED = about(np.array([0.03, -0.02, 0.02]), np.array([1.5, -2.0, 1.0]), np.array([0.0, -20.0, 10.0]))
Array = NDArray[Any]


def field_hz(points: Array) -> Array:
    """Hz at EPI points (n, 3), RAS mm: a hump above the nose, one beside each ear, and a slope."""
    out = 0.15 * (points[:, 2] - 10)
    for centre, width, peak in (
        ((2, 40, -20), 20.0, 90.0),
        ((52, -20, -25), 15.0, -50.0),
        ((-52, -20, -25), 15.0, -50.0),
    ):
        out = out + peak * np.exp(-np.square(points - centre).sum(1) / (2 * width**2))
    return np.asarray(out)


def grid(shape: tuple[int, int, int], size_mm: float) -> tuple[Array, Array]:
    """Affine of an EPI grid like `head.boldref`'s, and its points (n, 3), RAS mm."""
    affine = head._grid(shape, size_mm, flip=True)
    return affine, np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]


def straight(points: Array, contrast: dict[str, float], moved: Array | None = None) -> Array:
    """The head without distortion at EPI points."""
    inverse = np.linalg.inv(head.EPI if moved is None else moved @ head.EPI)
    return head.paint(points @ inverse[:3, :3].T + inverse[:3, 3], contrast, 4.0)


def epi(path: Path, sign: int, moved: Array | None = None, shape: tuple[int, int, int] = (48, 56, 40)) -> Path:
    """An EPI of 4 mm, distorted: signal of x is seen at x + s, s in voxels, and its amount stays the same."""
    affine, points = grid(shape, 4.0)
    size = 4.0
    edge = affine[:3, AXIS] / size
    # x(y) = y - s(x), by iteration; values are divided by dy/dx = 1 + ds/dx
    back = np.eye(4) if moved is None else np.linalg.inv(moved)  # the field moves with the head
    places = points.copy()

    def shift_mm(at: Array) -> Array:
        return np.asarray(sign * READOUT_S * size * field_hz(at @ back[:3, :3].T + back[:3, 3]))

    for _ in range(40):
        places = points - shift_mm(places)[:, None] * edge
    slope = (shift_mm(places + edge) - shift_mm(places - edge)) / 2
    rng = np.random.default_rng(7 + sign)
    data = straight(places, head.BOLD, moved) / np.maximum(1 + slope, 0.2) + rng.normal(0, 10, len(points))
    nib.save(nib.Nifti1Image(np.abs(data).reshape(shape).astype(np.float32), affine), path)
    return path


def phases(folder: Path, moved: Array = TURNED, low: float = 0.0) -> dict[str, Path]:
    """A phase difference (0 .. 4095), both phases, the field in Hz and a magnitude, of a head that has moved.

    `low`: share of the lower slices that were not acquired.
    """
    shape, size = (60, 70, 46), 3.4
    affine, points = grid(shape, size)
    cut = int(low * shape[2])
    affine[:3, 3] += cut * affine[:3, 2]
    points = points.reshape(*shape, 3)[:, :, cut:].reshape(-1, 3)
    shape = (shape[0], shape[1], shape[2] - cut)
    back = np.linalg.inv(moved)
    hz = field_hz(points @ back[:3, :3].T + back[:3, 3])
    magnitude = straight(points, head.BOLD, moved)
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.1, (2, len(points))) + (magnitude < 50) * rng.uniform(-3, 3, (2, len(points)))
    turns = [2 * np.pi * hz * echo + 0.4 + each for echo, each in zip(ECHOES_S, noise, strict=True)]
    out = {}
    for name, values in (
        ("phasediff", _stored(turns[1] - turns[0])), ("phase1", _stored(turns[0])), ("phase2", _stored(turns[1])),
        ("fieldmap", hz.astype(np.float32)), ("magnitude1", magnitude.astype(np.float32)),
    ):  # fmt: skip
        out[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(values.reshape(shape), affine), out[name])
    return out


def _stored(turn: Array) -> Array:
    """Radians as scanners store them: 4096 grey values around the circle."""
    return np.asarray(np.floor((turn % (2 * np.pi)) / (2 * np.pi) * 4096), dtype=np.int16)


def pair(folder: Path, signs: Sequence[int] = (1, -1)) -> dict[str, Path]:
    """Images of opposed phase encoding; the head has moved between the second one and the run."""
    return {f"epi{number}": epi(folder / f"epi{number}.nii.gz", sign, TURNED if number else None)
            for number, sign in enumerate(signs)}  # fmt: skip
