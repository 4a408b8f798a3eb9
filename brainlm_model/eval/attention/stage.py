"""What the model looks at: attention from CLS to each parcel, attention against connectivity, and group differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from brainlm_data import ConfigError, Facts, Files, StageConfig
from brainlm_model.eval import common
from brainlm_model.eval.attention import groups
from brainlm_model.eval.common import Array
from brainlm_model.eval.metrics import ENOUGH_SUBJECTS, subject_draws

if TYPE_CHECKING:
    import pandas as pd

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

    splits: list[common.Split] = Field(["test"], min_length=1, description="splits to score: subjects not trained on")
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


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Maps, coupling and differences.

    Raises
    ------
    ConfigError: a column that is not there. InputError: no recording, or too few subjects with a level.
    """
    import torch

    from brainlm_data import open_store
    from brainlm_model.eval.attention.maps import collect
    from brainlm_model.eval.masked import scoring
    from brainlm_model.figures.attention import draw
    from brainlm_model.trained.load import load

    torch.set_num_threads(config.threads)
    store = open_store(inputs["store"])
    table = common.chosen(store, config.splits, config.recordings, config.seed)
    pair = _pair(table, config)
    model = load(inputs["model"].parent, common.on_device(config.device))
    networks = {"model": model.network, "untrained": scoring.untrained(model).network}
    pieces = common.Pieces(outputs.meta.get("workdir"), common.source_key(inputs, "attention", STAGE.version, config))
    found = collect(store, table["id"].tolist(), model, networks, pieces)
    table = table.set_index("id").loc[found.ids].reset_index()

    subjects = table["subject"].astype(str).tolist()
    weights = subject_draws(subjects, config.bootstrap, config.seed)
    shared = {"n_subjects": len(set(subjects)), "n_recordings": len(table)}
    parcels = store.parcels
    rows = [
        {**row, "label": LABELS.get(row["method"], row["method"]), **shared, **row}
        for row in [*_cls(found, parcels, weights), *_coupling(found, weights)]
    ]
    differences, contrasts = _differences(found, table, parcels, pair, config) if pair else ([], {})
    rows += differences
    facts: Facts = {
        "Splits": config.splits,
        "Subjects": shared["n_subjects"],
        "Recordings": shared["n_recordings"],
        "Skipped": list(found.skipped.values()),
        "Windows": int(found.windows.sum()),
        "MissingParcels": int(np.isnan(found.cls["model"]).any(0).sum()),
        "Architecture": f"{model.config.attention} attention" if hasattr(model.config, "attention") else "",
        "Group": config.group,
        "Levels": list(pair or []),
        "Strata": config.strata,
        "Permutations": config.permutations,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
        **contrasts,
    }
    content = {
        **facts,
        "Comparisons": _against_untrained(found, subjects, weights, config.seed),
        "Significant": [r for r in rows if r.get("significant")],
        "Warnings": _warnings(facts),
        "Published": PUBLISHED,
    }
    rows = [{column: row.get(column) for column in COLUMNS} for row in rows]
    few = [row for row in rows if not row["part"].endswith("_parcel")]  # single parcels are in the table
    common.write_tables(outputs, "attention", COLUMNS, rows, {**content, "Results": few})
    matrices: dict[str, Any] = {f"attention_{name}": m.astype(np.float32) for name, m in found.mean.items()}
    np.savez_compressed(
        outputs["attention_arrays"],
        **matrices,
        connectivity=found.connectivity.astype(np.float32),
        coordinates=found.coordinates.astype(np.float32),
        parcel=parcels["name"].astype(str).to_numpy(dtype=str),
        network=parcels["network"].astype(str).to_numpy(dtype=str) if "network" in parcels else np.array([""]),
        levels=np.array(list(pair or []), dtype=str),
    )
    common.write_figure(outputs, "attention", draw)
    pieces.clear()
    return facts


def _pair(table: pd.DataFrame, config: Config) -> tuple[str, str] | None:
    """The two levels that are compared; checked before any work."""
    if config.group is None:
        return None
    for key in ("group", "strata"):
        name = getattr(config, key)
        if name is not None and name not in table:
            raise ConfigError(f"attention.{key}: no column {name!r}", f"one of {', '.join(table.columns)}")
    levels = [groups.text(v) for v in table[config.group]]
    there = sorted({v for v in levels if v is not None})
    asked = [str(groups.text(v)) for v in config.levels] or there
    if len(asked) != 2 or not set(asked) <= set(there):
        raise ConfigError(
            f"attention.levels: {', '.join(asked[:8]) or 'none'}; {config.group} has {', '.join(there[:8]) or 'none'}",
            "name two of its values: attention.levels=[a, b]",
        )
    groups.design(table["subject"].astype(str).tolist(), levels, (asked[0], asked[1]))
    return asked[0], asked[1]


def _names(parcels: pd.DataFrame) -> tuple[list[str], list[str], dict[str, Any]]:
    """Names of parcels, their networks, and which parcels each network has."""
    from brainlm_model.figures.style import network_name

    of = [network_name(n) for n in parcels["network"]] if "network" in parcels else ["unassigned"] * len(parcels)
    members = {name: np.array([n == name for n in of]) for name in sorted(set(of))}
    return parcels["name"].astype(str).tolist(), of, members


def _network_means(maps_RP: Array, members: dict[str, Any]) -> Array:
    """(recording, network): means over the parcels of each network that are known."""
    known = np.isfinite(maps_RP)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = [np.where(known[:, m], maps_RP[:, m], 0).sum(1) / known[:, m].sum(1) for m in members.values()]
    return np.stack(columns, axis=1)


def _cls(found: Any, parcels: pd.DataFrame, weights: Array) -> list[dict[str, Any]]:
    names, of, members = _names(parcels)
    rows = []
    for method, maps_RP in found.cls.items():
        for part, labels, belongs, values in (
            ("cls_parcel", names, of, maps_RP),
            ("cls_network", list(members), list(members), _network_means(maps_RP, members)),
        ):
            for name, network, value, low, high in zip(
                labels, belongs, *common.bootstrap(values, weights), strict=True
            ):
                rows.append({"part": part, "method": method, "name": name, "network": network,
                             "metric": "times_uniform", "value": value, "low": low, "high": high})  # fmt: skip
    return rows


def _coupling(found: Any, weights: Array) -> list[dict[str, Any]]:
    rows = []
    for method, values_R2 in found.coupling.items():
        for metric, value, low, high in zip(METRICS, *common.bootstrap(values_R2, weights), strict=True):
            rows.append({"part": "coupling", "method": method, "name": METRICS[metric], "network": "",
                         "metric": metric, "value": value, "low": low, "high": high})  # fmt: skip
    return rows


def _against_untrained(found: Any, subjects: Sequence[str], weights: Array, seed: int) -> list[dict[str, Any]]:
    """Trained minus untrained coupling, with the paired interval and a sign-flip test, corrected for two metrics."""
    change_R2 = found.coupling["model"] - found.coupling["untrained"]
    value, low, high = common.bootstrap(change_R2, weights)
    p = [common.sign_flip(change_R2[:, i], subjects, seed) for i in range(len(METRICS))]
    return [
        {"metric": metric, "method": "model", "against": "untrained", "difference": value[i], "low": low[i],
         "high": high[i], "p": p[i], "p_holm": corrected, "verdict": common.verdict(value[i], corrected)}
        for i, (metric, corrected) in enumerate(zip(METRICS, common.holm(p), strict=True))
    ]  # fmt: skip


def _differences(
    found: Any, table: pd.DataFrame, parcels: pd.DataFrame, pair: tuple[str, str], config: Config
) -> tuple[list[dict[str, Any]], Facts]:
    names, of, members = _names(parcels)
    subjects = table["subject"].astype(str).tolist()
    levels = [groups.text(v) for v in table[config.group]]
    strata = None if config.strata is None else [str(groups.text(v)) for v in table[config.strata]]
    rows: list[dict[str, Any]] = []
    facts: Facts = {}
    for method, maps_RP in found.cls.items():
        for part, labels, belongs, maps in (
            ("difference_parcel", names, of, maps_RP),
            ("difference_network", list(members), list(members), _network_means(maps_RP, members)),
        ):
            seen = groups.contrast(
                maps, subjects, levels, pair, config.permutations, config.bootstrap, config.seed, strata
            )
            for i, name in enumerate(labels):
                rows.append(
                    {"part": part, "method": method, "name": name, "network": belongs[i], "metric": "times_uniform",
                     "value": seen.difference[i], "low": seen.low[i], "high": seen.high[i], "t": seen.t[i],
                     "p": seen.p[i], "significant": bool(seen.p[i] < common.LEVEL),
                     "n_subjects": seen.first + (seen.second if seen.design == "between" else 0),
                     "n_recordings": len(table), "label": LABELS[method]}
                )  # fmt: skip
            facts |= {"Design": seen.design, "SubjectsOfLevels": [seen.first, seen.second], "LeftOut": seen.left_out}
            facts[f"{method}_{part}_significant"] = sum(bool(p < common.LEVEL) for p in seen.p)
    if "mean_fd_mm" in table:
        which = np.array(levels, dtype=object)
        facts["MeanFdMmOfLevels"] = [float(np.nanmean([*table.loc[which == v, "mean_fd_mm"], np.nan])) for v in pair]
    return rows, facts


def _warnings(facts: Facts) -> list[str]:
    found = [f"not looked at: {reason}" for reason in facts["Skipped"]]
    if facts["Subjects"] < ENOUGH_SUBJECTS:
        found.append(f"only {facts['Subjects']} subjects: intervals over so few people are too narrow")
    if facts["MissingParcels"]:
        found.append(f"{facts['MissingParcels']} parcels are unknown in some recording and left out there")
    if facts["Group"] and facts["Strata"] is None and facts["Design"] == "between":
        found.append("groups may differ in site, motion or age as well: nothing of it is removed (attention.strata)")
    return found


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


STAGE = common.task(
    "attention",
    1,
    "Map what the model attends to, compare it with connectivity and between groups.",
    Config,
    run,
    describe,
)
