"""From rows and series to a store with its tables: what stage collate and `brainlm-data import` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from brainlm_data.dataset.shards import PreviousStore
from brainlm_data.dataset.splits import SPLITS, as_text, external_subjects, split_subjects, unknown_groups
from brainlm_data.errors import InputError
from brainlm_data.stage import Facts, StageConfig

if TYPE_CHECKING:
    import pandas as pd

ENTITIES = ("id", "subject", "session", "task", "run")
METRICS = ("mean_fd_mm", "mean_dvars", "median_tsnr", "coverage_min")  # always there; what else QC measured follows
FIRST = (
    *ENTITIES, "tr_s", "n_volumes", "n_steps", "start", "split", "band_low_hz", "band_high_hz", *METRICS, "status",
    "reason",
)  # fmt: skip
Row = dict[str, Any]  # of recordings.parquet; keys with a leading underscore stay out of it


class Exclude(StageConfig):
    """QC thresholds; null excludes nothing. A recording without the metric is excluded, too."""

    mean_fd_mm: float | None = Field(None, gt=0, description="largest mean framewise displacement, mm")
    fd_over_05: float | None = Field(None, ge=0, le=1, description="largest fraction of volumes with FD above 0.5 mm")
    fd: Literal["plain", "filtered"] = Field(
        "plain",
        description="of both; filtered: without breathing where TR is below 1.5 s (see confounds), else plain",
    )
    median_tsnr: float | None = Field(None, gt=0, description="smallest median tSNR")
    coverage_mean: float | None = Field(None, ge=0, le=1, description="smallest mean coverage of the parcels")
    offset_mm: float | None = Field(None, gt=0, description="largest registration offset, mm (see stage qc)")
    seconds: float | None = Field(None, gt=0, description="shortest recording, s")

    def reason(self, row: dict[str, Any]) -> str:
        """Why a recording is excluded; empty where it is not."""
        offsets = [row.get("epi_offset_mm", np.nan), row.get("t1w_offset_mm", 0.0)]  # not every recording has a T1w
        values = {**row, "offset_mm": float(np.max(offsets)), "seconds": row["n_volumes"] * row["tr_s"]}
        names = {key: key for key in type(self).model_fields if key != "fd"}
        if self.fd == "filtered" and "mean_fd_filtered_mm" in row:
            names |= {"mean_fd_mm": "mean_fd_filtered_mm", "fd_over_05": "fd_filtered_over_05"}
        found = []
        for key, name in names.items():
            limit, value = getattr(self, key), values.get(name, np.nan)
            sign = -1 if key in {"median_tsnr", "coverage_mean", "seconds"} else 1
            if limit is not None and np.isnan(value):
                found.append(f"{name} was not measured, collate.exclude.{key} is {limit:g}")
            elif limit is not None and sign * value > sign * limit:
                found.append(
                    f"{name} {value:.3g} is {'above' if sign > 0 else 'below'} collate.exclude.{key} {limit:g}"
                )
        return "; ".join(found)


class Config(StageConfig):
    """The store, its splits and its scaler."""

    validation: float = Field(0.1, ge=0, lt=1, description="fraction of subjects for validation")
    test: float = Field(0.1, ge=0, lt=1, description="fraction of subjects for test")
    seed: int = Field(0, ge=0, description="seed of the split, which is by subject")
    external: dict[str, list[str]] = Field(
        default_factory=dict,
        description="column of participants.tsv: [values] of subjects held out as an external test: {site: [NYU]}",
    )
    exclude: Exclude = Field(default_factory=Exclude, description="QC thresholds")
    chunk_steps: int = Field(256, ge=16, description="time steps per Zarr chunk; each recording starts a new chunk")
    threads: int = Field(1, ge=1, description="processes that write the store, and threads that fit the scaler")
    memory_mb: int = Field(
        1024, ge=64, description="memory for fitting the scaler, MiB, of all threads or workers together"
    )
    scheduler: str | None = Field(
        None,
        description="address of a dask.distributed scheduler whose workers fit the scaler; null: this job's threads",
    )

    @field_validator("external", mode="before")
    @classmethod
    def _values_are_text(cls, value: Any) -> Any:
        """Sites can be numbers in YAML and in participants.tsv."""
        if not isinstance(value, Mapping):
            return value
        external = {}
        for column, values in value.items():
            external[column] = [as_text(v) for v in values] if isinstance(values, list) else values
        return external

    @model_validator(mode="after")
    def _leaves_training(self) -> Config:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test leave no subject for training")
        return self


def empty_row(entities: Mapping[str, Any]) -> Row:
    """A row of recordings.parquet of which nothing but its entities is known."""
    row: Row = {key: entities[key] for key in ENTITIES}
    row |= {"tr_s": np.nan, "n_volumes": 0, "n_steps": 0, "start": None, "split": None}
    return row | {"band_low_hz": np.nan, "band_high_hz": np.nan, **dict.fromkeys(METRICS, np.nan)}


def names_of_phenotypes(rows: Sequence[Row]) -> dict[str, str]:
    """Column of the participants' tables -> its name in recordings.parquet; one that is taken gets `_participants`."""
    taken = {key for row in rows for key in row}
    names = dict[str, str]()
    for column in dict.fromkeys(column for row in rows for column in row["_phenotypes"]):
        name = column
        while name in taken or name.startswith("_"):
            name = f"{name.lstrip('_')}_participants"
        names[column] = name
        taken.add(name)
    return names


def gather(
    rows: Sequence[Row],
    series: Callable[[int], NDArray[np.float32]],
    invalid: Sequence[Sequence[int]],
    parcels: pd.DataFrame,
    attributes: Mapping[str, Any],
    methods: Sequence[Mapping[str, Any]],
    outputs: Mapping[str, Path],
    config: Config,
    before: PreviousStore | None = None,
) -> Facts:
    """Write store, recordings table, scaler and card.

    Parameters
    ----------
    rows: of all recordings (`empty_row`); those whose status is not refused are stored. `_phenotypes`: the columns of
        the participants' tables, which come last.
    series: (time, parcel) of the n-th stored row; can be pickled where `config.threads` is above 1.
    invalid: steps from dropped or censored volumes, and `methods` (`Card.describe`): one per stored row.
    parcels: one row per parcel. attributes: of the store; `rate_hz` and `units` come from the rows.
        `warnings` on what did not join; for the card alone `columns`: what was taken for what in a participants' table.
    outputs: where `store`, `recordings`, `scaler`, `card_data`, `card` and `checksums` go. before: see `write_store`.

    Raises
    ------
    InputError: no recording is left; recordings differ in rate or units; no training subject; `config.external` names
        what is not there.
    """
    from brainlm_data.dataset.card import Card
    from brainlm_data.dataset.fit_scaler import fit_scaler
    from brainlm_data.dataset.store import open_store, write_store, write_sums_of

    outside = external_subjects([(row["subject"], row["_phenotypes"]) for row in rows], config.external)
    names = names_of_phenotypes(rows)
    rows = [row | {names[column]: value for column, value in row["_phenotypes"].items()} for row in rows]
    stored = [row for row in rows if row["status"] != "refused"]
    done = [row for row in rows if row["status"] == "done"]
    if not done:
        reasons = sorted({row["reason"] for row in rows})
        raise InputError(
            f"no recording is left for the store, of {len(rows)}: {'; '.join(reasons[:3])}",
            "fix the data, or relax collate.exclude",
        )
    attributes = {**_common(stored), "n_parcels": len(parcels), **attributes}
    columns = {names[column]: text for column, text in attributes.pop("columns", {}).items() if column in names}
    in_store = table_of(stored)
    card = Card.describe(in_store, {**attributes, "columns": columns, "parcels": parcels}, methods)
    starts = write_store(
        outputs["store"],
        series,
        in_store.drop(columns=["start", "split", "status", "reason"]),
        parcels,
        {**attributes, "card": card.markdown(), "card_data": card.content()},
        invalid,
        config.chunk_steps,
        config.threads,
        before,
    )
    splits = split_subjects([row["subject"] for row in done], config.validation, config.test, config.seed, outside)
    for row, start in zip(stored, starts, strict=True):
        row["start"] = start
    for row in done:
        row["split"] = splits[row["subject"]]
    table = table_of(rows)
    training = [row["id"] for row in done if row["split"] == "train"]
    scaler = fit_scaler(open_store(outputs["store"]), training, config.memory_mb, config.threads, config.scheduler)
    scaler.save(outputs["scaler"])
    table.to_parquet(outputs["recordings"], index=False)
    unknown = unknown_groups([(row["subject"], row["_phenotypes"]) for row in done], config.external)
    card.with_tables(table, config.model_dump(), unknown).save(outputs["card_data"], outputs["card"])
    tables = [outputs[name] for name in ("recordings", "scaler", "card_data", "card")]
    write_sums_of(outputs["checksums"], outputs["store"], tables)
    counts = table[table["status"] == "done"].groupby("split")["subject"].nunique()
    return {
        "Recordings": len(done),
        "Excluded": len(stored) - len(done),
        "Refused": len(rows) - len(stored),
        "Subjects": {split: int(counts[split]) for split in SPLITS if split in counts},
        "ParcelsWithoutScale": int(np.isnan(scaler.iqr).sum()),
    }


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """recordings.parquet: fixed columns first, one type a column (mixed ones become text)."""
    import pandas as pd

    kept = [{k: v for k, v in row.items() if not k.startswith("_") and k not in {"rate_hz", "units"}} for row in rows]
    table = pd.DataFrame(kept)
    table = table[[*FIRST, *(name for name in table if name not in FIRST)]]
    table["start"] = table["start"].astype("Int64")
    for name in ("session", "task", "run", "split"):
        table[name] = table[name].astype(object).where(table[name].notna(), None)
    for name in table.columns[len(FIRST) :]:
        known = table[name].dropna()
        if table[name].dtype == object and len({type(value) for value in known}) > 1:
            table[name] = table[name].map(lambda value: None if value is None or value != value else as_text(value))
    return table


def _common(rows: Sequence[Row]) -> dict[str, Any]:
    """Rate and units of the store. Raises InputError where recordings differ in them."""
    found = {}
    for key in ("rate_hz", "units"):
        values = sorted({row[key] for row in rows})
        if len(values) > 1:
            raise InputError(
                f"recordings differ in {key}: {', '.join(map(str, values[:5]))}",
                "set resample.hz to one rate, or select recordings of one TR",
            )
        found[key] = values[0]
    return found
