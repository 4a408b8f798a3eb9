"""Features of each parcel, from one window of each recording: every method sees the same steps.

Shapes: R recordings, P parcels, T steps, F features, N time patches. Nothing here knows a label: what is fitted (VAE,
GCN) is fitted on training subjects' windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import InputError
from brainlm_model.baselines import gcn, vae
from brainlm_model.eval.parcels import connectivity, coordinates
from brainlm_model.trained.embedding import windows_of

Features = NDArray[np.float32]
UNITED = 16  # windows a forward pass

# order of tables and figures
LABELS = {
    "attention": "BrainLM: rows of the attention matrix",
    "embedding": "BrainLM: parcel embeddings",
    "attention_untrained": "untrained network: attention",
    "embedding_untrained": "untrained network: embeddings",
    "connectivity": "rows of the correlation matrix",
    "raw": "raw series",
    "series": "series, each standardised",
    "vae": "VAE latents",
    "gcn": "GCN embeddings",
    "position": "MNI coordinates alone",
}


@dataclass(frozen=True)
class Windows:
    """One window of each recording.

    Attributes
    ----------
    ids, subjects: of the recordings. skipped: those without a window, with the reason.
    x: (R, P, T) scaled, NaN where unknown. known: (R, P) parcels that are known throughout.
    """

    ids: list[str]
    subjects: list[str]
    skipped: dict[str, str]
    x: Features
    known: NDArray[np.bool_]

    @property
    def filled(self) -> Features:
        """The windows with 0, the mean, where nothing is known."""
        return np.nan_to_num(self.x)


@dataclass(frozen=True)
class Sources:
    """What a method may use: networks, training and held-out windows, places of the parcels, seed."""

    model: Any
    untrained: Any
    train: Windows
    test: Windows
    place_P3: NDArray[np.float64]
    seed: int


def read_windows(store: Any, table: Any, model: Any) -> Windows:
    """The first window of each recording that has one. Raises InputError where none has."""
    ids, subjects, rows = [], [], []
    skipped: dict[str, str] = {}
    for name, subject in zip(table["id"], table["subject"].astype(str), strict=True):
        try:
            rows.append(windows_of(store.series(name), model.scaler, model.config)[0].numpy())
        except InputError as error:
            skipped[name] = f"{name}: {error}"
            continue
        ids.append(name)
        subjects.append(subject)
    if not ids:
        raise InputError("networks: no recording has a window", next(iter(skipped.values())))
    x = np.stack(rows).astype(np.float32)
    return Windows(ids, subjects, skipped, x, np.asarray(np.isfinite(x).all(2)))


def _of_network(network: Any, x_RPT: Features, kind: str) -> Features:
    """What a network says of each parcel: its row of the attention matrix (R, P, P), or its embedding (R, P, D)."""
    import torch

    parts = []
    with torch.inference_mode():
        for part in torch.from_numpy(x_RPT).split(UNITED):
            part = part.to(network.cls.device)
            if kind == "attention":
                parts.append(network.attention(part)[:, 1:, 1:])  # without CLS
            else:
                parts.append(network.encode(part).parcels_BPD)
    return torch.nan_to_num(torch.cat(parts).float().cpu()).numpy()


def _network(which: str, kind: str) -> Callable[[Sources], tuple[Features, Features]]:
    def features(of: Sources) -> tuple[Features, Features]:
        network = getattr(of, which)
        return _of_network(network, of.train.x, kind), _of_network(network, of.test.x, kind)

    return features


def _each(make: Callable[[Windows], Features]) -> Callable[[Sources], tuple[Features, Features]]:
    """A method that fits nothing: the same for training and for held-out windows."""
    return lambda of: (make(of.train), make(of.test))


def _standardised(windows: Windows) -> Features:
    """Series of mean 0 and SD 1: Euclidean distances between them are correlations, |x - y|^2 = 2 T (1 - r)."""
    x = windows.filled - windows.filled.mean(2, keepdims=True)
    return x / np.maximum(x.std(2, keepdims=True), 1e-6)


def _connectivity(windows: Windows) -> Features:
    """Rows of the window's correlation matrix; 0 for what is not known, and for a parcel with itself."""
    rows = np.stack([np.nan_to_num(connectivity(x.T)) for x in windows.x]).astype(np.float32)
    rows[:, np.arange(rows.shape[1]), np.arange(rows.shape[1])] = 0
    return rows


def _vae(of: Sources) -> tuple[Features, Features]:
    fitted = vae.fit(of.train.filled, of.train.known, of.seed)
    return fitted.features(of.train.filled), fitted.features(of.test.filled)


def _gcn(of: Sources) -> tuple[Features, Features]:
    fitted = gcn.fit(of.train.filled, of.train.known, of.seed)
    return fitted.features(of.train.filled, of.train.known), fitted.features(of.test.filled, of.test.known)


def _position(of: Sources) -> tuple[Features, Features]:
    place = np.nan_to_num(of.place_P3).astype(np.float32)[None]
    return np.repeat(place, len(of.train.ids), axis=0), np.repeat(place, len(of.test.ids), axis=0)


# name -> features (R, P, F) of training and of held-out recordings
FEATURES: dict[str, Callable[[Sources], tuple[Features, Features]]] = {
    "attention": _network("model", "attention"),
    "embedding": _network("model", "embedding"),
    "attention_untrained": _network("untrained", "attention"),
    "embedding_untrained": _network("untrained", "embedding"),
    "connectivity": _each(_connectivity),
    "raw": _each(lambda windows: windows.filled),
    "series": _each(_standardised),
    "vae": _vae,
    "gcn": _gcn,
    "position": _position,
}


def possible(store: Any, names: Sequence[str]) -> list[str]:
    """Methods that this store allows: without coordinates not `position`."""
    return [n for n in names if n != "position" or np.isfinite(coordinates(store)).all(1).any()]
