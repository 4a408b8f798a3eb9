"""Attention and connectivity of each recording, gathered once: CLS rows, coupling, and mean matrices.

Shapes: R recordings, P parcels; an attention matrix is (1 + P, 1 + P), CLS first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    progress, parts = Progress("attention", len(ids)), []
    for first in range(0, len(ids), TOGETHER):
        batch = ids[first : first + TOGETHER]
        parts.append(pieces.get(f"{first:06d}", lambda batch=batch: _part(store, batch, model, networks, place_P3)))  # type: ignore[misc]
        progress.step(first + len(batch))
    joined = {key: np.concatenate([part[key] for part in parts]) for key in ("ids", "skipped", "reasons", "windows")}
    kept = joined["ids"].tolist()
    skipped = dict(zip(joined["skipped"].tolist(), joined["reasons"].tolist(), strict=True))
    if not kept:
        raise InputError("attention: no recording has a window", next(iter(skipped.values()), "other splits"))

    def mean(key: str) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return sum(part[f"{key}_sum"] for part in parts) / sum(part[f"{key}_count"] for part in parts)

    return AttentionMaps(
        kept, skipped, joined["windows"],
        {name: np.concatenate([part[f"{name}_cls"] for part in parts]) for name in networks},
        {name: np.concatenate([part[f"{name}_coupling"] for part in parts]) for name in networks},
        {name: mean(name) for name in networks}, np.tanh(mean("z")), place_P3,
    )  # fmt: skip


def _part(store: Any, ids: Sequence[str], model: Any, networks: Mapping[str, Any], place_P3: Array) -> dict[str, Any]:
    parcels = len(place_P3)
    kept: list[str] = []
    skipped: dict[str, str] = {}
    windows: list[int] = []
    cls: dict[str, list[Array]] = {name: [] for name in networks}
    pairs: dict[str, list[Array]] = {name: [] for name in networks}
    sums = {f"{name}_{what}": np.zeros((1 + parcels,) * 2) for name in networks for what in ("sum", "count")}
    sums |= {"z_sum": np.zeros((parcels,) * 2), "z_count": np.zeros((parcels,) * 2)}
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
            each = network.attention(x_BPT.to(network.cls.device)).double().cpu().numpy()
            matrix = known_mean(each)
            _add(sums, name, matrix)
            cls[name].append(matrix[0, 1:] * np.isfinite(matrix[0]).sum())
            pairs[name].append(coupling(matrix[1:, 1:], r, place_P3))
    arrays = {f"{name}_cls": np.array(cls[name]).reshape(-1, parcels) for name in networks}
    arrays |= {f"{name}_coupling": np.array(pairs[name]).reshape(-1, 2) for name in networks}
    return {
        "ids": np.array(kept, dtype=str), "skipped": np.array(list(skipped), dtype=str),
        "reasons": np.array(list(skipped.values()), dtype=str), "windows": np.array(windows, dtype=float),
        **arrays, **sums,
    }  # fmt: skip


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
    distance = np.linalg.norm(place_P3[first] - place_P3[second], axis=1)
    r = []
    for known, terms in ((np.isfinite(both).all(1), 1), (np.isfinite(both).all(1) & np.isfinite(distance), 3)):
        values = both[known]
        if len(values) <= terms + 2:
            r.append(np.nan)
            continue
        design = (distance[known, None] / 100) ** np.arange(terms) if terms > 1 else np.ones((len(values), 1))
        rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
        scale = np.linalg.norm(rest[:, 0]) * np.linalg.norm(rest[:, 1])
        r.append(float(rest[:, 0] @ rest[:, 1] / scale) if scale > 0 else np.nan)
    return np.array(r)
