"""The parcel series of one recording: values with what is known of them, as a table, as xarray, and as pictures."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainlm_data.dataset.look import INK, UNKNOWN, by_network, drawing, mark_networks, stacked
from brainlm_data.dataset.parcel_names import order_of
from brainlm_data.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

COORDINATES = ("hemisphere", "network", "x", "y", "z")  # of a parcel, where the atlas says them
FEWEST = 3  # steps of a correlation


@dataclass(frozen=True, eq=False, repr=False)
class ParcelSeries:
    """The parcel series of one recording: what `Store.recording` and `read_series` give, and `embed` takes.

    Attributes
    ----------
    values: (time, parcel), unscaled, NaN where unknown. `numpy.asarray(series)` gives them, too.
    stated: what was done or taken for granted when it was read, in words.
    id: of the recording; empty for an array that has none.
    rate_hz: steps per second; None where nobody says.
    valid: (time,) False on steps without data and on those from dropped or censored volumes; None where nobody says.
    parcels: one row per parcel: name and, where the atlas says them, hemisphere, network, x, y, z (mm); else None.
    units: of the values; empty where nobody says.

    Examples
    --------
    >>> from brainlm_data import open_store
    >>> series = open_store("results/store.zarr").recording("sub-00_task-rest")
    >>> series
    ParcelSeries sub-00_task-rest: 260 steps at 1 Hz (260 s) x 24 parcels
    >>> series.to_dataframe().iloc[:2, :3].round().astype(int)
    parcel    p0   p1    p2
    time_s
    0.0     1000  994  1003
    1.0      994  991   999
    >>> series.plot().get_xlabel()
    'time (s)'
    """

    values: NDArray[np.floating]
    stated: list[str] = field(default_factory=list)
    id: str = ""
    rate_hz: float | None = None
    valid: NDArray[np.bool_] | None = None
    parcels: pd.DataFrame | None = None
    units: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """(time, parcel)."""
        return self.values.shape

    @property
    def times(self) -> NDArray[np.float64]:
        """(time,) seconds since the first step; numbers of the steps where the rate is not known."""
        return np.arange(len(self.values)) / (self.rate_hz or 1)

    @property
    def names(self) -> list[str]:
        """Names of the parcels; their numbers, from 1 on, where nobody names them."""
        if self.parcels is None:
            return [str(number + 1) for number in range(self.values.shape[1])]
        return [str(name) for name in self.parcels["name"]]

    @property
    def networks(self) -> list[str]:
        """The network of each parcel; empty text where nobody says."""
        if self.parcels is None or "network" not in self.parcels:
            return [""] * self.values.shape[1]
        return [str(name) for name in self.parcels["network"].fillna("")]

    def in_order_of(self, names: Sequence[str], source: str = "") -> ParcelSeries:
        """The series with its parcels in the order of a card's (`Card.parcel_names`), where both say their names.

        Parameters
        ----------
        source: of the series, for the message; its id.

        Raises
        ------
        InputError: it has other parcels, or names of another kind in another order.
        """
        if self.parcels is None or len(self.parcels) != self.values.shape[1]:
            return self
        order = order_of(self.names, names, source or self.id or "the series")
        if order is None:
            return self
        stated = [*self.stated, "parcels were put in the order of the card's, by their names"]
        parcels = self.parcels.iloc[order].reset_index(drop=True)
        return replace(self, values=self.values[:, order], parcels=parcels, stated=stated)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"ParcelSeries {self.id}".rstrip() + ": " + "".join(self._facts())

    def _repr_html_(self) -> str:
        rows = "".join(f"<li>{html.escape(fact.strip(' ,x'))}</li>" for fact in self._facts())
        return f"<b>ParcelSeries</b> {html.escape(self.id)}<ul>{rows}</ul>"

    def to_dataframe(self) -> pd.DataFrame:
        """One row per step, one column per parcel; the index is the time in seconds (`time_s`).

        Where the rate is not known the index is the number of the step (`step`).
        """
        import pandas as pd

        time = pd.Index(self.times, name="time_s" if self.rate_hz else "step")
        return pd.DataFrame(self.values, index=time, columns=pd.Index(self.names, name="parcel"))

    def to_xarray(self) -> xr.DataArray:
        """(time, parcel) with coordinates: time in seconds, parcels by name, their hemisphere, network, x, y, z (mm).

        Without a rate `time` is the number of the step; its attribute `units` says which. `valid` is a coordinate, too.

        Examples
        --------
        >>> from brainlm_data import open_store
        >>> array = open_store("results/store.zarr").recording("sub-00_task-rest").to_xarray()
        >>> array.sel(parcel="p3", time=slice(10, 12)).shape
        (3,)
        """
        import xarray as xr

        coordinates: dict[str, Any] = {
            "time": ("time", self.times, {"units": "s" if self.rate_hz else "steps"}),
            "parcel": ("parcel", self.names),
            "recording": self.id,
        }
        if self.valid is not None:
            coordinates["valid"] = ("time", self.valid)
        coordinates |= parcel_coordinates(self.parcels)
        return xr.DataArray(
            self.values, coordinates, ("time", "parcel"), name="bold", attrs={"units": self.units, **self._rate()}
        )

    def connectivity(self) -> NDArray[np.float64]:
        """Pearson correlations (parcel, parcel) over the valid steps; NaN for an unknown or constant parcel."""
        series = np.asarray(self.values, dtype=np.float64)
        if self.valid is not None:
            series = series[self.valid]
        series = series[~np.isnan(series).all(axis=1)]
        if len(series) < FEWEST:
            return np.full((series.shape[1],) * 2, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.corrcoef(series, rowvar=False))

    def plot(self, axes: Axes | None = None, fd_mm: ArrayLike | None = None) -> Axes:
        """A carpet: parcels, by network, against time, each in its own standard deviations; returns its axes.

        In a new figure the mean of all parcels is above it and, where it is given, framewise displacement.

        Parameters
        ----------
        axes: to draw the carpet alone in; None: a new figure.
        fd_mm: (time,) framewise displacement, mm, one value per step.

        Raises
        ------
        InputError: `fd_mm` of another length than the series.
        """
        if fd_mm is not None and np.shape(fd_mm) != self.times.shape:
            raise InputError(
                f"fd_mm of shape {np.shape(fd_mm)}, the series has {len(self.times)} steps", "give one value per step"
            )
        order, groups = by_network(self.networks)
        z = standardized(self.values)
        above: list[Axes] = []
        if axes is None:
            *above, axes = stacked([0.13] * (1 if fd_mm is None else 2) + [1], (8.0, 5.4))
        with drawing(axes) as carpet:
            image = carpet.imshow(
                z.T[order], aspect="auto", cmap="RdBu_r", vmin=-2.5, vmax=2.5, interpolation="nearest",
                extent=(0, len(z) / (self.rate_hz or 1), len(order) - 0.5, -0.5),
            )  # fmt: skip
            carpet.set_facecolor(UNKNOWN)
            _mark(carpet, groups)
            carpet.set_xlabel("time (s)" if self.rate_hz else "time (steps)")
            carpet.figure.colorbar(image, ax=carpet, label="standard deviations", shrink=0.7, pad=0.01)
            known = np.isfinite(z)
            mean = np.where(known, z, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
            for panel, name, course in zip(above, ("mean", "FD (mm)"), (mean, fd_mm), strict=False):
                panel.plot(self.times, np.asarray(course, dtype=np.float64), color=INK, linewidth=0.8)
                panel.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7.5)
            (above[0] if above else carpet).set_title(self.id or "parcel series")
        return carpet

    def plot_connectivity(self, axes: Axes | None = None) -> Axes:
        """`connectivity`, parcels by network; returns the axes of the matrix."""
        order, groups = by_network(self.networks)
        with drawing(axes, (6.6, 5.6)) as matrix:
            image = matrix.imshow(
                self.connectivity()[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest"
            )
            matrix.set_facecolor(UNKNOWN)
            _mark(matrix, groups, both=True)
            matrix.set_title(f"Functional connectivity {self.id}".rstrip())
            matrix.figure.colorbar(image, ax=matrix, label="Pearson correlation", shrink=0.7)
        return matrix

    def _rate(self) -> dict[str, float]:
        return {"rate_hz": self.rate_hz} if self.rate_hz else {}

    def _facts(self) -> list[str]:
        """What the repr says, piece by piece."""
        if self.values.ndim != 2:
            return [f"shape {self.values.shape}, not (time, parcel)"]
        steps, parcels = self.values.shape
        facts = [f"{steps} steps", f" x {parcels} parcels"]
        if self.rate_hz:
            facts[0] += f" at {self.rate_hz:g} Hz ({steps / self.rate_hz:g} s)"
        if unknown := int(np.isnan(self.values).all(axis=0).sum()):
            facts.append(f", {unknown} of them unknown")
        if self.valid is not None and not self.valid.all():
            facts.append(f", {int((~self.valid).sum())} steps dropped or censored")
        if self.units:
            facts.append(f", {self.units}")
        return facts


def _mark(axes: Axes, groups: Sequence[tuple[str, int, int]], both: bool = False) -> None:
    """Networks on the axes; parcels where nobody says their networks."""
    mark_networks(axes, groups, both)
    if [name for name, _, _ in groups] == ["unassigned"]:
        axes.set_yticks([], [])
        axes.set_ylabel("parcel")
        if both:
            axes.set_xticks([], [])
            axes.set_xlabel("parcel")


def recording_name(path: Path) -> str:
    """The name of a file of one recording without its ending."""
    return re.sub(r"(\.ptseries)?\.(nii\.gz|nii|tsv|npy)$", "", path.name)


def parcel_coordinates(parcels: pd.DataFrame | None) -> dict[str, tuple[str, Any]]:
    """Coordinates along `parcel` of an atlas's table, without what it does not say."""
    coordinates = {}
    for name in COORDINATES:
        if parcels is not None and name in parcels:
            column = parcels[name]
            text = column.dtype == object or column.dtype.kind not in "iuf"
            values = np.array(column.fillna("").tolist(), dtype=str) if text else column.to_numpy()
            coordinates[name] = ("parcel", values)
    return coordinates


def standardized(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(time, parcel), each parcel less its mean, in its own standard deviations; a constant one is 0, NaN stays NaN."""
    x = np.asarray(values, dtype=np.float64)
    known = np.isfinite(x)
    count = np.maximum(known.sum(0), 1)
    centred = x - np.where(known, x, 0).sum(0) / count
    spread = np.sqrt((np.where(known, centred, 0) ** 2).sum(0) / count)
    return np.where(known, centred / np.where(spread > 0, spread, 1), np.nan)
