"""What tasks ask of parcels: where they lie, which network they are in, how their courses are correlated.

Shapes: R recordings, P parcels, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Members = dict[str, NDArray[np.bool_]]  # network -> which parcels it has


def coordinates(store: Any) -> Array:
    """(P, 3) mm; NaN where the atlas has none."""
    table = store.parcels
    if not {"x", "y", "z"} <= set(table.columns):
        return np.full((len(table), 3), np.nan)
    place_P3: Array = table[["x", "y", "z"]].to_numpy(dtype=float)
    if not np.ptp(np.nan_to_num(place_P3)) > 0:  # zeros stand for what nobody knows
        return np.full_like(place_P3, np.nan)
    return place_P3


def networks_of(parcels: pd.DataFrame) -> tuple[list[str], Members]:
    """The network of each parcel, "unassigned" where the atlas names none; and the parcels of each network, sorted."""
    from brainlm_data import network_name

    networks = ["unassigned"] * len(parcels)
    if "network" in parcels:
        networks = [network_name(name) for name in parcels["network"]]
    own = np.array(networks)
    return networks, {name: own == name for name in sorted(set(networks))}


def network_means(values_RP: Array, members: Mapping[str, Any]) -> Array:
    """(R, network) means over the known parcels of each network; NaN where none is known."""
    return np.stack([known_mean(values_RP[:, member], axis=1) for member in members.values()], axis=1)


def known_mean(values: Array, axis: int = 0) -> Array:
    """Mean over an axis of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Array = np.where(known, values, 0).sum(axis) / known.sum(axis)
    return mean


def connectivity(series_TP: Any) -> Array:
    """Correlations (P, P); NaN for a parcel that is not known throughout or does not vary."""
    values = np.asarray(series_TP, dtype=np.float64)
    values = values[~np.isnan(values).all(axis=1)]
    r_PP = np.full((values.shape[1],) * 2, np.nan)
    if len(values) < 3:
        return r_PP
    known = np.isfinite(values).all(0) & (np.ptp(np.nan_to_num(values), axis=0) > 0)
    if known.any():
        r_PP[np.ix_(known, known)] = np.atleast_2d(np.corrcoef(values[:, known], rowvar=False))
    return r_PP
