"""Format `hf`: folders that `datasets.load_from_disk` reads, with the columns of the official BrainLM code.

`train`, `val`, `test`, `external`: one row per recording; `Brain_Region_Coordinates`: one row per parcel. Each holds
an Arrow stream, dataset_info.json and state.json. Names and types are those of toolkit/BrainLM_Toolkit.py and train.py
(vandijklab/BrainLM), where a recording is (time, parcel); its scaling is done as it was meant, (x - median) / IQR.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.scaler import Scaler, demeaned, prepare
from brainlm_data.dataset.store import Store
from brainlm_data.errors import InputError
from brainlm_data.exports import Options, StoredRecording, recordings, table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SPLITS = {"train": "train", "validation": "val", "test": "test", "external": "external"}
COORDINATES = "Brain_Region_Coordinates"
RAW = "Raw_Recording"
SCALED = "Voxelwise_RobustScaler_Normalized_Recording"  # what train.py takes by default
CENTRED = "Subtract_Mean_Normalized_Recording"
ARROW = "data-00000-of-00001.arrow"
NOT_LABELS = ("id", "start", "status", "reason", "notes")


def write(store: Store, folder: Path, options: Options) -> dict[str, Any]:
    """One folder per split, and the coordinates.

    Raises
    ------
    InputError: no scaler or no splits beside the store, or a parcel without a place (the model needs one).
    """
    if store.scaler is None or store.recordings["split"].isna().all():
        raise InputError(
            f"{store.path}: no scaler.npz or recordings.parquet beside it", "give the store where it was made"
        )
    places = store.parcels[["x", "y", "z"]].to_numpy(np.float32)
    if np.isnan(places).any():
        gone = store.parcels["name"][np.isnan(places).any(1)].iloc[0]
        raise InputError(f"{store.path}: parcel {gone} has no x, y, z", "import again with --atlas-labels")
    counts: dict[str, int] = {}
    for split, name in SPLITS.items():
        rows = table(store, split)
        if len(rows):
            counts[name] = len(rows)
            _write_split(folder / name, recordings(store, split), rows, store.scaler)
    _write_coordinates(folder / COORDINATES, store.parcels["index"].to_numpy(np.float32), places)
    return {
        "Recordings": sum(counts.values()),
        "Splits": counts,
        "Columns": [RAW, SCALED, CENTRED],
        "Missing": "a value without data is 0, in every column; steps without data at the start are left out",
        "Warnings": [] if len(places) == 424 else [f"{len(places)} parcels: the official models have 424"],
    }


def _write_split(folder: Path, stored: Iterable[StoredRecording], rows: pd.DataFrame, scaler: Scaler) -> None:
    import pyarrow as pa

    matrix = pa.list_(pa.list_(pa.float32()))
    labels = {name: _kind(rows[name]) for name in rows.columns if name not in NOT_LABELS and rows[name].notna().any()}
    fields = [(name, matrix) for name in (RAW, SCALED, CENTRED)]
    fields += [("Filename", pa.string()), ("Patient ID", pa.string()), *labels.items()]

    def batch(recording: StoredRecording) -> list[pa.Array]:
        there = np.isfinite(recording.series).any(axis=1)
        first = int(np.argmax(there))
        series = recording.series[first:]
        made = [series, prepare(series, scaler, fill=0), demeaned(series)]
        values = [_nested(np.nan_to_num(np.asarray(x, np.float32), nan=0.0)) for x in made]
        row = recording.row
        values += [pa.array([row["id"]], pa.string()), pa.array([str(row["subject"])], pa.string())]
        return values + [pa.array([_plain(row[name], kind)], kind) for name, kind in labels.items()]

    _write_dataset(folder, pa.schema(fields), map(batch, stored))


def _write_coordinates(folder: Path, index: NDArray[np.float32], places: NDArray[np.float32]) -> None:
    import pyarrow as pa

    columns = [pa.array(column) for column in (index, *places.T)]
    _write_dataset(folder, pa.schema([(name, pa.float32()) for name in ("Index", "X", "Y", "Z")]), [columns])


def _nested(values: NDArray[np.float32]) -> pa.Array:
    """(time, parcel) as one row of a list of lists."""
    import pyarrow as pa

    steps, parcels = values.shape
    inner = pa.ListArray.from_arrays(pa.array(np.arange(0, steps * parcels + 1, parcels), pa.int32()), values.ravel())
    return pa.ListArray.from_arrays(pa.array([0, steps], pa.int32()), inner)


def _kind(column: pd.Series) -> pa.DataType:
    """Arrow's type of a column of recordings.parquet."""
    import pandas as pd
    import pyarrow as pa

    if pd.api.types.is_bool_dtype(column):
        return pa.bool_()
    if pd.api.types.is_integer_dtype(column):
        return pa.int64()
    return pa.float64() if pd.api.types.is_float_dtype(column) else pa.string()


def _plain(value: Any, kind: pa.DataType) -> Any:
    import pandas as pd
    import pyarrow as pa

    if value is None or pd.isna(value):
        return None
    return str(value) if kind == pa.string() else value


def _write_dataset(folder: Path, schema: pa.Schema, batches: Iterable[Sequence[pa.Array]]) -> None:
    """The layout of `Dataset.save_to_disk`: an Arrow stream whose schema carries the features, and two JSON files."""
    import pyarrow as pa

    folder.mkdir()
    features = {field.name: _feature(field.type) for field in schema}
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    full = schema.with_metadata(meta)
    with pa.OSFile(str(folder / ARROW), "wb") as sink, pa.ipc.new_stream(sink, full) as writer:
        for arrays in batches:
            writer.write_batch(pa.record_batch(list(arrays), schema=full))
    fingerprint = hashlib.sha256(json.dumps(features, sort_keys=True).encode())
    fingerprint.update(str((folder / ARROW).stat().st_size).encode())
    state: dict[str, Any] = {
        "_data_files": [{"filename": ARROW}], "_fingerprint": fingerprint.hexdigest()[:16], "_format_columns": None,
        "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None,
    }  # fmt: skip
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (folder / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2), encoding="utf-8")


def _feature(kind: pa.DataType) -> Mapping[str, Any]:
    """A type as `datasets` writes it; all of its versions read `Sequence`."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "length": -1, "_type": "Sequence"}
    names = {pa.float32(): "float32", pa.float64(): "float64", pa.int64(): "int64", pa.bool_(): "bool"}
    return {"dtype": names.get(kind, "string"), "_type": "Value"}
