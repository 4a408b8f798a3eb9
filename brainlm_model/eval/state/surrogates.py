"""Series that know nothing of the events, and are otherwise like those that were recorded: what they tell is design."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.parcels import known_mean
from brainlm_model.eval.state.probes import Features


def surrogates(series: Mapping[str, Features], seed: int, number: int) -> dict[str, Features]:
    """A surrogate of every recording's series (T, P); `number` counts sets of them, which all differ."""
    copies = {}
    for place, name in enumerate(sorted(series)):
        copies[name] = surrogate(series[name], np.random.default_rng([seed, number, place]))
    return copies


def surrogate(x_TP: Features, rng: np.random.Generator) -> Features:
    """A series (T, P) of the same spectra and the same correlations between parcels, with random phases.

    All parcels are shifted by the same random phase at each frequency (Prichard & Theiler, 1994), so that only when
    something happens is lost. Means are kept; what is unknown stays unknown.
    """
    known = np.isfinite(x_TP)
    mean_P = np.nan_to_num(known_mean(x_TP.astype(np.float64)))
    spectrum_FP = np.fft.rfft(np.where(known, x_TP - mean_P, 0.0), axis=0)
    turn_F: Any = np.exp(2j * np.pi * rng.random(len(spectrum_FP)))
    turn_F[0] = 1.0
    if len(x_TP) % 2 == 0:  # the highest frequency of an even number of steps has a sign, no phase
        turn_F[-1] = np.sign(turn_F[-1].real)
    values = np.fft.irfft(spectrum_FP * turn_F[:, None], len(x_TP), axis=0) + mean_P
    return np.where(known, values, np.nan).astype(np.float32)


def exchanged(recording: NDArray[np.str_], seed: int, number: int) -> NDArray[np.int64]:
    """(n,) rows of events that have changed places with others of their run; of the set 0 nothing has moved.

    The surrogate of what is known of the events alone, their times: those of each run, in another order.
    """
    rows = np.arange(len(recording))
    for place, name in enumerate(sorted(set(recording)) if number else ()):
        own = np.flatnonzero(recording == name)
        rows[own] = np.random.default_rng([seed, number, place]).permutation(own)
    return rows
