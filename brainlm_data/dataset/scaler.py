"""Robust scaling: median and interquartile range a parcel, from training subjects only, and their use (`prepare`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.quantiles import BITS, quantiles
from brainlm_data.errors import InputError

if TYPE_CHECKING:
    from brainlm_data.dataset.store import Store

WAIT_S = 60  # for dask.distributed
COPIES = 4  # of a table of counts that are there at once


@dataclass(frozen=True)
class Scaler:
    """`median`, `iqr`: (parcel,) float32 of demeaned series. NaN where no training subject covers a parcel.

    A parcel that is constant in all training subjects has no scale: its `iqr` is NaN, never 0.
    """

    median: NDArray[np.float32]
    iqr: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write scaler.npz."""
        np.savez(path, median=self.median, iqr=self.iqr)

    @classmethod
    def load(cls, path: Path) -> Scaler:
        """Read scaler.npz. Raises InputError where it is not one."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                median, iqr = (arrays[name].astype(np.float32) for name in ("median", "iqr"))
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path}: not a scaler ({error})", "it needs arrays median and iqr") from error
        if median.ndim != 1 or median.shape != iqr.shape:
            raise InputError(f"{path}: median {median.shape} and iqr {iqr.shape}", "both must be (parcel,)")
        return cls(median, np.where(iqr > 0, iqr, np.float32(np.nan)))


def demeaned(series: NDArray[np.floating]) -> NDArray[np.float64]:
    """(time, parcel) without each parcel's mean over the steps that have data; NaN stays NaN."""
    values = np.asarray(series, dtype=np.float64)
    known = np.isfinite(values)
    return values - np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)


def fit_scaler(
    store: Store, recordings: Sequence[str], memory_mb: int = 1024, threads: int = 1, scheduler: str | None = None
) -> Scaler:
    """Exact median and IQR a parcel over the valid steps of these recordings, each demeaned first as `prepare` does.

    The store is read a recording at a time, three times with the default memory, and counted (`quantiles`): no cohort
    is too large. The result depends neither on memory nor on threads.

    Parameters
    ----------
    recordings: ids of training recordings, and of no other.
    memory_mb: for the counts of all threads; with more of it the store is read less often.
    scheduler: address of dask.distributed's scheduler; its workers then read the store, a strand each thread of theirs.

    Raises
    ------
    InputError: no recordings, or none with valid steps; no scheduler answers.
    """
    if not recordings:
        raise InputError(
            "scaler: no training recording", "more subjects, or less in collate.validation, test, external"
        )
    if not any(store.valid(name).any() for name in recordings):
        raise InputError("scaler: the training recordings have no valid step", "look at the QC pages")
    parcels = len(store.parcels)
    with _workers(scheduler, threads) as threads:
        low, median, high = _quartiles(store.path, recordings, parcels, memory_mb, threads)
    iqr = high - low
    return Scaler(median.astype(np.float32), np.where(iqr > 0, iqr, np.nan).astype(np.float32))


def _quartiles(
    path: Path, recordings: Sequence[str], parcels: int, memory_mb: int, threads: int
) -> NDArray[np.float64]:
    wanted = (0.25, 0.5, 0.75)
    bins = memory_mb * 2**20 / (threads * parcels * 2 * len(wanted) * 8 * COPIES)
    passes = math.ceil(BITS / min(max(int(math.log2(max(bins, 1))), 4), 16))
    strands = [Strand(path.absolute(), recordings[n::threads]) for n in range(min(threads, len(recordings)))]
    return quantiles(strands, parcels, wanted, math.ceil(BITS / passes), threads)


@contextmanager
def _workers(scheduler: str | None, threads: int) -> Iterator[int]:
    """Threads that work at once: of this process, or of all workers of a scheduler, which dask then takes."""
    if scheduler is None:
        yield threads
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("collate.scheduler needs dask.distributed", "pip install 'dask[distributed]'") from error
    try:
        client = Client(scheduler, timeout=WAIT_S)
        client.wait_for_workers(1, timeout=WAIT_S)
    except (OSError, ValueError) as error:
        raise InputError(
            f"collate.scheduler: no scheduler with a worker answers at {scheduler}",
            "start them: dask scheduler, dask worker ADDRESS",
        ) from error
    with client:
        yield sum(client.nthreads().values())


@dataclass(frozen=True)
class Strand:
    """Some recordings of a store, to be read one after another, in this process or another."""

    path: Path
    recordings: Sequence[str]

    def __call__(self) -> Iterator[NDArray[np.float32]]:
        """(valid steps, parcels) of each, demeaned."""
        from brainlm_data.dataset.store import open_store

        store = open_store(self.path)
        for name in self.recordings:
            yield demeaned(store.series(name))[store.valid(name)].astype(np.float32)


def prepare(
    series: NDArray[np.floating] | str | Path, scaler: Scaler | str | Path, fill: float = np.nan
) -> NDArray[np.float32]:
    """(x - mean of the recording - median) / iqr, a parcel at a time (Ortega Caro et al., 2024).

    Parameters
    ----------
    series: (time, parcel), as in the store; or a `_timeseries.tsv` that stage `resample` wrote.
    scaler: the training set's; or scaler.npz; or a folder with one and the card (a model's, or `<outdir>`), against
        which the sidecar of a file is then checked.
    fill: instead of NaN. Its mask is `np.isfinite` of what the default returns.

    Returns
    -------
    (time, parcel) float32. NaN stays NaN by default: a step or a parcel without data, and a parcel without a scale.

    Raises
    ------
    InputError: the number of parcels is not the scaler's, or the file's rate, band, atlas or space is not the card's.
    """
    from brainlm_data.dataset.card import check_against
    from brainlm_data.files.tables import read_table

    if isinstance(scaler, (str, Path)):
        folder = Path(scaler)
        if folder.is_dir():
            if isinstance(series, (str, Path)):
                check_against(folder / "card.md", Path(series))
            folder = folder / "scaler.npz"
        scaler = Scaler.load(folder)
    if isinstance(series, (str, Path)):
        series = read_table(Path(series))[1]
    values = np.asarray(series)
    if values.ndim != 2 or values.shape[1] != len(scaler.median):
        raise InputError(
            f"series of shape {values.shape}, the scaler has {len(scaler.median)} parcels",
            "give (time, parcel) of the same atlas",
        )
    scaled = ((demeaned(values) - scaler.median) / scaler.iqr).astype(np.float32)
    return scaled if np.isnan(fill) else np.where(np.isfinite(scaled), scaled, np.float32(fill))
