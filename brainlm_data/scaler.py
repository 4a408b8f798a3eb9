"""Robust scaling: median and interquartile range a parcel, from training subjects only, and their use (`prepare`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError

if TYPE_CHECKING:
    from brainlm_data.store import Store

BATCH = 64  # recordings that one dask task reads


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

    Quantiles need all steps of a parcel at once. So parcels are taken in blocks that fit `memory_mb`, and the store is
    read once a block, by dask tasks of a few recordings each.

    Parameters
    ----------
    recordings: ids of training recordings, and of no other.

    Raises
    ------
    InputError: no recordings, or none with valid steps.
    """
    import dask

    if not recordings:
        raise InputError(
            "scaler: no training recording", "more subjects, or less in collate.validation, test, external"
        )
    steps = sum(int(store.valid(name).sum()) for name in recordings)
    if not steps:
        raise InputError("scaler: the training recordings have no valid step", "look at the QC pages")
    parcels = len(store.parcels)
    width = max(1, int(memory_mb * 2**20 / (steps * 16)))  # float32: tasks' results, block, and what sorting takes
    batches = [recordings[first : first + BATCH] for first in range(0, len(recordings), BATCH)]
    blocks = []
    for first in range(0, parcels, width):
        columns = slice(first, first + width)
        tasks = [dask.delayed(_valid_steps)(store, batch, columns) for batch in batches]
        parts = dask.compute(*tasks, scheduler="threads" if threads > 1 else "synchronous", num_workers=threads)
        blocks.append(_quartiles(np.concatenate(parts, axis=1)))
    low, median, high = np.concatenate(blocks, axis=1)
    iqr = high - low
    return Scaler(median.astype(np.float32), np.where(iqr > 0, iqr, np.nan).astype(np.float32))


def _valid_steps(store: Store, recordings: Sequence[str], columns: slice) -> NDArray[np.float32]:
    """(parcels, steps) of some parcels: demeaned, valid steps only."""
    parts = [demeaned(store.series(name)[:, columns])[store.valid(name)].T for name in recordings]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _quartiles(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """25, 50 and 75 per cent of each row (3, rows), NaN left out; NaN where a row has nothing else. Sorts in place."""
    rows.sort(axis=1)  # NaN last
    count = np.isfinite(rows).sum(1)
    place = np.array([0.25, 0.5, 0.75])[:, None] * np.maximum(count - 1, 0)
    below = np.floor(place).astype(int)
    low, high = (rows[np.arange(len(rows)), np.minimum(i, rows.shape[1] - 1)].astype(float) for i in (below, below + 1))
    high = np.where(below + 1 < count, high, low)
    return np.where(count > 0, low + (place - below) * (high - low), np.nan)


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
