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
        chosen = by_mode[mode]
        return chosen if len(chosen.subjects) > 1 else None
    enough = [p for p in by_mode.values() if len(p.subjects) >= ENOUGH_SUBJECTS]
    some = enough or [p for p in by_mode.values() if len(p.subjects) > 1]
    return some[0] if some else None


def _by_task(table: Any) -> dict[str, dict[str, list[str]]]:
    """task -> subject -> ids."""
    tasks = table["task"].fillna("").astype(str) if "task" in table else [""] * len(table)
    by_task: dict[str, dict[str, list[str]]] = {}
    for name, subject, task in zip(table["id"], table["subject"].astype(str), tasks, strict=True):
        by_task.setdefault(task, {}).setdefault(subject, []).append(name)
    return by_task


def _retest(table: Any) -> Pairs:
    each = {task: {s: ids for s, ids in people.items() if len(ids) > 1} for task, people in _by_task(table).items()}
    task = max(sorted(each), key=lambda name: len(each[name]))
    people = each[task]
    words = f"{WORDS['retest']} ({task or 'no task named'})"
    return Pairs("retest", words, list(people), [(i[0], None) for i in people.values()],
                 [(i[-1], None) for i in people.values()])  # fmt: skip


def _tasks(table: Any) -> Pairs:
    each = _by_task(table)
    shared = Counter({(a, b): len(each[a].keys() & each[b].keys()) for a, b in combinations(sorted(each), 2)})
    if not shared:
        return Pairs("tasks", WORDS["tasks"], [], [], [])
    (a, b), _ = shared.most_common(1)[0]
    people = [s for s in each[a] if s in each[b]]
    return Pairs("tasks", f"{WORDS['tasks']} ({a}, {b})", people, [(each[a][s][0], None) for s in people],
                 [(each[b][s][0], None) for s in people])  # fmt: skip


def _halves(table: Any) -> Pairs:
    firsts: dict[str, str] = {}
    for name, subject in zip(table["id"], table["subject"].astype(str), strict=True):
        firsts.setdefault(subject, name)
    return Pairs("halves", WORDS["halves"], list(firsts), [(n, 0) for n in firsts.values()],
                 [(n, 1) for n in firsts.values()])  # fmt: skip


def similarity(first_SF: Array, second_SF: Array) -> Array:
    """(S, S) Pearson correlations of the first parts' vectors with the second parts'."""

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
    both = np.stack([ranks(similarity_SS), ranks(similarity_SS.T)])
    own = np.diag(similarity_SS)
    others = (similarity_SS.sum(0) + similarity_SS.sum(1) - 2 * own) / (2 * (count - 1))
    rank = both.mean(0)
    return np.stack([(both == 1).mean(0), rank, 1 - (rank - 1) / (count - 1), own - others], axis=1)


def by_chance(similarity_SS: Array, permutations: int, seed: int) -> tuple[Array, Array]:
    """(4,) means and p of `scores` when identities are permuted: how often they are as good (one-sided)."""
    rng = np.random.default_rng(seed)
    observed = scores(similarity_SS).mean(0)
    drawn = np.stack([
        scores(similarity_SS[:, rng.permutation(len(similarity_SS))]).mean(0) for _ in range(permutations)
    ])  # fmt: skip
    better = drawn >= observed - 1e-12
    better[:, 1] = drawn[:, 1] <= observed[1] + 1e-12  # a low rank is a good one
    return drawn.mean(0), (1 + better.sum(0)) / (1 + permutations)
