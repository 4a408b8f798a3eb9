"""Scores of held-out predictions: intervals over subjects, paired comparisons, permutations.

One row per subject. Areas under the ROC curve, `balanced_accuracy_within`, `r_within` and `r2_within` compare only
people of one fold and one site, a stratum: outputs of two fits have no common scale, and a prediction that knows sites
apart knows nothing of people. `balanced_accuracy`, `r` and `r2` are of all people, and credit such a prediction.
Shapes: n subjects, B draws, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.rows import Row, judge
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.subjects import subject_draws
from brainlm_model.finetune.scores import moments, of_numbers

Array = NDArray[np.float64]
KEY = {"regression": "r2", "classification": "auroc"}
COMPARED = {"regression": ("r2", "r2_within", "r_within"), "classification": ("auroc",)}  # the first is `KEY`
ROUNDING = 1e-12  # share of a sum of squares that is nothing but rounding
DRAWS_EACH = 200  # of subjects, for each method that is compared: a corrected p can then be .01
PERMUTED = {"regression": "r_within", "classification": "auroc"}  # R2 of permuted labels follows the spread of outputs


@dataclass(frozen=True)
class HeldOutPredictions:
    """Held-out predictions of a method, and what they are compared with; one row per subject.

    Attributes
    ----------
    outputs: (n, 1) in the label's units, or (n, C) scores. learnt: (n, 1), after the label's transform; of classes the
        same as `outputs`.
    truth: (n,) in the label's units, or places of classes. learnt_truth: after the transform of its fold.
    folds: (n,) number of the fold. strata: (n,) number of fold and site: people of one of them are compared.
    """

    outputs: Array
    learnt: Array
    truth: Array
    learnt_truth: Array
    folds: NDArray[np.intp]
    strata: NDArray[np.intp]

    @property
    def classes(self) -> int:
        """0 for numbers."""
        return self.outputs.shape[1] if self.outputs.shape[1] > 1 else 0


def measure(held: HeldOutPredictions, weights_BN: Array) -> dict[str, Array]:
    """Every metric under weights of subjects, (B,) each; NaN where it is not defined."""
    if held.classes:
        return {
            "auroc": auroc(held, weights_BN),
            "balanced_accuracy": balanced_accuracy(held, weights_BN),
            "balanced_accuracy_within": balanced_accuracy_within(held, weights_BN),
        }
    centre = held.truth.mean()  # no metric depends on it, and sums lose fewer digits
    sums_N6 = moments((held.truth - centre)[:, None], held.outputs - centre)
    measures = of_numbers(weights_BN @ sums_N6)  # a draw of subjects is a weighted sum of their sums
    # what follows is on the scale on which labels were learnt
    level = held.learnt_truth.mean()
    learnt_N6 = moments((held.learnt_truth - level)[:, None], held.learnt - level)
    measures["r_within"] = _r_within(learnt_N6, held, weights_BN)
    error = held.learnt[:, 0] - held.learnt_truth
    measures["mse_transformed"] = weights_BN @ error**2 / weights_BN.sum(1)
    # R2 of what varies within strata: 1 - within(error) / within(truth)
    spread = within(held.learnt_truth, held.strata, weights_BN)
    left = within(error, held.strata, weights_BN)
    whole = weights_BN @ (held.learnt_truth - level) ** 2
    varies = spread > ROUNDING * whole
    measures["r2_within"] = 1 - np.divide(left, spread, out=np.full(len(left), np.nan), where=varies)
    if _constant(held):
        measures["r"] = np.full(len(weights_BN), np.nan)
    return measures


def within(values_N: Array, strata: NDArray[np.intp], weights_BN: Array) -> Array:
    """(B,) weighted sum of squares around the mean of each stratum."""
    total_B = np.zeros(len(weights_BN))
    for k in np.unique(strata):
        w_Bk, x_k = weights_BN[:, strata == k], values_N[strata == k]
        x_k = x_k - x_k.mean()  # loses fewer digits
        total_B += w_Bk @ x_k**2 - (w_Bk @ x_k) ** 2 / np.maximum(w_Bk.sum(1), 1)
    return total_B


def _r_within(sums_N6: Array, held: HeldOutPredictions, weights_BN: Array) -> Array:
    """Pearson's r of labels and predictions, both without the mean of their stratum; NaN where one does not vary.

    `sums_N6`: see `moments`, both without the mean of all labels.
    """
    products = np.zeros((3, len(weights_BN)))  # of truth and prediction, truth, prediction
    for k in np.unique(held.strata):
        n, y, yy, error, p, pp = (weights_BN[:, held.strata == k] @ sums_N6[held.strata == k]).T
        n = np.maximum(n, 1)
        # sum y p = (sum y^2 + sum p^2 - sum (y - p)^2) / 2; without the stratum's means: minus (sum y)(sum p) / n
        products += [(yy + pp - error) / 2 - y * p / n, yy - y**2 / n, pp - p**2 / n]
    both, truth, predicted = products
    varies = (truth > ROUNDING * (weights_BN @ sums_N6[:, 2])) & (predicted > 1e-9 * truth)
    return np.where(varies, both / np.sqrt(np.where(varies, truth * predicted, 1)), np.nan)


def _constant(held: HeldOutPredictions) -> bool:
    """True where everybody of a fold has the same prediction: r would compare folds."""
    return all(np.ptp(held.outputs[held.folds == k, 0]) < 1e-9 for k in np.unique(held.folds))


def auroc(held: HeldOutPredictions, weights_BN: Array) -> Array:
    """Area under the ROC curve over pairs of one stratum; of more than two classes the mean of one against the rest."""
    positives = range(held.classes)
    if held.classes == 2:
        positives = range(1, 2)  # the other class has the same area
    areas = []
    for number in positives:
        wins = _wins(held.outputs[:, number], held.strata)
        areas.append(_area(wins, held.strata, held.truth == number, weights_BN))
    return np.mean(areas, axis=0)


def _wins(scores: Array, strata: NDArray[np.intp]) -> Array:
    """(n, n): 1 where the first of two people of a stratum has the higher score, .5 where it is the same."""
    # The area under the ROC curve is the chance that a person of the class has the higher score than one who is not of
    # it (Mann & Whitney); ties are half a win.
    same = strata[:, None] == strata
    difference = np.subtract.outer(scores, scores)
    return np.where(same, (difference > 0) + 0.5 * (difference == 0), 0.0)


def _area(wins: Array, strata: NDArray[np.intp], positive: NDArray[np.bool_], weights_BN: Array) -> Array:
    """(B,) share of the pairs (a person of the class, another one of the same stratum) that the first one wins."""
    of, against = weights_BN * positive, weights_BN * ~positive
    won = ((of @ wins) * against).sum(1)
    pairs = np.zeros(len(of))
    for k in np.unique(strata):
        pairs += of[:, strata == k].sum(1) * against[:, strata == k].sum(1)
    return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


def balanced_accuracy(held: HeldOutPredictions, weights_BN: Array) -> Array:
    """Mean over the classes that are there of the share of their people whose highest score is their class's."""
    right = _right(held)
    recalls = []
    for number in range(held.classes):
        of = weights_BN * (held.truth == number)
        total = of.sum(1)
        recalls.append(np.divide(of @ right, total, out=np.full(len(of), np.nan), where=total > 0))
    return np.nanmean(recalls, axis=0)


def balanced_accuracy_within(held: HeldOutPredictions, weights_BN: Array) -> Array:
    """The same over pairs of people of one stratum and two classes, mean over the pairs of classes; NaN without any.

    In one stratum that has all classes it is `balanced_accuracy`. One class for a whole stratum is right for one person
    of a pair at most: of two classes that is .5 exactly, whatever is known of the stratum.
    """
    right, strata = _right(held), np.unique(held.strata)
    n_CKB, right_CKB = np.zeros((2, held.classes, len(strata), len(weights_BN)))
    for c in range(held.classes):
        for place, k in enumerate(strata):
            own = (held.truth == c) & (held.strata == k)
            n_CKB[c, place], right_CKB[c, place] = weights_BN[:, own].sum(1), weights_BN[:, own] @ right[own]
    shares = []
    for one, other in combinations(range(held.classes), 2):
        # of the n_a n_b pairs of a stratum half of (right_a n_b + right_b n_a) people are right
        pairs_B = (n_CKB[one] * n_CKB[other]).sum(0)
        right_B = (right_CKB[one] * n_CKB[other] + right_CKB[other] * n_CKB[one]).sum(0) / 2
        shares.append(np.divide(right_B, pairs_B, out=np.full(len(pairs_B), np.nan), where=pairs_B > 0))
    return np.asarray(np.mean(shares, axis=0))


def _right(held: HeldOutPredictions) -> Array:
    """(n,): 1 where the highest score is that of the person's class, else 0; equal highest scores share the 1."""
    highest = held.outputs == held.outputs.max(1, keepdims=True)
    right: Array = highest[np.arange(len(highest)), held.truth.astype(int)] / highest.sum(1)
    return right


def _estimate(value: float, drawn_B: Array) -> dict[str, float]:
    low, high = interval(drawn_B)
    return {"value": float(value), "low": float(low), "high": float(high)}


def orders_of(strata: NDArray[np.intp], count: int, seed: int) -> NDArray[np.intp]:
    """(count, n) orders of people that stay within their stratum: only among these are labels exchangeable."""
    random = np.random.default_rng([seed, 1])
    orders = np.tile(np.arange(len(strata)), (count, 1))
    for order in orders:
        for k in np.unique(strata):
            places = np.flatnonzero(strata == k)
            order[places] = random.permutation(places)
    return orders


def p_of_permutations(
    held: HeldOutPredictions, task: str, orders_Bn: NDArray[np.intp], refitted: Array | None = None
) -> float:
    """Share of permutations of labels that reach the observed `r_within` or area; NaN where undefined.

    Parameters
    ----------
    orders_Bn: whose label each person gets. Without `refitted` they have to stay within folds.
    refitted: (n, B, outputs) predictions by fits to the permuted labels; None: the predictions themselves.
    """
    key, everyone = PERMUTED[task], np.ones((1, len(held.truth)))
    observed = float(measure(held, everyone)[key][0])
    if not np.isfinite(observed) or not len(orders_Bn):
        return float("nan")
    truth_nB = (held.truth if held.classes else held.learnt_truth)[orders_Bn.T]
    outputs = held.learnt[:, None] if refitted is None else refitted
    if held.classes:
        drawn = _areas(outputs, truth_nB, held.strata)
    else:
        drawn = _correlations(outputs[..., 0], truth_nB, held.strata)
    # the observed value is one of them; rounding of the same value in another order of sums is no difference
    return float((1 + (drawn >= observed - 1e-9).sum()) / (1 + len(orders_Bn)))


def _correlations(predicted_nB: Array, truth_nB: Array, strata: NDArray[np.intp]) -> Array:
    """`r_within` (B,) of many predictions, or of one (n, 1), with many truths; 0 where one does not vary."""
    predicted_nB, truth_nB = _centred(predicted_nB, strata), _centred(truth_nB, strata)
    size_B = np.sqrt((predicted_nB**2).sum(0) * (truth_nB**2).sum(0))
    both_B = (predicted_nB * truth_nB).sum(0)
    return np.divide(both_B, size_B, out=np.zeros_like(both_B), where=size_B > 0)


def _centred(values_nB: Array, strata: NDArray[np.intp]) -> Array:
    centred = values_nB.astype(np.float64)
    for k in np.unique(strata):
        centred[strata == k] -= centred[strata == k].mean(0)
    return centred


def _areas(scores_nBC: Array, truth_nB: Array, strata: NDArray[np.intp]) -> Array:
    """`auroc` (B,) of many scores, or of one (n, 1, C), with many truths."""
    from scipy.stats import rankdata

    classes = scores_nBC.shape[2]
    of_class = []
    for number in range(1, 2) if classes == 2 else range(classes):
        won_B, pairs_B = np.zeros(truth_nB.shape[1]), np.zeros(truth_nB.shape[1])
        for k in np.unique(strata):
            # Mann & Whitney's U from ranks: sum of the class's ranks - m (m + 1) / 2, m its people
            ranks = rankdata(scores_nBC[strata == k, :, number], axis=0)
            positive = truth_nB[strata == k] == number
            m_B = positive.sum(0)
            won_B += (ranks * positive).sum(0) - m_B * (m_B + 1) / 2
            pairs_B += m_B * (len(positive) - m_B)
        of_class.append(won_B / np.maximum(pairs_B, 1))
    return np.asarray(np.mean(of_class, axis=0))


def report(
    methods: Mapping[str, HeldOutPredictions],
    task: str,
    references: Sequence[str],
    draws: int,
    p_values: Mapping[str, float],
    seed: int,
) -> tuple[list[Row], list[Row]]:
    """Rows of the table (method x metric), and comparisons of every method with every reference.

    A comparison is paired: the same draws of subjects for both. p is twice the smaller share of draws on one side of 0,
    corrected over all methods that are compared with the same reference by the same metric.
    `p_values`: of permutations, by method.
    """
    first = next(iter(methods.values()))
    draws = draws_of(draws, len(methods))
    weights_BN = subject_draws([str(i).zfill(9) for i in range(len(first.truth))], draws, seed)
    everyone = np.ones((1, len(first.truth)))
    whole = {name: measure(held, everyone) for name, held in methods.items()}
    drawn = {name: measure(held, weights_BN) for name, held in methods.items()}
    rows: list[Row] = []
    for name, held in methods.items():
        for metric, value in whole[name].items():
            rows.append({"method": name, "metric": metric, **_estimate(value[0], drawn[name][metric]),
                         "p_permutation": p_values.get(name, float("nan")), "n_subjects": len(held.truth)})  # fmt: skip
    compared: list[Row] = []
    for reference in references:
        for metric in COMPARED[task]:
            against: list[Row] = []
            for name in methods:
                if name != reference:
                    change = drawn[name][metric] - drawn[reference][metric]
                    difference = float(whole[name][metric][0] - whole[reference][metric][0])
                    against.append({"method": name, "against": reference, "metric": metric,
                                    **_difference(difference, change)})  # fmt: skip
            judge(against)
            compared += against
    return rows, compared


def draws_of(least: int, methods: int) -> int:
    """Draws of subjects that are enough for a corrected p of .01 over so many methods."""
    return max(least, DRAWS_EACH * methods)


def _difference(difference: float, change_B: Array) -> dict[str, float]:
    change_B = change_B[np.isfinite(change_B)]
    estimate = _estimate(difference, change_B)
    return {"difference": estimate["value"], "low": estimate["low"], "high": estimate["high"],
            "p": _p_of_draws(change_B)}  # fmt: skip


def _p_of_draws(change_B: Array) -> float:
    """Twice the share of draws on the smaller side of 0, the observed one counted; NaN without draws."""
    if not len(change_B):
        return float("nan")
    smaller_side = min((change_B <= 0).sum(), (change_B >= 0).sum())
    return min(1.0, 2 * (1 + smaller_side) / (1 + len(change_B)))
