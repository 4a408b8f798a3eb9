"""A store for other programs: `brainlm-data export STORE OUT --to hf|npy|cifti`.

One module a format has `write(store, folder, options)`; here is what all of them do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError
from brainlm_data.files.lock import beside
from brainlm_data.files.sidecar import digest, write_json
from brainlm_data.files.sums import check_sum, sum_folder

if TYPE_CHECKING:
    import pandas as pd

    from brainlm_data.dataset.store import Store

FORMATS = {
    "hf": "HF Arrow folders, as the official BrainLM code reads them",
    "npy": "one .npy of all recordings, to be memory-mapped, and its index",
    "cifti": "one .ptseries.nii per recording",
}
FACTS = "export.json"


@dataclass(frozen=True)
class Options:
    """What the caller adds: a label image whose voxels are the parcels (cifti)."""

    atlas: Path | None = None


@dataclass(frozen=True)
class StoredRecording:
    """A recording: its row of recordings.parquet, (time, parcel) float32 with NaN, and (time,) which steps count."""

    row: dict[str, Any]
    series: NDArray[np.float32]
    valid: NDArray[np.bool_]


def recordings(store: Store, split: str | None = None) -> Iterator[StoredRecording]:
    """Recordings whose status is done (of one split, where it is given), one at a time."""
    for row in table(store, split).to_dict("records"):
        plain = {str(key): value for key, value in row.items()}
        yield StoredRecording(plain, store.series(plain["id"]), store.valid(plain["id"]))


def table(store: Store, split: str | None = None) -> pd.DataFrame:
    """Rows of recordings.parquet that count."""
    rows = store.recordings
    kept = rows[rows["status"] == "done"]
    return kept if split is None else kept[kept["split"] == split]


def export(path: Path, outdir: Path, to: str, options: Options, force: bool = False) -> dict[str, Any]:
    """Write OUTDIR whole or not at all; returns what export.json says.

    Raises
    ------
    InputError: no store, OUTDIR exists (and not `force`), or what the format raises.
    """
    from brainlm_data.dataset.store import AGAIN, open_store

    store = open_store(path)
    if path.resolve().is_relative_to(outdir.resolve()):
        raise InputError(f"{outdir}: holds the store itself", "give another folder")
    if outdir.exists() and (not outdir.is_dir() or any(outdir.iterdir())):
        if not force:
            raise InputError(f"{outdir}: exists already", "give another folder, or --force to replace it")
        if not (outdir / FACTS).is_file():
            raise InputError(f"{outdir}: not made by an export, so --force does not remove it", "give another folder")
    with beside(outdir, "exporting") as temporary:
        folder = temporary / "made"
        folder.mkdir()
        made = import_module(f"brainlm_data.exports.{to}").write(store, folder, options)
        for name in ("card.json", "card.md", "scaler.npz"):
            check_sum(path.parent / name, AGAIN)
            if (path.parent / name).is_file():
                shutil.copyfile(path.parent / name, folder / name)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        facts = {
            "Format": to, "RateHz": store.rate_hz, "Units": store.attrs.get("units", ""),
            "Atlas": store.attrs.get("atlas", ""), "Space": store.attrs.get("space", ""), **made,
            "Files": {file.relative_to(folder).as_posix(): digest(file) for file in files},
        }  # fmt: skip
        write_json(folder / FACTS, facts)
        sum_folder(folder)
        if outdir.exists():
            os.replace(outdir, temporary / "old")
        os.replace(folder, outdir)
    return facts
