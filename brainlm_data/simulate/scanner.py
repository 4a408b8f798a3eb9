"""Two images of a head: a T1w, and an EPI run in which it moves.

The signal of EPI voxel v at time t is

    |gain . coil(v) . (1 + fixed noise(v, t)) . mean over the voxel of head(M_t^-1 P^-1 y, t) + complex thermal noise|

where `head` is the fine 1 mm head with neural signal in its grey matter and physiological noise in its fluid, y runs
over n^3 points of the voxel (n = voxel size / 1.5 mm), P places the head (T1w -> EPI) and M_t moves it. With
distortion, y is displaced and the mean brighter or darker, by the head's field where the head is at time t (`field`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.simulate import movement, noise
from brainlm_data.simulate.anatomy import FINE_SHAPE, TISSUES, Head, smooth_field, voxel_points
from brainlm_data.simulate.field import DROPOUTS, Field, sign_of
from brainlm_data.simulate.kernels import acquire, modulate
from brainlm_data.simulate.plan import Plan

EPI = {"gm": 1000, "wm": 760, "csf": 1350, "vessel": 700, "skull": 25, "scalp": 330, "eye": 1300}
T1W = {"gm": 620, "wm": 900, "csf": 210, "vessel": 330, "skull": 60, "scalp": 820, "eye": 190}
DIRECTION = "j-"  # of phase encoding: y of the grid is from posterior to anterior
CENTRE = np.array([0.0, -20.0, 5.0])  # of the field of view, template mm
Array = NDArray[np.floating[Any]]


def signal_left(head: Head) -> NDArray[np.float32]:
    """Share of the signal that drop-outs near the sinuses leave of an EPI (echo time 30 ms), on the fine grid."""
    left = np.ones(FINE_SHAPE, np.float32)
    for x, y, z, sigma, depth in DROPOUTS:
        middle = head.warp.to_subject(np.array([[x, y, z]], float))[0] - head.origin
        # a Gaussian in space is the product of three along the axes
        bells = []
        for size, centre in zip(FINE_SHAPE, middle, strict=True):
            bells.append(np.exp(-((np.arange(size) - centre) ** 2) / (2 * sigma**2)).astype(np.float32))
        left *= 1 - depth * bells[0][:, None, None] * bells[1][None, :, None] * bells[2][None, None, :]
    return left


@dataclass(frozen=True)
class EpiHead:
    """A head as EPI sees it, ready to be modulated: active voxels are those whose signal changes with time."""

    head: Head
    still: NDArray[np.float32]  # FINE_SHAPE
    active: NDArray[np.int64]  # flat
    base: NDArray[np.float32]
    grey: NDArray[np.float32]  # signal of grey matter, a percent
    row: NDArray[np.int16]
    maps: NDArray[np.float32]  # (active, 4), signal per unit of course
    field: Field

    @classmethod
    def of(cls, plan: Plan, label: str, head: Head, rows: NDArray[np.int16] | None = None) -> EpiHead:
        """Intensities, drop-outs near the sinuses, and where signal changes.

        `rows`: FINE_SHAPE, which signal a voxel has, + 1; None: that of its parcel.
        """
        rows = head.parcels if rows is None else rows
        rng = plan.rng(label, "epi contrast")
        intensity = {t: EPI[t] * float(np.exp(0.05 * rng.standard_normal())) for t in TISSUES}
        left = signal_left(head)
        still = head.paint(intensity) * left
        shares = head.tissues
        grey_or_fluid = (head.parcels > 0) | (shares[..., 2] > 5) | (shares[..., 3] > 5)
        active = np.flatnonzero(grey_or_fluid & (still > 0))
        base = still.ravel()[active]
        percent = np.float32(intensity["gm"] / 255 / 100)
        grey = (shares[..., 0].ravel()[active] * left.ravel()[active] * percent).astype(np.float32)
        maps = (noise.attached_maps(plan, label, head, active) * base[:, None] / 100).astype(np.float32)
        return cls(head, still, active, base, grey, rows.ravel()[active], maps, Field.of(plan, head))


@dataclass(frozen=True)
class EpiRun:
    """One simulated EPI run: everything that is known of it; `images()` makes the volumes."""

    plan: Plan
    epi: EpiHead
    recording: str
    affine: Array  # voxel -> EPI scanner space
    pose: Array  # T1w -> EPI
    moves: Array  # (T, 6)
    matrices: Array  # (T, 4, 4)
    parcels: Array  # (T, n), percent: signals by row of the head
    courses: Array  # (T, 8)
    gain: float

    @classmethod
    def draw(cls, plan: Plan, label: str, recording: str, epi: EpiHead, parcels: Array) -> EpiRun:
        """Place the head, let it move, draw the noise."""
        pose = movement.head_pose(plan, label, recording)
        centre = pose[:3, :3] @ epi.head.warp.to_subject(CENTRE[None])[0] + pose[:3, 3]
        planned = plan.rng(recording, "planning").uniform(-3, 3, 3)  # radiographers centre by eye
        affine = np.diag([-plan.voxel_mm, plan.voxel_mm, plan.voxel_mm, 1.0])  # stored right to left, as most EPI is
        affine[:3, 3] = centre + planned - affine[:3, :3] @ ((np.array(plan.shape) - 1) / 2)
        moves = movement.traces(plan, label, recording)
        gain = float(np.exp(0.5 * plan.rng(label, "scanner gain").standard_normal()))
        return cls(plan, epi, recording, affine, pose, moves, movement.matrices(moves, centre), parcels,
                   noise.courses(plan, recording, moves), gain)  # fmt: skip

    @property
    def points(self) -> int:
        """Points a voxel and axis at which the head is evaluated."""
        return max(1, int(np.ceil(self.plan.voxel_mm / 1.5)))

    def to_fine(self, volume: int) -> Array:
        """Voxel -> fine voxel of the head at a volume."""
        chain = self.matrices[volume] @ self.pose @ self.epi.head.affine
        return np.asarray(np.linalg.inv(chain) @ self.affine)

    def displacement(self, volume: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Shift and factor of distortion at a volume (`Field.displacement`); 0 and 1 without."""
        if not self.plan.distortion_mm:
            return self._undistorted
        empty = self.empty if volume else None  # which is made with that of volume 0
        pose = self.matrices[volume] @ self.pose
        return self.epi.field.displacement(self.plan, self.affine, pose, DIRECTION, empty)

    @cached_property
    def _undistorted(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return np.zeros(self.plan.shape, np.float32), np.ones(self.plan.shape, np.float32)

    @cached_property
    def shift(self) -> NDArray[np.float32]:
        """From how far away, in voxels along y, a voxel's signal comes at the first volume."""
        return self.displacement(0)[0]

    @property
    def displacement_mm(self) -> Array:
        """The truth (x, y, z): by how much signal of a voxel is displaced along y, mm, at the first volume."""
        hz = self.epi.field.hz(voxel_points(self.plan.shape, self.affine).reshape(-1, 3), self.pose)
        voxels = sign_of(DIRECTION) * self.plan.readout_s * hz
        return np.asarray((self.plan.voxel_mm * voxels).reshape(self.plan.shape), np.float32)

    @cached_property
    def empty(self) -> NDArray[np.bool_]:
        """Voxels that the head reaches at no time."""
        from scipy.ndimage import binary_dilation

        edges = [(-0.5, n - 0.5) for n in self.plan.shape]
        voxels = np.array(list(itertools.product(*edges, (1.0,))))  # the image's eight corners, homogeneous
        corners = self.affine @ voxels.T
        reach = np.linalg.norm(((self.matrices - np.eye(4)) @ corners)[:, :3], axis=1).max()  # farthest move, mm
        still = acquire(self.epi.still, self.to_fine(0), np.zeros(self.plan.shape, bool), self.points, self.shift)
        steps = int(np.ceil(reach / self.plan.voxel_mm)) + bool(self.plan.distortion_mm and reach)
        if not steps:
            return np.asarray(still <= 0)
        return np.asarray(~binary_dilation(still > 0, np.ones((3, 3, 3)), iterations=steps))

    @cached_property
    def coil(self) -> NDArray[np.float32]:
        """Receive sensitivity on the EPI grid."""
        rng = self.plan.rng(self.recording, "epi coil")
        return np.exp(0.12 * smooth_field(rng, self.plan.shape, self.plan.voxel_mm, 45.0)).astype(np.float32)

    def sampled(self, fine: NDArray[np.float32]) -> NDArray[np.float32]:
        """A fine map as the grid sees it in the position of the first volume."""
        return np.asarray(acquire(fine, self.to_fine(0), self.empty, self.points, self.shift))

    def images(self, each: Callable[[int], None] = lambda _: None) -> NDArray[np.int16]:
        """The run (x, y, z, T), scanner units. `each` is called after every volume."""
        plan, epi = self.plan, self.epi
        rng = plan.rng(self.recording, "thermal")
        fixed = noise.fixed_maps(plan, self.recording)
        attached = len(noise.ATTACHED)
        fine = epi.still.copy()
        flat = fine.reshape(-1)
        sigma = np.float32(plan.noise / 100 * EPI["gm"])
        parcel = np.zeros(self.parcels.shape[1] + 1, np.float32)
        out = np.empty((*plan.shape, plan.volumes), np.int16, order="F")
        for t in range(plan.volumes):
            parcel[1:] = self.parcels[t]
            modulate(flat, epi.active, epi.base, epi.grey, epi.row, epi.maps, parcel,
                     self.courses[t, :attached].astype(np.float32))  # fmt: skip
            shift, factor = self.displacement(t)
            volume = acquire(fine, self.to_fine(t), self.empty, self.points, shift) * factor
            change = np.tensordot(self.courses[t, attached:].astype(np.float32) / 100, fixed, 1)
            volume *= self.coil * (1 + change)
            if t < plan.non_steady:  # before T1 saturation the signal is higher
                volume *= np.float32(1 + 0.5 * np.exp(-t * plan.tr_s / 1.3))
            # The magnitude of a complex image with Gaussian noise in both parts: its noise is Rician.
            real = volume + sigma * rng.standard_normal(plan.shape, dtype=np.float32)
            imaginary = sigma * rng.standard_normal(plan.shape, dtype=np.float32)
            magnitude = np.sqrt(real * real + imaginary * imaginary)
            out[..., t] = np.clip(np.round(self.gain * magnitude), 0, 32767).astype(np.int16)
            each(t)
        return out


def t1w_grid(plan: Plan, label: str, head: Head) -> tuple[tuple[int, int, int], Array]:
    """Shape and affine of the T1w: slightly oblique, its own voxel size."""
    turn = plan.rng(label, "t1w planning").uniform(-0.06, 0.06, 6)
    shape = tuple(int(np.ceil(extent / plan.t1w_mm)) for extent in (186, 224, 196))
    affine = movement.matrices(turn[None] * np.array([0, 0, 0, 1, 1, 1]), np.zeros(3))[0]
    affine[:3, :3] *= plan.t1w_mm
    centre = head.warp.to_subject(CENTRE[None])[0] + np.array([0, 0, -3.0])
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return (shape[0], shape[1], shape[2]), affine


def on_t1w(head: Head, fine: NDArray[np.float32], shape: tuple[int, int, int], affine: Array, n: int) -> Array:
    """A fine map on the T1w grid, n^3 points a voxel."""
    to_fine = np.linalg.inv(head.affine) @ affine
    return np.asarray(acquire(fine, to_fine, np.zeros(shape, bool), n, np.zeros(shape, np.float32)))


def t1w_image(
    plan: Plan, label: str, head: Head, shape: tuple[int, int, int], affine: Array
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """T1w (scanner units) with the subject's own contrast, a bias field of some 25 % and Rician noise; and the bias."""
    rng = plan.rng(label, "t1w")
    intensity = {t: T1W[t] * float(np.exp(0.06 * rng.standard_normal())) for t in TISSUES}
    clean = on_t1w(head, head.paint(intensity), shape, affine, 1 if plan.t1w_mm < 1.5 else 2)
    coarse = smooth_field(rng, tuple(int(n * plan.t1w_mm // 16) + 3 for n in shape), 16.0, 48.0)
    from scipy.ndimage import zoom

    factors = [n / m for n, m in zip(shape, coarse.shape, strict=True)]
    bias = np.exp(0.22 * zoom(coarse, factors, order=1, grid_mode=True, mode="nearest")).astype(np.float32)
    sigma = np.float32(25 / max(plan.t1w_mm, 1.0))
    real = clean * bias + sigma * rng.standard_normal(shape, dtype=np.float32)
    image = np.sqrt(real**2 + (sigma * rng.standard_normal(shape, dtype=np.float32)) ** 2)
    return np.clip(np.round(image), 0, 32767).astype(np.int16), bias
