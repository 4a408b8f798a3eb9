"""Structured noise: what is not neural, with its time course and the place where it acts.

Attached to the head (moves with it; percent of the local signal):
    cardiac_cos, cardiac_sin           about 1.1 Hz, aliased by a slow TR; vessels, CSF around the brain stem
    respiratory_cos, respiratory_sin   about 0.27 Hz; CSF and vessels, weakly in grey matter
Fixed to the scanner (percent of the local signal):
    drift_trend, drift_slow            gradient heating: a line, and a cosine of one to two cycles per run
    spin_history                       interleaved slices, excited too early or too late by movement along z
    spike                              stripes over the image in single volumes
A smooth phase map splits each oscillation into cos and sin: neighbouring vessels are nearly in phase.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.simulate.anatomy import FINE_SHAPE, TISSUES, Head, smooth_field
from brainlm_data.simulate.kernels import trilinear
from brainlm_data.simulate.plan import Plan

ATTACHED = ("cardiac_cos", "cardiac_sin", "respiratory_cos", "respiratory_sin")
FIXED = ("drift_trend", "drift_slow", "spin_history", "spike")
Array = NDArray[np.floating[Any]]


def attached_maps(plan: Plan, label: str, head: Head, index: NDArray[np.int64]) -> NDArray[np.float32]:
    """Amplitude (len(index), 4), percent, at flat fine-grid voxels: the same in all runs of a subject."""
    rng = plan.rng(label, "physiology")
    shares = head.tissues.reshape(-1, len(TISSUES))[index] / np.float32(255)
    gm, wm, csf, vessel = shares.T[:4]
    voxels = np.stack(np.unravel_index(index, FINE_SHAPE), axis=1).astype(float)
    coarse = tuple(n // 8 + 3 for n in FINE_SHAPE)

    def smooth(sigma_mm: float) -> NDArray[np.float32]:
        return trilinear(smooth_field(rng, coarse, 8.0, sigma_mm)[..., None], voxels / 8.0)[:, 0].astype(np.float32)

    stem = head.warp.to_subject(np.array([[0.0, -20.0, -30.0]]))[0] - head.origin
    near = np.exp(-np.square(voxels - stem).sum(1) / (2 * 35.0**2)).astype(np.float32)
    heart = 5.0 * vessel + csf * (0.4 + 2.5 * near) * np.exp(0.3 * smooth(16))
    breath = (1.2 * csf + 0.8 * vessel + 0.2 * (gm + wm)) * np.exp(0.3 * smooth(24))
    heart_phase, breath_phase = 1.2 * smooth(24), 0.8 * smooth(40)
    return np.stack(
        [heart * np.cos(heart_phase), heart * np.sin(heart_phase),
         breath * np.cos(breath_phase), breath * np.sin(breath_phase)], axis=1,
    ).astype(np.float32)  # fmt: skip


def fixed_maps(plan: Plan, recording: str) -> NDArray[np.float32]:
    """Amplitude (4, x, y, z), percent, on the EPI grid of one run."""
    rng = plan.rng(recording, "scanner")
    trend = 0.8 + 0.5 * smooth_field(rng, plan.shape, plan.voxel_mm, 40.0)
    slow = 0.6 * smooth_field(rng, plan.shape, plan.voxel_mm, 30.0)
    parity = np.where(np.arange(plan.shape[2]) % 2, -1.0, 1.0)
    history = np.broadcast_to(parity, plan.shape)
    # One point of k-space that is far too bright is a plane wave over the image: cos(k . voxel + phase).
    wave = rng.uniform(0.5, 1.2, 3) * rng.choice([-1, 1], 3)
    x, y, z = np.indices(plan.shape)
    stripes = np.cos(wave[0] * x + wave[1] * y + wave[2] * z + rng.uniform(0, 6.28))
    return np.stack([trend, slow, history, stripes]).astype(np.float32)


def courses(plan: Plan, recording: str, moves: Array) -> Array:
    """Time courses (T, 8) in the order ATTACHED + FIXED; times their maps they are percent. `moves`: motion traces."""
    rng = plan.rng(recording, "courses")
    count, times = plan.volumes, np.arange(plan.volumes) * plan.tr_s
    out = np.zeros((count, len(ATTACHED) + len(FIXED)))
    for column, rate_hz, wander in ((0, rng.uniform(0.95, 1.25), 0.05), (2, rng.uniform(0.22, 0.32), 0.02)):
        phase = 2 * np.pi * (rate_hz * times + np.cumsum(wander * np.sqrt(plan.tr_s) * rng.standard_normal(count)))
        depth = 1 + 0.2 * np.sin(2 * np.pi * 0.03 * times + rng.uniform(0, 6.28))  # deeper and shallower breaths
        out[:, column], out[:, column + 1] = depth * np.cos(phase), depth * np.sin(phase)
    span = times / max(times[-1], plan.tr_s)
    out[:, 4] = (span - 0.5) * rng.choice([-1, 1]) * rng.uniform(0.8, 1.6)
    out[:, 5] = np.cos(2 * np.pi * (rng.uniform(1, 2) * span + rng.uniform()))
    height = moves[:, 2] + 30.0 * moves[:, 3]  # nodding lifts slices 30 mm in front of the centre
    along_z = np.abs(np.diff(height, prepend=height[0]))
    # A slice that moved out of turn has rested too long or too briefly; the error decays by exp(-TR / T1) per volume.
    recovery = np.exp(-plan.tr_s / 1.3)  # T1 of grey matter at 3 T, s
    for t in range(1, count):
        out[t, 6] = recovery * out[t - 1, 6] + 2.0 * along_z[t]
    spikes = rng.random(count) < 1.0 / max(count, 60)
    out[spikes, 7] = rng.uniform(3, 8, int(spikes.sum()))
    return plan.physio * out
