"""The temporal filter: cost and accuracy beside nilearn's.

    python -m benchmarks.filter --json [--volumes 490] [--tr 0.735] [--voxels 10000] [--parcels 424]

Series with power 1/f, cut from ones that are 40 times as long; the high-pass is a Butterworth filter of order 5 at
.01 Hz on both sides. CPU seconds, one thread, medians of several calls.

* ratio: the same task on the same voxels, nilearn.signal.butterworth with its defaults over `high_pass`. Both call the
  same routine of scipy, ours on longer padding.
* ratio_pipeline: what this pipeline spares. E to L with a regression of 30 courses on parcels, where filtering images
  does the same to voxels (nilearn.signal.clean with 30 confounds).
* error: RMS difference from the filter of the long series (a recording without ends) over the RMS of that.
* max_difference_same_padding: of the two implementations, in standard deviations, when nilearn is given our padding.
"""

from __future__ import annotations

import warnings
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
from numpy.typing import NDArray
from scipy import signal

from brainlm_data.methods.operators import ORDER, Recipe, Temporal, high_pass, padding
from brainlm_data.methods.regression import Regression

LOW_HZ, LONGER, KNOWN, CONFOUNDS = 0.01, 40, 50, 30


def series(steps: int, tr: float, columns: int, seed: int) -> NDArray[Any]:
    """(steps, columns) with power 1/f, flat below .002 Hz."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.rfftfreq(steps, tr)
    shape = (len(frequency), columns)
    spectrum = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, 0.002))[:, None], steps, axis=0)


def theirs(x: NDArray[Any], tr: float, **options: Any) -> NDArray[Any]:
    """nilearn's filter; the mean is removed first, as H does."""
    from nilearn.signal import butterworth

    return butterworth(x - x.mean(0), 1 / tr, high_pass=LOW_HZ, order=ORDER, copy=True, **options)


def ours_on_voxels(steps: int, tr: float, voxels: int) -> tuple[float, float]:
    x, recipe = series(steps, tr, voxels, 1), Recipe(tr, steps, low_hz=LOW_HZ)
    return tools.median_cost(lambda: high_pass(x, recipe))


def nilearn_on_voxels(steps: int, tr: float, voxels: int) -> tuple[float, float, float]:
    from nilearn.signal import clean

    x, confounds = series(steps, tr, voxels, 1), series(steps, tr, CONFOUNDS, 3)
    options = {"filter": "butterworth", "high_pass": LOW_HZ, "t_r": tr, "detrend": False, "standardize": None}
    cost = tools.median_cost(lambda: theirs(x, tr))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on confounds
        return *cost, tools.median_cost(lambda: clean(x, confounds=confounds, **options), 3)[0]


def ours_on_parcels(steps: int, tr: float, parcels: int) -> float:
    x = series(steps, tr, parcels, 2)
    recipe = Recipe(tr, steps, 2, (100, 101), low_hz=LOW_HZ)
    courses = high_pass(series(steps - 2, tr, CONFOUNDS + 10, 3), recipe)
    operators = Temporal(recipe, Regression.fit(courses[:, :CONFOUNDS], courses[:, CONFOUNDS:]), 1.0)
    return tools.median_cost(lambda: operators.apply(x), 15)[0]


def errors(steps: int, tr: float) -> dict[str, float]:
    """Of both, against a recording without ends."""
    long = series(LONGER * steps, tr, KNOWN, 0)
    here = slice(len(long) // 2, len(long) // 2 + steps)
    sections = signal.butter(ORDER, LOW_HZ, "highpass", fs=1 / tr, output="sos")
    truth = signal.sosfiltfilt(sections, long, axis=0)[here]
    x = long[here]
    mine = high_pass(x, Recipe(tr, steps, low_hz=LOW_HZ))
    same = theirs(x, tr, padtype="even", padlen=padding(steps, tr, LOW_HZ))

    def error(y: NDArray[Any]) -> float:
        return float(np.sqrt(np.mean((y - truth) ** 2) / np.mean(truth**2)))

    return {
        "error": error(mine),
        "nilearn_error": error(theirs(x, tr)),
        "max_difference_same_padding": float((np.abs(mine - same) / mine.std(0)).max()),
    }


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--volumes", type=int, default=490)
    parser.add_argument("--tr", type=float, default=0.735)
    parser.add_argument("--voxels", type=int, default=10_000)
    parser.add_argument("--parcels", type=int, default=424)
    arguments = parser.parse_args()
    size = (arguments.volumes, arguments.tr)
    ours, ours_mb = tools.apart(ours_on_voxels, *size, arguments.voxels)
    peer, peer_mb, clean = tools.apart(nilearn_on_voxels, *size, arguments.voxels)
    parcels = tools.apart(ours_on_parcels, *size, arguments.parcels)
    result = {
        "volumes": arguments.volumes, "tr_s": arguments.tr, "voxels": arguments.voxels, "parcels": arguments.parcels,
        "voxels_cpu_s": ours, "nilearn_voxels_cpu_s": peer, "ratio": peer / ours,
        "parcels_cpu_s": parcels,
        "nilearn_clean_voxels_cpu_s": clean, "ratio_pipeline": clean / parcels,
        "peak_mb": ours_mb, "nilearn_peak_mb": peer_mb, **errors(*size),
        "band": list(Recipe(arguments.tr, arguments.volumes, low_hz=LOW_HZ).band),
    }  # fmt: skip
    tools.show(result, arguments.json)


if __name__ == "__main__":
    main()
