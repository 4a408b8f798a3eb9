"""Vectors of recordings, or of halves of them: embeddings of the model and of its untrained twin, and connectivity.

Shapes: R recordings (or halves), P parcels, D width, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from brainlm_data import BrainLMError, ParcelSeries, Progress
from brainlm_model.eval.parcels import Array, connectivity
from brainlm_model.eval.pieces import Pieces
from brainlm_model.trained.embedding import SourceRecording, embeddings

KINDS = ("cls", "mean", "parcels")
TOGETHER = 10  # recordings of one kept piece
EDGE = 0.999999  # largest correlation of which Fisher's z is taken
Part = tuple[str, int | None]  # a recording's id, and its half: 0, 1 or None for all of it


@dataclass(frozen=True)
class Vectors:
    """What was measured of each part.

    Attributes
    ----------
    values: method -> (R, F) float32, NaN where a parcel is unknown. Methods: cls, mean, parcels, the same with
        `_untrained` behind, and connectivity (Fisher z of each pair of parcels).
    skipped: parts that could not be embedded, with the reason.
    """

    values: dict[str, Array]
    skipped: dict[Part, str]


def measure(
    store: Any, parts: Sequence[Part], networks: Mapping[str, Any], pieces: Pieces, name: str
) -> tuple[list[Part], Vectors]:
    """Embed parts, a few at a time; the parts that could be embedded, in order, and their vectors.

    `networks`: "" and "_untrained" -> a model. A half that is shorter than the model's window ends in steps that are
    not known.
    """
    progress = Progress(f"latent: {name}", len(parts))
    kept: list[Part] = []
    skipped: dict[Part, str] = {}
    rows: dict[str, list[Array]] = {}
    for first in range(0, len(parts), TOGETHER):
        batch = parts[first : first + TOGETHER]
        piece = pieces.get(f"{name}-{first:06d}", partial(_some, store, batch, networks))
        for part, reason in zip(batch, piece.pop("reason"), strict=True):
            if reason:
                skipped[part] = str(reason)
            else:
                kept.append(part)
        for key, values in piece.items():
            if len(values):  # a batch of which nothing could be embedded has arrays without a width
                rows.setdefault(key, []).append(values)
        progress.step(first + len(batch))
    return kept, Vectors({key: np.concatenate(values) for key, values in rows.items()}, skipped)


def _some(store: Any, parts: Sequence[Part], networks: Mapping[str, Any]) -> dict[str, Any]:
    """`reason` of each part, empty where it could be embedded; and vectors (kept part, F) of those."""
    window = next(iter(networks.values())).config.window
    recordings = [SourceRecording(f"{i}", partial(_read, store, part, window)) for i, part in enumerate(parts)]
    reason = [""] * len(parts)
    vectors: list[dict[str, Array]] = [{} for _ in parts]
    for suffix, model in networks.items():
        for recording, result in embeddings(model.network, model.scaler, recordings):
            place = int(recording.id)
            if isinstance(result, BrainLMError):
                reason[place] = f"{parts[place][0]}: {result.message}"
                continue
            for kind in KINDS:
                vectors[place][f"{kind}{suffix}"] = np.asarray(getattr(result, kind)).ravel()
    kept = []
    for part, why, row in zip(parts, reason, vectors, strict=True):
        if not why:
            kept.append({**row, "connectivity": _connectivity(_steps(store, part))})
    arrays: dict[str, Any] = {"reason": np.array(reason, dtype=str)}
    for suffix in networks:
        for kind in KINDS:
            arrays[f"{kind}{suffix}"] = np.array([row[f"{kind}{suffix}"] for row in kept], dtype=np.float32)
    arrays["connectivity"] = np.array([row["connectivity"] for row in kept], dtype=np.float32)
    return arrays


def _steps(store: Any, part: Part) -> Array:
    """Steps of a recording, or of a half of it: (time, parcel), in the store's units."""
    name, half = part
    series = np.asarray(store.series(name))
    if half is None:
        return series
    middle = len(series) // 2  # of an odd number of steps the one in the middle is in neither half
    return series[:middle] if half == 0 else series[len(series) - middle :]


def _read(store: Any, part: Part, window: int) -> ParcelSeries:
    series = _steps(store, part)
    if part[1] is not None and len(series) < window:
        series = np.concatenate([series, np.full((window - len(series), series.shape[1]), np.nan, series.dtype)])
    return ParcelSeries(series)


def _connectivity(series_TP: Array) -> Array:
    r = connectivity(series_TP)
    return np.arctanh(np.clip(r[np.triu_indices(len(r), 1)], -EDGE, EDGE))


def filled(values_RF: Array, training_RF: Array) -> Array:
    """Unknown values replaced by the mean of training recordings; 0 where none knows it."""
    known = np.isfinite(training_RF)
    mean = np.where(known, training_RF, 0).sum(0) / np.maximum(known.sum(0), 1)
    return np.where(np.isfinite(values_RF), values_RF, mean)


def standardised(values_RF: Array, training_RF: Array) -> Array:
    """(x - mean) / SD of training recordings, a feature at a time, after `filled`; a constant feature becomes 0."""
    training = filled(training_RF, training_RF).astype(np.float64)
    mean, spread = training.mean(0), training.std(0)
    varies = spread > 1e-6 * (np.abs(mean) + 1e-6)  # rounding of float32 is no variation
    return np.where(varies, (filled(values_RF, training_RF) - mean) / np.where(varies, spread, 1), 0)


def axes(values_RF: Array, count: int | None = None) -> Array:
    """(R, count) scores on the principal axes of these recordings; None: all axes, which keeps every distance."""
    # X = U S V': the scores X V are U S, and U, S^2 are eigenvectors and eigenvalues of the small matrix X X' (R, R).
    centred = values_RF - values_RF.mean(0)
    size, vectors = np.linalg.eigh(centred @ centred.T)
    order = np.argsort(-size)[: count or len(size)]
    vectors = vectors[:, order] * np.sqrt(np.maximum(size[order], 0))
    # An axis has no direction of its own: the entry that is farthest from 0 becomes positive.
    sign = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
    scores: Array = vectors * np.where(sign == 0, 1, sign)
    if count and scores.shape[1] < count:
        scores = np.pad(scores, ((0, 0), (0, count - scores.shape[1])))
    return scores


def umap(values_RF: Array, neighbours: int, seed: int) -> Array:
    """(R, 2) by UMAP (McInnes et al., 2018), one thread, from the principal axes: the same every time."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's and scikit-learn's deprecations, and that a seed means one thread
        from umap import UMAP

        picture = UMAP(
            n_neighbors=min(neighbours, len(values_RF) - 1), n_components=2, init="pca", random_state=seed, n_jobs=1
        ).fit_transform(axes(values_RF).astype(np.float32))
    return np.asarray(picture, dtype=np.float64)


SPACES: dict[str, tuple[str, Callable[[Array, int, int], Array] | None]] = {
    # name -> the vectors, and how a picture is made of them; None: the full space
    "cls": ("cls", None),
    "cls_pca": ("cls", lambda x, neighbours, seed: axes(x, 2)),
    "cls_umap": ("cls", umap),
    "untrained": ("cls_untrained", None),
    "connectivity": ("connectivity", None),
    "connectivity_pca": ("connectivity", lambda x, neighbours, seed: axes(x, 2)),
    "connectivity_umap": ("connectivity", umap),
}
