"""Resampling to 1 Hz: accuracy and cost beside a plain cubic spline and linear interpolation.

    python -m benchmarks.resample --json [--volumes 490] [--tr 0.735] [--hz 1] [--parcels 424]

Each series is a sum of sinusoids whose values between volumes are known: `in_band_hz` ones, and `above_hz` ones between
the new Nyquist frequency and the old one, with half of the amplitude, which a plain interpolation folds into the band.
`error`: RMS difference from the in-band part at the new times over its RMS, without 20 s at either end. `gain_*`: of
single sinusoids at .3 and .6 Hz (the latter as what comes out at its alias). `ratio` is the plain spline's error over
ours; the cost is in CPU seconds of all parcels.
"""

from __future__ import annotations

from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
from numpy.typing import NDArray
from scipy import interpolate

from brainlm_data.methods.operators import resample

Array = NDArray[np.float64]
BAND, END_S = 0.35, 20.0


def waves(times: Array, low: float, high: float, parcels: int, seed: int) -> Array:
    """(times, parcels): 20 sinusoids each, of random frequency and phase, variance 1."""
    rng = np.random.default_rng(seed)
    out = np.zeros((len(times), parcels))
    for _ in range(20):
        frequency, phase = rng.uniform(low, high, parcels), rng.uniform(0, 2 * np.pi, parcels)
        out += np.sin(2 * np.pi * np.outer(times, frequency) + phase)
    return out / np.sqrt(10)


def spline(x: Array, tr: float, hz: float) -> Array:
    new = np.arange(int((len(x) - 1) * tr * hz + 1e-9) + 1) / hz
    return interpolate.CubicSpline(np.arange(len(x)) * tr, x, axis=0)(new)


def linear(x: Array, tr: float, hz: float) -> Array:
    new = np.arange(int((len(x) - 1) * tr * hz + 1e-9) + 1) / hz
    return interpolate.interp1d(np.arange(len(x)) * tr, x, axis=0)(new)


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--volumes", type=int, default=490)
    parser.add_argument("--tr", type=float, default=0.735)
    parser.add_argument("--hz", type=float, default=1.0)
    parser.add_argument("--parcels", type=int, default=424)
    arguments = parser.parse_args()
    tr, hz = arguments.tr, arguments.hz
    times = np.arange(arguments.volumes) * tr
    new = np.arange(int(times[-1] * hz + 1e-9) + 1) / hz
    middle = (new > END_S) & (new < times[-1] - END_S)
    band = (0.01, min(BAND, 0.35 * hz, 0.35 / tr))
    x, truth = (waves(t, *band, arguments.parcels, 1) for t in (times, new))
    folds = hz < 1 / tr
    if folds:
        x = x + 0.5 * waves(times, 0.5 * hz * 1.05, 0.5 / tr, arguments.parcels, 2)
    result: dict[str, Any] = {
        "volumes": arguments.volumes, "tr_s": tr, "hz": hz, "steps": len(new), "parcels": arguments.parcels,
        "in_band_hz": list(band), "above_hz": [0.5 * hz * 1.05, 0.5 / tr] if folds else None,
    }  # fmt: skip
    for name, function in (("", resample), ("spline_", spline), ("linear_", linear)):
        result[f"{name}cpu_s"] = tools.median_cost(lambda f=function: f(x, tr, hz))[0]
        y = function(x, tr, hz)
        result[f"{name}error"] = float(np.sqrt(((y - truth)[middle] ** 2).mean() / (truth[middle] ** 2).mean()))
        for frequency in (0.3, 0.6):
            if frequency < 0.5 / tr:
                single = function(np.sin(2 * np.pi * frequency * times)[:, None], tr, hz)[middle, 0]
                wave = np.exp(-2j * np.pi * frequency * new[middle])  # at the new rate .6 Hz is the same as its alias
                result[f"{name}gain_{frequency:g}_hz"] = float(2 * np.abs((wave * single).mean()))
    result["ratio"] = result["spline_error"] / result["error"]
    result["ratio_cpu"] = result["spline_cpu_s"] / result["cpu_s"]
    tools.show(result, arguments.json)


if __name__ == "__main__":
    main()
