"""The store: one Zarr v3 folder with the parcel series of a cohort.

`bold` (time, parcel) float32 and `valid` (time) bool. Each recording starts on a chunk boundary and is padded with NaN
to the next one. Chunks are gathered in shards, one file and one writer each, so that many processes can write at once;
the bytes depend on the order of the recordings alone, and a store that grows keeps its shards (`shards`). What is known
of each recording is in the store's attributes.
Damage is an error on reading: every chunk has a CRC-32C, zarr.json is sealed, and a chunk that is not there is never
"no data" (docs/store.md).
Splits, exclusions and the scaler are in files beside the store: changing them changes no byte of it.
"""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.look import SPLIT_COLOURS, drawing
from brainlm_data.dataset.parcel_names import check_parcels, names_of
from brainlm_data.dataset.scaler import Scaler
from brainlm_data.dataset.series import ParcelSeries, parcel_coordinates
from brainlm_data.dataset.shards import PreviousStore, made_of
from brainlm_data.errors import InputError, did_you_mean
from brainlm_data.files.processes import processes
from brainlm_data.files.reads import reads
from brainlm_data.files.seal import BLANK, check_seal, seal
from brainlm_data.files.sums import check_sum, write_sums

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

FORMAT = 1  # layout of the store; goes up when readers must change
SHARD_CHUNKS = 32  # chunks in a file: 76,000 runs of 490 volumes are 4,750 files of 14 MB
WHOLE = {"array.write_empty_chunks": True}  # of zarr's settings: what is all padding is written, too
CODECS = ("zstd", "crc32c")  # of every chunk, in this order
SEAL = "checksum"  # attribute of the store, of zarr.json as a whole
AGAIN = (
    "make the store again, `snakemake dataset` or the import; `brainlm-data verify` on its folder says what is damaged"
)
Series = NDArray[np.float32]


def layout(lengths: Iterable[int], chunk_steps: int) -> tuple[list[int], int]:
    """First step of each recording, and the total: every start is a multiple of `chunk_steps`."""
    starts, total = [], 0
    for length in lengths:
        starts.append(total)
        total += -(-int(length) // chunk_steps) * chunk_steps
    return starts, total


def write_store(
    path: Path,
    series: Iterable[Series] | Callable[[int], Series],
    recordings: pd.DataFrame,
    atlas_table: pd.DataFrame,
    attrs: dict[str, Any],
    invalid: Sequence[Sequence[int]] | None = None,
    chunk_steps: int = 256,
    workers: int = 1,
    before: PreviousStore | None = None,
) -> list[int]:
    """Write a store; returns the first step of each recording.

    Parameters
    ----------
    series: one (time, parcel) float32 array per recording, in the order of `recordings`, or a function of its row
        number (for `workers` above 1 one that can be pickled).
    recordings: columns id and n_steps, and whatever else is to travel with the store.
    atlas_table: one row per parcel: index, name, hemisphere, network, x, y, z (mm).
    attrs: rate_hz, units, atlas, atlas_sha256, card and what else describes the data; JSON values.
    invalid: for each recording the steps that come from dropped or censored volumes.
    workers: processes, each of which writes whole shards.
    before: of the store that this one replaces; recordings that were in it come first, and shards that are the same
        are not written again. `series` must then be a function.

    Raises
    ------
    InputError: a series whose shape is not (n_steps, parcels).
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    order = before.order(recordings["id"].tolist()) if before else list(range(len(recordings)))
    recordings = recordings.iloc[order]
    lengths = [int(n) for n in recordings["n_steps"]]
    starts, total = layout(lengths, chunk_steps)
    parcels, shard = len(atlas_table), chunk_steps * SHARD_CHUNKS
    attributes = {
        SEAL: BLANK,
        "format": FORMAT,
        "parcels": _columns(atlas_table),
        "recordings": _columns(recordings.assign(start=starts)),
        "chunk_steps": chunk_steps,
        **attrs,
    }
    codecs: Any = {"compressors": [ZstdCodec(), Crc32cCodec()]}
    with warnings.catch_warnings(), zarr.config.set(WHOLE):
        warnings.simplefilter("ignore")  # consolidated metadata are not in the Zarr 3 text yet, but xarray reads them
        group = zarr.create_group(path, zarr_format=3, overwrite=True, attributes=attributes)
        group.create_array(
            "bold", shape=(total, parcels), chunks=(chunk_steps, parcels), shards=(shard, parcels), dtype="float32",
            fill_value=np.nan, dimension_names=("time", "parcel"), attributes={"units": attrs.get("units", "")},
            **codecs,
        )  # fmt: skip
        group.create_array(
            "valid", shape=(total,), chunks=(shard,), dtype="bool", fill_value=False, dimension_names=("time",),
            **codecs,
        )  # fmt: skip
        for name, unit in (("x", "mm"), ("y", "mm"), ("z", "mm")):
            if name in atlas_table:
                values = atlas_table[name].to_numpy(np.float32)
                about: Any = {"dimension_names": ("parcel",), "attributes": {"units": unit}}
                group.create_array(name, data=values, **about, **codecs)
        zarr.consolidate_metadata(path)
    seal(path / "zarr.json")
    names = list(recordings["id"])
    marked = [invalid[row] for row in order] if invalid is not None else None
    job = _Writer(path, names, starts, lengths, parcels, marked, _by_row(series), order)
    spans = [(first, min(first + shard, total)) for first in range(0, total, shard)]
    content: list[str] = []  # of each shard
    if before:
        marks = [before.marks[row] for row in order]
        columns = [str(name) for name in atlas_table["name"]]
        kind = f"{FORMAT} {zarr.__version__} {chunk_steps} {SHARD_CHUNKS} {CODECS} {columns}"
        for first, last in spans:
            rows = job.rows(first, last)
            pieces = [(marks[row], starts[row], lengths[row], marked[row] if marked else []) for row in rows]
            content.append(made_of(first, pieces, kind))
        taken = before.take(path, content)
        spans = [span for number, span in enumerate(spans) if number not in taken]
    pool: Any = processes(workers) if workers > 1 and callable(series) else nullcontext()
    with pool as executor:
        if isinstance(executor, Executor):  # the job travels once per run of neighbouring shards, not once per shard
            list(executor.map(job.write, spans, chunksize=len(spans) // (8 * workers) + 1))
        else:
            list(map(job.write, spans))
    if before:
        before.keep(path, content)
    return [start for _, start in sorted(zip(order, starts, strict=True))]


def write_sums_of(sums: Path, store: Path, tables: Iterable[Path]) -> None:
    """SHA256SUMS of a store's tables and of its metadata; its chunks have their own checksums."""
    files = {table.name: table for table in tables}
    metadata = [store / "zarr.json", *store.glob("*/zarr.json")]
    write_sums(sums, files | {f"{store.name}/{file.relative_to(store).as_posix()}": file for file in metadata})


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """A table as JSON: column -> values, missing ones as null."""
    import pandas as pd

    columns = {}
    for name in table:
        values = table[name].astype(object).tolist()
        columns[str(name)] = [None if pd.isna(value) else value for value in values]
    return columns


def _by_row(series: Iterable[Series] | Callable[[int], Series]) -> Callable[[int], Series]:
    """A sequence as a function of the row: rows must be requested in order; a row may be requested repeatedly."""
    if callable(series):
        return series
    rows: Iterator[tuple[int, Series]] = enumerate(series)
    current: list[tuple[int, Series]] = []

    def get(row: int) -> Series:
        while not current or current[0][0] < row:
            current[:] = [next(rows)]
        return current[0][1]

    return get


@dataclass
class _Writer:
    """Writes shards. A recording that reaches into the next shard is read once by a writer that does both."""

    path: Path
    names: list[str]
    starts: list[int]
    lengths: list[int]
    parcels: int
    invalid: list[Sequence[int]] | None
    series: Callable[[int], Series]
    order: list[int]  # what `series` calls the recordings, in the store's order
    _last: tuple[int, Series] | None = field(default=None, repr=False)

    def rows(self, first: int, last: int) -> list[int]:
        """Recordings with steps in [first, last)."""
        begin = int(np.searchsorted(self.starts, first, side="right")) - 1
        end = int(np.searchsorted(self.starts, last, side="left"))
        return [row for row in range(begin, end) if self.starts[row] + self.lengths[row] > first]

    def write(self, span: tuple[int, int]) -> None:
        """Fill the steps [first, last) of the store, which are one shard."""
        import zarr

        first, last = span
        bold = np.full((last - first, self.parcels), np.nan, np.float32)
        valid = np.zeros(last - first, bool)
        for row in self.rows(first, last):
            start, stop = self.starts[row], self.starts[row] + self.lengths[row]
            low, high = max(start, first), min(stop, last)
            data, good = self._load(row)
            bold[low - first : high - first] = data[low - start : high - start]
            valid[low - first : high - first] = good[low - start : high - start]
        with reads(self.path / "zarr.json", AGAIN):
            group: Any = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        with zarr.config.set(WHOLE):
            group["bold"][first:last] = bold
            group["valid"][first:last] = valid

    def _load(self, row: int) -> tuple[Series, NDArray[np.bool_]]:
        if self._last is None or self._last[0] != row:
            self._last = row, np.asarray(self.series(self.order[row]), dtype=np.float32)
        data = self._last[1]
        if data.shape != (self.lengths[row], self.parcels):
            expected = (self.lengths[row], self.parcels)
            raise InputError(f"{self.names[row]}: series of shape {data.shape}, expected {expected}", "collate again")
        good: NDArray[np.bool_] = ~np.isnan(data).all(axis=1).astype(bool)
        if self.invalid is not None:
            good[list(self.invalid[row])] = False
        return data, good


def open_store(path: str | Path) -> Store:
    """Open a store.

    Raises
    ------
    InputError: there is none, one of a later format, or a damaged one.

    Examples
    --------
    >>> from brainlm_data import open_store
    >>> len(open_store("results/store.zarr").parcels)
    24
    """
    path = Path(path)
    if not (path / "zarr.json").exists():
        if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):
            raise InputError(
                f"{path}: an address, and a store is read as files of a folder",
                "mount the bucket, or copy the store with the tables beside it",
            )
        if (path / "store.zarr").is_dir():
            raise InputError(f"{path}: a folder, not the store", f"give the store in it: {path / 'store.zarr'}")
        missing = "no Zarr v3 store" if path.exists() else "there is no such folder"
        raise InputError(f"{path}: {missing}", "give the path of store.zarr; `brainlm BIDS OUT` makes it in OUT")
    return Store(path)


class Store:
    """A cohort's parcel series: what `open_store` returns.

    What is damaged is an InputError that names the file, whatever is read; so is a store that is replaced while it is
    read, never a mixture of two.

    Attributes
    ----------
    path: the store. attrs: its attributes. rate_hz: steps per second. parcels: one row per parcel.
    recordings: one row per recording: `recordings.parquet` beside the store where it is, else what the store knows.
    scaler: `scaler.npz` beside the store, or None.
    dataset: everything as xarray.

    Examples
    --------
    >>> from brainlm_data import open_store
    >>> store = open_store("results/store.zarr")
    >>> store.recordings.query("split == 'test'")["id"].tolist()
    ['sub-08_task-rest', 'sub-09_task-rest']
    >>> store.recording("sub-08_task-rest")
    ParcelSeries sub-08_task-rest: 260 steps at 1 Hz (260 s) x 24 parcels
    >>> store.series("sub-08_task-rest").shape  # the array alone
    (260, 24)
    >>> store["bold"].dims, sorted(store.dataset.coords)
    (('time', 'parcel'), ['parcel', 'recording', 'time_s', 'x', 'y', 'z'])
    """

    def __init__(self, path: Path) -> None:
        import zarr

        from brainlm_data.dataset.chunks import ChunkStore

        self.path = path
        self._identity = _identity(path)
        with self._reading(), reads(path / "zarr.json", AGAIN):
            check_seal(path / "zarr.json", AGAIN)
            self._group: Any = zarr.open_group(ChunkStore(path, read_only=True), mode="r")
            self.attrs: dict[str, Any] = dict(self._group.attrs)
            if "recordings" not in self.attrs or self.attrs.get("format") != FORMAT:
                stored = self.attrs.get("format", "another kind")
                raise InputError(
                    f"{path}: format {stored}, this version reads {FORMAT}", "run `snakemake dataset` again"
                )
            table = self.attrs["recordings"]
            self._place = dict(zip(table["id"], zip(table["start"], table["n_steps"], strict=True), strict=True))
            self._bold: Any = self._group["bold"]
            self._flags: Any = self._group["valid"]

    @property
    def rate_hz(self) -> float:
        """Steps a second."""
        return float(self.attrs["rate_hz"])

    @cached_property
    def dataset(self) -> xr.Dataset:
        """The store as xarray sees it, lazily: `bold` (time, parcel) and `valid` (time), one recording after another.

        Coordinates along time are `recording` (its id; empty on padding) and `time_s`, seconds since the start of the
        recording; along parcel its name (`parcel`), and what the atlas says: hemisphere, network, x, y, z (mm).
        """
        import xarray as xr

        with reads(self.path, AGAIN):
            dataset = xr.open_zarr(self._group.store)
        places = [name for name in ("x", "y", "z") if name in dataset]
        return dataset.set_coords(places).assign_coords(self._coordinates())

    def _coordinates(self) -> dict[str, Any]:
        """Of `dataset`; those along time are computed where they are asked for, as a store may have 10^8 steps."""
        import dask.array as da

        table = self.attrs["recordings"]
        names, starts = np.array([*table["id"], ""], dtype=str), np.array(table["start"], dtype=np.int64)
        ends = starts + np.array(table["n_steps"], dtype=np.int64)
        rate = self.rate_hz
        step = da.arange(self._bold.shape[0], chunks=(self._bold.shards or self._bold.chunks)[0])

        def recording(step: NDArray[np.int64]) -> NDArray[np.str_]:
            row = np.searchsorted(starts, step, side="right") - 1
            return names[np.where(step < ends[row], row, -1)]  # padding is nobody's

        def seconds(step: NDArray[np.int64]) -> NDArray[np.float64]:
            row = np.searchsorted(starts, step, side="right") - 1
            return np.where(step < ends[row], (step - starts[row]) / rate, np.nan)

        return {
            "recording": ("time", step.map_blocks(recording, dtype=names.dtype)),
            "time_s": ("time", step.map_blocks(seconds, dtype=np.float64), {"units": "s"}),
            "parcel": ("parcel", [str(name) for name in self.parcels["name"]]),
            **{name: column for name, column in parcel_coordinates(self.parcels).items() if name not in "xyz"},
        }

    def __getitem__(self, name: str) -> xr.DataArray:
        return self.dataset[name]

    def __repr__(self) -> str:
        try:
            return f"Store {self.path}: {', '.join(self._facts())}"
        except InputError as error:  # a table beside it is damaged; whoever reads it gets the error itself
            return f"Store {self.path}: {error}"

    def _repr_html_(self) -> str:
        try:
            rows = "".join(f"<li>{html.escape(fact)}</li>" for fact in self._facts())
        except InputError as error:
            rows = f"<li>{html.escape(str(error))}</li>"
        return f"<b>Store</b> {html.escape(str(self.path))}<ul>{rows}</ul>"

    def _facts(self) -> list[str]:
        """What the repr says."""
        table = self.recordings
        done = table[table["status"] == "done"]
        parts = []
        if "split" in done:
            counts = done["split"].value_counts()
            parts = [f"{split} {counts[split]}" for split in SPLIT_COLOURS if split in counts]
        parts += [f"{count} {status}" for status, count in table["status"].value_counts().items() if status != "done"]
        people = f" of {done['subject'].nunique()} subjects" if "subject" in done else ""
        recordings = f"{len(done)} recordings{people}" + (f" ({', '.join(parts)})" if parts else "")
        atlas = f" of {self.attrs['atlas']}" if self.attrs.get("atlas") else ""
        hours = sum(self.attrs["recordings"]["n_steps"]) / self.rate_hz / 3600
        facts = [recordings, f"{len(self.parcels)} parcels{atlas}", f"{self.rate_hz:g} Hz, {hours:.3g} h"]
        return facts if self.scaler is not None else [*facts, "no scaler beside it"]

    @cached_property
    def parcels(self) -> pd.DataFrame:
        """One row per parcel: index, name, hemisphere, network, x, y, z (mm)."""
        import pandas as pd

        return pd.DataFrame(self.attrs["parcels"])

    @cached_property
    def recordings(self) -> pd.DataFrame:
        """One row per recording.

        With recordings.parquet beside the store: refused and excluded ones included, and splits. Without it: what is
        in the store, whose `split` is then missing.

        Columns, where they are known: `id, subject, session, task, run`; `tr_s` as acquired, `n_volumes`, `n_steps`,
        `start` (first step in the store); `split`; `band_low_hz, band_high_hz`; `mean_fd_mm, mean_dvars, median_tsnr,
        coverage_min`; `status` (done, refused, excluded) and its `reason`; then the columns of participants.tsv,
        sessions.tsv and scans.tsv.
        """
        import pandas as pd

        beside = self.path.parent / "recordings.parquet"
        with self._reading():
            check_sum(beside, AGAIN)
        if beside.exists():
            with self._reading(), reads(beside, AGAIN):
                table = pd.read_parquet(beside)
                _ = table[["id", "status"]]  # what everything goes by
                return table
        table = pd.DataFrame(self.attrs["recordings"])
        missing = {"status": "done", "reason": "", "split": None}
        return table.assign(**{key: value for key, value in missing.items() if key not in table})

    @cached_property
    def scaler(self) -> Scaler | None:
        """Median and IQR per parcel over training subjects, or None if scaler.npz is not beside the store."""
        beside = self.path.parent / "scaler.npz"
        with self._reading():
            if beside.exists():
                return Scaler.load(beside)  # which compares it
            check_sum(beside, AGAIN)  # one that is listed, and gone, is an error
            return None

    def check_parcels(self, other: Store) -> None:
        """Raises InputError where another store has other parcels, or another order, by the names that both say."""
        check_parcels(names_of(self.attrs), names_of(other.attrs), str(self.path), str(other.path))

    def place(self, recording: str) -> slice:
        """Steps of a recording in the store. Raises InputError where it has none."""
        if recording not in self._place:
            meant = did_you_mean(str(recording), self._place)
            raise InputError(
                f"{self.path}: no recording {recording}",
                f"{meant} it holds {len(self._place)}, see .recordings".strip(),
            )
        start, length = self._place[recording]
        return slice(start, start + length)

    def recording(self, recording: str) -> ParcelSeries:
        """A recording with its id, rate, valid steps, parcels and units. Raises InputError where there is none."""
        return ParcelSeries(
            self.series(recording),
            id=recording,
            rate_hz=self.rate_hz,
            valid=self.valid(recording),
            parcels=self.parcels,
            units=str(self.attrs.get("units", "")),
        )

    def series(self, recording: str) -> Series:
        """(time, parcel) float32; NaN where a parcel or a step has no data."""
        place = self.place(recording)
        with self._reading(), reads(self._shards(place), AGAIN):
            series = np.asarray(self._bold[place])
            if len(series) != place.stop - place.start:
                raise ValueError(f"{recording} ends beyond it")
            return series

    def shard_of(self, recordings: Sequence[str]) -> NDArray[np.int64]:
        """The file that each recording begins in, by number: what lies in one file is best read together."""
        rows = (self._bold.shards or self._bold.chunks)[0]
        return np.array([self.place(name).start // rows for name in recordings], np.int64)

    def series_of(self, recordings: Sequence[str]) -> list[Series]:
        """Series of recordings that lie near each other, in one reading of what is between them."""
        places = [self.place(name) for name in recordings]
        first, last = min(place.start for place in places), max(place.stop for place in places)
        with self._reading(), reads(self._shards(slice(first, last)), AGAIN):
            values = np.asarray(self._bold[first:last])
            if len(values) != last - first:
                raise ValueError("it ends too early")
        return [values[place.start - first : place.stop - first] for place in places]

    @cached_property
    def _valid(self) -> NDArray[np.bool_]:
        with self._reading(), reads(self.path / "valid", AGAIN):
            return np.asarray(self._flags[:])

    def valid(self, recording: str) -> NDArray[np.bool_]:
        """(time,) False on steps without data and on steps from dropped or censored volumes."""
        return self._valid[self.place(recording)].copy()

    def plot_qc(self, x: str = "mean_fd_mm", y: str = "median_tsnr", axes: Axes | None = None) -> Axes:
        """Two columns of `recordings` against each other, one dot per recording, coloured by split; returns its axes.

        Raises
        ------
        InputError: no such column, or no recording with numbers in both.
        """
        import pandas as pd

        table = self.recordings
        numeric = [str(name) for name in table if pd.api.types.is_numeric_dtype(table[name])]
        for name in (x, y):
            if name not in numeric:
                raise InputError(f"{self.path}: no column of numbers {name}", f"one of {', '.join(numeric)}")
        known = table[table[[x, y]].notna().all(axis=1)]
        if known.empty:
            raise InputError(f"{self.path}: no recording has both {x} and {y}", "other columns")
        group = known["status"]
        if "split" in known:
            group = known["split"].fillna("in no split").where(known["status"] == "done", known["status"])
        with drawing(axes) as panel:
            for name in dict.fromkeys([*SPLIT_COLOURS, *sorted(group.unique())]):
                rows = known[group == name]
                if len(rows):
                    colour = SPLIT_COLOURS.get(name, "#7F7F7F")
                    panel.scatter(rows[x], rows[y], s=22, color=colour, linewidths=0, label=f"{name} ({len(rows)})")
            panel.set_xlabel(x)
            panel.set_ylabel(y)
            panel.set_title("Quality of the recordings")
            panel.legend(fontsize=8)
        return panel

    def check(self) -> Iterator[str]:
        """Read everything; what is damaged, one line each."""
        rows = (self._bold.shards or self._bold.chunks)[0]
        for first in range(0, self._bold.shape[0], rows):
            place, number = slice(first, first + rows), first // rows
            yield from self._problem(self._bold, place, f"bold/c/{number}/0")
            yield from self._problem(self._flags, place, f"valid/c/{number}")
        for name in sorted(set(self._group.array_keys()) - {"bold", "valid"}):
            yield from self._problem(self._group[name], slice(None), name)

    def _problem(self, array: Any, place: slice, file: str) -> Iterator[str]:
        try:
            with self._reading(), reads(self.path / file, AGAIN):
                array[place]
        except InputError as error:
            yield error.message

    def _shards(self, place: slice) -> Path:
        """The file of a span of `bold`, or where its files are."""
        rows = (self._bold.shards or self._bold.chunks)[0]
        first, last = place.start // rows, max(place.stop - 1, place.start) // rows
        return self.path / "bold" / "c" / (f"{first}/0" if first == last else f"{first}...{last}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Whatever is read: raises InputError where another store has taken this one's place since, or it is gone.

        Chunks of another store read as values of this one: hence afterwards.
        """
        try:
            yield
        finally:
            if self._identity is None or _identity(self.path) != self._identity:
                raise InputError(f"{self.path}: replaced or removed while it was read", "run the same command again")


def _identity(path: Path) -> tuple[int, int, int] | None:
    """By which a store is known as long as nobody replaces it; None where it is not there."""
    try:
        status = (path / "zarr.json").stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns
