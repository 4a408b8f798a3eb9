"""Neural signals: parcels organised in networks, different in each subject, changing with age.

A parcel's signal, in percent of its baseline, is

    s_p = gain_p . (SCALE . (sqrt(w_p) sum_n mixing_pn network_n + sqrt(1 - w_p) local_p) + task_n(p))

* `network_n`: unit-variance courses, one per network, correlated across networks by the subject's matrix C.
* `local_p`: unit variance, spatially smooth (correlation exp(-distance / 25 mm) between parcels).
* `mixing`: 1 for the parcel's own network and the subject's own OTHERS x N(0, 1) for every network, then scaled so
  that the sum has unit variance: no two people's parcels belong to networks alike.
* `gain_p`, `w_p`: the subject's own (SD 10 % and 0.08 around the population's); `w` is the share of variance
  that a parcel takes from its network.
* Age (years): w = W0 - W_AGE (age - 50) on average, and the correlation of the first two networks (by name: Default
  and DorsalAttention) is R01 + R_AGE (age - 50): networks lose coherence and two of them merge with age, as in
  segregation loss in ageing (Chan et al., 2014).
* Time: 1/f noise (power 1/f) through the double-gamma haemodynamic response (Glover, 1999).
* Task: blocks of 20 s on, 20 s off, through the same response, TASK percent high in the driven networks (the last
  two by name for the first task: VentralAttention and Visual; the next two for the second).
* Control: w = 0, no gain, no task and no smoothness in space: every parcel of everybody has a course of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.simulate.plan import AGES, Plan

SCALE, TASK, BLOCK_S = 0.8, 1.5, 20.0
W0, W_AGE, R01, R_AGE, R_OTHER, OTHERS = 0.55, 0.004, 0.2, 0.006, 0.1, 0.2
STEP_S = 0.25  # grid on which courses are made; they end below 0.5 Hz
Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Parcels:
    """What the signals need to know of an atlas: label, network and place of each of n parcels."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    network: NDArray[np.int64]  # index into `networks`
    networks: tuple[str, ...]
    local_root: Array  # (n, n): makes local courses smooth in space

    @classmethod
    def of(cls, table: Any) -> Parcels:
        """From an atlas table (columns index, name, network, x, y, z)."""
        table = table.sort_values("index")
        networks = tuple(sorted({str(n) for n in table["network"]}))
        points = table[["x", "y", "z"]].to_numpy(float)
        distance = np.linalg.norm(points[:, None] - points[None], axis=2)
        root = np.linalg.cholesky(np.exp(-distance / 25.0) + 1e-6 * np.eye(len(points)))
        codes = np.array([networks.index(str(n)) for n in table["network"]])
        return cls(tuple(table["name"].astype(str)), table["index"].to_numpy(np.int64), codes, networks, root)


@dataclass(frozen=True)
class Brain:
    """One subject's functional organisation (see the module's text): the same in all of its runs."""

    age: float
    share: Array  # w, (n,)
    gain: Array  # (n,)
    mixing: Array  # (n, networks)
    between: Array  # C, (networks, networks)


def brain(plan: Plan, parcels: Parcels, label: str, age: float) -> Brain:
    """Draw the organisation of subject `label`."""
    rng = plan.rng(label, "brain")
    n, k = len(parcels.labels), len(parcels.networks)
    if plan.control:
        return Brain(age, np.zeros(n), np.ones(n), np.eye(k)[parcels.network], np.eye(k))
    share = W0 - W_AGE * (age - 50) + 0.08 * rng.standard_normal(n)
    # The subject's matrix C: the population's, plus a symmetric random part of the subject's own.
    between = np.full((k, k), R_OTHER)
    between[:2, :2] = R01 + R_AGE * (age - 50)
    jitter = 0.12 * rng.standard_normal((k, k))
    between += (jitter + jitter.T) / 2
    np.fill_diagonal(between, 1.0)
    values, vectors = np.linalg.eigh(between)
    between = (vectors * np.maximum(values, 0.05)) @ vectors.T  # a correlation matrix must be positive
    scale = np.sqrt(np.diag(between))
    between /= np.outer(scale, scale)
    # var(m . network) = m C m' of each parcel's row m: divided by its root, the sum has unit variance.
    mixing = np.eye(k)[parcels.network] + OTHERS * rng.standard_normal((n, k))
    mixing /= np.sqrt(((mixing @ between) * mixing).sum(1, keepdims=True))
    gain = np.exp(0.1 * rng.standard_normal(n))
    return Brain(age, np.clip(share, 0.1, 0.9), gain, mixing, between)


def response(step_s: float) -> Array:
    """Double-gamma haemodynamic response of unit sum, sampled over 32 s (Glover, 1999)."""
    from scipy.stats import gamma

    t = np.arange(0, 32, step_s)
    h = gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6
    return np.asarray(h / h.sum())


def slow_courses(rng: np.random.Generator, count: int, seconds: float) -> Array:
    """Unit-variance courses (count, steps) on a grid of STEP_S: 1/f power through the response, in real time."""
    steps = 1 << int(np.ceil(np.log2((seconds + 64) / STEP_S)))  # longer than asked: no wrap-around, no shared period
    frequency = np.fft.rfftfreq(steps, STEP_S)
    shape = np.abs(np.fft.rfft(response(STEP_S), steps))
    shape *= 1 / np.sqrt(np.maximum(frequency, 0.005))  # flat below 0.005 Hz, so that the variance is finite
    shape[0] = 0
    keep = int(np.searchsorted(frequency, 0.5))  # nothing is left above
    spectrum = np.zeros((count, len(frequency)), complex)
    spectrum[:, :keep] = shape[:keep] * (rng.standard_normal((count, keep)) + 1j * rng.standard_normal((count, keep)))
    courses = np.fft.irfft(spectrum, steps, axis=1)[:, : int(np.ceil(seconds / STEP_S)) + 2]
    return np.asarray(courses / (np.sqrt((shape[:keep] ** 2).sum()) * 2 / steps))


def blocks(seconds: float) -> list[tuple[float, float]]:
    """(onset, duration) of the blocks of a task run, seconds."""
    return [(float(t), BLOCK_S) for t in np.arange(BLOCK_S, seconds - BLOCK_S / 2, 2 * BLOCK_S)]


def neural(plan: Plan, parcels: Parcels, who: Brain, recording: str, task: str, times: Array) -> Array:
    """Parcel series (len(times), parcels), percent, at `times` (s) of one run."""
    rng = plan.rng(recording, "neural")
    n, k = len(parcels.labels), len(parcels.networks)
    courses = sampled(slow_courses(rng, k + n, float(times[-1])), times)
    # Independent courses of unit variance times a Cholesky factor L have the covariance L L'.
    latent = np.linalg.cholesky(who.between) @ courses[:k]
    local = courses[k:]
    if not plan.control:
        local = parcels.local_root @ courses[k:]
    share = who.share[:, None]
    signal = SCALE * (np.sqrt(share) * (who.mixing @ latent) + np.sqrt(1 - share) * local)
    driven = plan.driven(task, k)
    if driven:
        signal[np.isin(parcels.network, driven)] += sampled(evoked(float(times[-1]))[None], times)
    return np.asarray((who.gain[:, None] * signal).T)


def evoked(seconds: float) -> Array:
    """The response to the blocks of a task run, percent, on a grid of STEP_S."""
    grid = np.arange(0, seconds + 2 * STEP_S, STEP_S)
    boxcar = np.zeros(len(grid))
    for onset, duration in blocks(seconds):
        boxcar[(grid >= onset) & (grid < onset + duration)] = 1
    return np.asarray(TASK * np.convolve(boxcar, response(STEP_S))[: len(grid)])


def sampled(courses: Array, times: Array, step_s: float = STEP_S) -> Array:
    """Courses (n, steps) on a grid of `step_s`, at `times`, linearly; the last value after their end."""
    place = np.minimum(times / step_s, courses.shape[1] - 1)
    low = np.minimum(place.astype(int), max(courses.shape[1] - 2, 0))
    weight = place - low
    return np.asarray(courses[:, low] * (1 - weight) + courses[:, np.minimum(low + 1, courses.shape[1] - 1)] * weight)


def participants(plan: Plan) -> list[dict[str, Any]]:
    """participant_id, age, sex of every subject."""
    rows = []
    for label in plan.labels:
        rng = plan.rng(label, "participant")
        rows.append(
            {"participant_id": f"sub-{label}", "age": round(float(rng.uniform(*AGES)), 1), "sex": "MF"[rng.integers(2)]}
        )
    return rows
