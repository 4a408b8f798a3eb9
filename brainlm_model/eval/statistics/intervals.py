"""Intervals from bootstrap draws. Shapes: B draws, X whatever is estimated side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BOUNDS = (2.5, 97.5)  # percentiles of a 95 % interval


def interval(drawn_BX: Array) -> tuple[Array, Array]:
    """Percentiles 2.5 and 97.5 over the draws, (X,) each; draws that are not finite are left out.

    Both are NaN where there are no draws, or where all are the same, as with one subject: a value without an interval.
    """
    if not drawn_BX.size:
        none = np.full(drawn_BX.shape[1:], np.nan)
        return none, none
    finite = np.where(np.isfinite(drawn_BX), drawn_BX, np.nan)
    undefined = np.isnan(finite).all(axis=0)
    finite = np.where(undefined, 0, finite)  # spares numpy's warning of columns without a number
    # the percentile interval (Efron & Tibshirani, 1993, ch. 13)
    low, high = np.nanpercentile(finite, BOUNDS, axis=0)
    same = undefined | (np.nanmax(finite, axis=0) == np.nanmin(finite, axis=0))
    return np.where(same, np.nan, low), np.where(same, np.nan, high)
