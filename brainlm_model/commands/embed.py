"""`brainlm-model embed`: embeddings of recordings as a table (.tsv, .parquet) or as a Zarr store."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import SPLITS, BrainLMError, InputError, Progress, beside, open_store, sum_folder
from brainlm_model.trained.connectivity import KINDS
from brainlm_model.trained.embedding import (
    BATCH,
    ENTITIES,
    Embedding,
    Kind,
    SourceRecording,
    is_store,
    of_kind,
    recordings_of,
)
from brainlm_model.trained.hub import MODEL_HELP
from brainlm_model.trained.second_order import Described

if TYPE_CHECKING:
    import pandas as pd

MOST = 20  # lines of what was stated
ROWS = 64  # recordings that are written to a .zarr at once: one chunk
FORMATS: dict[str, tuple[Kind, ...]] = {  # kinds that a file can hold; the first is the default
    ".tsv": ("cls", "mean", *KINDS),
    ".parquet": ("cls", "mean", "parcels", *KINDS),
    ".zarr": ("all", "cls", "mean", "parcels", *KINDS),
}


def add(commands: Any) -> None:
    """Add the command to those of `brainlm-model`."""
    embed = commands.add_parser("embed", help="embed recordings with a trained model")
    embed.add_argument("model", help=MODEL_HELP)
    embed.add_argument(
        "sources", nargs="+", type=Path,
        help="store.zarr; parcel series (.tsv, .npy: time x parcel; .ptseries.nii); preprocessed 4-D NIfTI",
    )  # fmt: skip
    embed.add_argument("--out", type=Path, required=True, help=".tsv, .parquet or .zarr to write")
    embed.add_argument("--force", action="store_true", help="write --out anew where it is there already")
    embed.add_argument(
        "--kind", choices=("cls", "mean", "parcels", "all", *KINDS),
        help="CLS token, mean of the known tokens, means of each parcel's; all: these, .zarr only, its default; else "
        "cls; how parcels vary together: logarithm of connectivity (as it is, within .01-.1 Hz, without the global "
        "mean), of the model's covariance adapted to the recording, of its attention",
    )  # fmt: skip
    embed.add_argument("--split", choices=SPLITS, help="of a store: only this split")
    embed.add_argument("--batch", type=int, default=BATCH, help=f"windows a forward pass ({BATCH})")
    embed.add_argument("--atlas", type=Path, help="label image for a 4-D NIfTI, where the atlas is not the package's")
    embed.add_argument("--tr", type=float, help="repetition time (s) of a 4-D NIfTI without one")
    embed.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    embed.set_defaults(call=run)


def run(arguments: argparse.Namespace) -> None:
    """Embed, and write. What was taken for granted and what was left out is said on stdout.

    Raises
    ------
    InputError: a kind that the file cannot hold, two recordings of one name, or none that can be embedded.
    """
    from brainlm_model.trained.load import load

    out: Path = arguments.out
    if out.suffix not in FORMATS:
        raise InputError(f"{out}: not {', '.join(FORMATS)}", "--out says the format by its ending")
    kind: Kind = arguments.kind or FORMATS[out.suffix][0]
    if kind not in FORMATS[out.suffix]:
        raise InputError(f"{out}: cannot hold kind {kind}", f"one of {', '.join(FORMATS[out.suffix])}; .zarr holds all")
    if arguments.batch < 1:
        raise InputError(f"--batch {arguments.batch}", "at least 1")
    if out.suffix == ".zarr" and out.exists() and not (out / "zarr.json").is_file():
        raise InputError(f"{out}: exists, and is not a Zarr group", "give another name")
    if out.exists() and not arguments.force:
        raise InputError(f"{out}: there already", "give another name, or --force to replace it")
    model = load(arguments.model, arguments.device)
    chosen = [
        recording
        for source in arguments.sources
        for recording in recordings_of(source, model.card.data, *_options(source, arguments))
    ]
    twice = [name for name, count in Counter(r.id for r in chosen).items() if count > 1]
    if twice:
        raise InputError(f"two recordings are named {twice[0]}", "embed them into two files, or rename one")
    names = _parcel_names(arguments.sources, model.config.parcels)
    left_out, stated, progress = [], Counter[str](), Progress("embed", len(chosen))
    number = f"{len(chosen)} recording" + ("s" if len(chosen) > 1 else "")
    print(f"embed: {number}, {arguments.batch} windows per forward pass", file=sys.stderr, flush=True)
    with beside(out, "embedding") as scratch, progress.alive():
        made = scratch / out.name
        writer = ZarrWriter(made, kind, names) if out.suffix == ".zarr" else TableWriter(made, kind, names)
        for recording, embedding in model.results(chosen, kind, arguments.batch):
            if isinstance(embedding, BrainLMError):
                if len(chosen) == 1:
                    raise embedding
                left_out.append(f"{recording.id}: {embedding}")
            else:
                writer.add(recording, embedding)
                stated.update(embedding.stated)
            progress.step()
        if not writer.rows:
            raise InputError(f"no recording could be embedded: {'; '.join(left_out[:3])}", "see above")
        writer.finish()
        if out.is_dir():
            os.replace(out, scratch / "old")  # at once: nobody reads half of it
        os.replace(made, out)
    width = "" if kind in KINDS else f", width {model.config.width}"
    print(f"{len(writer.rows)} recordings, {kind}{width}: {out}")
    for text, count in stated.most_common(MOST):
        print(f"stated ({count} recordings): {text}")
    if len(stated) > MOST:
        print(f"... and {len(stated) - MOST} more such lines: model.embed(source).stated has those of a recording")
    for text in left_out:
        print(f"left out: {text}")


def _options(source: Path, arguments: argparse.Namespace) -> tuple[str | None, Path | None, float | None]:
    """`split`, which is for stores alone; `atlas` and `tr`, which are for 4-D NIfTI alone."""
    is_nifti = source.name.lower().endswith((".nii", ".nii.gz")) and not source.name.endswith(".ptseries.nii")
    split = arguments.split if is_store(source) else None
    return (split, arguments.atlas, arguments.tr) if is_nifti else (split, None, None)


def _parcel_names(sources: Sequence[Path], parcels: int) -> list[str]:
    """Names of the parcels, where a store says them; else their numbers."""
    for source in sources:
        if is_store(source):
            return [str(name) for name in open_store(source).parcels["name"]]
    return [str(number + 1) for number in range(parcels)]


class TableWriter:
    """One row per recording (kind parcels: per recording and parcel): id, entities, then one column per dimension."""

    def __init__(self, path: Path, kind: Kind, parcels: Sequence[str]) -> None:
        self.path, self.kind, self.parcels = path, kind, parcels
        self.rows: list[SourceRecording] = []
        self._values: list[np.ndarray] = []

    def add(self, recording: SourceRecording, embedding: Embedding | Described) -> None:
        """Append a recording."""
        self.rows.append(recording)
        self._values.append(of_kind(embedding, self.kind))

    def finish(self) -> None:
        """Write the file."""
        import pandas as pd

        values = np.stack(self._values)
        table = known_of(self.rows)
        if self.kind == "parcels":
            table = table.loc[table.index.repeat(len(self.parcels))].reset_index(drop=True)
            table["parcel"] = list(self.parcels) * len(self.rows)
            values = values.reshape(len(table), -1)
        columns = [f"{self.kind.removesuffix('s')}_{i:03d}" if self.kind == "parcels" else f"{self.kind}_{i:03d}"
                   for i in range(values.shape[1])]  # fmt: skip
        if self.path.suffix == ".tsv":  # id and values only, as the command has always written it
            table = table[["id"]]
        table = pd.concat([table, pd.DataFrame(values, columns=columns)], axis=1)
        if self.path.suffix == ".tsv":
            table.to_csv(self.path, sep="\t", index=False, float_format="%.9g")
        else:
            table.to_parquet(self.path, index=False)


class ZarrWriter:
    """A Zarr v3 group that xarray opens: cls, mean (recording, dim), parcels (recording, parcel, dim), or the one kind
    (recording, dim) that was asked for; coordinates.

    Recordings are appended in blocks, so memory does not grow with their number. Every chunk has a CRC-32C, which is
    compared by whoever reads it; SHA256SUMS within the folder is what `brainlm-data verify` compares.
    """

    def __init__(self, path: Path, kind: Kind, parcels: Sequence[str]) -> None:
        self.path, self.parcels = path, parcels
        self.kinds: tuple[Kind, ...] = ("cls", "mean", "parcels") if kind == "all" else (kind,)
        self.rows: list[SourceRecording] = []
        self._waiting: list[Embedding | Described] = []
        self._arrays: dict[str, Any] = {}

    def add(self, recording: SourceRecording, embedding: Embedding | Described) -> None:
        """Append a recording."""
        self.rows.append(recording)
        self._waiting.append(embedding)
        if len(self._waiting) == ROWS:
            self._flush()

    def _flush(self) -> None:
        import zarr
        from zarr.codecs import Crc32cCodec, ZstdCodec

        if not self._arrays:
            group = zarr.create_group(self.path, zarr_format=3)
            for name in self.kinds:
                shape = of_kind(self._waiting[0], name).shape
                self._arrays[name] = group.create_array(
                    name, shape=(0, *shape), chunks=(ROWS, *shape), dtype="float32", fill_value=np.nan,
                    compressors=[ZstdCodec(), Crc32cCodec()],
                    dimension_names=("recording", "parcel", "dim") if len(shape) == 2 else ("recording", "dim"),
                )  # fmt: skip
        for name in self.kinds:
            self._arrays[name].append(np.stack([of_kind(embedding, name) for embedding in self._waiting]))
        self._waiting = []

    def finish(self) -> None:
        """Write the coordinates."""
        import xarray as xr
        import zarr
        from zarr.codecs import Crc32cCodec, ZstdCodec

        if self._waiting:
            self._flush()
        coords: dict[str, Any] = {"parcel": ("parcel", np.array(self.parcels, dtype=str))}
        table = known_of(self.rows)
        for name in table:
            values = table[name].to_numpy()
            if values.dtype == object:
                values = np.array(table[name].fillna("").tolist(), dtype=str)
            coords[str(name)] = ("recording", values)
        coordinates = xr.Dataset(coords=coords)
        encoding = {name: {"compressors": (ZstdCodec(), Crc32cCodec())} for name in coordinates.coords}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fixed-length text and consolidated metadata are not in Zarr 3's text yet
            coordinates.to_zarr(self.path, mode="a", zarr_format=3, consolidated=False, encoding=encoding)
            zarr.consolidate_metadata(self.path)
        sum_folder(self.path)


def known_of(recordings: Sequence[SourceRecording]) -> pd.DataFrame:
    """id, subject, session, task, run; then what stores say: split, age, site ...; None or NaN where it is not known.

    Numbers are numbers, anything else is text; a name that the embedding itself has is left to it.
    """
    import pandas as pd

    rows = [{"id": r.id, **{key: r.entities.get(key) for key in ENTITIES}} for r in recordings]
    table = pd.DataFrame(rows, columns=["id", *ENTITIES], dtype=object)
    further = dict.fromkeys(name for r in recordings for name in r.about)
    for name in further:
        if name in (*FORMATS[".zarr"], "parcel"):
            continue
        values = pd.Series([r.about.get(name) for r in recordings], dtype=object)
        numbers = values.dropna().map(lambda value: isinstance(value, (int, float, np.number)))
        if numbers.empty or not numbers.all():
            table[name] = values.map(lambda value: value if value is None or value != value else str(value))
        else:
            table[name] = values.astype("float64") if values.isna().any() else values.infer_objects()
    return table
