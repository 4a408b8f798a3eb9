"""Echoes of one run combined: T2* of each voxel, and from it the weights that give the best BOLD contrast.

The signal of echo e is S_e = S0 exp(-TE_e / T2*), and a small change of R2* = 1 / T2* changes it by -TE_e S_e: that is
the BOLD contrast in it. With the same noise in all echoes, contrast to noise of their weighted sum is largest for
weights in proportion to it, w_e ~ TE_e exp(-TE_e / T2*) (Posse et al., 1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.paths import RAW_URI
from brainlm_data.stage import Files

Array = NDArray[np.floating[Any]]
T2STAR_S = (0.001, 0.5)  # what is fitted beyond is noise: cut off there


def images(inputs: Files) -> list[Path]:
    """The images of the echoes of a recording that are to be combined, by time; empty where they are not."""
    return [inputs[uri.removeprefix(RAW_URI)] for uri in inputs.meta.get("echo", {}).get("EchoesCombined", [])]


def t2star(means: Array, times_s: Sequence[float]) -> NDArray[np.float64]:
    """T2* in seconds (n,), within `T2STAR_S`, by a line through log S against TE.

    Errors of log S are in proportion to 1 / S, so squares are weighted by S^2: a late echo that is nothing but noise
    counts little. Where less than two echoes have a signal, nothing can be fitted: the shortest T2*, so that the first
    echo counts most.

    Parameters
    ----------
    means: (echoes, n), the mean of each echo in time. times_s: their echo times.
    """
    signal = np.maximum(np.asarray(means, dtype=np.float64), 0)
    times = np.asarray(times_s, dtype=np.float64)[:, None]
    weight = signal**2 / np.maximum((signal**2).max(0), 1e-30)
    height = np.log(np.where(signal > 0, signal, 1))
    total = np.maximum(weight.sum(0), 1e-30)
    apart = times - (weight * times).sum(0) / total  # from the weighted mean of the times
    spread = (weight * apart**2).sum(0)
    slope = (weight * apart * height).sum(0) / np.maximum(spread, 1e-30)  # -1 / T2*
    shortest, longest = T2STAR_S
    fitted = np.where(slope < -1 / longest, -1 / np.minimum(slope, -1e-30), longest)
    return np.where((signal > 0).sum(0) < 2, shortest, np.clip(fitted, shortest, longest))


def weights(t2star_s: Array, times_s: Sequence[float]) -> NDArray[np.float32]:
    """Weights (echoes, n) of the echoes, which sum to 1."""
    times = np.asarray(times_s, dtype=np.float64)[:, None]
    logarithm = np.log(times) - times / t2star_s
    relative = np.exp(logarithm - logarithm.max(0))  # no underflow of all of them at once
    return np.asarray(relative / relative.sum(0), dtype=np.float32)
