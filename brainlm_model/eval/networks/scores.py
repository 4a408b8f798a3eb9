"""Accuracy from confusion counts, with intervals over subjects, and paired comparisons of methods.

Shapes: R recordings, C networks, B bootstrap draws. A confusion is (R, C, C): true network by predicted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.rows import Row, estimates, judge
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.paired import sign_flip
from brainlm_model.eval.statistics.subjects import Array

Counts = NDArray[np.int64]


def accuracy(confusion: Counts) -> Array:
    """(R,) share of each recording's held-out parcels that is right; NaN where there is none."""
    right = np.trace(confusion, axis1=1, axis2=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / confusion.sum((1, 2))


def recall(confusion: Counts, weights_BR: Array) -> Array:
    """(B, C) share of each network's parcels that is right, pooled over the recordings of a draw."""
    drawn = np.tensordot(weights_BR, confusion.astype(float), axes=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.diagonal(drawn, axis1=1, axis2=2) / drawn.sum(2)


def table(confusion: Counts, weights_BR: Array, networks: Sequence[str], shared: Mapping[str, Any]) -> list[Row]:
    """Rows of one method under one condition: accuracy, balanced accuracy (mean over networks), each network's."""
    everyone = np.ones((1, len(confusion)))
    each, drawn = recall(confusion, everyone), recall(confusion, weights_BR)
    parcels = int(confusion.sum())

    def row(metric: str, network: str, value: Array, drawn_B: Array, count: int) -> Row:
        low, high = interval(drawn_B[:, None])
        return {**shared, "metric": metric, "network": network, "value": value[0], "low": low[0], "high": high[0],
                "n_parcels": count}  # fmt: skip

    (estimate,) = estimates(accuracy(confusion)[:, None], weights_BR)
    rows = [
        {**shared, "metric": "accuracy", "network": "", **estimate, "n_parcels": parcels},
        row("balanced_accuracy", "", np.nanmean(each, axis=1), np.nanmean(drawn, axis=1), parcels),
    ]
    for c, name in enumerate(networks):
        rows.append(row("recall", name, each[:, c], drawn[:, c], int(confusion[:, c].sum())))
    return rows


def comparisons(
    confusions: Mapping[tuple[str, str, str], Counts],
    references: Sequence[str],
    subjects: Sequence[str],
    weights_BR: Array,
    seed: int,
) -> list[Row]:
    """Each reference against every other method: difference of accuracy, paired; all p corrected together (Holm).

    `confusions`: (protocol, classifier, method) -> confusion.
    """
    rows: list[Row] = []
    for (protocol, classifier, method), confusion in confusions.items():
        if method not in references:
            continue
        later = references[references.index(method) + 1 :]  # which are compared with this one in their own turn
        for (other_protocol, other_classifier, other), against in confusions.items():
            if (other_protocol, other_classifier) != (protocol, classifier) or other == method or other in later:
                continue
            change_R = accuracy(confusion) - accuracy(against)
            (estimate,) = estimates(change_R[:, None], weights_BR)
            rows.append(
                {"protocol": protocol, "classifier": classifier, "method": method, "against": other,
                 "difference": estimate["value"], "low": estimate["low"], "high": estimate["high"],
                 "p": sign_flip(change_R, subjects, seed), "n_subjects": len(set(subjects))}
            )  # fmt: skip
    judge(rows)
    return rows
