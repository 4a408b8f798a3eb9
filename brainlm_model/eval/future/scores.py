"""Tables of forecasts: R2, r and squared error over all steps and at each, with intervals and paired tests.

Shapes: R recordings, F steps, B draws of subjects, X = 1 + F: all steps together, then each; six sums as in
`finetune.scores`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainlm_model.eval.rows import Row
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.paired import holm, sign_flips, verdict
from brainlm_model.eval.statistics.subjects import Array, bootstrap, subject_draws
from brainlm_model.finetune.scores import of_numbers

METRICS = ("r2_flat", "r_flat", "mse", "r2_recording", "r_recording", "mse_recording")


def all_and_each(sums_RF6: Array) -> Array:
    """Sums (R, X, 6)."""
    return np.concatenate([sums_RF6.sum(1, keepdims=True), sums_RF6], axis=1)


def errors(sums_RF6: Array) -> Array:
    """Mean squared error (R, X) of each recording; NaN where nothing is known."""
    return of_numbers(all_and_each(sums_RF6))["mse"]


def measures(sums_RF6: Array, weights_BR: Array) -> dict[str, tuple[Array, Array, Array]]:
    """Value, low, high (X,) of each of `METRICS`: flat over all values, and the mean over recordings."""
    sums_RX6 = all_and_each(sums_RF6)
    whole = of_numbers(sums_RX6.sum(0))
    drawn = of_numbers(np.tensordot(weights_BR, sums_RX6, axes=1))
    each = of_numbers(sums_RX6)
    values = {}
    for flat, key in (("r2_flat", "r2"), ("r_flat", "r"), ("mse", "mse")):
        values[flat] = whole[key], *interval(drawn[key])
        values[f"{key}_recording"] = bootstrap(each[key], weights_BR)
    return values


def table(sums: Mapping[str, Array], weights_BR: Array, shared: Mapping[str, Any]) -> list[Row]:
    """Rows of one horizon: a method x metric x step; `step` is empty for all steps together, 1 is the next one."""
    rows = []
    for method, sums_RF6 in sums.items():
        by_metric = measures(sums_RF6, weights_BR)
        for metric in METRICS:
            for place, (value, low, high) in enumerate(zip(*by_metric[metric], strict=True)):
                rows.append({**shared, "method": method, "metric": metric, "step": place or "", "value": float(value),
                             "low": float(low), "high": float(high)})  # fmt: skip
    return rows


def comparisons(
    sums: Mapping[str, Array], reference: str, subjects: Sequence[str], weights_BR: Array, seed: int
) -> list[Row]:
    """`reference` against every other method: how much lower its error is, overall and at each step.

    `difference` is the other method's squared error less that of `reference`, the mean over recordings, so above 0 the
    reference is better. p: the signs of the subjects' differences are flipped; corrected (Holm) over methods for all
    steps together, and over steps x methods for single steps.
    """
    others = [name for name in sums if name != reference]
    if reference not in sums or not others:
        return []
    own = errors(sums[reference])
    change_RMX = np.stack([errors(sums[name]) - own for name in others], axis=1)  # M: other methods
    value, low, high = bootstrap(change_RMX.reshape(len(own), -1), weights_BR)
    p_MX = sign_flips(change_RMX.reshape(len(own), -1), subjects, seed).reshape(len(others), -1)
    # Two families of tests: one per method of all steps together (column 0), and one per method and single step.
    single = np.array(holm(p_MX[:, 1:].ravel().tolist())).reshape(len(others), -1)
    holm_MX = np.column_stack([holm(p_MX[:, 0].tolist()), single])
    rows = []
    for index, p in enumerate(p_MX.ravel()):
        m, place = divmod(index, holm_MX.shape[1])
        corrected = float(holm_MX[m, place])
        rows.append(
            {"method": reference, "against": others[m], "metric": "mse_recording", "step": place or None,
             "difference": float(value[index]), "low": float(low[index]), "high": float(high[index]), "p": float(p),
             "p_holm": corrected, "verdict": verdict(value[index], corrected),
             "n_subjects": len(set(subjects))}
        )  # fmt: skip
    return rows


def by_split(
    sums: Mapping[str, Array], reference: str, splits: Sequence[str], subjects: Sequence[str], draws: int, seed: int
) -> list[Row]:
    """`comparisons` of all steps together within each split, with both methods' flat R2 there.

    People of unseen sites and unseen people of the trained sites are different questions. Corrected over methods.
    """
    rows = []
    for split in dict.fromkeys(splits):
        places = [place for place, name in enumerate(splits) if name == split]
        people = [subjects[place] for place in places]
        part = {method: sums_RF6[places] for method, sums_RF6 in sums.items()}
        r2 = {method: float(of_numbers(part_RF6.sum((0, 1)))["r2"]) for method, part_RF6 in part.items()}
        for row in comparisons(part, reference, people, subject_draws(people, draws, seed), seed):
            if row["step"] is None:
                rows.append({"split": split, **row, "r2": r2[reference], "r2_against": r2[str(row["against"])]})
    return rows


def with_verdicts(rows: Sequence[Row], compared: Sequence[Mapping[str, Any]]) -> None:
    """Give rows a `model_error`: where the `mse` of the reference is significantly lower or higher, this word."""
    words = {"better": "lower", "worse": "higher", "not distinguishable": ""}
    of_step = {}
    for comparison in compared:
        place = comparison["horizon"], comparison["against"], comparison["step"] or ""
        of_step[place] = words[comparison["verdict"]]
    for row in rows:
        row["model_error"] = ""
        if row["metric"] == "mse":
            row["model_error"] = of_step.get((row["horizon"], row["method"], row["step"]), "")
