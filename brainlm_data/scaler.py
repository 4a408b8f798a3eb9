"""Robust scaling: median and interquartile range a parcel, from training subjects only, and their use (`prepare`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError

if TYPE_CHECKING:
    from brainlm_data.store import Store


@dataclass(frozen=True)
class Scaler:
    """`median`, `iqr`: (parcel,) float32 of demeaned series. NaN where no training subject covers a parcel."""

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
                return cls(arrays["median"].astype(np.float32), arrays["iqr"].astype(np.float32))
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path}: not a scaler ({error})", "it needs arrays median and iqr") from error


def fit_scaler(store: Store, recordings: list[str]) -> Scaler:
    """Exact median and IQR a parcel over the valid steps of these recordings, each demeaned first.

    Computed with dask, a block of parcels at a time, so that memory does not grow with the number of parcels; a
    block holds all steps of the training set (76,000 recordings x 490 steps x 4 bytes: 150 MB a parcel).

    Raises
    ------
    InputError: no recordings, or none with valid steps.
    """
    import dask
    import dask.array as da

    if not recordings:
        raise InputError("scaler: no training recording", "more subjects, or other collate.validation and collate.test")
    bold = da.from_zarr(str(store.path), component="bold")
    parts = []
    for name in recordings:
        place = store.place(name)
        steps = np.flatnonzero(store.valid(name)) + place.start
        if len(steps):
            values = bold[place][steps - place.start]
            parts.append(values - da.nanmean(values, axis=0, keepdims=True))
    if not parts:
        raise InputError("scaler: the training recordings have no valid step", "look at the QC pages")
    stacked = da.concatenate(parts).rechunk((-1, 32))
    with np.errstate(all="ignore"):
        quantiles = stacked.map_blocks(_quantiles, dtype=np.float64, chunks=((3,), stacked.chunks[1]))
        with dask.config.set(scheduler="synchronous"):
            low, median, high = np.asarray(quantiles.compute())
    iqr = high - low
    return Scaler(median.astype(np.float32), np.where(iqr > 0, iqr, np.nan).astype(np.float32))


def _quantiles(block: NDArray[np.float32]) -> NDArray[np.float64]:
    """25, 50 and 75 per cent of each column (3, columns), NaN left out."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without data is NaN, which is what we want
        return np.nanquantile(block.astype(np.float64), [0.25, 0.5, 0.75], axis=0)


def prepare(series: NDArray[np.floating] | str | Path, scaler: Scaler | str | Path) -> NDArray[np.float32]:
    """(x - mean of the recording - median) / iqr, a parcel at a time (Ortega Caro et al., 2024).

    Parameters
    ----------
    series: (time, parcel), as in the store; or a `_timeseries.tsv` that stage `resample` wrote.
    scaler: the training set's, or its scaler.npz.

    Returns
    -------
    (time, parcel) float32. NaN stays NaN: a step or a parcel without data, and a parcel without a scale (the model
    hides them, `WindowDataset` fills them as it is told).

    Raises
    ------
    InputError: the number of parcels is not the scaler's.
    """
    if isinstance(series, (str, Path)):
        from brainlm_data.tables import read_table

        series = read_table(Path(series))[1]
    if isinstance(scaler, (str, Path)):
        scaler = Scaler.load(Path(scaler))
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(scaler.median):
        raise InputError(
            f"series of shape {values.shape}, the scaler has {len(scaler.median)} parcels",
            "give (time, parcel) of the same atlas",
        )
    known = np.isfinite(values)
    mean = np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)
    return ((values - mean - scaler.median) / scaler.iqr).astype(np.float32)
