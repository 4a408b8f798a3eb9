"""From a source to a folder with a store: every recording at one rate, then what stage collate does, too."""

from __future__ import annotations

import importlib.metadata
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.gather import Config, Row, empty_row, gather
from brainlm_data.dataset.splits import external_subjects, said_of_unknown, unknown_groups
from brainlm_data.dataset.store import write_sums_of
from brainlm_data.errors import InputError, Refused
from brainlm_data.files import sidecar
from brainlm_data.files.lock import beside, holding
from brainlm_data.files.processes import processes
from brainlm_data.files.progress import Progress
from brainlm_data.files.reads import reads
from brainlm_data.files.sums import SUMS
from brainlm_data.imports import Series, Source
from brainlm_data.imports.labels import agreed, table_of
from brainlm_data.imports.series import SeriesFacts, band_of, doubts, order_of, resampled, sentence
from brainlm_data.reading.events import Condition, in_series, read_conditions, said_of_left_out, write_events
from brainlm_data.reading.labels import read_labels
from brainlm_data.stage import Facts

FILES = {
    "recordings": "recordings.parquet", "scaler": "scaler.npz", "card_data": "card.json", "card": "card.md",
    "facts": "import.json", "checksums": SUMS,
}  # fmt: skip
STORE = "store.zarr"
EVENTS = "events.tsv"
CONDITION = "trial_type"  # its column that names the condition


@dataclass(frozen=True)
class Request:
    """What was asked for: kind, path, name of the data set, rate, tables of parcels and events, words of the call."""

    kind: str
    path: Path
    name: str
    hz: float
    labels: Path | None
    arguments: Mapping[str, Any]
    events: Path | None = None


@dataclass(frozen=True)
class SpooledSeries:
    """Series of a row of the store, from a temporary file."""

    files: Sequence[Path]

    def __call__(self, row: int) -> NDArray[np.float32]:
        """(time, parcel)."""
        with reads(self.files[row], "import again"):
            values: NDArray[np.float32] = np.load(self.files[row])
        return values


def write(source: Source, request: Request, outdir: Path, config: Config, force: bool = False) -> Facts:
    """Write OUTDIR/{store.zarr, recordings.parquet, scaler.npz, card.json, card.md, import.json, SHA256SUMS}.

    And events.tsv, where the request has a table of events (docs/stages/events.md). Returns the content of import.json.

    Everything is written to a folder beside OUTDIR and moved at the end, the store last: where a store is, all is.

    Raises
    ------
    InputError: there is a store already (and not `force`), a run writes to `outdir`, no recording can be used, or what
        `gather` raises.
    """
    if (outdir / STORE).exists() and not force:
        raise InputError(f"{outdir}: there is a store in it already", "give another folder, or --force to replace it")
    if again := [name for name, count in Counter(s.id for s in source.series).items() if count > 1]:
        raise InputError(f"{request.path}: more than one recording is called {again[0]}", "give each its own name")
    people = [(s.subject, s.phenotypes) for s in source.series]
    external_subjects(people, config.external, source.people.notes())  # before the work
    events, notes = (None, []) if request.events is None else _events(request.events, source.series)
    with holding(outdir), beside(outdir, "importing") as temporary:  # no run writes, or reads, there meanwhile
        places = {name: temporary / file for name, file in FILES.items()} | {"store": temporary / STORE}
        facts = _write(source, request, places, temporary / "series", config, notes)
        (outdir / EVENTS).unlink(missing_ok=True)  # of the store that was there
        if events is not None:
            write_events(events, temporary / EVENTS)
            sidecar.replace(temporary / EVENTS, outdir / EVENTS)
        if (outdir / STORE).exists():
            os.replace(outdir / STORE, temporary / "old")
        for name in (*FILES, "store"):
            sidecar.replace(places[name], outdir / places[name].name)
    return facts


def _events(table: Path, series: Sequence[Series]) -> tuple[list[Condition], list[str]]:
    """Events of the recordings of an import, and warnings of rows that are none.

    Raises InputError where the table is damaged, or has none of theirs.
    """
    rows, others = read_conditions(table, CONDITION)
    starts = {one.id: 0.0 if np.isnan(one.start_s) else one.start_s for one in series}
    events = in_series(rows, starts)
    if not events:
        example = series[0].id if series else "none"
        raise InputError(
            f"{table}: no event of any of {len(series)} recordings (the first is {example})",
            f"columns recording (their ids), onset, duration (s) and {CONDITION}",
        )
    return events, [f"{table.name}: {text}" for text in said_of_left_out(rows, others, starts, CONDITION)]


def _write(
    source: Source, request: Request, places: Mapping[str, Path], spool: Path, config: Config, notes: Sequence[str]
) -> Facts:
    labels = None if request.labels is None else read_labels(request.labels)
    rows, done = _spooled(source, request.hz, spool, config.threads)
    parcels, columns = agreed(source, labels, [(about.shape, about.columns) for about in done.values()])
    for row, series in zip(rows, source.series, strict=True):
        if (about := done.get(row["id"])) is not None:
            try:
                _fits(about, parcels, columns, row["_file"])
            except Refused as refusal:
                row |= {"status": "refused", "reason": f"{series.file}: {refusal}"}
    stored = [row for row in rows if row["status"] != "refused"]
    if not stored:
        reasons = "; ".join(row["reason"] for row in rows[:3])
        raise InputError(f"{request.path}: none of {len(rows)} recordings can be used: {reasons}", "fix the data")
    table, networks = table_of(source, request.labels, labels, parcels, columns)
    attributes: dict[str, Any] = {
        "atlas": source.atlas or "unknown", "atlas_sha256": source.sha256, "space": source.space,
        "network_source": networks,
        **({"space_mismatch": source.mismatch} if source.mismatch else {}),
        "imported": {"kind": request.kind, "name": request.name, "known": list(source.known),
                     "unknown": list(source.unknown)},
    }  # fmt: skip
    kind, here, hz = request.kind, source.made_here, request.hz
    methods = [{"import": sentence(kind, here, row["tr_s"], hz), **done[row["id"]].methods} for row in stored]
    if any("filter" in of_one for of_one in methods):
        attributes["filter"] = {"method": "butterworth"}
    invalid = [done[row["id"]].invalid for row in stored]
    warnings = doubts(source, [about.shape for about in done.values()], bool(columns) or labels is not None)
    attributes["imported"]["unknown"] += warnings
    attributes |= {"warnings": source.people.notes(), "columns": source.people.columns()}
    unknown = unknown_groups([(series.subject, series.phenotypes) for series in source.series], config.external)
    warnings += [
        *attributes["warnings"],
        *(f"{name}: {text}" for name, text in attributes["columns"].items()),
        *(said_of_unknown(column, who) for column, who in unknown.items()),
    ]
    warnings += notes  # of the table of events, which stand beside the store alone
    facts = gather(
        rows, SpooledSeries([row["_file"] for row in stored]), invalid, table, attributes, methods, places, config
    )
    paths = [*source.files, *(file for file in (request.labels, request.events) if file is not None)]
    content = {
        "GeneratedBy": {"Name": "brainlm-data import", "Version": importlib.metadata.version("brainlm-pipeline")},
        "Arguments": dict(request.arguments),
        "Inputs": {_short(path, request.path): sidecar.digest(path) for path in paths if path.is_file()},
        "Known": list(source.known),
        "Unknown": list(source.unknown),
        "LeftAside": list(source.left_aside),
        "Reasons": {row["id"]: row["reason"] for row in rows if row["status"] == "refused"},
        "Warnings": warnings,
        **facts,
    }
    sidecar.write_json(places["facts"], content)
    tables = [places[name] for name in FILES if name != "checksums"]
    write_sums_of(places["checksums"], places["store"], tables)
    return content


def _spooled(source: Source, hz: float, spool: Path, workers: int) -> tuple[list[Row], dict[str, SeriesFacts]]:
    """Every recording's row, and what is known of those that could be read; their series go into files.

    Images are read by `workers` processes, each of which holds one recording.
    """
    spool.mkdir()
    rows: list[Row] = []
    by_id: dict[str, SeriesFacts] = {}
    progress = Progress("import", len(source.series))
    files = [spool / f"{number}.npy" for number in range(len(source.series))]
    pool: Any = processes(workers) if workers > 1 and source.made_here else nullcontext()
    with pool as executor:
        each = executor.map if isinstance(executor, Executor) else map
        results = each(_read, source.series, repeat(hz), files)
        for series, file, (about, reason) in zip(source.series, files, results, strict=True):
            row = _row(series, source, hz, about)
            if about is None:
                row |= {"status": "refused", "reason": f"{series.file}: {reason}", "_file": None}
            else:
                by_id[series.id] = about
                row |= {"status": "done", "reason": "", "_file": file}
            rows.append(row | {"_phenotypes": series.phenotypes})
            progress.step()
    return rows, by_id


def _read(series: Series, hz: float, file: Path) -> tuple[SeriesFacts | None, str]:
    """Write one recording's series; its facts, or why it is refused."""
    try:
        values, about = resampled(series, hz)
    except Refused as refusal:
        return None, str(refusal)
    np.save(file, values)
    return about, ""


def _row(series: Series, source: Source, hz: float, about: SeriesFacts | None) -> Row:
    """One row of recordings.parquet; what nobody measured is NaN."""
    row = empty_row(vars(series)) | {"mean_fd_mm": series.mean_fd_mm, "rate_hz": hz, "units": source.units}
    if series.start_s == series.start_s:
        row["start_time_s"] = series.start_s
    if about is None:
        return row
    low, high = band_of(about, source)
    return row | {
        "tr_s": about.tr_s, "n_volumes": about.shape[0], "n_steps": about.steps,
        "n_invalid_steps": len(about.invalid), "band_low_hz": low, "band_high_hz": high,
        "n_missing_parcels": about.missing, "coverage_min": 0.0 if about.missing else np.nan, **about.measured,
    }  # fmt: skip


def _fits(about: SeriesFacts, parcels: int, columns: tuple[str, ...], file: Path) -> None:
    """Raises Refused where a series has other parcels than the cohort; the same ones in another order are sorted."""
    order = order_of(about, parcels, columns)
    if order is not None:
        with reads(file, "import again"):
            values = np.load(file)
        np.save(file, values[:, order])


def _short(path: Path, root: Path) -> str:
    """A file as it is named in import.json: below what was imported, else its name."""
    return path.relative_to(root).as_posix() if path != root and path.is_relative_to(root) else path.name
