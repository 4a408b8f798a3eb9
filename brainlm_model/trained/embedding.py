"""Embeddings of recordings: what a network's encoder gives, pooled, from any source, in batches (docs/embeddings.md).

Shapes: B windows, P parcels, T steps, N time patches, D width.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brainlm_data import (
    BrainLMError,
    Card,
    InputError,
    ParcelSeries,
    Scaler,
    compare_store,
    open_store,
    prepare,
    read_series,
    recording_name,
    resample_series,
)
from brainlm_model.trained import connectivity

if TYPE_CHECKING:
    from torch import Tensor

    from brainlm_model.models.config import ModelConfig
    from brainlm_model.models.network import Network

Kind = Literal["cls", "mean", "parcels", "all", connectivity.SecondOrder]
SOURCES = "an array (time, parcel), a ParcelSeries, a file, a store, (store, id), or a list of them"
ENTITIES = ("subject", "session", "task", "run")
OF_THE_STORE = ("status", "reason", "start", "n_steps")  # columns that say where a recording is in it
BATCH = 8  # windows a forward pass


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        shapes = [f"{name} {getattr(self, name).shape}" for name in ("cls", "mean", "parcels")]
        return f"Embedding: {', '.join(shapes)}, of {self.windows} windows"


def of_kind(result: Any, kind: Kind) -> Any:
    """The part of an `Embedding`, or the vector of a `second_order.Described`; an error stays one."""
    if kind == "all" or isinstance(result, BrainLMError):
        return result
    if kind in connectivity.KINDS:
        return result.vector
    return getattr(result, kind)


@dataclass(frozen=True)
class SourceRecording:
    """A recording that can be read: its id, what is known of whose it is, and how to read it.

    `about`: further columns of a store's table: split, age, site, quality ...
    """

    id: str
    read: Callable[[], ParcelSeries]
    entities: dict[str, str | None] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


def recordings_of(
    source: Any, card: Card | None, split: str | None = None, atlas: str | Path | None = None, tr: float | None = None
) -> list[SourceRecording]:
    """The recordings of a source: an array (time, parcel), a `ParcelSeries`, a file, a store, (store, id), or several.

    Parameters
    ----------
    card: of the model's data, with which the source is compared. split: of a store only: that split's recordings.
    atlas: of a 4-D NIfTI only: see `brainlm_data.read_series`. tr: s, of a 4-D NIfTI, or of an array, which is then
        resampled to the rate of the card.

    Raises
    ------
    InputError: a store that is not as the card says, or has no such recording; an argument that the source does not
        take. (A file is refused when it is read.)
    """
    if is_several(source):
        if not len(source):
            raise InputError("no recording: the list is empty", "give one source or more")
        return [recording for one in source for recording in recordings_of(one, card, split, atlas, tr)]
    if split is not None and not is_store(source):
        raise InputError(f"split {split!r} of what is no store", "leave it out, or give a store")
    is_file = isinstance(source, (str, Path)) and not is_store(source)
    if atlas is not None and not is_file:
        raise InputError("atlas is for 4-D NIfTI, not for parcel series", "leave it out")
    if tr is not None and not (is_file or is_array(source)):
        raise InputError("tr is for 4-D NIfTI and arrays", "leave it out: ParcelSeries and stores say their rate")
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
        name = recording_name(path)
        return [SourceRecording(name, partial(read_series, path, card, atlas, tr), _entities(name))]
    if not isinstance(source, ParcelSeries):
        source = ParcelSeries(_array(source), rate_hz=rate_of(tr))
    return [SourceRecording(source.id, partial(_at_rate_of, source, card), _entities(source.id))]


def rate_of(tr: float | None) -> float | None:
    """Steps per second of a repetition time, s; None for None. Raises InputError for an impossible one."""
    if tr is None:
        return None
    if not tr > 0:
        raise InputError(f"tr {tr} s", "seconds, above 0")
    return 1 / tr


def _array(source: Any) -> np.ndarray:
    """Values of what is like an array. Raises InputError where it is none."""
    try:
        return np.asarray(source, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"no recording: {type(source).__name__} ({error})", SOURCES) from error


def _at_rate_of(series: ParcelSeries, card: Card | None) -> ParcelSeries:
    """A series at the card's rate and in its order of parcels; one that does not say them is taken to have them."""
    if card is not None:
        series = series.in_order_of(card.parcel_names)
    if series.rate_hz is None or (card is not None and np.isclose(series.rate_hz, card.rate_hz, rtol=1e-3)):
        return series
    if card is None:
        raise InputError("the model's card does not say its rate", "resample to it yourself, and give the array alone")
    return resample_series(series, card.rate_hz)


def is_several(source: Any) -> bool:
    """True for a list of sources, and for an array (recording, time, parcel)."""
    if isinstance(source, np.ndarray) and source.dtype.kind in "OUT":  # paths, or arrays of unequal length
        return True
    if not isinstance(source, list):
        return len(getattr(source, "shape", ())) == 3
    if not source or isinstance(source[0], (str, Path, tuple, ParcelSeries)) or is_store(source[0]):
        return True
    return np.ndim(source[0]) == 2  # else it is an array itself, as a list of its rows


def is_array(source: Any) -> bool:
    """True for values alone: an array, or several."""
    first = source[0] if is_several(source) and len(source) else source
    return not (is_store(first) or isinstance(first, (str, Path, tuple, ParcelSeries)))


def collected(source: Any, results: Iterable[tuple[SourceRecording, Any]]) -> Any:
    """Results as a source asks for them: of a store by id, of several a list, else the one.

    A recording of a store that comes with its error is left out, with a warning; any other raises it.
    """
    by_id, in_order = {}, []
    for number, (recording, result) in enumerate(results, 1):
        if not isinstance(result, BrainLMError):
            by_id[recording.id] = result
            in_order.append(result)
        elif is_store(source):
            warnings.warn(f"{recording.id} left out: {result}", stacklevel=3)
        elif is_several(source):
            name = f" ({recording.id})" if recording.id else ""
            raise type(result)(f"recording {number}{name}: {result.message}", result.remedy)
        else:
            raise result
    if is_store(source):
        return by_id
    return in_order if is_several(source) else in_order[0]


def is_store(source: Any) -> bool:
    """True for what `open_store` returned, and for a folder."""
    return hasattr(source, "recordings") or (isinstance(source, (str, Path)) and Path(source).is_dir())


def _stored(source: Any, card: Card | None, split: str | None) -> list[SourceRecording]:
    store = open_store(source) if isinstance(source, (str, Path)) else source
    stated = compare_store(store.attrs, card, str(store.path))
    table = store.recordings[store.recordings["status"] == "done"]
    if split is not None:
        table = table[table["split"] == split]
    if table.empty:
        where = "" if split is None else f" in split {split!r}"
        raise InputError(f"{store.path}: no recording with status done{where}", "see recordings.parquet beside it")
    known = [name for name in ENTITIES if name in table]
    further = [str(name) for name in table if name not in ("id", *ENTITIES, *OF_THE_STORE)]

    def read(name: str) -> ParcelSeries:
        return ParcelSeries(store.series(name), list(stated))

    recordings = []
    for row in table.astype(object).where(table.notna(), None).to_dict("records"):
        entities: dict[str, str | None] = {name: str(row[name]) for name in known if row[name] is not None}
        about = {name: row[name] for name in further}
        recordings.append(SourceRecording(str(row["id"]), partial(read, row["id"]), entities, about))
    return recordings


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
        turned = values.ndim == 2 and values.shape[0] == parcels
        raise InputError(
            f"embed: a series of shape {values.shape}, not (time, {parcels})",
            "orientation: (time, parcel)"
            if turned
            else f"series of the atlas of this model, which has {parcels} parcels",
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
