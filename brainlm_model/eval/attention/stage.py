"""What the model looks at: attention from CLS to each parcel, attention against connectivity, and group differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from brainlm_data import ConfigError, Facts, StageConfig
from brainlm_model.eval.attention import groups
from brainlm_model.eval.parcels import network_means, networks_of
from brainlm_model.eval.rows import Row, estimates, in_columns, judge, select
from brainlm_model.eval.statistics.paired import LEVEL, sign_flip
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS, Array, subject_draws
from brainlm_model.eval.task import Results, Split, Start, task

if TYPE_CHECKING:
    import pandas as pd

    from brainlm_model.eval.attention.maps import AttentionMaps

COLUMNS = (
    "part", "method", "name", "network", "metric", "value", "low", "high", "t", "p", "significant", "n_subjects",
    "n_recordings", "label",
)  # fmt: skip
LABELS = {"model": "BrainLM, trained", "untrained": "the same network, untrained"}
METRICS = {"r": "correlation over pairs", "r_distance": "the same, distance removed"}
PUBLISHED = [
    {
        "source": "Ortega Caro et al., BrainLM, ICLR 2024",
        "what": "CLS attention of the last layer: task against rest, severe against mild depression",
        "value": None,
        "comparable": False,
        "reason": "the paper shows maps of single differences, without numbers, intervals or a test",
    }
]


class Config(StageConfig):
    """Section `attention` of config.yaml."""

    splits: list[Split] = Field(["test"], min_length=1, description="splits to score: subjects not trained on")
    recordings: int = Field(200, ge=2, description="at most this many, drawn by the seed")
    group: str | None = Field(None, description="column of recordings.parquet whose two levels are compared")
    levels: list[str | float] = Field([], description="two values of group, second minus first; []: its only two")
    strata: str | None = Field(None, description="column within whose values labels are permuted, for example site")
    permutations: int = Field(5000, ge=100, description="permutations of subjects in the comparison of two levels")
    bootstrap: int = Field(1000, ge=100, description="draws of subjects for the 95% intervals")
    seed: int = Field(0, ge=0, description="seed of the choice of recordings, permutations and bootstrap")
    threads: int = Field(2, ge=1, description="CPU threads")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")

    @field_validator("levels")
    @classmethod
    def _two(cls, value: list[str | float]) -> list[str | float]:
        if value and (len(value) != 2 or groups.text(value[0]) == groups.text(value[1])):
            raise ValueError("none, or two different values")
        return value


def evaluate(start: Start, config: Config) -> Results:
    """Maps, coupling and differences.

    Raises
    ------
    ConfigError: a column that is not there. InputError: no recording, or too few subjects with a level.
    """
    from brainlm_model.eval.attention.maps import collect

    table = start.recordings(config.splits, config.recordings, config.seed)
    pair = _pair(table, config)
    maps = collect(start.store, table["id"].tolist(), start.model, start.networks(), start.pieces)
    table = table.set_index("id").loc[maps.ids].reset_index()

    subjects = table["subject"].astype(str).tolist()
    weights = subject_draws(subjects, config.bootstrap, config.seed)
    shared = {"n_subjects": len(set(subjects)), "n_recordings": len(table)}
    parcels = start.store.parcels
    rows: list[Row] = []
    for row in [*_cls(maps, parcels, weights), *_coupling(maps, weights)]:
        rows.append({**row, "label": LABELS[row["method"]], **shared})
    contrasts: Facts = {}
    if pair:
        differences, contrasts = _differences(maps, table, parcels, pair, config)
        rows += differences
    rows = in_columns(rows, COLUMNS)
    facts: Facts = {
        "Splits": config.splits,
        "Subjects": shared["n_subjects"],
        "Recordings": shared["n_recordings"],
        "Skipped": list(maps.skipped.values()),
        "Windows": int(maps.windows.sum()),
        "MissingParcels": int(np.isnan(maps.cls["model"]).any(0).sum()),
        "Architecture": f"{start.model.config.attention} attention",
        "Group": config.group,
        "Levels": list(pair or []),
        "Strata": config.strata,
        "Permutations": config.permutations,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
        **contrasts,
    }
    return Results(
        facts,
        rows,
        arrays=_arrays(maps, parcels, pair),
        comparisons=_against_untrained(maps, subjects, weights, config.seed),
        warnings=_warnings(facts),
        published=PUBLISHED,
        more={
            "Results": [row for row in rows if not row["part"].endswith("_parcel")],  # single parcels: in the table
            "Significant": select(rows, significant=True),
        },
    )


def _arrays(maps: AttentionMaps, parcels: pd.DataFrame, pair: tuple[str, str] | None) -> dict[str, Any]:
    """What the figure needs beside the table."""
    arrays: dict[str, Any] = {}
    for name, matrix in maps.mean.items():
        arrays[f"attention_{name}"] = matrix.astype(np.float32)
    networks = np.array([""])
    if "network" in parcels:
        networks = np.array(parcels["network"].astype(str).tolist(), dtype=str)
    return {
        **arrays,
        "connectivity": maps.connectivity.astype(np.float32),
        "coordinates": maps.coordinates.astype(np.float32),
        "parcel": np.array(parcels["name"].astype(str).tolist(), dtype=str),
        "network": networks,
        "levels": np.array(list(pair or []), dtype=str),
    }


def _pair(table: pd.DataFrame, config: Config) -> tuple[str, str] | None:
    """The two levels that are compared; checked before any work."""
    if config.group is None:
        return None
    for key in ("group", "strata"):
        name = getattr(config, key)
        if name is not None and name not in table:
            raise ConfigError(f"attention.{key}: no column {name!r}", f"one of {', '.join(table.columns)}")
    levels = [groups.text(value) for value in table[config.group]]
    there = sorted({level for level in levels if level is not None})
    requested = [str(groups.text(value)) for value in config.levels] or there
    if len(requested) != 2 or not set(requested) <= set(there):
        raise ConfigError(
            f"attention.levels: {', '.join(requested[:8]) or 'none'}; {config.group} has "
            f"{', '.join(there[:8]) or 'none'}",
            "name two of its values: attention.levels=[a, b]",
        )
    pair = requested[0], requested[1]
    groups.design(table["subject"].astype(str).tolist(), levels, pair)  # refuses levels of too few subjects
    return pair


def _cls(maps: AttentionMaps, parcels: pd.DataFrame, weights: Array) -> list[Row]:
    rows = []
    for method, values_RP in maps.cls.items():
        for part, names, networks, values in _levels(values_RP, parcels, "cls"):
            for name, network, estimate in zip(names, networks, estimates(values, weights), strict=True):
                rows.append({"part": part, "method": method, "name": name, "network": network,
                             "metric": "times_uniform", **estimate})  # fmt: skip
    return rows


def _levels(
    values_RP: Array, parcels: pd.DataFrame, part: str
) -> list[tuple[str, Sequence[str], Sequence[str], Array]]:
    """(part of the table, names, their networks, values): of single parcels, and of networks."""
    networks, members = networks_of(parcels)
    names = parcels["name"].astype(str).tolist()
    return [
        (f"{part}_parcel", names, networks, values_RP),
        (f"{part}_network", list(members), list(members), network_means(values_RP, members)),
    ]


def _coupling(maps: AttentionMaps, weights: Array) -> list[Row]:
    rows = []
    for method, values_R2 in maps.coupling.items():
        for metric, estimate in zip(METRICS, estimates(values_R2, weights), strict=True):
            rows.append({"part": "coupling", "method": method, "name": METRICS[metric], "network": "",
                         "metric": metric, **estimate})  # fmt: skip
    return rows


def _against_untrained(maps: AttentionMaps, subjects: Sequence[str], weights: Array, seed: int) -> list[Row]:
    """Trained minus untrained coupling, with the paired interval and a sign-flip test, corrected for two metrics."""
    change_R2 = maps.coupling["model"] - maps.coupling["untrained"]
    rows = []
    for metric, change_R, estimate in zip(METRICS, change_R2.T, estimates(change_R2, weights), strict=True):
        rows.append(
            {"metric": metric, "method": "model", "against": "untrained", "difference": estimate["value"],
             "low": estimate["low"], "high": estimate["high"], "p": sign_flip(change_R, subjects, seed)}
        )  # fmt: skip
    judge(rows)
    return rows


def _differences(
    maps: AttentionMaps, table: pd.DataFrame, parcels: pd.DataFrame, pair: tuple[str, str], config: Config
) -> tuple[list[Row], Facts]:
    """Rows of the comparison of two levels, and how it was made."""
    subjects = table["subject"].astype(str).tolist()
    levels = [groups.text(value) for value in table[config.group]]
    strata = None
    if config.strata is not None:
        strata = [str(groups.text(value)) for value in table[config.strata]]
    rows: list[Row] = []
    facts: Facts = {}
    for method, values_RP in maps.cls.items():
        for part, names, networks, values in _levels(values_RP, parcels, "difference"):
            contrast = groups.contrast(
                values, subjects, levels, pair, config.permutations, config.bootstrap, config.seed, strata
            )
            people = contrast.first  # paired: the same subjects have both levels
            if contrast.design == "between":
                people += contrast.second
            for i, name in enumerate(names):
                rows.append(
                    {"part": part, "method": method, "name": name, "network": networks[i], "metric": "times_uniform",
                     "value": contrast.difference[i], "low": contrast.low[i], "high": contrast.high[i],
                     "t": contrast.t[i], "p": contrast.p[i], "significant": bool(contrast.p[i] < LEVEL),
                     "n_subjects": people, "n_recordings": len(table), "label": LABELS[method]}
                )  # fmt: skip
            facts |= {
                "Design": contrast.design,
                "SubjectsOfLevels": [contrast.first, contrast.second],
                "LeftOut": contrast.left_out,
            }
            facts[f"{method}_{part}_significant"] = int((contrast.p < LEVEL).sum())
    if "mean_fd_mm" in table:
        own_level = np.array(levels, dtype=object)
        facts["MeanFdMmOfLevels"] = []
        for level in pair:
            motion = table.loc[own_level == level, "mean_fd_mm"]
            facts["MeanFdMmOfLevels"].append(float(np.nanmean([*motion, np.nan])))
    return rows, facts


def _warnings(facts: Facts) -> list[str]:
    lines = [f"not looked at: {reason}" for reason in facts["Skipped"]]
    if facts["Subjects"] < ENOUGH_SUBJECTS:
        lines.append(f"only {facts['Subjects']} subjects: intervals over so few people are too narrow")
    if facts["MissingParcels"]:
        lines.append(f"{facts['MissingParcels']} parcels are unknown in some recording and left out there")
    if facts["Group"] and facts["Strata"] is None and facts["Design"] == "between":
        lines.append("groups may differ in site, motion or age as well: nothing of it is removed (attention.strata)")
    return lines


def describe(facts: Facts) -> str:
    """Methods sentence."""
    text = (
        "Attention of the last encoder block, mean over heads and time patches, was averaged over the windows of each "
        f"of {facts['Recordings']} recordings of {facts['Subjects']} subjects, and compared with functional "
        "connectivity over pairs of parcels, beside the same network untrained"
    )
    if not facts["Group"]:
        return text + "."
    return text + (
        f"; its CLS row was compared between {' and '.join(facts['Levels'])} ({facts['Design']}) with "
        f"{facts['Permutations']} permutations of subjects and the maximum statistic (Nichols & Holmes, 2002)."
    )


STAGE = task(
    "attention",
    1,
    "Map what the model attends to, compare it with connectivity and between groups.",
    Config,
    COLUMNS,
    evaluate,
    describe,
)
