"""Balanced accuracy of every method with intervals over people (or runs), chance by surrogates, paired comparisons.

Shapes: n samples, U units (people, or the runs of one), C conditions, K sets of surrogates, B bootstrap draws.
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
from brainlm_model.eval.state.words import tells
from brainlm_model.eval.statistics.few import above_few, mean_above
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.paired import LEVEL, holm, sign_flip
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS, Array, subject_draws


@dataclass(frozen=True)
class Outcome:
    """What was told of the samples.

    Attributes
    ----------
    told: method -> (1 + K, n) conditions, from the series and from surrogates of them; -1 where none could be told.
        labels: (n,). units: of each sample. own_fits: every unit is a person, and was told by fits to nobody else.
    """

    told: Mapping[str, Ints]
    labels: Ints
    conditions: Sequence[str]
    units: Sequence[str]
    own_fits: bool = False

    @cached_property
    def names(self) -> list[str]:
        """The units, sorted."""
        return sorted(set(self.units))

    def confusion(self, told: Ints) -> NDArray[np.int64]:
        """(U, C, C) counts, true condition by the one that was told (n,)."""
        count = len(self.conditions)
        confusion = np.zeros((len(self.names), count, count), np.int64)
        place = np.searchsorted(self.names, self.units)
        known = told >= 0
        np.add.at(confusion, (place[known], self.labels[known], told[known]), 1)
        return confusion

    @property
    def confusions(self) -> dict[str, NDArray[np.int64]]:
        """Method -> (C, C) of all units, from the series."""
        return {name: self.confusion(told[0]).sum(0) for name, told in self.told.items()}


def recall(confusion_UCC: NDArray[np.int64], weights_BU: Array) -> Array:
    """(B, C) share of each condition that is right, pooled over the units of a draw; NaN where it is not in one."""
    pooled_BCC = np.tensordot(weights_BU, confusion_UCC.astype(float), axes=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Array = np.diagonal(pooled_BCC, axis1=1, axis2=2) / pooled_BCC.sum(2)
    return share


def spread_of_counts(confusion_CC: Array) -> float:
    """SD of a balanced accuracy of events that are right independently, each as often as others of its condition.

    A recall r_c of n_c events has the variance r_c (1 - r_c) / n_c (binomial); the mean over C, their sum / C^2.
    """
    count_C = confusion_CC.sum(1)
    there = count_C > 0
    recall_C = np.diagonal(confusion_CC)[there] / count_C[there]
    return float(np.sqrt((recall_C * (1 - recall_C) / count_C[there]).sum()) / max(there.sum(), 1))


def table(outcome: Outcome, bootstrap: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows: balanced accuracy and the recall of each condition, by method. Comparisons: the model's methods with each
    linear one, and with the same of the untrained network. p of each kind are corrected for their number (Holm)."""
    weights = subject_draws(outcome.names, bootstrap, seed)
    everyone = np.ones((1, len(outcome.names)))
    rows, scored = list[Row](), list[Row]()
    each_unit: dict[str, Array] = {}  # balanced accuracy of each unit
    for method, (told, *of_surrogates) in outcome.told.items():
        confusion = outcome.confusion(told)
        each_unit[method] = known_mean(recall(confusion, np.eye(len(confusion))), axis=1)
        value, drawn = recall(confusion, everyone), recall(confusion, weights)
        shared = {"method": method, "label": LABELS[method], "n_units": len(outcome.names)}
        low, high = interval(known_mean(drawn, axis=1)[:, None])
        row = {**shared, "metric": "balanced_accuracy", "condition": "", "value": known_mean(value, axis=1)[0],
               "low": low[0], "high": high[0], "n_events": int(confusion.sum())}  # fmt: skip
        if of_surrogates:
            confusions = [outcome.confusion(one) for one in of_surrogates]
            by_chance = [float(known_mean(recall(one, everyone), axis=1)[0]) for one in confusions]
            least = spread_of_counts(np.mean([one.sum(0) for one in confusions], axis=0))
            row |= {
                "chance": np.mean(by_chance),
                "chance_p": mean_above(by_chance, 1 / len(outcome.conditions), least),
                "p": above_few(row["value"], by_chance, least),
            }
            if method != "times":
                scored.append(row)
                if outcome.own_fits and len(outcome.names) >= ENOUGH_SUBJECTS:
                    row["p"] = _over_people(each_unit[method], confusions, outcome.names, seed)
        rows.append(row)
        low, high = interval(drawn)
        for place, name in enumerate(outcome.conditions):
            rows.append(
                {**shared, "metric": "recall", "condition": name, "value": value[0, place], "low": low[place],
                 "high": high[place], "n_events": int(confusion[:, place].sum())}
            )  # fmt: skip
    correct(scored)
    told_more = [row["method"] for row in scored if row["p_holm"] < LEVEL]  # without surrogates nobody knows
    return rows, _comparisons(each_unit, told_more, outcome.names, weights, seed)


def _over_people(told_U: Array, confusions: Sequence[NDArray[np.int64]], people: Sequence[str], seed: int) -> float:
    """One-sided p of people's scores that are higher than their own surrogates': signs flipped.

    For people who are told by fits of their own, and so independent. It keeps its power where surrogates of one person
    vary much, as of a strictly periodic design, whose peak in the spectrum they keep.
    """
    each = [known_mean(recall(one, np.eye(len(one))), axis=1) for one in confusions]
    more_U = told_U - known_mean(np.stack(each))
    p = sign_flip(more_U, people, seed)
    return p / 2 if known_mean(more_U) > 0 else 1 - p / 2


def told_by_design(rows: Sequence[Row], conditions: int) -> list[str]:
    """Warnings: what the times of the events tell without a series, and methods that tell anything from surrogates."""
    lines = list[str]()
    fitted = list[Row]()
    for row in rows:
        if row["method"] == "times" and row["metric"] == "balanced_accuracy":
            if tells(row, conditions):
                lines.append(
                    f"the times of the events alone tell the condition ({row['value']:.2f}): runs share the order or"
                    " the length of their events, so that what changes over a run, such as drift, can pass for a state"
                )
        elif "chance_p" in row:
            fitted.append(row)
    for row, p in zip(fitted, holm([row["chance_p"] for row in fitted]), strict=True):
        if p < LEVEL:
            lines.append(
                f"{row['label']}: {row['chance']:.2f} even from surrogates, which know nothing of the events:"
                " only what is above that is a state"
            )
    return lines


def _comparisons(
    each_unit: Mapping[str, Array], told_more: Sequence[str], units: Sequence[str], weights: Array, seed: int
) -> list[Row]:
    """Two methods on the same units. None is better than another that does not tell more than its chance itself.

    The units of a fold are told by one fit, so that two methods without any information may differ consistently.
    """
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
    for row in compared:
        winner = row["method"] if row["difference"] > 0 else row["against"]
        if winner not in told_more:
            row["verdict"] = "not distinguishable"
    return compared
