"""What metadata say of times, without a look at the image: possible or not, and in which unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

TR_S = (0.05, 30.0)  # outside of this it is another unit, or no TR
ECHO_S = (0.001, 0.3)  # outside of this it is another unit, or no echo time of a BOLD image
EVEN = 1e-3  # VolumeTiming: relative differences of steps that are rounding


def stated_tr(metadata: Mapping[str, Any]) -> float | None:
    """The TR (s) of BIDS metadata: RepetitionTime, or VolumeTiming, which stands in its place; None for neither.

    Raises
    ------
    ValueError: no time in seconds, volumes that are not equally far apart, or two that disagree; in words.
    """
    stated, times = metadata.get("RepetitionTime"), metadata.get("VolumeTiming")
    if stated is not None and (problem := impossible(stated)):
        raise ValueError(f"RepetitionTime {stated!r:.40} in its JSON sidecar is {problem}")
    if times is None:
        return None if stated is None else float(stated)
    step = _step(times)
    if stated is not None and abs(step - stated) > 0.01 * stated:
        raise ValueError(
            f"RepetitionTime {stated:g} and steps of {step:g} s in VolumeTiming of its JSON sidecar disagree"
        )
    return step


def impossible(tr: Any) -> str:
    """Why a value is no repetition time in seconds; "" where it can be one."""
    if isinstance(tr, bool) or not isinstance(tr, (int, float)):
        return "no time in seconds (no number)"
    if TR_S[0] <= tr <= TR_S[1]:
        return ""
    if not -1e12 < tr < 1e12:  # also NaN, and integers that no float holds
        return "no time in seconds"
    for factor, unit in ((1e-3, "in milliseconds"), (1e-6, "in microseconds"), (1e3, "divided by 1000")):
        if TR_S[0] <= factor * tr <= TR_S[1]:
            return f"no time in seconds (is it {factor * tr:g} s, {unit}?)"
    return f"no time in seconds from {TR_S[0]:g} to {TR_S[1]:g}"


def stated_echo(metadata: Mapping[str, Any]) -> float | None:
    """EchoTime (s) of BIDS metadata; None where it is not there, or cannot be a time in seconds."""
    time = metadata.get("EchoTime")
    if isinstance(time, bool) or not isinstance(time, (int, float)) or not ECHO_S[0] <= time <= ECHO_S[1]:
        return None
    return float(time)


def impossible_slices(times: Any, tr: float) -> str:
    """Why these are not times (s) at which slices of a volume were acquired; "" where they can be."""
    values = _numbers(times)
    if not values.size:
        return "it is no list of numbers"
    if np.isfinite(values).all() and values.min() >= 0 and values.max() < tr:
        return ""
    unit = "; are they milliseconds?" if 1 < values.max() / 1000 <= tr or values.max() > 50 * tr else ""
    return f"its times of {values.min():g} to {values.max():g} s do not lie within the TR of {tr:g} s{unit}"


def _numbers(values: Any) -> NDArray[np.float64]:
    """A list of numbers (n,); empty where it is none."""
    listed = values if isinstance(values, list) else []
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in listed):
        return np.empty(0)
    try:
        return np.asarray(listed, dtype=np.float64)
    except OverflowError:  # an integer that no float holds
        return np.empty(0)


def _step(times: Any) -> float:
    """The TR of VolumeTiming. Raises ValueError where volumes have gaps, or the step is no TR."""
    steps = np.diff(_numbers(times))
    if not steps.size or not np.ptp(steps) < EVEN * steps[0]:
        raise ValueError(
            "VolumeTiming in its JSON sidecar is not one time for each volume, all equally far apart (sparse sampling?)"
        )
    step = float(steps.mean())
    if problem := impossible(step):
        raise ValueError(f"VolumeTiming in its JSON sidecar has steps of {step:g}, {problem}")
    return step
