"""Embeddings of recordings: what a network's encoder gives, pooled, from any source, in batches (docs/embeddings.md).

Shapes: B windows, P parcels, T steps, N time patches, D width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brainlm_data import BrainLMError, InputError, ParcelSeries, Scaler, compare_store, open_store, prepare, read_series

if TYPE_CHECKING:
    from torch import Tensor

    from brainlm_model.models.config import ModelConfig
    from brainlm_model.models.network import Network

Kind = Literal["cls", "mean", "parcels", "all"]
ENTITIES = ("subject", "session", "task", "run")
BATCH = 8  # windows a forward pass


@dataclass(frozen=True)
class Embedding:
    """What a model says of a recording, averaged over its windows; float32.

    Attributes
    ----------
    cls: (width,) state of the CLS token after the encoder.
    mean: (width,) mean of the known tokens.
    parcels: (parcel, width) mean of each parcel's known tokens over time; NaN for a parcel without any.
    windows: how many were averaged.
    stated: what was taken for granted about the source, and what was done to it, in words.
    """

    cls: np.ndarray
    mean: np.ndarray
    parcels: np.ndarray
    windows: int
    stated: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SourceRecording:
    """A recording that can be read: its id, what is known of whose it is, and how to read it."""

    id: str
    read: Callable[[], ParcelSeries]
    entities: dict[str, str | None] = field(default_factory=dict)


def recordings_of(
    source: Any, card: str, split: str | None = None, atlas: str | Path | None = None, tr: float | None = None
) -> list[SourceRecording]:
    """The recordings of a source: an array (time, parcel), a file, a store, or (store, id).

    Parameters
    ----------
    card: of the model, with which the source is compared. split: of a store only: that split's recordings.
    atlas, tr: of a 4-D NIfTI only: see `brainlm_data.read_series`.

    Raises
    ------
    InputError: a store that is not as the card says, or has no such recording. (A file is refused when it is read.)
    """
    if isinstance(source, tuple):
        where, name = source
        matching = [r for r in _stored(where, card, None) if r.id == name]
        if not matching:
            raise InputError(
                f"{getattr(where, 'path', where)}: no recording {name} with status done", "see .recordings"
            )
        return matching
    if is_store(source):
        return _stored(source, card, split)
    if isinstance(source, (str, Path)):
        path = Path(source)
        name = re.sub(r"(\.ptseries)?\.(nii\.gz|nii|tsv|npy)$", "", path.name)
        return [SourceRecording(name, partial(read_series, path, card, atlas, tr), _entities(name))]
    values = np.asarray(source, dtype=np.float32)
    return [SourceRecording("", lambda: ParcelSeries(values))]


def is_store(source: Any) -> bool:
    """True for what `open_store` returned, and for a folder."""
    return hasattr(source, "recordings") or (isinstance(source, (str, Path)) and Path(source).is_dir())


def _stored(source: Any, card: str, split: str | None) -> list[SourceRecording]:
    store = open_store(source) if isinstance(source, (str, Path)) else source
    stated = compare_store(store.attrs, card, str(store.path))
    table = store.recordings[store.recordings["status"] == "done"]
    if split is not None:
        table = table[table["split"] == split]
    if table.empty:
        where = "" if split is None else f" in split {split!r}"
        raise InputError(f"{store.path}: no recording with status done{where}", "see recordings.parquet beside it")
    known = [name for name in ENTITIES if name in table]

    def read(name: str) -> ParcelSeries:
        return ParcelSeries(store.series(name), list(stated))

    return [
        SourceRecording(str(row["id"]), partial(read, row["id"]), {k: str(row[k]) for k in known if row[k] is not None})
        for row in table.astype(object).where(table.notna(), None).to_dict("records")
    ]


def _entities(name: str) -> dict[str, str | None]:
    """BIDS entities in a file's name."""
    matches = {key: re.search(rf"(?:^|_){short}-([A-Za-z0-9]+)", name) for key, short in
             (("subject", "sub"), ("session", "ses"), ("task", "task"), ("run", "run"))}  # fmt: skip
    return {key: match.group(1) for key, match in matches.items() if match}


def windows_of(series: Any, scaler: Scaler, config: ModelConfig) -> Tensor:
    """Scaled windows (B, P, T) of a recording (time, parcel), one after another, the last aligned to its end.

    Windows in which nothing is known are left out (a token is known where all of its steps are).

    Raises
    ------
    InputError: another number of parcels than the model's, fewer steps than a window, an infinite value, or nothing
        known.
    """
    values = np.asarray(series, dtype=np.float32)
    window, parcels = config.window, config.parcels
    if values.ndim != 2 or values.shape[1] != parcels:
        raise InputError(
            f"embed: a series of shape {values.shape}, not (time, {parcels})", "orientation: (time, parcel)"
        )
    if len(values) < window:
        raise InputError(f"embed: {len(values)} steps, fewer than the model's window of {window}", "a longer recording")
    if np.isinf(values).any():
        raise InputError(f"embed: {np.isinf(values).sum()} infinite values", "NaN stands for what is not known")
    windows = cut(np.asarray(prepare(values, scaler), dtype=np.float32), config)
    if not len(windows):
        raise InputError(
            f"embed: no parcel has {config.patch} known steps in a row where a token lies",
            "look at the recording's quality page; a parcel that the scaler does not know counts as unknown",
        )
    return windows


def cut(scaled: np.ndarray, config: ModelConfig) -> Tensor:
    """Windows (B, P, T) of a scaled recording (time, parcel) of at least a window; B is 0 where nothing is known."""
    import torch

    window = config.window
    starts = sorted({*range(0, len(scaled) - window + 1, window), len(scaled) - window})
    windows = torch.from_numpy(np.stack([scaled[start : start + window].T for start in starts]))
    known = (~windows.isnan().unflatten(2, (-1, config.patch)).any(-1)).flatten(1).any(1)
    return windows[known]


def embeddings(
    network: Network, scaler: Scaler, recordings: Iterable[SourceRecording], batch: int = BATCH
) -> Iterator[tuple[SourceRecording, Embedding | BrainLMError]]:
    """Embed recordings, in their order; one that cannot be read comes with its error, and the others go on.

    Parameters
    ----------
    scaler: with which the network's training data were scaled.
    batch: windows a forward pass, of as many recordings as that takes.
    """
    waiting: list[tuple[SourceRecording, ParcelSeries | BrainLMError, Tensor | None]] = []
    count = 0
    for recording in recordings:
        try:
            series = recording.read()
            windows = windows_of(series.values, scaler, network.config)
        except BrainLMError as error:
            waiting.append((recording, error, None))
            continue
        waiting.append((recording, series, windows))
        count += len(windows)
        if count >= batch:
            yield from _run(network, waiting, batch)
            waiting, count = [], 0
    yield from _run(network, waiting, batch)


def _run(
    network: Network, waiting: Sequence[tuple[SourceRecording, ParcelSeries | BrainLMError, Tensor | None]], batch: int
) -> Iterator[tuple[SourceRecording, Embedding | BrainLMError]]:
    """Embed what waits, its windows `batch` at a time."""
    import torch

    parts = [windows for _, _, windows in waiting if windows is not None]
    if parts:
        with torch.inference_mode():
            pieces = [network.encode(x.to(network.cls.device)) for x in torch.cat(parts).split(batch)]
            encoded = [torch.cat(column).float().cpu() for column in zip(*pieces, strict=True)]
    first = 0
    for recording, series, windows in waiting:
        if isinstance(series, BrainLMError) or windows is None:
            yield recording, series  # type: ignore[misc]  # without windows it is the error
            continue
        cls, mean, parcels = (column[first : first + len(windows)] for column in encoded)
        first += len(windows)
        means = (cls.mean(0).numpy(), mean.mean(0).numpy(), parcels.nanmean(0).numpy())
        yield recording, Embedding(*means, len(windows), series.stated)
