"""collate: the cohort's recordings become one store, with its tables, splits, scaler and card.

The store holds every recording that was processed. Which of them count (QC thresholds) and who is in which split is in
recordings.parquet, so that changing either changes no byte of the store.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from brainlm_data.errors import InputError
from brainlm_data.sidecar import sidecar_path
from brainlm_data.stage import Facts, Files, Stage, StageConfig

if TYPE_CHECKING:
    import pandas as pd

ENTITIES = ("id", "subject", "session", "task", "run")
METRICS = ("mean_fd_mm", "mean_dvars", "median_tsnr", "coverage_min")  # always there; what else QC measured follows
FIRST = (
    *ENTITIES, "tr_s", "n_volumes", "n_steps", "start", "split", "band_low_hz", "band_high_hz", *METRICS, "status",
    "reason",
)  # fmt: skip


class Exclude(StageConfig):
    """QC thresholds; null excludes nothing. A recording without the metric is excluded, too."""

    mean_fd_mm: float | None = Field(None, gt=0, description="largest mean framewise displacement, mm")
    fd_over_05: float | None = Field(None, ge=0, le=1, description="largest share of volumes with FD above 0.5 mm")
    median_tsnr: float | None = Field(None, gt=0, description="smallest median tSNR")
    coverage_mean: float | None = Field(None, ge=0, le=1, description="smallest mean coverage of the parcels")
    offset_mm: float | None = Field(None, gt=0, description="largest registration offset, mm (see stage qc)")
    seconds: float | None = Field(None, gt=0, description="shortest recording, s")

    def reason(self, row: dict[str, Any]) -> str:
        """Why a recording is excluded; empty where it is not."""
        offsets = [row.get("epi_offset_mm", np.nan), row.get("t1w_offset_mm", 0.0)]  # not every recording has a T1w
        values = {**row, "offset_mm": float(np.max(offsets)), "seconds": row["n_volumes"] * row["tr_s"]}
        found = []
        for key, limit in self.model_dump().items():
            sign = -1 if key in {"median_tsnr", "coverage_mean", "seconds"} else 1
            value = values.get(key, np.nan)
            if limit is not None and np.isnan(value):
                found.append(f"{key} was not measured, collate.exclude.{key} is {limit:g}")
            elif limit is not None and sign * value > sign * limit:
                found.append(f"{key} {value:.3g} is {'above' if sign > 0 else 'below'} collate.exclude.{key} {limit:g}")
        return "; ".join(found)


class Config(StageConfig):
    """The store, its splits and its scaler."""

    validation: float = Field(0.1, ge=0, lt=1, description="share of subjects for validation")
    test: float = Field(0.1, ge=0, lt=1, description="share of subjects for test")
    seed: int = Field(0, ge=0, description="of the split; splits are by subject, always")
    exclude: Exclude = Field(default_factory=Exclude, description="QC thresholds")
    chunk_steps: int = Field(256, ge=16, description="steps of a Zarr chunk; each recording starts a new one")
    threads: int = Field(1, ge=1, description="processes that write the store, threads that fit the scaler")
    memory_mb: int = Field(1024, ge=64, description="memory for fitting the scaler, MiB")

    @model_validator(mode="after")
    def _leaves_training(self) -> Config:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test leave no subject for training")
        return self


@dataclass(frozen=True)
class Reader:
    """Series of a row of the store, from the files of stage resample."""

    files: list[Path]
    names: list[str]

    def __call__(self, row: int) -> NDArray[np.float32]:
        """(time, parcel). Raises InputError where the columns are not the atlas's parcels."""
        from brainlm_data.tables import read_table

        columns, values = read_table(self.files[row])
        if columns != self.names:
            raise InputError(f"{self.files[row]}: its columns are not the parcels of the atlas", "run resample again")
        return values.astype(np.float32)


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write store, recordings table, scaler and card.

    Raises
    ------
    InputError: no recording is left; recordings differ in rate or units; no training subject.
    """
    import pandas as pd

    from brainlm_data.card import describe_data, describe_tables
    from brainlm_data.scaler import fit_scaler
    from brainlm_data.splits import split_subjects
    from brainlm_data.store import open_store, write_store

    recordings = {recording["id"]: recording for recording in inputs.meta["recordings"]}
    rows = [_row(recording, config.exclude) for recording in recordings.values()]
    files = {row["id"]: row.pop("_file") for row in rows}
    stored = [row for row in rows if row["status"] != "refused"]
    done = [row for row in rows if row["status"] == "done"]
    if not done:
        reasons = sorted({row["reason"] for row in rows})
        raise InputError(
            f"no recording is left for the store, of {len(rows)}: {'; '.join(reasons[:3])}",
            "mend the data, or relax collate.exclude",
        )
    parcels = pd.read_csv(inputs["atlas_table"], sep="\t", keep_default_na=False, dtype={"name": str})
    attributes = _attributes(stored, inputs.facts("atlas_table"), len(parcels))
    in_store = _table(stored)
    card = describe_data(in_store, attributes, [recordings[row["id"]]["methods"] for row in stored])
    starts = write_store(
        outputs["store"],
        Reader([files[row["id"]] for row in stored], [str(name) for name in parcels["name"]]),
        in_store.drop(columns=["start", "split", "status", "reason"]),
        parcels,
        {**attributes, "card": card},
        [_facts(files[row["id"]]).get("InvalidSteps", []) for row in stored],
        config.chunk_steps,
        config.threads,
    )
    splits = split_subjects([row["subject"] for row in done], config.validation, config.test, config.seed)
    for row, start in zip(stored, starts, strict=True):
        row["start"] = start
    for row in done:
        row["split"] = splits[row["subject"]]
    table = _table(rows)
    training = [row["id"] for row in done if row["split"] == "train"]
    scaler = fit_scaler(open_store(outputs["store"]), training, config.memory_mb, config.threads)
    scaler.save(outputs["scaler"])
    table.to_parquet(outputs["recordings"], index=False)
    outputs["card"].write_text(card + describe_tables(table, config.model_dump()))
    counts = table[table["status"] == "done"].groupby("split")["subject"].nunique()
    return {
        "Recordings": len(done),
        "Excluded": len(stored) - len(done),
        "Refused": len(rows) - len(stored),
        "Subjects": {str(split): int(count) for split, count in counts.items()},
        "ParcelsWithoutScale": int(np.isnan(scaler.iqr).sum()),
    }


def _row(recording: dict[str, Any], exclude: Exclude) -> dict[str, Any]:
    """One row of recordings.parquet; phenotypes come last, a name that is taken with `_participants`."""
    row: dict[str, Any] = {key: recording[key] for key in ENTITIES}
    row |= {"tr_s": np.nan, "n_volumes": 0, "n_steps": 0, "start": None, "split": None}
    row |= {"band_low_hz": np.nan, "band_high_hz": np.nan, **dict.fromkeys(METRICS, np.nan)}
    row |= {"status": recording["status"], "reason": recording["reason"], "_file": None}
    if recording["status"] == "done":
        file = Path(recording["files"]["parcels"])
        facts, metrics = _facts(file), json.loads(Path(recording["files"]["qc_metrics"]).read_text())
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
    phenotypes = recording.get("phenotypes") or {}
    return row | {(f"{key}_participants" if key in row else key): value for key, value in phenotypes.items()}


def _facts(path: Path) -> dict[str, Any]:
    return json.loads(sidecar_path(path).read_text())


def _steps(path: Path, facts: dict[str, Any]) -> int:
    """Rows of a series: what its sidecar says, else counted."""
    if "NumberOfSteps" in facts:
        return int(facts["NumberOfSteps"])
    with path.open() as stream:
        return sum(1 for _ in stream) - 1


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """recordings.parquet: fixed columns first, one type a column (mixed ones become text)."""
    import pandas as pd

    table = pd.DataFrame(rows).drop(columns=["rate_hz", "units"], errors="ignore")
    table = table[[*FIRST, *(name for name in table if name not in FIRST)]]
    table["start"] = table["start"].astype("Int64")
    for name in ("session", "task", "run", "split"):
        table[name] = table[name].astype(object).where(table[name].notna(), None)
    for name in table.columns[len(FIRST) :]:
        known = table[name].dropna()
        if table[name].dtype == object and len({type(value) for value in known}) > 1:
            table[name] = table[name].map(lambda value: None if value is None or value != value else str(value))
    return table


def _attributes(rows: list[dict[str, Any]], atlas: Facts, parcels: int) -> dict[str, Any]:
    """Attributes of the store. Raises InputError where recordings differ in rate or units."""
    common = {}
    for key in ("rate_hz", "units"):
        values = sorted({row[key] for row in rows})
        if len(values) > 1:
            raise InputError(
                f"recordings differ in {key}: {', '.join(map(str, values[:5]))}",
                "set resample.hz to one rate, or select recordings of one TR",
            )
        common[key] = values[0]
    keys = {"atlas": "AtlasName", "atlas_sha256": "Sha256", "space": "Space", "network_source": "NetworkSource"}
    found = {key: atlas.get(name, "") for key, name in keys.items()}
    if "SpaceMismatch" in atlas:
        found["space_mismatch"] = atlas["SpaceMismatch"]
    return {**common, "n_parcels": parcels, **found}


def describe(facts: Facts) -> str:
    """Methods sentence."""
    order = ("train", "validation", "test")
    counts = ", ".join(f"{facts['Subjects'][s]} {s}" for s in order if s in facts["Subjects"])
    return (
        f"{facts['Recordings']} recordings were used ({facts['Excluded']} were excluded by quality thresholds,"
        f" {facts['Refused']} could not be processed); subjects were split ({counts}) before any statistic was"
        " computed, and medians and interquartile ranges come from training subjects alone."
    )


STAGE = Stage(
    name="collate",
    version=4,
    level="cohort",
    summary="Gather the recordings into one Zarr store with tables, splits by subject, scaler and card.",
    Config=Config,
    inputs=("parcels", "qc_metrics", "atlas_table"),
    outputs=("store", "recordings", "scaler", "card"),
    run=run,
    describe=describe,
)
