"""Scores of held-out subjects with subject-bootstrap intervals, beside what a mean and a linear model reach.

R2, r and mean squared error come from six sums (count, y, y^2, squared error, p, p^2) a recording, so that a draw of
subjects is one weighted sum; the first four are those of `masked_r2.sums`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.masked_r2 import r2
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS, subject_draws

Array = NDArray[np.float64]


def moments(truth: Array, predicted: Array, scored: NDArray[np.bool_] | None = None) -> Array:
    """Six sums (..., 6) over the last axis; values that are not `scored` do not count."""
    if scored is None:
        scored = np.ones(truth.shape, bool)
    # sums add up: those of a group of recordings, or of a bootstrap draw, are the (weighted) sum of its recordings'
    y = np.where(scored, truth, 0).astype(np.float64)
    p = np.where(scored, predicted, 0).astype(np.float64)
    terms = (scored, y, y**2, (y - p) ** 2, p, p**2)
    return np.stack([term.sum(-1, dtype=np.float64) for term in terms], axis=-1)


def step_moments(truth_BPF: Array, predicted_BPF: Array) -> Array:
    """Six sums (step, 6) over windows and parcels; values that are not known do not count."""
    steps = truth_BPF.shape[2]
    y = np.moveaxis(truth_BPF, 2, 0).reshape(steps, -1)
    p = np.moveaxis(predicted_BPF, 2, 0).reshape(steps, -1)
    return moments(y, p, np.isfinite(y))


def of_numbers(sums_6: Array) -> dict[str, Array]:
    """R2, mean squared error and Pearson's r from six sums (..., 6); NaN where they are not defined."""
    n, y, yy, error, p, pp = np.moveaxis(sums_6, -1, 0)
    # r = (n sum yp - sum y sum p) / sqrt((n sum y^2 - (sum y)^2) (n sum p^2 - (sum p)^2)), and as sum (y - p)^2 is
    # among the sums, sum yp = (sum y^2 + sum p^2 - sum (y - p)^2) / 2.
    covariance = n * (yy + pp - error) / 2 - y * p
    spread_y, spread_p = n * yy - y**2, n * pp - p**2
    spread = spread_y * spread_p
    varies = (spread_p > 1e-9 * n * np.maximum(pp, 1e-300)) & (spread_y > 1e-12 * n * np.maximum(yy, 1e-300))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(varies, covariance / np.sqrt(np.where(varies, spread, 1)), np.nan)
        return {"r2": r2(sums_6[..., :4]), "mse": error / n, "r": r}


def estimate(value: float, drawn_B: Array) -> dict[str, float | None]:
    """A value with its interval; None where it is not defined."""
    low, high = interval(drawn_B)
    numbers = {"value": float(value), "low": float(low), "high": float(high)}
    return {key: number if np.isfinite(number) else None for key, number in numbers.items()}


def numbers(
    methods: Mapping[str, Array], truth: Array, subjects: Sequence[str], draws: int, seed: int
) -> dict[str, Any]:
    """Scores of each method's predictions (recording,), and the first method against each other one."""
    centre = float(truth.mean())  # none of the three depends on it, and sums lose fewer digits
    sums = {}
    for name, predicted in methods.items():
        sums[name] = moments((truth - centre)[:, None], (predicted - centre)[:, None])
    return compared(sums, of_numbers, "r2", subjects, draws, seed)


def compared(
    sums: Mapping[str, Array], measure: Callable[[Array], dict[str, Array]], key: str, subjects: Sequence[str],
    draws: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Every measure of every method with its interval, and paired differences of `key`: the same draws for both.

    `sums`: (recording, k) by method, of which weighted sums over recordings are what `measure` takes.
    """
    weights_DR = subject_draws(subjects, draws, seed)
    whole = {name: measure(values.sum(0)) for name, values in sums.items()}
    drawn = {name: measure(weights_DR @ values) for name, values in sums.items()}
    return _report(whole, drawn, key, subjects)


def classes(
    methods: Mapping[str, Array], truth: NDArray[np.int64], subjects: Sequence[str], draws: int, seed: int
) -> dict[str, Any]:
    """Accuracy and area under the ROC curve of scores (recording, class)."""
    weights_DR = subject_draws(subjects, draws, seed)
    everyone = np.ones(len(truth))

    def measure(scores_RC: Array, weights_DR: Array) -> dict[str, Array]:
        """(draw,) each."""
        right = scores_RC.argmax(1) == truth
        accuracy = [(right * weights_R).sum() / weights_R.sum() for weights_R in weights_DR]
        area = [auroc(scores_RC, truth, weights_R) for weights_R in weights_DR]
        return {"accuracy": np.array(accuracy), "auroc": np.array(area)}

    whole, drawn = {}, {}
    for name, scores in methods.items():
        whole[name] = {key: values[0] for key, values in measure(scores, everyone[None]).items()}
        drawn[name] = measure(scores, weights_DR)
    return _report(whole, drawn, "auroc", subjects)


def auroc(scores_RC: Array, truth: NDArray[np.int64], weights_R: Array) -> float:
    """Area under the ROC curve: of the second of two classes, else the mean of one against the rest; NaN without."""
    from sklearn.metrics import roc_auc_score

    chosen = weights_R > 0
    positives = range(scores_RC.shape[1])
    if len(positives) == 2:
        positives = range(1, 2)  # the first class has the same area
    areas = []
    for number in positives:
        positive = truth[chosen] == number
        if positive.any() and not positive.all():
            areas.append(roc_auc_score(positive, scores_RC[chosen, number], sample_weight=weights_R[chosen]))
    if not areas:
        return float("nan")
    return float(np.mean(areas))


def _report(
    whole: Mapping[str, Mapping[str, Array]],
    drawn: Mapping[str, Mapping[str, Array]],
    key: str,
    subjects: Sequence[str],
) -> dict[str, Any]:
    scores: dict[str, dict[str, Any]] = {}
    for name, values in whole.items():
        scores[name] = {measure: estimate(float(value), drawn[name][measure]) for measure, value in values.items()}
    first, *others = whole
    against = {}
    for other in others:
        # paired: both methods saw the same draws of subjects, so that what subjects share cancels
        difference = estimate(float(whole[first][key] - whole[other][key]), drawn[first][key] - drawn[other][key])
        low, high = difference["low"], difference["high"]
        verdict = "not distinguishable"
        if low is not None and low > 0:
            verdict = "better"
        elif high is not None and high < 0:
            verdict = "worse"
        against[other] = {f"difference_{key}": difference, "verdict": verdict}
    n = len(set(subjects))
    return {"n_recordings": len(subjects), "n_subjects": n, "enough_subjects": n >= ENOUGH_SUBJECTS,
            "methods": scores, f"{first}_against": against}  # fmt: skip
