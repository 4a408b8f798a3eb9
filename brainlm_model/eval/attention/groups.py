"""Two groups of recordings compared, parcel by parcel: t maps whose p is that of the largest |t| (max statistic).

Subjects are permuted, never recordings. Where enough subjects have both levels only they count, and the signs of
their differences are flipped; otherwise labels are permuted over subjects, within strata where asked for.
Sources: Nichols & Holmes (2002), doi:10.1002/hbm.1058; Welch (1947).

Shapes: R recordings, S subjects, X parcels or networks, K permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainlm_data import InputError
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS, Array, by_subject, subject_draws

BATCH = 500  # permutations at once


@dataclass(frozen=True)
class Contrast:
    """Second level minus first, one value per column of the maps.

    Attributes
    ----------
    difference, low, high: mean over subjects, with its 95 % interval over subjects.
    t, p: Welch's t (paired: Student's), and its p against the largest |t| of any column. NaN where a subject lacks the
        parcel.
    design: paired: subjects with both levels; between: subjects with one.
    first, second, left_out: numbers of subjects.
    """

    difference: Array
    low: Array
    high: Array
    t: Array
    p: Array
    design: Literal["paired", "between"]
    first: int
    second: int
    left_out: int


@dataclass(frozen=True)
class Design:
    """Whom a comparison takes: subjects with each level, and those who have both or whose level is neither."""

    kind: Literal["paired", "between"]
    first: list[str]
    second: list[str]
    left_out: int


def text(value: object) -> str | None:
    """A level as text, 1.0 as 1; None where it is missing."""
    if value is None or value != value:  # NaN is no equal of itself
        return None
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return f"{value:g}"
    return str(value)


def design(subjects: Sequence[str], levels: Sequence[str | None], pair: tuple[str, str]) -> Design:
    """Paired where at least as many subjects as a test needs have both levels, else between subjects.

    Raises InputError where a level has fewer than two subjects.
    """
    with_first = _subjects_with(pair[0], subjects, levels)
    with_second = _subjects_with(pair[1], subjects, levels)
    both, everyone = with_first & with_second, set(subjects)
    if len(both) >= ENOUGH_SUBJECTS:
        return Design("paired", sorted(both), sorted(both), len(everyone) - len(both))
    # Subjects with both levels belong to neither group, and groups must not share people.
    first, second = sorted(with_first - both), sorted(with_second - both)
    if min(len(first), len(second)) < 2:
        raise InputError(
            f"attention.group: {len(first)} subjects with {pair[0]}, {len(second)} with {pair[1]}, {len(both)} both",
            "two levels with two subjects each, better many more",
        )
    return Design("between", first, second, len(everyone) - len(first) - len(second))


def _subjects_with(level: str, subjects: Sequence[str], levels: Sequence[str | None]) -> set[str]:
    return {subject for subject, own in zip(subjects, levels, strict=True) if own == level}


def contrast(
    maps_RX: Array,
    subjects: Sequence[str],
    levels: Sequence[str | None],
    pair: tuple[str, str],
    permutations: int,
    draws: int,
    seed: int,
    strata: Sequence[str] | None = None,
) -> Contrast:
    """Compare recordings of level `pair[1]` with those of `pair[0]`.

    Parameters
    ----------
    levels: of each recording. strata: of each recording; labels are permuted among subjects of one stratum.
    """
    groups = design(subjects, levels, pair)
    who, what = np.asarray(subjects), np.asarray([str(level) for level in levels])
    sides = []
    for level, people in zip(pair, (groups.first, groups.second), strict=True):
        rows = (what == level) & np.isin(who, people)
        sides.append(by_subject(maps_RX[rows], who[rows].tolist())[0])
    first_SX, second_SX = sides
    rng = np.random.default_rng(seed)
    if groups.kind == "paired":
        change_SX = second_SX - first_SX
        difference = change_SX.mean(0)
        weights = subject_draws(groups.first, draws, seed)
        drawn = (weights @ change_SX) / weights.sum(1, keepdims=True)
        t, p = _paired(change_SX, permutations, rng)
    else:
        difference = second_SX.mean(0) - first_SX.mean(0)
        people = [*groups.first, *groups.second]
        values_SX = np.concatenate([first_SX, second_SX])
        label_S = np.repeat([0.0, 1.0], [len(first_SX), len(second_SX)])
        weights = subject_draws(people, draws, seed)
        drawn = _means(weights * label_S, values_SX) - _means(weights * (1 - label_S), values_SX)
        t, p = _between(values_SX, label_S, _strata(who, strata, people), permutations, rng)
    low, high = interval(drawn)
    return Contrast(
        difference, low, high, t, p, groups.kind, len(groups.first), len(groups.second), groups.left_out
    )  # fmt: skip


def _paired(change_SX: Array, permutations: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Student's t (X,) of differences within subjects and its p: under the null their signs are exchangeable."""
    t = _student(np.ones((1, len(change_SX))), change_SX)[0]
    flips = rng.choice([-1.0, 1.0], size=(permutations, len(change_SX)))
    return t, _largest(t, lambda part: _student(part, change_SX), flips)


def _between(
    values_SX: Array,
    label_S: Array,
    blocks: Sequence[NDArray[np.intp]],
    permutations: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Welch's t (X,) and its p: under the null labels are exchangeable among the subjects of a stratum."""
    t = _welch(label_S[None], values_SX)[0]
    permuted = np.stack([_permuted(label_S, blocks, rng) for _ in range(permutations)])
    return t, _largest(t, lambda part: _welch(part, values_SX), permuted)


def _means(weights_BS: Array, values_SX: Array) -> Array:
    """Weighted means (B, X); NaN for a draw without anybody."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights_BS @ values_SX) / weights_BS.sum(1, keepdims=True)


def _student(signs_KS: Array, change_SX: Array) -> Array:
    """Paired t (K, X) with these signs: t = mean / sqrt(variance / n)."""
    count = len(change_SX)
    mean = signs_KS @ change_SX / count
    # sum (s x)^2 = sum x^2: a sign changes the mean alone, so the squares are summed once for all K
    variance = ((change_SX**2).sum(0) - count * mean**2) / (count - 1)
    return _ratio(mean, variance / count)


def _welch(label_KS: Array, values_SX: Array) -> Array:
    """Welch's t (K, X), labelled 1 minus labelled 0: (m1 - m0) / sqrt(v1 / n1 + v0 / n0)."""
    values_SX = values_SX - values_SX.mean(0)  # against rounding: E[x^2] - E[x]^2 below
    parts = []
    for part in (label_KS, 1 - label_KS):
        count = part.sum(1, keepdims=True)
        mean = part @ values_SX / count
        parts.append((mean, (part @ values_SX**2 / count - mean**2) / (count - 1)))
    (mean_1, error_1), (mean_0, error_0) = parts
    return _ratio(mean_1 - mean_0, error_1 + error_0)


def _ratio(mean: Array, squared_error: Array) -> Array:
    """t; NaN where nothing varies."""
    varies = squared_error > 1e-20
    return np.where(varies, mean / np.sqrt(np.where(varies, squared_error, 1)), np.nan)


def _largest(t_X: Array, statistic: object, permuted_KS: Array) -> Array:
    """Corrected p (X,): how often the largest |t| of a permutation reaches |t|, the observed one counted."""
    assert callable(statistic)
    if not np.isfinite(t_X).any():
        return np.full(len(t_X), np.nan)
    defined = np.isfinite(t_X)
    largest = []
    for first in range(0, len(permuted_KS), BATCH):
        t_KX = statistic(permuted_KS[first : first + BATCH])[:, defined]
        largest.append(np.nanmax(np.abs(t_KX), axis=1))
    # One maximum per permutation, over all columns: the chance of any false column is controlled (family-wise error).
    reached = (np.concatenate(largest)[:, None] >= np.abs(t_X) - 1e-12).sum(0)
    return np.where(defined, (1 + reached) / (1 + len(permuted_KS)), np.nan)


def _strata(who: NDArray[np.str_], strata: Sequence[str] | None, people: Sequence[str]) -> list[NDArray[np.intp]]:
    """Places of the subjects of each stratum."""
    if strata is None:
        return [np.arange(len(people))]
    stratum_of = dict(zip(who.tolist(), strata, strict=True))
    own = np.array([stratum_of[person] for person in people])
    return [np.flatnonzero(own == name) for name in np.unique(own)]


def _permuted(label_S: Array, blocks: Sequence[NDArray[np.intp]], rng: np.random.Generator) -> Array:
    permuted_S = label_S.copy()
    for block in blocks:
        permuted_S[block] = rng.permutation(label_S[block])
    return permuted_S
