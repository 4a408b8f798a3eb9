"""Events as samples: which steps answer an event, which tokens hold them, and who is told from whom.

Shapes: n samples, T steps, P parcels, N time patches. Nothing here sees a value of a series but whether it is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainlm_data import InputError

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]
Validation = Literal["runs", "people", "parts"]
BASELINE = "baseline"  # condition of pauses between events
PARTS = 4  # of the only recording of somebody
FOLDS = 5  # of people
INNER = 3  # inner folds, in which settings are chosen
SHOWN = 12  # names in a message


@dataclass(frozen=True)
class Samples:
    """Events that can be told apart.

    Attributes
    ----------
    recording, subject: (n,) names. label: (n,) numbers of `conditions`.
    answer: (n, 2) first and last but one step of its series that answers the event. start: (n,) step where the model's
        window begins. tokens: (n, 2) first and last but one time patch of that window that holds the answer.
    """

    recording: NDArray[np.str_]
    subject: NDArray[np.str_]
    label: Ints
    conditions: list[str]
    answer: Ints
    start: Ints
    tokens: Ints
    left_out: Mapping[str, int] = field(default_factory=dict)  # why -> how many events

    def __len__(self) -> int:
        return len(self.label)

    def reach(self, patch: int) -> Ints:
        """(n, 2) first and last but one step that any method reads as the event's own."""
        tokens = self.start[:, None] + patch * self.tokens
        first = np.minimum(self.answer[:, 0], tokens[:, 0])
        return np.stack([first, np.maximum(self.answer[:, 1], tokens[:, 1])], axis=1)


@dataclass(frozen=True)
class Fold:
    """Rows of samples: what a classifier is fitted on, what it is tested on; and likewise inside the former."""

    train: Ints
    test: Ints
    inner: tuple[tuple[Ints, Ints], ...] = ()


@dataclass(frozen=True)
class Steps:
    """How time goes: steps per second of the series, and of the model's window and its patches."""

    hz: float
    window: int
    patch: int


def check_conditions(wanted: Collection[str], there: Collection[str]) -> None:
    """Raises InputError where no event has one of these conditions."""
    known = sorted(set(there))
    for name in wanted:
        if name not in known:
            raise InputError(f"state.conditions: no event is {name}", f"there are: {', '.join(known[:SHOWN])}")


def joined(events: pd.DataFrame, gap_s: float) -> pd.DataFrame:
    """Events, those of one condition that follow each other within `gap_s` as one: the pictures of a block, a block."""
    import pandas as pd

    rows = list[tuple[str, float, float, str]]()
    # by all columns, so that the order of the table says nothing where two begin at once
    for name, onset, duration, condition in sorted(events.itertuples(index=False, name=None)):
        if rows and rows[-1][0] == name and rows[-1][3] == condition and onset - (rows[-1][1] + rows[-1][2]) <= gap_s:
            before = rows.pop()
            end = max(before[1] + before[2], onset + duration)
            rows.append((name, before[1], end - before[1], condition))
        else:
            rows.append((name, onset, duration, condition))
    return pd.DataFrame(rows, columns=events.columns)


def pauses_of(events: pd.DataFrame, least_s: float) -> pd.DataFrame:
    """The pauses between events of a recording, of whatever condition, that last so long, as condition `BASELINE`."""
    import pandas as pd

    pauses = []
    for name, own in events.sort_values("onset_s", kind="stable").groupby("recording"):
        ends = np.maximum.accumulate((own["onset_s"] + own["duration_s"]).to_numpy(float))
        for end, following in zip(ends[:-1], own["onset_s"].to_numpy(float)[1:], strict=True):
            if following - end >= least_s:
                pauses.append((name, end, following - end, BASELINE))
    return pd.DataFrame(pauses, columns=events.columns)


def placed(
    events: pd.DataFrame, subjects: Mapping[str, str], known: Mapping[str, NDArray[np.bool_]], steps: Steps,
    delay_s: float, shortest_s: float,
) -> Samples:  # fmt: skip
    """The events whose answer was recorded, with the model's window around it.

    Parameters
    ----------
    subjects: recording -> subject, of those that are looked at. known: recording -> (T,) steps at which anything is
        known. delay_s: from an event to its answer. shortest_s: that the answer to a short event lasts.
    """
    conditions = sorted(set(events["trial_type"]))
    number = {name: place for place, name in enumerate(conditions)}
    rows: list[tuple[str, str, int, tuple[int, int], int, tuple[int, int]]] = []
    left = Counter[str]()
    for name, onset, duration, condition in events.itertuples(index=False):
        if name not in subjects:
            continue
        if len(known[name]) < steps.window:
            left["their recording is shorter than a window of the model"] += 1
            continue
        first = int(np.ceil((onset + delay_s) * steps.hz - 1e-9))
        end = max(int(np.floor((onset + max(duration, shortest_s) + delay_s) * steps.hz + 1e-9)), first) + 1
        if first < 0 or end > len(known[name]) or not known[name][first:end].all():
            left["their answer was not recorded throughout"] += 1
            continue
        start, tokens = around(first, end, len(known[name]), steps)
        rows.append((name, subjects[name], number[condition], (first, end), start, tokens))
    recording, subject, label, answer, start_n, tokens_n = zip(*rows, strict=True) if rows else ([],) * 6
    return Samples(
        np.array(recording, np.str_), np.array(subject, np.str_), np.array(label, np.int64), conditions,
        np.array(answer, np.int64).reshape(-1, 2), np.array(start_n, np.int64),
        np.array(tokens_n, np.int64).reshape(-1, 2), dict(left),
    )  # fmt: skip


def around(first: int, end: int, length: int, steps: Steps) -> tuple[int, tuple[int, int]]:
    """Where the model's window begins, so that a patch lies in the middle of the answer; and which patches hold it.

    A patch holds the answer where at least half of its steps are the answer's; where none does, the one with most.
    """
    middle = (steps.window // steps.patch) // 2
    start = round((first + end) / 2 - (middle + 0.5) * steps.patch)
    start = min(max(start, 0), length - steps.window)
    edges = start + steps.patch * np.arange(steps.window // steps.patch + 1)
    shared = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], first), 0, None)
    holding = np.flatnonzero(2 * shared >= steps.patch)
    if not len(holding):
        holding = np.array([shared.argmax()])
    return start, (int(holding[0]), int(holding[-1]) + 1)


def kept(samples: Samples, rows: Any, reason: str) -> Samples:
    """Samples without those that are not in `rows` (bool, n), which are counted under a reason."""
    left = Counter(samples.left_out)
    left[reason] += int((~rows).sum())
    used = sorted(set(samples.label[rows].tolist()))
    renumbered = np.searchsorted(used, samples.label[rows]) if used else samples.label[rows]
    return Samples(
        samples.recording[rows], samples.subject[rows], renumbered.astype(np.int64),
        [samples.conditions[c] for c in used], samples.answer[rows], samples.start[rows], samples.tokens[rows],
        {why: count for why, count in left.items() if count},
    )  # fmt: skip


def way_of(samples: Samples) -> Validation:
    """Who is told from whom: runs from other runs of the same person where anybody has two, else people from others."""
    if any(len(set(samples.recording[samples.subject == who])) > 1 for who in set(samples.subject)):
        return "runs"
    return "people" if len(set(samples.subject)) > 1 else "parts"


def groups_of(samples: Samples, validation: Validation) -> NDArray[np.str_]:
    """(n,) what is on one side of a split as a whole: a run, a person, or a quarter of a run."""
    if validation == "people":
        return samples.subject
    if validation == "runs":
        return samples.recording
    groups = samples.recording.astype(object)
    for name in set(samples.recording):
        rows = np.flatnonzero(samples.recording == name)
        order = rows[np.argsort(samples.answer[rows, 0], kind="stable")]
        for part, members in enumerate(np.array_split(order, PARTS)):
            groups[members] = f"{name}, part {part + 1}"
    return groups.astype(np.str_)


def usable(samples: Samples, validation: Validation, fewest: int) -> Samples:
    """Samples of conditions with `fewest` events, which can be learnt from other groups than their own.

    The groups are those of the same person, unless people are told apart. What is left out may leave too few of others.
    """
    groups = groups_of(samples, validation)
    if validation != "people":
        several = {who for who in set(samples.subject) if len(set(groups[samples.subject == who])) > 1}
        samples = kept(samples, np.isin(samples.subject, sorted(several)), f"their person has no two {validation}")
    few = f"their condition has fewer than {fewest} events"
    of_whom = "" if validation == "people" else " of their person"
    once = f"their condition, or any other, is not in two {validation}{of_whom}"
    while True:
        before = len(samples)
        samples = kept(samples, np.bincount(samples.label, minlength=1)[samples.label] >= fewest, few)
        samples = kept(samples, _learnable(samples, validation), once)
        if len(samples) == before:
            return samples


def _learnable(samples: Samples, validation: Validation) -> NDArray[np.bool_]:
    """(n,) which samples have their condition, and another one, in the groups that they are told from."""
    groups = groups_of(samples, validation)
    learnable = np.zeros(len(samples), bool)
    pool = np.full(len(samples), "everyone") if validation == "people" else samples.subject
    for who in set(pool):
        for group in set(groups[pool == who]):
            test = (pool == who) & (groups == group)
            train = np.unique(samples.label[(pool == who) & (groups != group)])
            learnable[test] = len(train) > 1 and np.isin(samples.label[test], train)
    return learnable


def folds_of(samples: Samples, validation: Validation, patch: int, seed: int) -> list[Fold]:
    """Every group is tested once, by what was fitted on the others (of the same person, unless people are told apart).

    Samples that share a step with a test sample are not trained on.
    """
    reach = samples.reach(patch)
    rng = np.random.default_rng(seed)
    groups = groups_of(samples, validation)
    everyone = np.arange(len(samples))
    folds = []
    if validation == "people":
        names = rng.permutation(sorted(set(groups)))
        for held_out in np.array_split(names, min(FOLDS, max(len(names), 1))):
            test = np.isin(groups, held_out)
            folds.append(_fold(samples, reach, groups, everyone[~test], everyone[test], rng))
        return folds
    for who in sorted(set(samples.subject)):
        own = everyone[samples.subject == who]
        for group in sorted(set(groups[own])):
            test = groups[own] == group
            folds.append(_fold(samples, reach, groups, own[~test], own[test], rng))
    return folds


def _fold(
    samples: Samples, reach: Ints, groups: NDArray[np.str_], train: Ints, test: Ints, rng: np.random.Generator
) -> Fold:
    """A fold, and inner ones of whole groups of its training samples; of a single group, of its parts in time."""
    train = _apart(samples.recording, reach, train, test)
    names = rng.permutation(sorted(set(groups[train])))
    parts = np.array_split(names, min(INNER, max(len(names), 1)))
    checks = [train[np.isin(groups[train], part)] for part in parts]
    if len(names) == 1:
        checks = np.array_split(train[np.argsort(samples.answer[train, 0], kind="stable")], INNER)
    inner = []
    for check in checks:
        fit = _apart(samples.recording, reach, np.setdiff1d(train, check), check)
        if len(fit) and len(check):
            inner.append((fit, check))
    return Fold(train, test, tuple(inner))


def _apart(recording: NDArray[np.str_], reach: Ints, train: Ints, test: Ints) -> Ints:
    """Rows of `train` that share no step with one of `test`."""
    apart = np.ones(len(train), bool)
    for name in set(recording[train]) & set(recording[test]):
        own = np.flatnonzero(recording[train] == name)
        others = reach[test[recording[test] == name]]
        first, end = reach[train[own]].T
        apart[own] = ~((first[:, None] < others[:, 1]) & (end[:, None] > others[:, 0])).any(1)
    return train[apart]


def drawn(count: int, most: int, seed: int) -> NDArray[np.bool_]:
    """(count,) which of so many samples are used, at most `most`."""
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(seed).permutation(count)[:most]] = True
    return chosen


def units_of(samples: Samples, validation: Validation) -> tuple[str, NDArray[np.str_]]:
    """What intervals and tests are over, in words, and of each sample: people, else the runs or parts of the one."""
    if len(set(samples.subject)) > 1:
        return "people", samples.subject
    return validation, groups_of(samples, validation)


def counts(samples: Samples) -> dict[str, int]:
    """Condition -> number of samples."""
    return {name: int((samples.label == place).sum()) for place, name in enumerate(samples.conditions)}
