"""One value beside a few that show what chance gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def above_few(value: float, others: Sequence[float], least: float = 0.0) -> float:
    """One-sided p of a value that is higher than `others`, of which there are few; NaN with fewer than two.

    The t test of a single case beside a small sample (Crawford & Howell, 1998): the value is taken for one more of the
    others, which are normally distributed. A score over many events is, nearly. `least`: the SD that scores have at
    least, as a few may be alike by luck: of 12 events, three sets of surrogates often have the same number right.
    """
    from scipy.stats import t

    if len(others) < 2:
        return float("nan")
    # v - m has the variance of one value and of a mean of K: s^2 (1 + 1/K)
    spread = max(np.std(others, ddof=1), least) * np.sqrt(1 + 1 / len(others))
    distance = (value - np.mean(others)) / max(spread, 1e-12)
    return float(t.sf(distance, len(others) - 1))


def mean_above(few: Sequence[float], level: float, least: float = 0.0) -> float:
    """One-sided p of the mean of a few values that is higher than a level (t test); NaN with fewer than two.

    `least`: the SD that values have at least.
    """
    from scipy.stats import t

    if len(few) < 2:
        return float("nan")
    spread = max(np.std(few, ddof=1), least) / np.sqrt(len(few))
    return float(t.sf((np.mean(few) - level) / max(spread, 1e-12), len(few) - 1))
