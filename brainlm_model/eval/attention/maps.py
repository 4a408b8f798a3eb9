"""Attention and connectivity of each recording, gathered once: CLS rows, coupling, and mean matrices.

Shapes: R recordings, P parcels; an attention matrix is (1 + P, 1 + P), CLS first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from brainlm_data import InputError, Progress
from brainlm_model.eval.parcels import Array, connectivity, coordinates, known_mean
from brainlm_model.eval.pieces import Pieces
from brainlm_model.trained.embedding import windows_of

TOGETHER = 10  # recordings of one kept piece


@dataclass(frozen=True)
class AttentionMaps:
    """What was gathered, by network (model, untrained).

    Attributes
    ----------
    ids: recordings that could be looked at. skipped: the others, with the reason. windows: of each recording.
    cls: (R, P) attention of CLS to each parcel, in multiples of 1 / (1 + known parcels), which uniform attention gives.
    coupling: (R, 2) correlation over pairs of attention, mean of both directions, with connectivity; without and with
        distance removed.
    mean: (1 + P, 1 + P) mean attention. connectivity: (P, P) mean correlation, by Fisher's z. coordinates: (P, 3) mm.
    """

    ids: list[str]
    skipped: dict[str, str]
    windows: Array
    cls: dict[str, Array]
    coupling: dict[str, Array]
    mean: dict[str, Array]
    connectivity: Array
    coordinates: Array


def collect(store: Any, ids: Sequence[str], model: Any, networks: Mapping[str, Any], pieces: Pieces) -> AttentionMaps:
    """Look at recordings, a few at a time; a recording that has no window is skipped with its reason.

    Raises
    ------
    InputError: none can be looked at.
    """
    place_P3 = coordinates(store)
    progress = Progress("attention", len(ids))
    parts: list[dict[str, Any]] = []
    for first in range(0, len(ids), TOGETHER):
        batch = ids[first : first + TOGETHER]
        parts.append(pieces.get(f"{first:06d}", partial(_part, store, batch, model, networks, place_P3)))
        progress.step(first + len(batch))
    kept = _joined(parts, "ids").tolist()
    reasons = _joined(parts, "reasons").tolist()
    skipped = dict(zip(_joined(parts, "skipped").tolist(), reasons, strict=True))
    if not kept:
        raise InputError("attention: no recording has a window", next(iter(skipped.values()), "other splits"))
    cls, couplings, means = {}, {}, {}
    for name in networks:
        cls[name] = _joined(parts, f"{name}_cls")
        couplings[name] = _joined(parts, f"{name}_coupling")
        means[name] = _mean(parts, name)
    windows = _joined(parts, "windows")
    return AttentionMaps(kept, skipped, windows, cls, couplings, means, np.tanh(_mean(parts, "z")), place_P3)


def _joined(parts: Sequence[Mapping[str, Any]], key: str) -> Array:
    """An array of all recordings."""
    return np.concatenate([part[key] for part in parts])


def _mean(parts: Sequence[Mapping[str, Any]], key: str) -> Array:
    """Mean matrix over all recordings; NaN where no recording knows an entry."""
    total, count = np.zeros(()), np.zeros(())
    for part in parts:
        total = total + part[f"{key}_sum"]
        count = count + part[f"{key}_count"]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Array = total / count
    return mean


def _part(store: Any, ids: Sequence[str], model: Any, networks: Mapping[str, Any], place_P3: Array) -> dict[str, Any]:
    """Arrays of some recordings: what they give, and sums and counts of the matrices that are averaged over all."""
    parcels = len(place_P3)
    kept: list[str] = []
    skipped: dict[str, str] = {}
    windows: list[int] = []
    cls: defaultdict[str, list[Array]] = defaultdict(list)
    couplings: defaultdict[str, list[Array]] = defaultdict(list)
    sums = {"z_sum": np.zeros((parcels, parcels)), "z_count": np.zeros((parcels, parcels))}
    for name in networks:
        sums[f"{name}_sum"] = np.zeros((1 + parcels, 1 + parcels))
        sums[f"{name}_count"] = np.zeros((1 + parcels, 1 + parcels))
    for recording in ids:
        series = store.series(recording)
        try:
            x_BPT = windows_of(series, model.scaler, model.config)
        except InputError as error:
            skipped[recording] = f"{recording}: {error}"
            continue
        kept.append(recording)
        windows.append(len(x_BPT))
        r = connectivity(series[np.asarray(store.valid(recording), dtype=bool)])
        _add(sums, "z", np.arctanh(np.clip(r, -0.999999, 0.999999)))
        for name, network in networks.items():
            each_BRR = network.attention(x_BPT.to(network.cls.device)).double().cpu().numpy()
            matrix = known_mean(each_BRR)
            _add(sums, name, matrix)
            # Weights of a row sum to 1 over CLS and the known parcels: times their number, uniform attention is 1.
            cls[name].append(matrix[0, 1:] * np.isfinite(matrix[0]).sum())
            couplings[name].append(coupling(matrix[1:, 1:], r, place_P3))
    arrays = {
        "ids": np.array(kept, dtype=str), "skipped": np.array(list(skipped), dtype=str),
        "reasons": np.array(list(skipped.values()), dtype=str), "windows": np.array(windows, dtype=float),
    }  # fmt: skip
    for name in networks:  # `reshape`: where no recording of this part is kept, too
        arrays[f"{name}_cls"] = np.array(cls[name]).reshape(-1, parcels)
        arrays[f"{name}_coupling"] = np.array(couplings[name]).reshape(-1, 2)
    return {**arrays, **sums}


def _add(sums: dict[str, Any], key: str, matrix: Array) -> None:
    known = np.isfinite(matrix)
    sums[f"{key}_sum"] += np.where(known, matrix, 0)
    sums[f"{key}_count"] += known


def coupling(attention_PP: Array, r_PP: Array, place_P3: Array) -> Array:
    """(2,): Pearson correlation over pairs of parcels of attention (mean of both directions) and connectivity.

    The second after both were regressed on distance and its square over the same pairs (what two neighbours share need
    not be a network); NaN without coordinates.
    """
    first, second = np.triu_indices(len(r_PP), 1)
    both = np.stack([(attention_PP + attention_PP.T)[first, second] / 2, r_PP[first, second]], axis=1)
    known = np.isfinite(both).all(1)
    plain = _partial_correlation(both[known], np.ones((int(known.sum()), 1)))
    distance = np.linalg.norm(place_P3[first] - place_P3[second], axis=1)
    placed = known & np.isfinite(distance)
    powers = (distance[placed, None] / 100) ** np.arange(3)  # 1, d, d^2, in dm so that they are of one size
    return np.array([plain, _partial_correlation(both[placed], powers)])


def _partial_correlation(values: Array, design: Array) -> float:
    """Correlation of the two columns of `values` once `design` was regressed out of both; NaN if one is constant."""
    if len(values) <= design.shape[1] + 2:
        return float("nan")
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    scale = np.linalg.norm(rest[:, 0]) * np.linalg.norm(rest[:, 1])
    if not scale > 0:
        return float("nan")
    return float(rest[:, 0] @ rest[:, 1] / scale)
