"""Does a vector know a person again? Identification and differential identifiability.

Sources: Finn et al. (2015), doi:10.1038/nn.4135; Amico & Goni (2018), doi:10.1038/s41598-018-25089-1.

Shapes: S subjects with a pair of parts, F features.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from brainlm_model.eval.latent.features import Part
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS, Array

Mode = Literal["retest", "tasks", "halves"]
METRICS = ("rank1", "mean_rank", "percentile", "i_diff")
WORDS = {
    "retest": "two recordings of the same task",
    "tasks": "two recordings of different tasks",
    "halves": "halves, within one scan: motion, position and day are shared, easier than test-retest",
}


@dataclass(frozen=True)
class Pairs:
    """Two parts of each subject: `what` says in words what they are."""

    mode: Mode
    what: str
    subjects: list[str]
    first: list[Part]
    second: list[Part]

    def add(self, subject: str, first: Part, second: Part) -> None:
        """One more subject."""
        self.subjects.append(subject)
        self.first.append(first)
        self.second.append(second)


def pairs_of(table: Any, mode: str) -> Pairs | None:
    """Two recordings of each subject that has them, of the same task first; else halves of one recording.

    Parameters
    ----------
    table: recordings, in order; of a subject's recordings of a task the first and the last are taken, which is two
        sessions where there are two. mode: retest, tasks, halves, or auto: the first of which there are enough
        subjects.

    Returns None where there are not even two subjects.
    """
    by_mode = {"retest": _retest(table), "tasks": _tasks(table), "halves": _halves(table)}
    if mode != "auto":
        by_mode = {mode: by_mode[mode]}
    for fewest in (ENOUGH_SUBJECTS, 2):
        for pairs in by_mode.values():
            if len(pairs.subjects) >= fewest:
                return pairs
    return None


def _by_task(table: Any) -> dict[str, dict[str, list[str]]]:
    """task -> subject -> ids."""
    tasks = [""] * len(table)
    if "task" in table:
        tasks = table["task"].fillna("").astype(str)
    by_task: dict[str, dict[str, list[str]]] = {}
    for name, subject, task in zip(table["id"], table["subject"].astype(str), tasks, strict=True):
        by_task.setdefault(task, {}).setdefault(subject, []).append(name)
    return by_task


def _retest(table: Any) -> Pairs:
    """First and last recording of the task that most subjects have twice."""
    several: dict[str, dict[str, list[str]]] = {}
    for task, people in _by_task(table).items():
        several[task] = {subject: ids for subject, ids in people.items() if len(ids) > 1}
    task = max(sorted(several), key=lambda name: len(several[name]))
    pairs = Pairs("retest", f"{WORDS['retest']} ({task or 'no task named'})", [], [], [])
    for subject, ids in several[task].items():
        pairs.add(subject, (ids[0], None), (ids[-1], None))
    return pairs


def _tasks(table: Any) -> Pairs:
    """First recordings of the two tasks that most subjects have both of."""
    by_task = _by_task(table)
    shared: Counter[tuple[str, str]] = Counter()
    for a, b in combinations(sorted(by_task), 2):
        shared[a, b] = len(by_task[a].keys() & by_task[b].keys())
    if not shared:
        return Pairs("tasks", WORDS["tasks"], [], [], [])
    (a, b), _ = shared.most_common(1)[0]
    pairs = Pairs("tasks", f"{WORDS['tasks']} ({a}, {b})", [], [], [])
    for subject, ids in by_task[a].items():
        if subject in by_task[b]:
            pairs.add(subject, (ids[0], None), (by_task[b][subject][0], None))
    return pairs


def _halves(table: Any) -> Pairs:
    """Both halves of each subject's first recording."""
    firsts: dict[str, str] = {}
    for name, subject in zip(table["id"], table["subject"].astype(str), strict=True):
        firsts.setdefault(subject, name)
    pairs = Pairs("halves", WORDS["halves"], [], [], [])
    for subject, name in firsts.items():
        pairs.add(subject, (name, 0), (name, 1))
    return pairs


def similarity(first_SF: Array, second_SF: Array) -> Array:
    """(S, S) Pearson correlations of the first parts' vectors with the second parts'."""

    # r of two vectors is the inner product of both, centred and divided by their lengths
    def unit(values: Array) -> Array:
        centred = values.astype(np.float64) - values.mean(1, keepdims=True)
        size = np.linalg.norm(centred, axis=1, keepdims=True)
        return centred / np.where(size > 0, size, 1)

    return unit(first_SF) @ unit(second_SF).T


def ranks(similarity_SS: Array) -> Array:
    """(S,) rank of each subject's own second part among all, 1 the most similar; ties take the mean of their ranks."""
    own = np.diag(similarity_SS)[:, None]
    return (similarity_SS > own).sum(1) + ((similarity_SS == own).sum(1) + 1) / 2


def scores(similarity_SS: Array) -> Array:
    """(S, 4) of each subject, the mean of both directions where there are two.

    `rank1`: its own part is the most similar one; `mean_rank`; `percentile`: share of the others that are less
    similar; `i_diff`: own similarity minus the mean with the others.
    """
    count = len(similarity_SS)
    both = np.stack([ranks(similarity_SS), ranks(similarity_SS.T)])  # first parts find second ones, and the reverse
    own = np.diag(similarity_SS)
    # I_diff = own similarity - mean of row and column without the diagonal (Amico & Goni, 2018), for each subject
    others = (similarity_SS.sum(0) + similarity_SS.sum(1) - 2 * own) / (2 * (count - 1))
    rank = both.mean(0)
    return np.stack([(both == 1).mean(0), rank, 1 - (rank - 1) / (count - 1), own - others], axis=1)


def by_chance(similarity_SS: Array, permutations: int, seed: int) -> tuple[Array, Array]:
    """(4,) means and p of `scores` when identities are permuted: how often they are as good (one-sided)."""
    rng = np.random.default_rng(seed)
    observed = scores(similarity_SS).mean(0)
    drawn = np.empty((permutations, len(METRICS)))
    for row in range(permutations):
        order = rng.permutation(len(similarity_SS))
        drawn[row] = scores(similarity_SS[:, order]).mean(0)
    as_good = drawn >= observed - 1e-12
    as_good[:, 1] = drawn[:, 1] <= observed[1] + 1e-12  # a low rank is a good one
    return drawn.mean(0), (1 + as_good.sum(0)) / (1 + permutations)
