"""Fit the scaler on training recordings: exact quartiles per parcel, counted by threads or by dask's workers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.quantiles import BITS, quantiles
from brainlm_data.dataset.scaler import Scaler, demeaned
from brainlm_data.dataset.store import Store, open_store
from brainlm_data.errors import InputError

WAIT_S = 60  # for dask.distributed
COPIES = 4  # of a table of counts that exist at once


def fit_scaler(
    store: Store, recordings: Sequence[str], memory_mb: int = 1024, threads: int = 1, scheduler: str | None = None
) -> Scaler:
    """Exact median and IQR per parcel over the valid steps of these recordings, each demeaned first as `prepare` does.

    The store is read one recording at a time, three times with the default memory, and counted (`quantiles`): no
    cohort is too large. The result depends neither on memory nor on threads.

    Parameters
    ----------
    recordings: ids of training recordings, and of no other.
    memory_mb: for the counts of all threads; with more of it the store is read less often.
    scheduler: address of dask.distributed's scheduler; its workers then read the store, one strand per thread.

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
        store = open_store(self.path)
        for name in self.recordings:
            yield demeaned(store.series(name))[store.valid(name)].astype(np.float32)
