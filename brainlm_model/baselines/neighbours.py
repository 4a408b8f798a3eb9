"""Nearest neighbours by Euclidean distance. Shapes: n training rows, m others, F features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def nearest(
    train_nF: NDArray[np.floating],
    test_mF: NDArray[np.floating],
    count: int,
    excluded_mn: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """Places (m, `count`) of the nearest training rows, the nearest first; equally near ones in their order.

    |test - train|^2 = |test|^2 - 2 test . train + |train|^2, whose first term does not change the order within a row.
    Rows are centred first: differences of nearly equal rows, as of attention, would drown in rounding.
    `excluded_mn`: rows that may not be a neighbour, as those of the same subject.
    """
    centre_F = train_nF.mean(0)
    train_nF, test_mF = train_nF - centre_F, test_mF - centre_F
    distance_mn = (train_nF**2).sum(1) - 2 * test_mF @ train_nF.T
    if excluded_mn is not None:
        distance_mn[excluded_mn] = np.inf
    count = min(count, len(train_nF))
    # `argpartition` gives the nearest ones in any order: sorted by place, a stable sort by distance keeps ties in
    # order.
    places = np.sort(np.argpartition(distance_mn, count - 1, axis=1)[:, :count], axis=1)
    order = np.take_along_axis(distance_mn, places, 1).argsort(1, kind="stable")
    return np.take_along_axis(places, order, 1)
