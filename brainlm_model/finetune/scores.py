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
    count = np.ones(truth.shape, bool) if scored is None else scored
    y, p = (np.where(count, values, 0).astype(np.float64) for values in (truth, predicted))
    return np.stack([a.sum(-1, dtype=np.float64) for a in (count, y, y**2, (y - p) ** 2, p, p**2)], axis=-1)


def step_moments(truth_BPF: Array, predicted_BPF: Array) -> Array:
    """Six sums (step, 6) over windows and parcels; values that are not known do not count."""
    y, p = (np.moveaxis(a, 2, 0).reshape(truth_BPF.shape[2], -1) for a in (truth_BPF, predicted_BPF))
    return moments(y, p, np.isfinite(y))


def of_numbers(sums_6: Array) -> dict[str, Array]:
    """R2, mean squared error and Pearson's r from six sums (..., 6); NaN where they are not defined."""
    n, y, yy, error, p, pp = np.moveaxis(sums_6, -1, 0)
    covariance = n * (yy + pp - error) / 2 - y * p
    spread = (n * yy - y**2) * (n * pp - p**2)
    varies = (n * pp - p**2 > 1e-9 * n * np.maximum(pp, 1e-300)) & (n * yy - y**2 > 1e-12 * n * np.maximum(yy, 1e-300))
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
    sums = {name: moments((truth - centre)[:, None], (p - centre)[:, None]) for name, p in methods.items()}
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

    def measure(scores_RC: Array, weights_R: Array) -> tuple[float, float]:
        right = scores_RC.argmax(1) == truth
        return float((right * weights_R).sum() / weights_R.sum()), auroc(scores_RC, truth, weights_R)

    whole, drawn = {}, {}
    for name, scores in methods.items():
        whole[name] = dict(zip(("accuracy", "auroc"), map(np.array, measure(scores, everyone)), strict=True))
        columns = np.array([measure(scores, row) for row in weights_DR]).T
        drawn[name] = dict(zip(("accuracy", "auroc"), columns, strict=True))
    return _report(whole, drawn, "auroc", subjects)


def auroc(scores_RC: Array, truth: NDArray[np.int64], weights_R: Array) -> float:
    """Area under the ROC curve: of the second of two classes, else the mean of one against the rest; NaN without."""
    from sklearn.metrics import roc_auc_score

    chosen = weights_R > 0
    areas = []
    for number in [1] if scores_RC.shape[1] == 2 else range(scores_RC.shape[1]):
        positive = truth[chosen] == number
        if positive.any() and not positive.all():
            areas.append(roc_auc_score(positive, scores_RC[chosen, number], sample_weight=weights_R[chosen]))
    return float(np.mean(areas)) if areas else float("nan")


def _report(
    whole: Mapping[str, Mapping[str, Array]],
    drawn: Mapping[str, Mapping[str, Array]],
    key: str,
    subjects: Sequence[str],
) -> dict[str, Any]:
    first = next(iter(whole))
    scores = {
        name: {measure: estimate(float(value), drawn[name][measure]) for measure, value in values.items()}
        for name, values in whole.items()
    }
    against = {}
    for other in list(whole)[1:]:
        difference = estimate(float(whole[first][key] - whole[other][key]), drawn[first][key] - drawn[other][key])
        low, high = difference["low"], difference["high"]
        verdict = "not distinguishable"
        if low is not None and high is not None:
            verdict = "better" if low > 0 else "worse" if high < 0 else verdict
        against[other] = {f"difference_{key}": difference, "verdict": verdict}
    n = len(set(subjects))
    return {"n_recordings": len(subjects), "n_subjects": n, "enough_subjects": n >= ENOUGH_SUBJECTS,
            "methods": scores, f"{first}_against": against}  # fmt: skip
