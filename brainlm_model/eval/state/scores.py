"""Balanced accuracy of every method with intervals over people (or runs), chance by permutation, paired comparisons.

Shapes: n samples, U units (people, or the runs of one), C conditions, K permutations, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.parcels import known_mean
from brainlm_model.eval.rows import Row, correct, estimates, judge
from brainlm_model.eval.state.features import LABELS, LINEAR, OURS
from brainlm_model.eval.state.samples import Ints
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.paired import sign_flip
from brainlm_model.eval.statistics.subjects import Array, subject_draws


@dataclass(frozen=True)
class Outcome:
    """What was told of the samples.

    Attributes
    ----------
    told: method -> (n,) conditions, -1 where none could be told. null: method -> (K, n) by fits to permuted labels,
        K 0 where a method was not fitted to them. shuffled: (K, n) these labels. labels: (n,). units: of each sample.
    """

    told: Mapping[str, Ints]
    null: Mapping[str, Ints]
    shuffled: Ints
    labels: Ints
    conditions: Sequence[str]
    units: Sequence[str]

    @cached_property
    def names(self) -> list[str]:
        """The units, sorted."""
        return sorted(set(self.units))

    def confusion(self, told: Ints, labels: Ints) -> NDArray[np.int64]:
        """(U, C, C) counts, true condition by the one that was told."""
        count = len(self.conditions)
        confusion = np.zeros((len(self.names), count, count), np.int64)
        place = np.searchsorted(self.names, self.units)
        known = told >= 0
        np.add.at(confusion, (place[known], labels[known], told[known]), 1)
        return confusion

    @property
    def confusions(self) -> dict[str, NDArray[np.int64]]:
        """Method -> (C, C) of all units."""
        return {name: self.confusion(told, self.labels).sum(0) for name, told in self.told.items()}


def recall(confusion_UCC: NDArray[np.int64], weights_BU: Array) -> Array:
    """(B, C) share of each condition that is right, pooled over the units of a draw; NaN where it is not in one."""
    pooled_BCC = np.tensordot(weights_BU, confusion_UCC.astype(float), axes=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Array = np.diagonal(pooled_BCC, axis1=1, axis2=2) / pooled_BCC.sum(2)
    return share


def table(outcome: Outcome, bootstrap: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows: balanced accuracy and the recall of each condition, by method. Comparisons: the model's methods with each
    linear one, and with the same of the untrained network; p corrected for all of them (Holm)."""
    weights = subject_draws(outcome.names, bootstrap, seed)
    everyone = np.ones((1, len(outcome.names)))
    rows, tested = list[Row](), list[Row]()
    each_unit: dict[str, Array] = {}  # balanced accuracy of each unit
    for method, told in outcome.told.items():
        confusion = outcome.confusion(told, outcome.labels)
        each_unit[method] = known_mean(recall(confusion, np.eye(len(outcome.names))), axis=1)
        value, drawn = recall(confusion, everyone), recall(confusion, weights)
        shared = {"method": method, "label": LABELS[method], "n_units": len(outcome.names)}
        low, high = interval(known_mean(drawn, axis=1)[:, None])
        row = {**shared, "metric": "balanced_accuracy", "condition": "", "value": known_mean(value, axis=1)[0],
               "low": low[0], "high": high[0], "n_events": int(confusion.sum())}  # fmt: skip
        if len(outcome.null[method]):
            row |= _by_chance(outcome, method, row["value"])
            tested.append(row)
        rows.append(row)
        low, high = interval(drawn)
        for place, name in enumerate(outcome.conditions):
            rows.append(
                {**shared, "metric": "recall", "condition": name, "value": value[0, place], "low": low[place],
                 "high": high[place], "n_events": int(confusion[:, place].sum())}
            )  # fmt: skip
    correct(tested)
    return rows, _comparisons(each_unit, outcome.names, weights, seed)


def _by_chance(outcome: Outcome, method: str, value: float) -> Row:
    """Mean score of fits to permuted labels; and p, how often theirs is as good, the true one among them."""
    everyone = np.ones((1, len(outcome.names)))
    reached = []
    for told, labels in zip(outcome.null[method], outcome.shuffled, strict=True):
        reached.append(known_mean(recall(outcome.confusion(told, labels), everyone), axis=1)[0])
    null = np.array(reached)
    return {"chance": float(null.mean()), "p": float((1 + (null >= value - 1e-12).sum()) / (1 + len(null)))}


def _comparisons(each_unit: Mapping[str, Array], units: Sequence[str], weights: Array, seed: int) -> list[Row]:
    compared: list[Row] = []
    for method in OURS:
        for other in (*LINEAR, f"{method}_untrained"):
            if method not in each_unit or other not in each_unit:
                continue
            change_U = each_unit[method] - each_unit[other]
            (estimate,) = estimates(change_U[:, None], weights)
            compared.append(
                {"method": method, "against": other, "difference": estimate["value"], "low": estimate["low"],
                 "high": estimate["high"], "p": sign_flip(change_U, units, seed), "n_units": len(units)}
            )  # fmt: skip
    judge(compared)
    return compared
