"""Rows, comparisons and words of the stage `perturbation`.

Shapes: S subjects, R recordings, K seeds, P parcels, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from brainlm_model.eval.parcels import network_means
from brainlm_model.eval.perturbation.response import agreement
from brainlm_model.eval.rows import Row, estimates, in_columns, judge
from brainlm_model.eval.statistics.paired import holm, sign_flip
from brainlm_model.eval.statistics.subjects import Array, subject_draws

COLUMNS = (
    "part", "method", "name", "network", "metric", "value", "low", "high", "p", "p_holm", "n_subjects",
    "n_recordings", "n_parcels", "label",
)  # fmt: skip
MOVED = {"model": "BrainLM", "untrained": "the same network, untrained", "sd": "difference of SD, no model"}
TARGETS = {"own": "with the person's connectivity, unseen steps", "group": "with training subjects' connectivity"}


def answered(gaussian: bool) -> dict[str, str]:
    """Methods of part two, with their names; with a Gaussian prior the untrained network is its prior alone."""
    statistics = {"visible": "connectivity of the visible half", "group": "training subjects' connectivity"}
    if not gaussian:
        return {"model": "BrainLM", "untrained": "the same network, untrained", **statistics}
    return {
        "model": "BrainLM",
        "untrained": "its prior alone (untrained)",
        "network": "what the network adds to its prior",
        **statistics,
    }


def moved(
    arrays: Mapping[str, Array],
    subjects: Sequence[str],
    parcels: Sequence[str],
    members: Mapping[str, Any],
    config: Any,
) -> list[Row]:
    """Magnitudes of part one by network and parcel: task, null, their difference, and that of the profiles.

    `share`: magnitude over the mean of all parcels, so that how far CLS had to go does not count; `share_difference`
    is that of task minus that of null. p: signs of the subjects' differences flipped, Holm over the networks.
    """
    weights = subject_draws(subjects, config.bootstrap, config.seed)
    rows: list[Row] = []
    for method in MOVED:
        shared = {"method": method, "label": MOVED[method], "n_subjects": len(set(subjects)),
                  "n_recordings": len(subjects)}  # fmt: skip
        task, null = arrays[f"{method}/task"], arrays[f"{method}/null"]
        differences = {"difference": task - null, "share_difference": _profile(task) - _profile(null)}
        for metric, values_SP in {"task": task, "null": null, **differences}.items():
            each = network_means(values_SP, members)
            p = [np.nan] * len(members)
            if metric in differences:
                p = [sign_flip(of_network, subjects, config.seed) for of_network in each.T]
            corrected = holm(p)
            for i, (name, estimate) in enumerate(zip(members, estimates(each, weights), strict=True)):
                rows.append({**shared, "part": "moved_network", "name": name, "network": name, "metric": metric,
                             **estimate, "p": p[i], "p_holm": corrected[i],
                             "n_parcels": int(members[name].sum())})  # fmt: skip
            if metric not in differences:
                for row in _of_parcels(values_SP, weights, parcels, members):
                    rows.append({**shared, **row, "metric": metric})
        for what in ("task", "null"):
            if f"{method}/{what}/distance" in arrays:
                before, after = arrays[f"{method}/{what}/distance"].T
                with np.errstate(invalid="ignore", divide="ignore"):
                    both = np.stack([before, 1 - after / before], 1)
                for metric, estimate in zip(("distance", "reached"), estimates(both, weights), strict=True):
                    rows.append({**shared, "part": "moved_distance", "name": what, "metric": metric, **estimate})
    return in_columns(rows, COLUMNS)


def _profile(magnitude_SP: Array) -> Array:
    """Magnitudes over the mean of all parcels; NaN where CLS is there already and nothing has to change."""
    with np.errstate(invalid="ignore", divide="ignore"):
        profile_SP: Array = magnitude_SP / np.nanmean(magnitude_SP, 1, keepdims=True)
    return profile_SP


def _of_parcels(values_SP: Array, weights_BS: Array, parcels: Sequence[str], members: Mapping[str, Any]) -> list[Row]:
    network_of = np.empty(len(parcels), dtype=object)
    for network, member in members.items():
        network_of[member] = network
    rows = []
    for name, network, estimate in zip(parcels, network_of, estimates(values_SP, weights_BS), strict=True):
        rows.append({"part": "moved_parcel", "name": name, "network": network, "n_parcels": 1, **estimate})
    return rows


def agreements(maps: Sequence[Mapping[str, Array]], group_KP: Array, gaussian: bool) -> dict[tuple[str, str], Array]:
    """(method, target) -> (R, K) correlations of maps with connectivity: the person's unseen one, and the group's."""
    complete = [{**own, "own": own["unseen"], "group": group_KP} for own in maps]
    correlations = {}
    for method, target in product(answered(gaussian), TARGETS):
        if method != target:
            correlations[method, target] = np.stack([agreement(own[method], own[target]) for own in complete])
    return correlations


def sizes(maps: Sequence[Mapping[str, Array]], subjects: Sequence[str], gaussian: bool, config: Any) -> list[Row]:
    """How much all others are predicted to move where the seed moves by a unit: mean of the absolute response."""
    weights = subject_draws(subjects, config.bootstrap, config.seed)
    rows: list[Row] = []
    for method, label in answered(gaussian).items():
        if method in maps[0] and method != "visible":
            size_R1 = np.array([[np.nanmean(np.abs(own[method]))] for own in maps])
            (estimate,) = estimates(size_R1, weights)
            rows.append({"part": "response_size", "method": method, "metric": "mean_absolute", **estimate,
                         "n_subjects": len(set(subjects)), "n_recordings": len(maps), "label": label})  # fmt: skip
    return in_columns(rows, COLUMNS)


def responded(
    measured: Mapping[tuple[str, str], Array],
    subjects: Sequence[str],
    of_seeds: Sequence[str],
    gaussian: bool,
    config: Any,
) -> tuple[list[Row], list[Row]]:
    """Agreement of part two: all seeds, and by the seed's network; and the model against every other method.

    `of_seeds`: network of each seed.
    """
    weights = subject_draws(subjects, config.bootstrap, config.seed)
    labels = answered(gaussian)
    groups = {"": np.ones(len(of_seeds), dtype=bool)}
    for network in sorted(set(of_seeds)):
        groups[network] = np.array(of_seeds) == network
    shared = {"n_subjects": len(set(subjects)), "n_recordings": len(subjects)}
    rows: list[Row] = []
    means: dict[tuple[str, str], Array] = {}
    for (method, target), each_RK in measured.items():
        values = network_means(each_RK, groups)
        means[method, target] = values[:, 0]
        for (network, member), estimate in zip(groups.items(), estimates(values, weights), strict=True):
            rows.append({"part": "response_network" if network else "response", "method": method, "name": target,
                         "network": network, "metric": "r", **estimate, **shared, "n_parcels": int(member.sum()),
                         "label": labels[method]})  # fmt: skip
    compared: list[Row] = []
    for (method, target), values_R in means.items():
        if method == "model":
            continue
        change = means["model", target] - values_R
        (estimate,) = estimates(change[:, None], weights)
        compared.append({"part": "response", "target": target, "method": "model", "against": method,
                         "difference": estimate["value"], "low": estimate["low"], "high": estimate["high"],
                         "p": sign_flip(change, subjects, config.seed),
                         "n_subjects": len(set(subjects))})  # fmt: skip
    judge(compared)
    return in_columns(rows, COLUMNS), compared
