"""Robust scaling: median and interquartile range a parcel, from training subjects only, and their use (`prepare`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError
from brainlm_data.quantiles import BITS, quantiles

if TYPE_CHECKING:
    from brainlm_data.store import Store

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


def fit_scaler(store: Store, recordings: Sequence[str], memory_mb: int = 1024, threads: int = 1) -> Scaler:
    """Exact median and IQR a parcel over the valid steps of these recordings, each demeaned first as `prepare` does.

    The store is read a recording at a time, three times with the default memory, and counted (`quantiles`): no cohort
    is too large. The result depends neither on memory nor on threads.

    Parameters
    ----------
    recordings: ids of training recordings, and of no other.
    memory_mb: for the counts of all threads; with more of it the store is read less often.

    Raises
    ------
    InputError: no recordings, or none with valid steps.
    """
    if not recordings:
        raise InputError(
            "scaler: no training recording", "more subjects, or less in collate.validation, test, external"
        )
    if not any(store.valid(name).any() for name in recordings):
        raise InputError("scaler: the training recordings have no valid step", "look at the QC pages")
    parcels, wanted = len(store.parcels), (0.25, 0.5, 0.75)
    bins = memory_mb * 2**20 / (threads * parcels * 2 * len(wanted) * 8 * COPIES)
    passes = math.ceil(BITS / min(max(int(math.log2(max(bins, 1))), 4), 16))
    strands = [Strand(store.path, recordings[first::threads]) for first in range(min(threads, len(recordings)))]
    low, median, high = quantiles(strands, parcels, wanted, math.ceil(BITS / passes), threads)
    iqr = high - low
    return Scaler(median.astype(np.float32), np.where(iqr > 0, iqr, np.nan).astype(np.float32))


@dataclass(frozen=True)
class Strand:
    """Some recordings of a store, to be read one after another, in this process or another."""

    path: Path
    recordings: Sequence[str]

    def __call__(self) -> Iterator[NDArray[np.float32]]:
        """(valid steps, parcels) of each, demeaned."""
        from brainlm_data.store import open_store

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
    from brainlm_data.card import check_against
    from brainlm_data.tables import read_table

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
