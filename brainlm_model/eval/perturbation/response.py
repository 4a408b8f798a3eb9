"""Drive one parcel and read what the network predicts in all others; beside it connectivity, seen and unseen.

Shapes: P parcels, T steps, N time patches, K seeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.parcels import Array, connectivity
from brainlm_model.eval.perturbation.windows import scaled

EDGE = 0.999999  # largest correlation of which Fisher's z is taken


def seeds_of(networks: Sequence[str], count: int, seed: int) -> NDArray[np.intp]:
    """At most `count` parcels, the networks in turn, drawn by the seed; sorted."""
    order = np.random.default_rng(seed).permutation(len(networks))
    drawn: Counter[str] = Counter()
    ranked = []  # the first parcel of every network, then the second of every one; parcels without a network last
    for parcel in order:
        name = networks[parcel]
        drawn[name] += 1
        ranked.append((name == "unassigned", drawn[name], parcel))
    chosen = [parcel for _, _, parcel in sorted(ranked)[:count]]
    return np.array(sorted(chosen), dtype=np.intp)


def responses(network: Any, x_PT: Array, seeds_K: NDArray[np.intp], amplitude: float) -> Array:
    """(K, P) change of the prediction of each parcel a unit of change of the seed; NaN for itself and what is unknown.

    The first half of the window is visible. In the second half only the seed is, `amplitude` higher or lower
    throughout; all others are predicted. Half the difference of the two predictions, mean over those steps.
    """
    import torch

    config = network.config
    first = config.patches // 2
    steps = first * config.patch
    known_P: Any = np.isfinite(x_PT).all(axis=1)
    response_KP = np.full((len(seeds_K), len(x_PT)), np.nan)
    for row, seed in enumerate(seeds_K):
        if not known_P[seed]:
            continue
        both = np.stack([x_PT, x_PT]).astype(np.float32)  # the seed up in one window, down in the other
        both[:, seed, steps:] += np.array([amplitude, -amplitude], dtype=np.float32)[:, None]
        mask = torch.zeros(2, config.parcels, config.patches, dtype=torch.bool)
        mask[:, :, first:] = True
        mask[:, seed, first:] = False  # the seed alone is visible in the second half
        with torch.inference_mode():
            device = network.cls.device
            up, down = network(torch.from_numpy(both).to(device), mask.to(device)).float().cpu().numpy()
        # a central difference: what does not depend on the sign of the drive cancels
        response_KP[row] = np.where(known_P, (up - down)[:, steps:].mean(1) / (2 * amplitude), np.nan)
        response_KP[row, seed] = np.nan
    return response_KP


def rows_of(series_TP: Array, seeds_K: NDArray[np.intp]) -> Array:
    """(K, P) correlations of the seeds with all others; NaN for itself."""
    r_KP = connectivity(series_TP)[seeds_K]
    r_KP[np.arange(len(seeds_K)), seeds_K] = np.nan
    return r_KP


def recording(
    store: Any, name: str, model: Any, networks: Mapping[str, Any], seeds_K: NDArray[np.intp], amplitude: float
) -> dict[str, Array]:
    """Maps (K, P) of one recording: of each network, of what was seen (`visible`) and of what was not (`unseen`).

    Raises InputError where it has no window.
    """
    series_TP = scaled(store, name, model)
    window, config = model.config.window, model.config
    seen = config.patches // 2 * config.patch
    x_PT = series_TP[:window].T
    maps = {key: responses(network, x_PT, seeds_K, amplitude) for key, network in networks.items()}
    if config.prior != "zero":  # before training the network is its prior alone
        maps["network"] = maps["model"] - maps["untrained"]
    maps["visible"] = rows_of(series_TP[:seen], seeds_K)
    maps["unseen"] = rows_of(series_TP[seen:], seeds_K)
    return maps


def group_rows(store: Any, names: Sequence[str], seeds_K: NDArray[np.intp]) -> Array:
    """(K, P) mean connectivity of training recordings, by Fisher's z."""
    total, count = np.zeros(()), np.zeros(())
    for name in names:
        z = np.arctanh(np.clip(rows_of(np.asarray(store.series(name)), seeds_K), -EDGE, EDGE))
        total, count = total + np.nan_to_num(z), count + np.isfinite(z)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_KP: Array = np.tanh(total / count)
    return mean_KP


def agreement(map_KP: Array, target_KP: Array) -> Array:
    """(K,) Pearson correlation over the parcels that both know; NaN where fewer than four, or nothing varies."""
    r_K = np.full(len(map_KP), np.nan)
    for row, (a, b) in enumerate(zip(map_KP, target_KP, strict=True)):
        known = np.isfinite(a) & np.isfinite(b)
        if known.sum() > 3 and a[known].std() > 1e-9 and b[known].std() > 1e-9:
            r_K[row] = np.corrcoef(a[known], b[known])[0, 1]
    return r_K


def why_not(model: Any) -> str:
    """Why responses cannot be read from this model; empty where they can."""
    if model.network.mask_shape != (model.config.parcels, model.config.patches):
        return "part two left out: a token of this model holds several parcels"
    if model.config.patches < 2:
        return "part two left out: the model's window is one patch, of which no half can be visible"
    return ""
