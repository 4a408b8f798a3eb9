"""collate: the cohort's recordings become one store, with its tables, splits, scaler and card.

The store holds every recording that was processed. Which of them count (QC thresholds) and who is in which split is in
recordings.parquet, so that changing either changes no byte of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.gather import Config, Exclude, Row, empty_row, gather
from brainlm_data.dataset.shards import PreviousStore
from brainlm_data.dataset.splits import SPLITS
from brainlm_data.errors import InputError
from brainlm_data.files.reads import reads
from brainlm_data.files.sidecar import check_digest, read_document, read_facts, sidecar_path, stat_of
from brainlm_data.stage import Facts, Files, Need, Stage


@dataclass(frozen=True)
class ResampledSeries:
    """Series of a row of the store, from the files of stage resample."""

    files: list[Path]
    names: list[str]
    sha256: list[str | None]  # of the files, as their stage noted it

    def __call__(self, row: int) -> NDArray[np.float32]:
        """(time, parcel). Raises InputError where the file is damaged, or its columns are not the atlas's parcels."""
        from brainlm_data.files.tables import read_table

        _check(self.files[row], self.sha256[row])
        columns, values = read_table(self.files[row])
        if columns != self.names:
            raise InputError(f"{self.files[row]}: its columns are not the parcels of the atlas", "run resample again")
        return values.astype(np.float32)


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write store, recordings table, scaler and card.

    Raises
    ------
    InputError: no recording is left; recordings differ in rate or units; no training subject; a column or a value of
        `external` is not there.
    """
    import pandas as pd

    recordings = {recording["id"]: recording for recording in inputs.meta["recordings"]}
    rows = [_row(recording, config.exclude) for recording in recordings.values()]
    stored = [row for row in rows if row["status"] != "refused"]
    files = [row["_file"] for row in stored]
    unknown = dict.fromkeys(("x", "y", "z", "n_voxels"), "n/a")  # of imported parcels
    with reads(inputs["atlas_table"]):
        parcels = pd.read_csv(
            inputs["atlas_table"], sep="\t", keep_default_na=False, na_values=unknown, dtype={"name": str}
        )
    facts = [read_facts(file) for file in files]
    return gather(
        rows,
        ResampledSeries(
            files,
            [str(name) for name in parcels["name"]],
            [recordings[row["id"]].get("sha256", {}).get("parcels") for row in stored],
        ),
        [one.get("InvalidSteps", []) for one in facts],
        parcels,
        _attributes(inputs) | _filter((recordings[row["id"]]["files"] for row in stored), facts),
        [recordings[row["id"]]["methods"] for row in stored],
        outputs,
        config,
        _before(inputs, files),
    )


def _before(inputs: Files, files: list[Path]) -> PreviousStore | None:
    """The store that this one replaces, where the runner says where it is."""
    if "before" not in inputs.meta:
        return None
    return PreviousStore(
        Path(inputs.meta["workdir"]), Path(inputs.meta["before"]["store"]), [_mark(file) for file in files]
    )


def _mark(file: Path) -> str:
    """Another one where the file, or what this stage makes of it, is another."""
    size, mtime = stat_of(file)
    return f"{STAGE.version} {size} {mtime}"


def _row(recording: dict[str, Any], exclude: Exclude) -> Row:
    """One row of recordings.parquet."""
    row = empty_row(recording) | {"status": recording["status"], "reason": recording["reason"], "_file": None}
    if recording["status"] == "done":
        files, sha256 = recording["files"], recording.get("sha256", {})
        file = Path(files["parcels"])
        for name, path in (("parcels.json", sidecar_path(file)), ("qc_metrics", Path(files["qc_metrics"]))):
            _check(path, sha256.get(name))
        if "filter_recipe" in files:
            _check(Path(files["filter_recipe"]), sha256.get("filter_recipe"))
        facts, metrics = read_facts(file), read_document(Path(files["qc_metrics"]))
        low, high = facts["EffectiveBand"]
        row |= {key: value for key, value in metrics.items() if isinstance(value, (int, float))}
        row |= {"n_warnings": len(metrics.get("warnings", [])), "_file": file}
        row |= {
            "tr_s": float(facts["RepetitionTime"]),
            "n_volumes": int(facts["NumberOfVolumes"]),
            "n_steps": _steps(file, facts),
            "n_invalid_steps": len(facts.get("InvalidSteps", [])),
            "band_low_hz": np.nan if low is None else float(low),
            "band_high_hz": np.nan if high is None else float(high),
            "rate_hz": float(facts["SamplingFrequency"]),
            "units": facts["Units"],
        }
        reason = exclude.reason(row)
        row |= {"status": "excluded" if reason else "done", "reason": reason}
    return row | {"_phenotypes": recording.get("phenotypes") or {}}


def _check(path: Path, sha256: str | None) -> None:
    """Compare a recording's file with what its stage noted, where that is known."""
    if sha256 is not None:
        check_digest(path, sha256)


def _steps(path: Path, facts: dict[str, Any]) -> int:
    """Rows of a series: what its sidecar says, else counted."""
    if "NumberOfSteps" in facts:
        return int(facts["NumberOfSteps"])
    with path.open(encoding="utf-8") as stream:
        return sum(1 for _ in stream) - 1


def _attributes(inputs: Files) -> dict[str, Any]:
    """Attributes of the store: those that the atlas decides, and what is to be said of the participants' tables."""
    atlas = inputs.facts("atlas_table")
    keys = {"atlas": "AtlasName", "atlas_sha256": "Sha256", "space": "Space", "network_source": "NetworkSource"}
    found = {key: atlas.get(name, "") for key, name in keys.items()}
    more = {"space_mismatch": "SpaceMismatch", "imported": "Imported"}
    found |= {key: atlas[name] for key, name in more.items() if name in atlas}
    warnings = [*atlas.get("Warnings", []), *inputs.meta.get("unjoined", [])]
    return found | {"columns": inputs.meta.get("columns", {})} | ({"warnings": warnings} if warnings else {})


def _filter(files: Iterable[Mapping[str, str]], facts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Attribute `filter` of the store, from recipes or facts; none where series were imported as they were."""
    from brainlm_data.methods.operators import Recipe

    methods = {Recipe.load(Path(one["filter_recipe"])).method for one in files if "filter_recipe" in one}
    methods |= {one["FilterMethod"] for one in facts if one.get("FilterMethod")}  # of images that were imported
    if len(methods) > 1:
        raise InputError(f"recordings differ in filter.method: {', '.join(sorted(methods))}", "run stage filter again")
    return {"filter": {"method": methods.pop()}} if methods else {}


def describe(facts: Facts) -> str:
    """Methods sentence."""
    counts = ", ".join(f"{facts['Subjects'][s]} {s}" for s in SPLITS if s in facts["Subjects"])
    return (
        f"{facts['Recordings']} recordings were used ({facts['Excluded']} were excluded by quality thresholds,"
        f" {facts['Refused']} could not be processed); subjects were split ({counts}) before any statistic was"
        " computed, and medians and interquartile ranges come from training subjects alone."
    )


STAGE = Stage(
    name="collate",
    version=8,
    level="cohort",
    summary="Gather the recordings into one Zarr store with tables, splits by subject, scaler and card.",
    Config=Config,
    inputs=("parcels", "qc_metrics", "filter_recipe", "atlas_table"),
    outputs=("store", "recordings", "scaler", "card_data", "card", "checksums"),
    run=run,
    describe=describe,
    optional=("filter_recipe",),
    told=("unjoined", "columns"),
    grows=("store",),
    need=Need(4000, seconds=0.1, disk_mb=0.02, disk_mb_per_mb=0.03),
)
