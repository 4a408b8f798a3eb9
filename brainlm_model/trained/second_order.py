"""Kinds of embedding that describe how parcels vary together: `connectivity.KINDS`, of recordings and a network.

They are found in closed form and have nothing that was fitted downstream. Of the network they take its population
covariance (`adapted`) or its attention; plain connectivity takes nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import BrainLMError, InputError, Scaler, prepare
from brainlm_model.trained import connectivity
from brainlm_model.trained.embedding import SourceRecording, windows_of

if TYPE_CHECKING:
    from brainlm_model.models.network import Network


@dataclass(frozen=True)
class Described:
    """What a kind says of a recording: `vector` (F,) float32; `stated`: what was taken for granted of the source."""

    vector: np.ndarray
    stated: list[str] = field(default_factory=list)


def described(
    network: Network, scaler: Scaler, recordings: Iterable[SourceRecording], kind: str, rate_hz: float | None
) -> Iterator[tuple[SourceRecording, Described | BrainLMError]]:
    """Describe recordings, in their order; one that cannot be described comes with its error.

    Parameters
    ----------
    kind: of `connectivity.KINDS`. rate_hz: of the recordings, as the model's card says.

    Raises
    ------
    InputError: a kind that the network does not have.
    """
    reason = None if kind in connectivity.COPIES else missing(network).get(kind)
    if reason:
        raise InputError(f"kind {kind}: {reason}", f"one of {', '.join(connectivity.COPIES)}, cls")
    for recording in recordings:
        try:
            series = recording.read()
            series_TP = np.asarray(series.values, dtype=np.float32)
            if series_TP.ndim != 2 or series_TP.shape[1] != network.config.parcels:
                raise InputError(
                    f"embed: a series of shape {series_TP.shape}, not (time, {network.config.parcels})",
                    "orientation: (time, parcel)",
                )
            if kind in connectivity.COPIES:
                vector = connectivity.of_copy(kind, series_TP, rate_hz).astype(np.float32)
            else:
                vector = of_model(network, scaler, series_TP, kind)
        except BrainLMError as error:
            yield recording, error
            continue
        yield recording, Described(vector, series.stated)


def of_model(network: Network, scaler: Scaler, series_TP: np.ndarray, kind: str) -> np.ndarray:
    """`adapted` or `attention` of a recording (time, parcel), unscaled; float32.

    Raises InputError as `connectivity.adapted` and `windows_of` do.
    """
    if kind == "adapted":
        scaled_TP = np.asarray(prepare(series_TP, scaler))
        return connectivity.adapted(scaled_TP, _covariance(network)).astype(np.float32)
    import torch

    windows_BPT = windows_of(series_TP, scaler, network.config)
    with torch.inference_mode():
        attention_BRR = network.attention(windows_BPT.to(network.cls.device)).float().cpu().numpy()
    known_BRR = np.isfinite(attention_BRR)
    with np.errstate(invalid="ignore"):
        mean_RR = np.where(known_BRR, attention_BRR, 0).sum(axis=0) / known_BRR.sum(axis=0)
    return connectivity.log_attention(mean_RR).astype(np.float32)


def missing(network: Network) -> dict[str, str]:
    """Kinds that a network does not have, and why."""
    import torch

    reasons = {}
    if getattr(network, "prior", None) is None:
        reasons["adapted"] = "the model has no population covariance (prior: zero)"
    try:
        network.attention(torch.zeros(1, network.config.parcels, network.config.window, device=network.cls.device))
    except InputError as error:
        reasons["attention"] = error.message
    return reasons


def _covariance(network: Network) -> np.ndarray:
    """The population's covariance (P, P) that the network's prior holds."""
    prior: Any = getattr(network, "prior")  # noqa: B009  # not of the protocol: an official network has none
    covariance: np.ndarray = prior.covariance.detach().double().cpu().numpy()
    return covariance
