"""Scores of held-out predictions: intervals over subjects, paired comparisons, permutations.

One row per subject. Areas under the ROC curve, and `r_within`, compare only people of one fold: outputs of two fits
have no common scale, and means of folds (sites) differ. Shapes: n subjects, B draws, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.rows import Row
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.paired import holm, verdict
from brainlm_model.eval.statistics.subjects import subject_draws
from brainlm_model.finetune.scores import moments, of_numbers

Array = NDArray[np.float64]
KEY = {"regression": "r2", "classification": "auroc"}
PERMUTED = {"regression": "r_within", "classification": "auroc"}  # R2 of permuted labels follows the spread of outputs


@dataclass(frozen=True)
class HeldOutPredictions:
    """Held-out predictions of a method, and what they are compared with; one row per subject.

    Attributes
    ----------
    outputs: (n, 1) in the label's units, or (n, C) scores. learnt: (n, 1), after the label's transform; of classes the
        same as `outputs`.
    truth: (n,) in the label's units, or places of classes. learnt_truth: after the transform of its fold.
    folds: (n,) number of the fold.
    """

    outputs: Array
    learnt: Array
    truth: Array
    learnt_truth: Array
    folds: NDArray[np.intp]

    @property
    def classes(self) -> int:
        """0 for numbers."""
        return self.outputs.shape[1] if self.outputs.shape[1] > 1 else 0


def measure(held: HeldOutPredictions, weights_BN: Array) -> dict[str, Array]:
    """Every metric under weights of subjects, (B,) each; NaN where it is not defined."""
    if held.classes:
        return {"auroc": auroc(held, weights_BN), "balanced_accuracy": balanced_accuracy(held, weights_BN)}
    centre = held.truth.mean()  # no metric depends on it, and sums lose fewer digits
    sums_N6 = moments((held.truth - centre)[:, None], held.outputs - centre)
    measures = of_numbers(weights_BN @ sums_N6)  # a draw of subjects is a weighted sum of their sums
    measures["r_within"] = _r_within(sums_N6, held, weights_BN)
    error = (held.learnt[:, 0] - held.learnt_truth) ** 2
    measures["mse_transformed"] = weights_BN @ error / weights_BN.sum(1)
    if _constant(held):
        measures["r"] = np.full(len(weights_BN), np.nan)
    return measures


def _r_within(sums_N6: Array, held: HeldOutPredictions, weights_BN: Array) -> Array:
    """Pearson's r of labels and predictions, both without the mean of their fold; NaN where one does not vary."""
    products = np.zeros((3, len(weights_BN)))  # of truth and prediction, truth, prediction
    for k in np.unique(held.folds):
        n, y, yy, error, p, pp = (weights_BN[:, held.folds == k] @ sums_N6[held.folds == k]).T
        n = np.maximum(n, 1)
        # sum y p = (sum y^2 + sum p^2 - sum (y - p)^2) / 2; without the fold's means: minus (sum y)(sum p) / n
        products += [(yy + pp - error) / 2 - y * p / n, yy - y**2 / n, pp - p**2 / n]
    both, truth, predicted = products
    varies = (truth > 1e-9) & (predicted > 1e-9 * truth)
    return np.where(varies, both / np.sqrt(np.where(varies, truth * predicted, 1)), np.nan)


def _constant(held: HeldOutPredictions) -> bool:
    """True where everybody of a fold has the same prediction: r would compare folds."""
    return all(np.ptp(held.outputs[held.folds == k, 0]) < 1e-9 for k in np.unique(held.folds))


def auroc(held: HeldOutPredictions, weights_BN: Array) -> Array:
    """Area under the ROC curve over pairs of one fold; of more than two classes the mean of one against the rest."""
    positives = range(held.classes)
    if held.classes == 2:
        positives = range(1, 2)  # the other class has the same area
    areas = []
    for number in positives:
        wins = _wins(held.outputs[:, number], held.folds)
        areas.append(_area(wins, held.folds, held.truth == number, weights_BN))
    return np.mean(areas, axis=0)


def _wins(scores: Array, folds: NDArray[np.intp]) -> Array:
    """(n, n): 1 where the first of two people of a fold has the higher score, .5 where it is the same."""
    # The area under the ROC curve is the chance that a person of the class has the higher score than one who is not of
    # it (Mann & Whitney); ties are half a win.
    same = folds[:, None] == folds
    difference = np.subtract.outer(scores, scores)
    return np.where(same, (difference > 0) + 0.5 * (difference == 0), 0.0)


def _area(wins: Array, folds: NDArray[np.intp], positive: NDArray[np.bool_], weights_BN: Array) -> Array:
    """(B,) share of the pairs (a person of the class, another one of the same fold) that the first one wins."""
    of, against = weights_BN * positive, weights_BN * ~positive
    won = ((of @ wins) * against).sum(1)
    pairs = np.zeros(len(of))
    for k in np.unique(folds):
        pairs += of[:, folds == k].sum(1) * against[:, folds == k].sum(1)
    return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


def balanced_accuracy(held: HeldOutPredictions, weights_BN: Array) -> Array:
    """Mean over the classes that are there of the share of their people whose highest score is their class's.

    Equal highest scores share the one person.
    """
    highest = held.outputs == held.outputs.max(1, keepdims=True)
    right = highest[np.arange(len(highest)), held.truth.astype(int)] / highest.sum(1)  # (n,): 1, 0, or a share of 1
    recalls = []
    for number in range(held.classes):
        of = weights_BN * (held.truth == number)
        total = of.sum(1)
        recalls.append(np.divide(of @ right, total, out=np.full(len(of), np.nan), where=total > 0))
    return np.nanmean(recalls, axis=0)


def _estimate(value: float, drawn_B: Array) -> dict[str, float]:
    low, high = interval(drawn_B)
    return {"value": float(value), "low": float(low), "high": float(high)}


def p_of_permutations(held: HeldOutPredictions, task: str, count: int, seed: int) -> float:
    """Share of permutations of labels within folds that reach the observed `r_within` or area; NaN where undefined."""
    key, everyone = PERMUTED[task], np.ones((1, len(held.truth)))
    observed = float(measure(held, everyone)[key][0])
    if not np.isfinite(observed):
        return float("nan")
    random = np.random.default_rng([seed, 1])
    reached = 0
    for _ in range(count):
        # Within folds alone: predictions of a fold come from one fit, and only among these are labels exchangeable.
        order = np.arange(len(held.truth))
        for k in np.unique(held.folds):
            places = np.flatnonzero(held.folds == k)
            order[places] = random.permutation(places)
        permuted = HeldOutPredictions(
            held.outputs, held.learnt, held.truth[order], held.learnt_truth[order], held.folds
        )
        reached += float(measure(permuted, everyone)[key][0]) >= observed - 1e-12
    return (1 + reached) / (1 + count)


def report(
    methods: Mapping[str, HeldOutPredictions],
    task: str,
    references: Sequence[str],
    draws: int,
    permutations: int,
    seed: int,
) -> tuple[list[Row], list[Row]]:
    """Rows of the table (method x metric), and comparisons of every method with every reference.

    A comparison is paired: the same draws of subjects for both. p is twice the smaller share of draws on one side of 0,
    corrected over all methods that are compared with the same reference.
    """
    first = next(iter(methods.values()))
    weights_BN = subject_draws([str(i).zfill(9) for i in range(len(first.truth))], draws, seed)
    everyone = np.ones((1, len(first.truth)))
    whole = {name: measure(held, everyone) for name, held in methods.items()}
    drawn = {name: measure(held, weights_BN) for name, held in methods.items()}
    rows: list[Row] = []
    for name, held in methods.items():
        p = float("nan")
        if permutations:
            p = p_of_permutations(held, task, permutations, seed)
        for metric, value in whole[name].items():
            estimate = _estimate(value[0], drawn[name][metric])
            rows.append(
                {"method": name, "metric": metric, **estimate, "p_permutation": p, "n_subjects": len(held.truth)}
            )
    key = KEY[task]
    compared: list[Row] = []
    for reference in references:
        against: list[Row] = []
        for name in methods:
            if name == reference:
                continue
            change = drawn[name][key] - drawn[reference][key]
            change = change[np.isfinite(change)]
            estimate = _estimate(whole[name][key][0] - whole[reference][key][0], change)
            against.append({"method": name, "against": reference, "metric": key, "difference": estimate["value"],
                            "low": estimate["low"], "high": estimate["high"], "p": _p_of_draws(change)})  # fmt: skip
        for row, corrected in zip(against, holm([row["p"] for row in against]), strict=True):
            compared.append({**row, "p_holm": corrected, "verdict": verdict(row["difference"], corrected)})
    return rows, compared


def _p_of_draws(change_B: Array) -> float:
    """Twice the share of draws on the smaller side of 0, the observed one counted; NaN without draws."""
    if not len(change_B):
        return float("nan")
    smaller_side = min((change_B <= 0).sum(), (change_B >= 0).sum())
    return min(1.0, 2 * (1 + smaller_side) / (1 + len(change_B)))
