"""Robust scaling: median and interquartile range per parcel, from training subjects only, and their use (`prepare`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError
from brainlm_data.files.arrays import reads_arrays
from brainlm_data.files.sums import check_sum

AGAIN = "it lies beside the store or the model that it was fitted for; make that again (arrays: median, iqr)"


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
        """Read scaler.npz, compared with the SHA256SUMS beside it. Raises InputError where it is damaged, or none."""
        check_sum(path, AGAIN)
        with reads_arrays(path, AGAIN) as arrays:
            median, iqr = (arrays[name].astype(np.float32) for name in ("median", "iqr"))
        if median.ndim != 1 or median.shape != iqr.shape:
            raise InputError(f"{path}: median {median.shape} and iqr {iqr.shape}", "both must be (parcel,)")
        scaled = iqr > 0
        if not scaled.any() or not np.isfinite(median[scaled]).all() or np.isinf(iqr).any():
            raise InputError(f"{path}: no scale for any parcel, or a median or iqr that is no number", AGAIN)
        return cls(median, np.where(scaled, iqr, np.float32(np.nan)))


def demeaned(series: NDArray[np.floating]) -> NDArray[np.float64]:
    """(time, parcel) without each parcel's mean over the steps that have data; NaN stays NaN."""
    values = np.asarray(series, dtype=np.float64)
    known = np.isfinite(values)
    return values - np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)


def prepare(
    series: NDArray[np.floating] | str | Path, scaler: Scaler | str | Path, fill: float = np.nan
) -> NDArray[np.float32]:
    """(x - mean of the recording - median) / iqr, for each parcel (Ortega Caro et al., 2024).

    Parameters
    ----------
    series: (time, parcel), as in the store; or a `_timeseries.tsv` that stage `resample` wrote.
    scaler: the training set's; or scaler.npz; or a folder with one and the card (a model's, or `<outdir>`), against
        which the sidecar of a file is then checked; its columns are put in the order of the card's parcels.
    fill: instead of NaN. Its mask is `np.isfinite` of what the default returns.

    Returns
    -------
    (time, parcel) float32. NaN stays NaN by default: a step or a parcel without data, and a parcel without a scale.

    Raises
    ------
    InputError: the number of parcels is not the scaler's, or the file's rate, band, atlas, space or
        parcels are not the card's.

    Examples
    --------
    >>> from brainlm_data import open_store, prepare
    >>> store = open_store("results/store.zarr")
    >>> prepare(store.series("sub-00_task-rest"), store.scaler).shape
    (260, 24)
    """
    from brainlm_data.dataset.card import check_against
    from brainlm_data.dataset.parcel_names import order_of
    from brainlm_data.files.tables import read_table

    wanted: list[str] = []  # names of the parcels, where a card says them
    if isinstance(scaler, (str, Path)):
        folder = Path(scaler)
        if folder.is_dir():
            if isinstance(series, (str, Path)):
                wanted = check_against(folder, Path(series)).parcel_names
            folder = folder / "scaler.npz"
        scaler = Scaler.load(folder)
    if isinstance(series, (str, Path)):
        columns, table = read_table(Path(series))
        order = order_of(columns, wanted, str(series))
        series = table if order is None else table[:, order]
    values = np.asarray(series)
    if values.ndim != 2 or values.shape[1] != len(scaler.median):
        raise InputError(
            f"series of shape {values.shape}, the scaler has {len(scaler.median)} parcels",
            "give (time, parcel) of the same atlas",
        )
    scaled = ((demeaned(values) - scaler.median) / scaler.iqr).astype(np.float32)
    return scaled if np.isnan(fill) else np.where(np.isfinite(scaled), scaled, np.float32(fill))
