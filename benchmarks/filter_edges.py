"""How close the high-pass of a short recording comes to that of one without ends, by padding and method.

    python -m benchmarks.filter_edges > table.tsv

50 series with power 1/f (flat below .002 Hz) that are 40 times as long as the recording; the truth is the zero-phase
Butterworth filter (order 5, .01 Hz) of the long series, cut to the recording. `error`: RMS difference from it over RMS
of the truth, for the recording filtered by itself. `odd 18` is scipy's and nilearn's default, `even 1 period` ours.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy import signal

from brainlm_data.methods.operators import ORDER, Recipe, high_pass, padding

LOW_HZ, SERIES, LONGER = 0.01, 50, 40


def main() -> None:
    """Write the table."""
    rng = np.random.default_rng(0)
    sys.stdout.write("volumes\ttr_s\tmethod\terror\n")
    for steps, tr in ((60, 2.0), (120, 2.0), (156, 2.0), (490, 0.735)):
        frequency = np.fft.rfftfreq(LONGER * steps, tr)
        shape = (len(frequency), SERIES)
        spectrum = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        spectrum /= np.sqrt(np.maximum(frequency, 0.002))[:, None]
        long = np.fft.irfft(spectrum, LONGER * steps, axis=0)
        here = slice(len(long) // 2, len(long) // 2 + steps)
        sections = signal.butter(ORDER, LOW_HZ, "highpass", fs=1 / tr, output="sos")
        truth = signal.sosfiltfilt(sections, long, axis=0)[here]
        x = long[here] - long[here].mean(0)
        period = padding(steps, tr, LOW_HZ)
        results = {
            f"butterworth, {kind} {name}": signal.sosfiltfilt(sections, x, axis=0, padtype=kind, padlen=length)
            for kind in ("odd", "even")
            for name, length in (("18", 18), ("1 period", period))
        }
        results["cosine"] = high_pass(x, Recipe(tr, steps, 0, (), "cosine", LOW_HZ))
        ours = high_pass(x, Recipe(tr, steps, low_hz=LOW_HZ))
        np.testing.assert_allclose(ours, results["butterworth, even 1 period"], atol=1e-9 * np.abs(x).max())
        for name, y in results.items():
            error = np.sqrt(np.mean((y - truth) ** 2) / np.mean(truth**2))
            sys.stdout.write(f"{steps}\t{tr:g}\t{name}\t{error:.3f}\n")


if __name__ == "__main__":
    main()
