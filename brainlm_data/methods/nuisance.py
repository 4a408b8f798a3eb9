"""Nuisance time courses as fMRIPrep defines them; nipype's maths, on blocks of voxels (`courses`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods.courses import Courses, median

Array = NDArray[np.float64]
Voxels = NDArray[np.float32]
FILTERED_FD = "framewise_displacement_filtered"  # a column
MASKS = {"c": "CSF", "w": "WM", "a": "combined"}  # fMRIPrep's words, by the first letter of a column
FEWEST = 50  # voxels of an eroded tissue, below which it is not eroded
SHORT_TR_S = 1.5  # below it, breathing (12 to 18 breaths per minute) is not aliased


def non_steady(mean: Array) -> int:
    """Number of non-steady-state volumes at the start: nipype's rule, on the mean signal of the first 50 volumes."""
    from nipype.algorithms.confounds import is_outlier

    start = np.asarray(mean[:50], dtype=float)
    if len(start) < 5 or not np.median(np.abs(start - np.median(start))) > 0:
        return 0  # no spread to compare with
    return int(is_outlier(start))


def region(probability: Voxels, eroded: Voxels, threshold: float) -> tuple[NDArray[np.bool_], bool]:
    """The voxels of a tissue: those above the threshold once it is eroded.

    Of a small ventricle an erosion may leave hardly any: then the 50 purest above one half as they are, and False.
    """
    chosen = eroded > threshold
    if chosen.sum() >= FEWEST:
        return chosen, True
    least = 0.5
    if len(probability) >= FEWEST:
        least = max(least, np.sort(probability)[-FEWEST])
    return probability > least, False


def dvars(courses: Courses) -> tuple[Array, Array]:
    """(std_dvars, dvars), NaN for the first volume. Data are scaled to a median of 1000 as nipype does."""
    # DVARS(t) = root mean square over voxels of x_t - x_t-1 (Power et al., 2012). Standardized: over what a voxel with
    # spread s (robust: interquartile range / 1.349) and lag-one autocorrelation a is expected to have, as
    # var(x_t - x_t-1) = 2 s^2 (1 - a) (Nichols, 2017).
    scale = np.float32(1000 / max(median(courses), 1e-6))
    squares, moving, expected = np.zeros(max(courses.volumes - 1, 0)), 0, 0.0
    for _, data in courses.blocks():
        scaled = data * scale
        spread = np.subtract(*np.percentile(scaled, [75, 25], axis=1, method="lower")) / 1.349
        scaled, spread = scaled[spread > 0], spread[spread > 0]
        centred = scaled - scaled.mean(1, keepdims=True)
        products = (centred[:, 1:] * centred[:, :-1]).sum(1)
        auto = products / np.maximum(np.square(centred).sum(1), 1e-12)  # AR(1) by Yule-Walker
        squares += np.square(np.diff(scaled, axis=1), dtype=np.float64).sum(0)
        expected += float((np.sqrt(2 * (1 - auto)) * spread).sum(dtype=np.float64))
        moving += len(scaled)
    if not moving:
        return np.full(courses.volumes, np.nan), np.full(courses.volumes, np.nan)
    steps = np.sqrt(squares / moving)
    return np.concatenate([[np.nan], steps / (expected / moving)]), np.concatenate([[np.nan], steps])


def compcor_regions(
    courses: Courses, steady: int, regions: Mapping[str, NDArray[np.bool_]]
) -> dict[str, NDArray[np.bool_]]:
    """Voxels by the first letter of fMRIPrep's columns: c (CSF), w (WM), a (both), t (the 2% most variable).

    A mask of 10 voxels or fewer has no components. `steady`: the first volume that counts.
    """
    # as nipype: spread after a quadratic trend, or drift would decide
    steps = courses.volumes - steady
    basis = np.linalg.qr(np.vander(np.linspace(-1, 1, steps), 3))[0].astype(np.float32)
    variance = np.empty(courses.voxels, np.float32)
    for places, values in courses.blocks():
        data = values[:, steady:]
        variance[places] = (data - (data @ basis) @ basis.T).std(1)
    masks = {
        "c": regions["csf"], "w": regions["white_matter"], "a": regions["csf"] | regions["white_matter"],
        "t": variance >= np.percentile(variance, 98),
    }  # fmt: skip
    return {name: chosen for name, chosen in masks.items() if chosen.sum() > 10}


def compcor(
    courses: Courses, steady: int, chosen: NDArray[np.bool_], basis: Array, count: int | Literal["half"]
) -> tuple[Array, Array, Array]:
    """Principal time courses of chosen voxels, from volume `steady` on, after cosines go (Behzadi et al., 2007).

    Parameters
    ----------
    basis: (T, k) orthonormal cosines. count: how many; half: as many as explain half of the variance (fMRIPrep's).

    Returns
    -------
    courses (T, count) of unit norm, their singular values, and their shares of the variance.
    """
    moments = np.zeros((len(basis), len(basis)))
    for _, data in courses.blocks(chosen):
        centred = data[:, steady:] - data[:, steady:].mean(1, keepdims=True, dtype=np.float64)
        centred = centred - (centred @ basis) @ basis.T
        spread = centred.std(1, keepdims=True)
        centred = centred / np.where(spread > 0, spread, 1)
        moments += centred.T @ centred
    # Of X = U S V' (voxels, T) the courses V are eigenvectors of the small X' X (T, T), whose eigenvalues are S^2.
    values, vectors = np.linalg.eigh(moments)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    share = values / max(values.sum(), 1e-30)
    if count == "half":
        count = int(np.searchsorted(np.cumsum(share), 0.5)) + 1
    kept = slice(0, min(count, len(values) - 1))
    parts = vectors[:, kept]
    parts = parts * np.sign(parts[np.abs(parts).argmax(0), np.arange(parts.shape[1])])  # a sign that does not flip
    return parts, np.sqrt(values[kept]), share[kept]


def expanded(name: str, values: Array) -> dict[str, Array]:
    """A column, its difference to the volume before (NaN first), and the squares of both, named as in fMRIPrep."""
    derivative = np.concatenate([[np.nan], np.diff(values)])
    return {
        name: values,
        f"{name}_derivative1": derivative,
        f"{name}_power2": values**2,
        f"{name}_derivative1_power2": derivative**2,
    }


def holds_breathing(tr_s: float, per_minute: tuple[float, float]) -> bool:
    """Whether motion parameters show breathing where it is: a short TR, and the band below the Nyquist frequency."""
    return tr_s < SHORT_TR_S and per_minute[1] / 60 < 0.5 / tr_s


def without_breathing(
    motion: Array, tr_s: float, how: Literal["notch", "lowpass"], per_minute: tuple[float, float]
) -> Array:
    """Motion parameters (T, 6) without breathing, which moves the magnetic field more than the head.

    As XCP-D has it (`filter_motion`, order 4), forwards and backwards: a notch from the first to the second number of
    breaths per minute, or a Butterworth low-pass at the first (Fair et al., 2020; Gratton et al., 2020).
    """
    from scipy.signal import butter, filtfilt, iirnotch

    low, high = per_minute[0] / 60, per_minute[1] / 60
    if how == "notch":
        centre = (low + high) / 2
        b, a = iirnotch(centre, centre / (high - low), fs=1 / tr_s)
    else:
        b, a = butter(2, low, btype="lowpass", fs=1 / tr_s)
    return np.asarray(filtfilt(b, a, motion, axis=0, padtype="constant", padlen=len(motion) - 1), dtype=np.float64)


def one_hot(prefix: str, flagged: NDArray[np.bool_]) -> dict[str, Array]:
    """One column a flagged volume, 1 there and 0 elsewhere: `prefix00`, `prefix01`, ..."""
    rows = np.eye(len(flagged))[flagged]
    return {f"{prefix}{i:02d}": row for i, row in enumerate(rows)}
