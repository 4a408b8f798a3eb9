"""Rows, comparisons and words of the stage `latent`.

Shapes: R recordings, S subjects, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainlm_model.eval.latent import identify, separate
from brainlm_model.eval.latent.features import SPACES
from brainlm_model.eval.latent.separate import Variable
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.paired import holm, sign_flip, verdict
from brainlm_model.eval.statistics.subjects import Array, bootstrap, subject_draws

COLUMNS = (
    "part", "method", "column", "metric", "value", "low", "high", "chance", "p", "p_holm", "n_subjects",
    "n_recordings", "n_levels", "label",
)  # fmt: skip
LABELS = {
    "cls": "CLS, all dimensions", "cls_pca": "CLS, 2 principal components", "cls_umap": "CLS, UMAP",
    "untrained": "untrained CLS, all dimensions", "connectivity": "connectivity, all pairs",
    "connectivity_pca": "connectivity, 2 principal components", "connectivity_umap": "connectivity, UMAP",
}  # fmt: skip
METHODS = {
    "cls": "BrainLM: CLS", "mean": "BrainLM: mean token", "parcels": "BrainLM: parcel tokens",
    "cls_untrained": "untrained: CLS", "mean_untrained": "untrained: mean token",
    "parcels_untrained": "untrained: parcel tokens", "connectivity": "connectivity (Finn et al.)",
    "connectivity_standardised": "connectivity, standardised",
}  # fmt: skip
AGAINST = ("connectivity", "untrained")  # of CLS, in separating


def separation(
    spaces: Mapping[str, Array], variables: Sequence[Variable], subjects: Sequence[str], config: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What each space says of each variable; and CLS against connectivity and against the untrained network."""
    rows: list[dict[str, Any]] = []
    compared: list[dict[str, Any]] = []
    for v in variables:
        who = [subjects[i] for i in v.rows]
        weights = subject_draws(who, config.bootstrap, config.seed)
        rng = np.random.default_rng(config.seed)
        shuffled_KR = np.stack([separate.permuted(v.values, who, rng) for _ in range(config.permutations)])
        everyone = np.ones((1, len(who)))
        count, predicted = len(v.levels), {}
        shared = {"part": "separation", "column": v.name, "n_subjects": len(set(who)), "n_recordings": len(who),
                  "n_levels": count}  # fmt: skip
        for space in SPACES:
            x = spaces[space][v.rows]
            near = separate.neighbours(x, who, config.neighbours)
            predicted[space] = separate.predictions(v.values[None], near, count)
            value = separate.score(predicted[space], v.values[None], everyone, count)[0]
            low, high = interval(separate.score(predicted[space], v.values[None], weights, count)[:, None])
            null = separate.score(separate.predictions(shuffled_KR, near, count), shuffled_KR, everyone, count)
            row = {**shared, "method": space, "label": LABELS[space]}
            p = float("nan") if np.isnan(value) else (1 + (null >= value - 1e-12).sum()) / (1 + len(null))
            rows.append({**row, "metric": v.metric, "value": value, "low": low[0], "high": high[0],
                         "chance": float(np.nanmean(null)) if np.isfinite(null).any() else np.nan,
                         "p": float(p)})  # fmt: skip
            if count:
                shape = _silhouette(x, v.values)
                mean, low, high = bootstrap(shape[:, None], weights)
                rows.append({**row, "metric": "silhouette", "value": mean[0], "low": low[0], "high": high[0]})
        for other in AGAINST:
            a, b = (separate.score(predicted[m], v.values[None], weights, count) for m in ("cls", other))
            value = [separate.score(predicted[m], v.values[None], everyone, count)[0] for m in ("cls", other)]
            low, high = interval((a - b)[:, None])
            compared.append(
                {"part": "separation", "column": v.name, "metric": v.metric, "method": "cls", "against": other,
                 "difference": value[0] - value[1], "low": low[0], "high": high[0],
                 "p": separate.swap_test(predicted["cls"][0], predicted[other][0], v.values, who, count, config.seed),
                 "n_subjects": len(set(who))}
            )  # fmt: skip
    for space in SPACES:  # corrected for the number of variables
        these = [r for r in rows if r["method"] == space and "p" in r]
        for row, corrected in zip(these, holm([r["p"] for r in these]), strict=True):
            row["p_holm"] = corrected
    return [{c: row.get(c) for c in COLUMNS} for row in rows], _corrected(compared)


def _silhouette(x_RF: Array, values_R: Array) -> Array:
    from sklearn.metrics import silhouette_samples

    silhouettes: Array = silhouette_samples(x_RF, values_R)
    return silhouettes


def identification(
    matrices: Mapping[str, Array], subjects: Sequence[str], config: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """How well each method knows people again; the model's against connectivity and against its untrained twin."""
    weights = subject_draws(subjects, config.bootstrap, config.seed)
    scores = {method: identify.scores(m) for method, m in matrices.items()}
    rows: list[dict[str, Any]] = []
    for method, each_S4 in scores.items():
        value, low, high = bootstrap(each_S4, weights)
        chance, p = identify.by_chance(matrices[method], config.permutations, config.seed)
        rows += [
            {"part": "identification", "method": method, "column": "", "metric": metric, "value": value[i],
             "low": low[i], "high": high[i], "chance": chance[i], "p": p[i], "n_subjects": len(subjects),
             "n_recordings": 2 * len(subjects), "label": METHODS[method]}
            for i, metric in enumerate(identify.METRICS)
        ]  # fmt: skip
    for metric in identify.METRICS:
        these = [r for r in rows if r["metric"] == metric]
        for row, corrected in zip(these, holm([r["p"] for r in these]), strict=True):
            row["p_holm"] = corrected
    compared: list[dict[str, Any]] = []
    for method in ("cls", "mean", "parcels"):
        for other in ("connectivity", "connectivity_standardised", f"{method}_untrained"):
            for metric in ("rank1", "percentile"):
                change_S = (scores[method] - scores[other])[:, identify.METRICS.index(metric)]
                value, low, high = bootstrap(change_S[:, None], weights)
                compared.append(
                    {"part": "identification", "metric": metric, "method": method, "against": other,
                     "difference": value[0], "low": low[0], "high": high[0],
                     "p": sign_flip(change_S, subjects, config.seed), "n_subjects": len(subjects)}
                )  # fmt: skip
    return [{c: row.get(c) for c in COLUMNS} for row in rows], _corrected(compared)


def _corrected(compared: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row, p in zip(compared, holm([row["p"] for row in compared]), strict=True):
        row["p_holm"], row["verdict"] = p, verdict(row["difference"], p)
    return compared
