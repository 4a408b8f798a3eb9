"""Scaled recordings, and who has which levels: what both parts of `perturbation` start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainlm_data import ConfigError, InputError, prepare
from brainlm_model.eval.parcels import Array

REST = "rest"


def scaled(store: Any, name: str, model: Any) -> Array:
    """(time, parcel) scaled as the model's data were, from the first step with data on.

    Raises InputError where a window does not fit, or holds nothing known.
    """
    series = np.asarray(store.series(name), dtype=np.float32)
    series = series[int(np.argmax(np.isfinite(series).any(1))) :]
    window = model.config.window
    if len(series) < window:
        raise InputError(f"{name}: {len(series)} steps, fewer than the model's window of {window}", "leave it out")
    prepared: Array = np.asarray(prepare(series, model.scaler), dtype=np.float32)
    if not np.isfinite(prepared[:window]).all(0).any():
        raise InputError(f"{name}: no parcel is known throughout the first window", "leave it out")
    return prepared


@dataclass(frozen=True)
class Person:
    """A subject's recordings: at rest, in the task (None: target is the training subjects' mean), and for the null.

    `null`: another recording at rest, of this subject or else of another one (None: the training subjects' mean).
    """

    subject: str
    rest: str
    task: str | None
    null: str | None
    null_own: bool

    @property
    def recordings(self) -> list[str]:
        """Those that are read."""
        return [name for name in (self.rest, self.task, self.null) if name is not None]


def levels_of(table: Any, column: str, requested: list[str]) -> tuple[str, str] | str:
    """The two levels that are compared, or in words why there are none.

    Raises ConfigError where levels are requested that the column does not have.
    """
    if column not in table:
        if requested or column != "task":
            raise ConfigError(f"perturbation.column: no column {column!r}", f"one of {', '.join(table.columns)}")
        return "part one left out: recordings.parquet has no column task (perturbation.column names another one)"
    there = sorted({str(value) for value in table[column].dropna()})
    if requested:
        if not set(requested) <= set(there):
            raise ConfigError(
                f"perturbation.levels: {', '.join(requested)}; {column} has {', '.join(there[:8]) or 'none'}",
                "name two of its values: perturbation.levels=[rest, wm]",
            )
        return requested[0], requested[1]
    if len(there) < 2:
        return (
            f"part one left out: column {column} has {' and '.join(there) or 'no value'} only, and it takes two "
            "levels (perturbation.column, perturbation.levels)"
        )
    first = there[0]
    if REST in there:
        first = REST
    there.remove(first)
    return first, there[0]


def people(table: Any, column: str, pair: tuple[str, str], own: bool, most: int, seed: int) -> list[Person]:
    """Subjects with a recording of the first level and, where `own`, of the second; at most `most`, by the seed."""
    rest = _ids_by_subject(table, column, pair[0])
    task = _ids_by_subject(table, column, pair[1])
    eligible = sorted(rest.keys() & task.keys() if own else rest)
    drawn = np.random.default_rng(seed).permutation(len(eligible))[:most]
    everybody = sorted(rest)
    chosen = []
    for subject in sorted(eligible[i] for i in drawn):
        again = len(rest[subject]) > 1
        if not own:
            chosen.append(Person(subject, rest[subject][0], None, None, again))
        elif again:
            chosen.append(Person(subject, rest[subject][0], task[subject][0], rest[subject][1], again))
        elif len(everybody) > 1:
            # the null is the rest of the next subject in order, the first one's after the last one
            neighbour = everybody[(everybody.index(subject) + 1) % len(everybody)]
            chosen.append(Person(subject, rest[subject][0], task[subject][0], rest[neighbour][0], again))
    return chosen


def _ids_by_subject(table: Any, column: str, level: str) -> dict[str, list[str]]:
    """Recordings of a level, by subject."""
    of_level = table[table[column].astype(str) == level]
    return {str(subject): list(ids) for subject, ids in of_level.groupby("subject")["id"]}
