"""Rows, comparisons and words of the stage `perturbation`.

Shapes: S subjects, R recordings, K seeds, P parcels, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainlm_model.eval.parcels import network_means
from brainlm_model.eval.perturbation.response import agreement
from brainlm_model.eval.statistics.paired import holm, sign_flip, verdict
from brainlm_model.eval.statistics.subjects import Array, bootstrap, subject_draws

COLUMNS = (
    "part", "method", "name", "network", "metric", "value", "low", "high", "p", "p_holm", "n_subjects",
    "n_recordings", "n_parcels", "label",
)  # fmt: skip
MOVED = {"model": "BrainLM", "untrained": "the same network, untrained", "sd": "difference of SD, no model"}
TARGETS = {"own": "with the person's connectivity, unseen steps", "group": "with training subjects' connectivity"}


def answered(gaussian: bool) -> dict[str, str]:
    """Methods of part two, with their names; with a Gaussian prior the untrained network is its prior alone."""
    return {
        "model": "BrainLM",
        "untrained": "its prior alone (untrained)" if gaussian else "the same network, untrained",
        **({"network": "what the network adds to its prior"} if gaussian else {}),
        "visible": "connectivity of the visible half",
        "group": "training subjects' connectivity",
    }


def moved(
    arrays: Mapping[str, Array],
    subjects: Sequence[str],
    parcels: Sequence[str],
    members: Mapping[str, Any],
    config: Any,
) -> list[dict[str, Any]]:
    """Magnitudes of part one by network and parcel: task, null, their difference, and that of the profiles.

    `share`: magnitude over the mean of all parcels, so that how far CLS had to go does not count; `share_difference`
    is that of task minus that of null. p: signs of the subjects' differences flipped, Holm over the networks.
    """
    weights = subject_draws(subjects, config.bootstrap, config.seed)
    of = {int(i): name for name, m in members.items() for i in np.flatnonzero(m)}
    rows: list[dict[str, Any]] = []
    for method in MOVED:
        task, null = arrays[f"{method}/task"], arrays[f"{method}/null"]
        shared = {"method": method, "label": MOVED[method], "n_subjects": len(set(subjects)),
                  "n_recordings": len(subjects)}  # fmt: skip
        with np.errstate(invalid="ignore", divide="ignore"):  # where CLS is there already nothing has to change
            profile = [m / np.nanmean(m, 1, keepdims=True) for m in (task, null)]
        metrics = {"task": task, "null": null, "difference": task - null,
                   "share_difference": profile[0] - profile[1]}  # fmt: skip
        for metric, values in metrics.items():
            each = network_means(values, members)
            value, low, high = bootstrap(each, weights)
            tested = metric.endswith("difference")
            p = [sign_flip(each[:, i], subjects, config.seed) if tested else np.nan for i in range(len(members))]
            for i, (name, corrected) in enumerate(zip(members, holm(p), strict=True)):
                rows.append({**shared, "part": "moved_network", "name": name, "network": name, "metric": metric,
                             "value": value[i], "low": low[i], "high": high[i], "p": p[i], "p_holm": corrected,
                             "n_parcels": int(members[name].sum())})  # fmt: skip
            if tested:
                continue
            value, low, high = bootstrap(values, weights)
            rows += [
                {**shared, "part": "moved_parcel", "name": name, "network": of[i], "metric": metric, "value": value[i],
                 "low": low[i], "high": high[i], "n_parcels": 1} for i, name in enumerate(parcels)
            ]  # fmt: skip
        for what in ("task", "null"):
            if f"{method}/{what}/distance" in arrays:
                before, after = arrays[f"{method}/{what}/distance"].T
                with np.errstate(invalid="ignore", divide="ignore"):
                    both = np.stack([before, 1 - after / before], 1)
                for metric, value, low, high in zip(("distance", "reached"), *bootstrap(both, weights), strict=True):
                    rows.append({**shared, "part": "moved_distance", "name": what, "metric": metric, "value": value,
                                 "low": low, "high": high})  # fmt: skip
    return [{c: row.get(c) for c in COLUMNS} for row in rows]


def agreements(maps: Sequence[Mapping[str, Array]], group_KP: Array, gaussian: bool) -> dict[tuple[str, str], Array]:
    """(method, target) -> (R, K) correlations of maps with connectivity: the person's unseen one, and the group's."""
    given = [{**m, "own": m["unseen"], "group": group_KP} for m in maps]
    return {
        (method, target): np.stack([agreement(m[method], m[target]) for m in given])
        for method in answered(gaussian) for target in TARGETS if method != target
    }  # fmt: skip


def sizes(
    maps: Sequence[Mapping[str, Array]], subjects: Sequence[str], gaussian: bool, config: Any
) -> list[dict[str, Any]]:
    """How much all others are predicted to move where the seed moves by a unit: mean of the absolute response."""
    weights = subject_draws(subjects, config.bootstrap, config.seed)
    rows = []
    for method, label in answered(gaussian).items():
        if method in maps[0] and method != "visible":
            value, low, high = bootstrap(np.array([[np.nanmean(np.abs(m[method]))] for m in maps]), weights)
            row = {"part": "response_size", "method": method, "metric": "mean_absolute", "value": value[0],
                   "low": low[0], "high": high[0], "n_subjects": len(set(subjects)), "n_recordings": len(maps),
                   "label": label}  # fmt: skip
            rows.append({c: row.get(c) for c in COLUMNS})
    return rows


def responded(
    measured: Mapping[tuple[str, str], Array], subjects: Sequence[str], of: Sequence[str], gaussian: bool, config: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Agreement of part two: all seeds, and by the seed's network; and the model against every other method."""
    weights = subject_draws(subjects, config.bootstrap, config.seed)
    labels = answered(gaussian)
    rows: list[dict[str, Any]] = []
    means: dict[tuple[str, str], Array] = {}
    for (method, target), each_RK in measured.items():
        groups = {"": np.ones(len(of), dtype=bool), **{n: np.array([o == n for o in of]) for n in sorted(set(of))}}
        values = network_means(each_RK, groups)
        means[method, target] = values[:, 0]
        for i, (value, low, high) in enumerate(zip(*bootstrap(values, weights), strict=True)):
            name = list(groups)[i]
            rows.append({"part": "response_network" if name else "response", "method": method, "name": target,
                         "network": name, "metric": "r", "value": value, "low": low, "high": high,
                         "n_subjects": len(set(subjects)), "n_recordings": len(subjects),
                         "n_parcels": int(groups[name].sum()), "label": labels[method]})  # fmt: skip
    compared: list[dict[str, Any]] = []
    for (method, target), values_R in means.items():
        if method == "model":
            continue
        change = means["model", target] - values_R
        value, low, high = bootstrap(change[:, None], weights)
        compared.append({"part": "response", "target": target, "method": "model", "against": method,
                         "difference": value[0], "low": low[0], "high": high[0],
                         "p": sign_flip(change, subjects, config.seed),
                         "n_subjects": len(set(subjects))})  # fmt: skip
    for row, p in zip(compared, holm([row["p"] for row in compared]), strict=True):
        row["p_holm"], row["verdict"] = p, verdict(row["difference"], p)
    return [{c: row.get(c) for c in COLUMNS} for row in rows], compared
