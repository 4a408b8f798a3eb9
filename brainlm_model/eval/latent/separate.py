"""Does a space separate a variable? Nearest neighbours of other subjects, against labels permuted over subjects.

Shapes: R recordings, K rows of permutations or draws, k neighbours, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_model.baselines.neighbours import nearest
from brainlm_model.eval.statistics.paired import FLIPS
from brainlm_model.eval.statistics.subjects import Array

Ints = NDArray[np.int64]
FEW_VALUES = 5  # a column of numbers with no more different ones is a category
FEW_SUBJECTS = 5  # of a level: levels with fewer are left out


@dataclass(frozen=True)
class Variable:
    """A column of the table of recordings.

    Attributes
    ----------
    levels: of a category; empty: a number. rows: recordings that count. values: of these, numbers or places in
    `levels`. left_out: how many recordings have no value, or one of a level of too few subjects.
    """

    name: str
    levels: list[str]
    rows: Ints
    values: Array
    left_out: int

    @property
    def metric(self) -> str:
        """What is measured: balanced accuracy of a category, correlation of a number."""
        return "balanced_accuracy" if self.levels else "r"


def variable(table: Any, name: str) -> Variable | str:
    """A column as it can be used, or why it cannot."""
    import pandas as pd

    if name not in table:
        return f"{name}: no such column"
    column = table[name]
    numbers = pd.to_numeric(column, errors="coerce")
    subjects = table["subject"].astype(str)
    if numbers.notna().sum() == column.notna().sum() and numbers.nunique() > FEW_VALUES:
        rows = np.flatnonzero(np.isfinite(numbers.to_numpy(dtype=float)))
        if subjects.iloc[rows].nunique() <= 2 * FEW_SUBJECTS:
            return f"{name}: {subjects.iloc[rows].nunique()} subjects with a value"
        return Variable(name, [], rows, numbers.to_numpy(dtype=float)[rows], len(table) - len(rows))
    text = column.map(_level)
    counts = subjects.groupby(text).nunique()
    levels = sorted(counts.index[counts >= FEW_SUBJECTS])
    if len(levels) < 2:
        return f"{name}: {len(levels)} level of at least {FEW_SUBJECTS} subjects, {text.nunique()} in all"
    rows = np.flatnonzero(text.isin(levels))
    places = np.array([levels.index(v) for v in text.iloc[rows]], dtype=float)
    return Variable(name, levels, rows, places, len(table) - len(rows))


def _level(value: Any) -> str | None:
    """A value as the level of a category, 1.0 as 1; None where it is missing."""
    import pandas as pd

    if pd.isna(value):
        return None
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def neighbours(x_RF: Array, subjects: Sequence[str], count: int) -> Ints:
    """(R, k) nearest recordings of *other* subjects by Euclidean distance, the nearest first."""
    owner = np.unique(np.asarray(subjects), return_inverse=True)[1]
    same_RR = owner[:, None] == owner
    fewest = int((~same_RR).sum(1).min())  # a subject of many recordings has fewer others
    return nearest(x_RF, x_RF, min(count, fewest), same_RR)


def predictions(values_KR: Array, near_Rk: Ints, levels: int) -> Array:
    """(K, R) what neighbours say: their mean, or of categories the level whose share of the votes is largest.

    Votes count by how rare their level is, so that a common one does not win by being common; ties: the lower level.
    """
    votes_KRk = values_KR[:, near_Rk]
    if not levels:
        return votes_KRk.mean(2)
    shares = []
    for level in range(levels):
        votes_KR = (votes_KRk == level).sum(2)
        count_K1 = (values_KR == level).sum(1)[:, None]
        shares.append(votes_KR / np.maximum(count_K1, 1))
    winner: Array = np.stack(shares, axis=2).argmax(2).astype(float)
    return winner


def score(predicted_KR: Array, true_KR: Array, weights_KR: Array, levels: int) -> Array:
    """(K,) balanced accuracy, or Pearson's correlation, of weighted recordings; NaN where nothing varies."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if levels:
            return _balanced_accuracy(predicted_KR, true_KR, weights_KR, levels)
        # weighted Pearson: sum w a b / sqrt(sum w a^2 sum w b^2), a and b without their weighted means
        total = weights_KR.sum(1, keepdims=True)
        a = predicted_KR - (predicted_KR * weights_KR).sum(1, keepdims=True) / total
        b = true_KR - (true_KR * weights_KR).sum(1, keepdims=True) / total
        size = np.sqrt((weights_KR * a**2).sum(1) * (weights_KR * b**2).sum(1))
        return np.where(size > 1e-12, (weights_KR * a * b).sum(1) / size, np.nan)


def _balanced_accuracy(predicted_KR: Array, true_KR: Array, weights_KR: Array, levels: int) -> Array:
    """(K,) mean, over the levels that occur, of the share of a level's recordings that are told right."""
    hits_KR = (predicted_KR == true_KR) * weights_KR
    recall = []
    for level in range(levels):
        own_KR = true_KR == level
        recall.append((hits_KR * own_KR).sum(1) / (weights_KR * own_KR).sum(1))
    known = np.isfinite(recall)
    mean: Array = np.where(known, recall, 0).sum(0) / known.sum(0)
    return mean


def permuted(values_R: Array, subjects: Sequence[str], rng: np.random.Generator) -> Array:
    """Values permuted as subjects can be exchanged.

    A column that is constant within subjects goes from subject to subject. Of others, the recordings of a subject are
    permuted, and then subjects with as many recordings: what a subject's recordings have in common stays together.
    """
    owner = np.unique(np.asarray(subjects), return_inverse=True)[1]
    rows_of = [np.flatnonzero(owner == subject) for subject in range(owner.max() + 1)]
    permuted_R = values_R.copy()
    if all(np.ptp(values_R[rows]) == 0 for rows in rows_of):
        each = rng.permutation([values_R[rows[0]] for rows in rows_of])
        return np.asarray(each[owner], dtype=float)
    sizes = np.array([len(rows) for rows in rows_of])
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        for to, source in zip(alike, rng.permutation(alike), strict=True):
            permuted_R[rows_of[to]] = rng.permutation(values_R[rows_of[source]])
    return permuted_R


def swap_test(
    first_R: Array, second_R: Array, true_R: Array, subjects: Sequence[str], levels: int, seed: int
) -> float:  # fmt: skip
    """Two-sided p that one set of predictions is better: subject by subject, the two are exchanged at random."""
    if not levels:  # units do not matter to a correlation, and must not to what is exchanged
        first_R, second_R = _unit(first_R), _unit(second_R)
    owner = np.unique(np.asarray(subjects), return_inverse=True)[1]
    swap_KR = np.random.default_rng(seed).integers(0, 2, size=(FLIPS, owner.max() + 1)).astype(bool)[:, owner]
    swap_KR[0] = False  # the first is what was observed
    weights = np.ones((1, len(true_R)))
    scores_of_first = score(np.where(swap_KR, second_R, first_R), true_R[None], weights, levels)
    scores_of_second = score(np.where(swap_KR, first_R, second_R), true_R[None], weights, levels)
    change = np.nan_to_num(scores_of_first) - np.nan_to_num(scores_of_second)
    return float((np.abs(change) >= abs(change[0]) - 1e-12).mean())


def _unit(values: Array) -> Array:
    """Values with mean 0 and SD 1."""
    unit: Array = (values - values.mean()) / max(values.std(), 1e-12)
    return unit
