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
from brainlm_model.eval.rows import Row, correct, estimates, in_columns, judge
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.paired import sign_flip
from brainlm_model.eval.statistics.subjects import Array, subject_draws

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
) -> tuple[list[Row], list[Row]]:
    """What each space says of each variable; and CLS against connectivity and against the untrained network."""
    rows: list[Row] = []
    compared: list[Row] = []
    for variable in variables:
        of_variable, comparisons = _separated(spaces, variable, subjects, config)
        rows += of_variable
        compared += comparisons
    for space in SPACES:  # corrected for the number of variables
        correct([row for row in rows if row["method"] == space and "p" in row])
    judge(compared)
    return in_columns(rows, COLUMNS), compared


def _separated(
    spaces: Mapping[str, Array], v: Variable, subjects: Sequence[str], config: Any
) -> tuple[list[Row], list[Row]]:
    """`separation` of one variable."""
    who = [subjects[i] for i in v.rows]
    weights = subject_draws(who, config.bootstrap, config.seed)
    everyone = np.ones((1, len(who)))
    rng = np.random.default_rng(config.seed)
    shuffled_KR = np.stack([separate.permuted(v.values, who, rng) for _ in range(config.permutations)])
    count = len(v.levels)
    shared = {"part": "separation", "column": v.name, "n_subjects": len(set(who)), "n_recordings": len(who),
              "n_levels": count}  # fmt: skip
    rows: list[Row] = []
    predicted, values, drawn = {}, {}, {}  # by space: of each recording, the score, and the scores of bootstrap draws
    for space in SPACES:
        x = spaces[space][v.rows]
        near = separate.neighbours(x, who, config.neighbours)
        predicted[space] = separate.predictions(v.values[None], near, count)
        values[space] = separate.score(predicted[space], v.values[None], everyone, count)[0]
        drawn[space] = separate.score(predicted[space], v.values[None], weights, count)
        low, high = interval(drawn[space][:, None])
        null = separate.score(separate.predictions(shuffled_KR, near, count), shuffled_KR, everyone, count)
        p, chance = _by_chance(values[space], null)
        row = {**shared, "method": space, "label": LABELS[space]}
        rows.append({**row, "metric": v.metric, "value": values[space], "low": low[0], "high": high[0],
                     "chance": chance, "p": p})  # fmt: skip
        if count:
            (estimate,) = estimates(_silhouette(x, v.values)[:, None], weights)
            rows.append({**row, "metric": "silhouette", **estimate})
    compared = []
    for other in AGAINST:
        low, high = interval((drawn["cls"] - drawn[other])[:, None])
        compared.append(
            {"part": "separation", "column": v.name, "metric": v.metric, "method": "cls", "against": other,
             "difference": values["cls"] - values[other], "low": low[0], "high": high[0],
             "p": separate.swap_test(predicted["cls"][0], predicted[other][0], v.values, who, count, config.seed),
             "n_subjects": len(set(who))}
        )  # fmt: skip
    return rows, compared


def _by_chance(value: float, null_K: Array) -> tuple[float, float]:
    """p of a score against those of permuted labels, of which it counts as one; and their mean. NaN where undefined."""
    p = chance = float("nan")
    if not np.isnan(value):
        p = float((1 + (null_K >= value - 1e-12).sum()) / (1 + len(null_K)))
    if np.isfinite(null_K).any():
        chance = float(np.nanmean(null_K))
    return p, chance


def _silhouette(x_RF: Array, values_R: Array) -> Array:
    from sklearn.metrics import silhouette_samples

    silhouettes: Array = silhouette_samples(x_RF, values_R)
    return silhouettes


def identification(matrices: Mapping[str, Array], subjects: Sequence[str], config: Any) -> tuple[list[Row], list[Row]]:
    """How well each method knows people again; the model's against connectivity and against its untrained twin."""
    weights = subject_draws(subjects, config.bootstrap, config.seed)
    scores = {method: identify.scores(matrix) for method, matrix in matrices.items()}
    rows: list[Row] = []
    for method, each_S4 in scores.items():
        chance, p = identify.by_chance(matrices[method], config.permutations, config.seed)
        for i, estimate in enumerate(estimates(each_S4, weights)):
            rows.append(
                {"part": "identification", "method": method, "column": "", "metric": identify.METRICS[i], **estimate,
                 "chance": chance[i], "p": p[i], "n_subjects": len(subjects), "n_recordings": 2 * len(subjects),
                 "label": METHODS[method]}
            )  # fmt: skip
    for metric in identify.METRICS:
        correct([row for row in rows if row["metric"] == metric])
    compared: list[Row] = []
    for method in ("cls", "mean", "parcels"):
        for other in ("connectivity", "connectivity_standardised", f"{method}_untrained"):
            for metric in ("rank1", "percentile"):
                change_S = (scores[method] - scores[other])[:, identify.METRICS.index(metric)]
                (estimate,) = estimates(change_S[:, None], weights)
                compared.append(
                    {"part": "identification", "metric": metric, "method": method, "against": other,
                     "difference": estimate["value"], "low": estimate["low"], "high": estimate["high"],
                     "p": sign_flip(change_S, subjects, config.seed), "n_subjects": len(subjects)}
                )  # fmt: skip
    judge(compared)
    return in_columns(rows, COLUMNS), compared
