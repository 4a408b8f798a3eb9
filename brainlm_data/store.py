"""The store: one Zarr v3 folder with the parcel series of a cohort.

`bold` (time, parcel) float32 and `valid` (time) bool. Each recording starts on a chunk boundary and is padded with NaN
to the next one, so that writers never share a chunk and the bytes depend on the order of recordings alone. Splits,
exclusions and the scaler are in files beside the store: changing them rewrites no data.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from brainlm_data.scaler import Scaler

FORMAT = 1  # layout of the store; goes up when readers must change
Series = NDArray[np.float32]


def layout(lengths: Iterable[int], chunk_steps: int) -> tuple[list[int], int]:
    """First step of each recording, and the total: every start is a multiple of `chunk_steps`."""
    starts, total = [], 0
    for length in lengths:
        starts.append(total)
        total += -(-length // chunk_steps) * chunk_steps
    return starts, total


def write_store(
    path: Path,
    series: Iterable[Series] | Callable[[int], Series],
    recordings: pd.DataFrame,
    atlas_table: pd.DataFrame,
    attrs: dict[str, Any],
    invalid: Sequence[Sequence[int]] | None = None,
    chunk_steps: int = 256,
) -> list[int]:
    """Write a store; returns the first step of each recording.

    Parameters
    ----------
    series: one (time, parcel) float32 array a recording, in the order of `recordings`, or a function of its row number.
    recordings: columns id and n_steps, and whatever else is to travel with the store.
    atlas_table: one row a parcel: index, name, hemisphere, network, x, y, z (mm).
    attrs: rate_hz, units, atlas, atlas_sha256, card and what else describes the data; JSON values.
    invalid: for each recording the steps that come from dropped or censored volumes.

    Raises
    ------
    InputError: a series whose shape is not (n_steps, parcels).
    """
    import zarr

    starts, total = layout(recordings["n_steps"], chunk_steps)
    parcels = len(atlas_table)
    table = atlas_table.drop(columns=[c for c in ("n_voxels",) if c in atlas_table])
    attributes = {
        "format": FORMAT,
        "parcels": table.to_dict("list"),
        "recordings": recordings.assign(start=starts)[["id", "start", "n_steps"]].to_dict("list"),
        "chunk_steps": chunk_steps,
        **attrs,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata are not in the Zarr 3 text yet, but xarray reads them
        group = zarr.create_group(path, zarr_format=3, overwrite=True, attributes=attributes)
        bold = group.create_array(
            "bold", shape=(total, parcels), chunks=(chunk_steps, parcels), dtype="float32", fill_value=np.nan,
            dimension_names=("time", "parcel"), attributes={"units": attrs.get("units", "")},
        )  # fmt: skip
        valid = group.create_array(
            "valid", shape=(total,), chunks=(chunk_steps,), dtype="bool", fill_value=False, dimension_names=("time",)
        )
        produced = iter(series) if not callable(series) else (series(row) for row in range(len(recordings)))
        for row, (start, length) in enumerate(zip(starts, recordings["n_steps"], strict=True)):
            data = np.asarray(next(produced), dtype=np.float32)
            if data.shape != (length, parcels):
                name = recordings["id"].iloc[row]
                raise InputError(
                    f"{name}: series of shape {data.shape}, expected {(int(length), parcels)}", "collate again"
                )
            good = np.isfinite(data).any(1)
            if invalid is not None:
                good[list(invalid[row])] = False
            bold[start : start + length] = data
            valid[start : start + length] = good
        zarr.consolidate_metadata(path)
    return starts


def open_store(path: str | Path) -> Store:
    """Open a store. Raises InputError where there is none."""
    path = Path(path)
    if not (path / "zarr.json").exists():
        raise InputError(f"{path}: no Zarr v3 store there", "give the path of store.zarr; `snakemake dataset` makes it")
    return Store(path)


class Store:
    """A cohort's parcel series.

    Attributes
    ----------
    path: the store. attrs: its attributes. rate_hz: steps a second. parcels: one row a parcel.
    recordings: one row a recording: `recordings.parquet` beside the store where it is, else what the store knows.
    scaler: `scaler.npz` beside the store, or None.
    """

    def __init__(self, path: Path) -> None:
        import zarr

        self.path = path
        self._group: Any = zarr.open_group(path, mode="r")
        self.attrs: dict[str, Any] = dict(self._group.attrs)
        table = self.attrs["recordings"]
        self._place = dict(zip(table["id"], zip(table["start"], table["n_steps"], strict=True), strict=True))

    @property
    def rate_hz(self) -> float:
        """Steps a second."""
        return float(self.attrs["rate_hz"])

    @cached_property
    def dataset(self) -> xr.Dataset:
        """The store as xarray sees it, lazily."""
        import xarray as xr

        return xr.open_zarr(self.path)

    def __getitem__(self, name: str) -> xr.DataArray:
        return self.dataset[name]

    @cached_property
    def parcels(self) -> pd.DataFrame:
        """One row a parcel: index, name, hemisphere, network, x, y, z (mm)."""
        import pandas as pd

        return pd.DataFrame(self.attrs["parcels"])

    @cached_property
    def recordings(self) -> pd.DataFrame:
        """One row a recording, refused and excluded ones included where recordings.parquet is at hand."""
        import pandas as pd

        beside = self.path.parent / "recordings.parquet"
        if beside.exists():
            return pd.read_parquet(beside)
        return pd.DataFrame(self.attrs["recordings"]).assign(status="done", reason="")

    @cached_property
    def scaler(self) -> Scaler | None:
        """Median and IQR a parcel over training subjects, or None where scaler.npz is not beside the store."""
        from brainlm_data.scaler import Scaler

        beside = self.path.parent / "scaler.npz"
        return Scaler.load(beside) if beside.exists() else None

    def place(self, recording: str) -> slice:
        """Steps of a recording in the store. Raises InputError where it has none."""
        if recording not in self._place:
            raise InputError(f"{self.path}: no recording {recording}", f"it holds {len(self._place)}, see .recordings")
        start, length = self._place[recording]
        return slice(start, start + length)

    def series(self, recording: str) -> Series:
        """(time, parcel) float32; NaN where a parcel or a step has no data."""
        return np.asarray(self._group["bold"][self.place(recording)])

    def valid(self, recording: str) -> NDArray[np.bool_]:
        """(time,) False on steps from dropped or censored volumes."""
        return np.asarray(self._group["valid"][self.place(recording)])
