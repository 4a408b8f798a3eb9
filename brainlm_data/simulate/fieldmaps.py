"""What a scanner acquires to measure the field of a head: opposed echo planar images, phases of two gradient echoes.

Each acquisition has a pose and noise of its own. The echo planar pair is on the grid of the runs, with the contrast of
spin echoes (no drop-out) and some tenths of a millimetre of movement from one image to the other. Gradient echoes are
on an oblique grid of larger voxels and are not distorted; their phase is wrapped, in the integers of a Siemens scanner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.simulate import movement
from brainlm_data.simulate.anatomy import Head, smooth_field, voxel_points
from brainlm_data.simulate.field import Field
from brainlm_data.simulate.kernels import acquire
from brainlm_data.simulate.plan import ECHO_SPACING_S, Plan
from brainlm_data.simulate.scanner import CENTRE, signal_left

SPIN_ECHO = {"gm": 1000, "wm": 780, "csf": 2100, "vessel": 400, "skull": 25, "scalp": 250, "eye": 2000}
GRADIENT_ECHO = {"gm": 900, "wm": 820, "csf": 700, "vessel": 900, "skull": 40, "scalp": 800, "eye": 500}
ECHOES_S = (0.00492, 0.00984)  # phase wraps at fields of 102 Hz
COARSER = 1.15  # voxels of gradient echoes against those of EPI
FULL = 4096  # pi in integers
SCANNER = {"MagneticFieldStrength": 3, "Manufacturer": "simulated"}
DIRECTIONS = {"AP": "j-", "PA": "j"}
Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class FieldmapImage:
    """An image of fmap/: what its name ends with, values, voxel -> mm, metadata."""

    suffix: str
    data: NDArray[Any]
    affine: Array
    metadata: dict[str, Any]


def acquired(plan: Plan, label: str, head: Head, field: Field) -> Iterator[FieldmapImage]:
    """The images of a subject's fieldmaps."""
    targets = [f"bids::sub-{label}/func/{recording}_bold.nii.gz" for recording, _, _ in plan.recordings(label)]
    for kind in plan.fieldmaps:
        common = {"IntendedFor": targets, "B0FieldIdentifier": kind, **SCANNER}
        images = opposed(plan, label, head, field) if kind == "epi" else _measured(kind, plan, label, head, field)
        for image in images:
            yield FieldmapImage(image.suffix, image.data, image.affine, {**common, **image.metadata})


def encoding(plan: Plan, direction: str) -> dict[str, Any]:
    """Metadata of phase encoding of an echo planar image."""
    return {
        "PhaseEncodingDirection": direction, "EffectiveEchoSpacing": ECHO_SPACING_S,
        "TotalReadoutTime": round(plan.readout_s, 9),
    }  # fmt: skip


def opposed(plan: Plan, label: str, head: Head, field: Field) -> Iterator[FieldmapImage]:
    """Two echo planar images with opposed phase encoding."""
    rng = plan.rng(label, "fieldmap epi")
    fine = head.paint(SPIN_ECHO)
    pose = movement.head_pose(plan, label, f"{label} fieldmap epi")
    affine = _centred(plan.shape, np.diag([-plan.voxel_mm, plan.voxel_mm, plan.voxel_mm, 1.0]), head, pose, rng)
    coil = np.exp(0.12 * smooth_field(rng, plan.shape, plan.voxel_mm, 45.0))
    points = max(1, int(np.ceil(plan.voxel_mm / 1.5)))
    for name, direction in DIRECTIONS.items():
        moves = rng.standard_normal(6) * np.array([0.1, 0.1, 0.1, 0.001, 0.001, 0.001])  # mm, radians
        place = movement.matrices(moves[None], pose[:3, 3])[0] @ pose
        shift, factor = field.displacement(plan, affine, place, direction)
        clean = acquire(fine, _to_fine(head, place, affine), np.zeros(plan.shape, bool), points, shift) * factor * coil
        data = np.abs(_noisy(clean, 10.0, rng))
        metadata = {"EchoTime": 0.06, **encoding(plan, direction)}
        yield FieldmapImage(f"dir-{name}_epi", _integers(data), affine, metadata)


def _measured(kind: str, plan: Plan, label: str, head: Head, field: Field) -> Iterator[FieldmapImage]:
    """Images of two gradient echoes: `phasediff`, `phases`, or the `fieldmap` that a scanner makes of them."""
    rng = plan.rng(label, "fieldmap", kind)
    size = COARSER * plan.voxel_mm
    extent = [int(np.ceil(n / COARSER)) for n in plan.shape]
    shape = (extent[0], extent[1], extent[2])
    pose = movement.head_pose(plan, label, f"{label} fieldmap {kind}")
    turn = rng.uniform(-0.1, 0.1, 6) * np.array([0, 0, 0, 1, 1, 1])
    oblique = movement.matrices(turn[None], np.zeros(3))[0] @ np.diag([-size, size, size, 1.0])
    affine = _centred(shape, oblique, head, pose, rng)
    coil = np.exp(0.12 * smooth_field(rng, shape, size, 45.0))
    hz = field.hz(voxel_points(shape, affine).reshape(-1, 3), pose).reshape(shape)
    of_coil = 2.0 * smooth_field(rng, shape, size, 60.0)  # phase that both echoes have, radians
    echoes = []
    for time in ECHOES_S:
        fine = head.paint(GRADIENT_ECHO) * signal_left(head) ** np.float32(time / 0.03)
        clean = (
            acquire(fine, _to_fine(head, pose, affine), np.zeros(shape, bool), 2, np.zeros(shape, np.float32)) * coil
        )
        phase = of_coil + 2 * np.pi * hz * time
        echoes.append(_noisy(clean * np.exp(1j * phase), 10.0, rng))
    magnitudes = [_integers(np.abs(echo)) for echo in echoes]
    between = echoes[1] * np.conj(echoes[0])
    if kind == "fieldmap":
        apart = ECHOES_S[1] - ECHOES_S[0]
        error = np.angle(between * np.exp(-2j * np.pi * hz * apart)) / (2 * np.pi * apart)
        yield FieldmapImage("fieldmap", (hz + error).astype(np.float32), affine, {"Units": "Hz"})
        yield FieldmapImage("magnitude", magnitudes[0], affine, {})
        return
    name = "acq-two_" if kind == "phases" else ""
    for number, (magnitude, time) in enumerate(zip(magnitudes, ECHOES_S, strict=True), 1):
        yield FieldmapImage(f"{name}magnitude{number}", magnitude, affine, {"EchoTime": time})
        if kind == "phases":
            phases = _integers(np.angle(echoes[number - 1]) / np.pi * FULL)
            yield FieldmapImage(f"{name}phase{number}", phases, affine, {"EchoTime": time})
    if kind == "phasediff":
        times = {"EchoTime1": ECHOES_S[0], "EchoTime2": ECHOES_S[1]}
        yield FieldmapImage("phasediff", _integers(np.angle(between) / np.pi * FULL), affine, times)


def _centred(shape: tuple[int, int, int], axes: Array, head: Head, pose: Array, rng: np.random.Generator) -> Array:
    """Voxel -> mm of a grid with these axes around the head, by eye."""
    centre = pose[:3, :3] @ head.warp.to_subject(CENTRE[None])[0] + pose[:3, 3] + rng.uniform(-3, 3, 3)
    affine = axes.copy()
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _to_fine(head: Head, pose: Array, affine: Array) -> Array:
    """Voxel -> fine voxel of the head."""
    return np.asarray(np.linalg.inv(pose @ head.affine) @ affine)


def _noisy(clean: NDArray[Any], sigma: float, rng: np.random.Generator) -> NDArray[Any]:
    """Complex, with Gaussian noise of SD `sigma` in both parts."""
    return np.asarray(clean + sigma * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)))


def _integers(values: NDArray[Any]) -> NDArray[np.int16]:
    return np.round(values).astype(np.int16)
