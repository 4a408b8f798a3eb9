"""Head movement: smooth drift, respiration and occasional jumps, as rigid matrices.

A matrix M_t (4, 4) takes a point of the head in the position of the first volume to where it is at volume t, both in
RAS mm of the EPI's scanner space. M_0 is the identity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.simulate.plan import Plan

RADIUS_MM = 50.0  # a rotation counts as the arc that it moves at this distance (Power et al., 2012)
SHARE = np.array([0.5, 0.8, 1.2, 1.3, 0.6, 0.6])  # x y z pitch roll yaw: heads nod and slide along the bed most
Array = NDArray[np.floating[Any]]


def traces(plan: Plan, label: str, recording: str) -> Array:
    """Six traces (T, 6): x, y, z in mm, rotations about x, y, z in radians; the first row is 0.

    Mean framewise displacement is `plan.motion_mm` times the subject's own factor (log-normal, SD 0.45), exactly.
    """
    worse = float(np.exp(0.45 * plan.rng(label, "restless").standard_normal()))
    rng = plan.rng(recording, "movement")
    count = plan.volumes
    times = np.arange(count) * plan.tr_s
    if count == 1 or plan.motion_mm == 0:
        return np.zeros((count, 6))
    keep = np.exp(-plan.tr_s / 60.0)  # drift that returns within a minute or so
    drift = np.zeros((count, 6))
    for t in range(1, count):
        drift[t] = keep * drift[t - 1] + np.sqrt(plan.tr_s) * 0.35 * SHARE * rng.standard_normal(6)
    breath = np.sin(2 * np.pi * (0.27 * times + np.cumsum(0.02 * rng.standard_normal(count))))
    drift += 0.35 * breath[:, None] * np.array([0.1, 0.5, 1.0, 0.8, 0.1, 0.1])
    steps = rng.random(count) < plan.tr_s / 120.0 * worse  # a jump every two minutes, more in restless people
    for t in np.flatnonzero(steps).tolist():
        jump = rng.standard_normal(6) * SHARE * rng.uniform(2, 6)
        drift[t:] += jump * (0.4 + 0.6 * np.exp(-(times[t:] - times[t]) / 8.0))[:, None]  # people come back, partly
    drift -= drift[0]
    drift *= plan.motion_mm * worse / np.abs(np.diff(drift, axis=0)).sum(1).mean()
    drift[:, 3:] /= RADIUS_MM
    return drift


def matrices(moves: Array, centre: Array) -> Array:
    """Matrices (T, 4, 4) of traces (T, 6): rotation about `centre`, then translation."""
    from scipy.spatial.transform import Rotation

    out = np.tile(np.eye(4), (len(moves), 1, 1))
    out[:, :3, :3] = Rotation.from_euler("xyz", moves[:, 3:]).as_matrix()
    out[:, :3, 3] = centre + moves[:, :3] - out[:, :3, :3] @ centre
    return out


def head_pose(plan: Plan, label: str, recording: str) -> Array:
    """T1w scanner space -> EPI scanner space (first volume), rigid: people move between scans."""
    shared, own = plan.rng(label, "pose"), plan.rng(recording, "pose")
    draw = shared.standard_normal(6) + 0.3 * own.standard_normal(6)
    moves = draw * np.array([2.0, 3.0, 3.0, 0.05, 0.025, 0.025])
    return np.asarray(matrices(moves[None], np.zeros(3))[0])
