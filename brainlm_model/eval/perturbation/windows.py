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


def levels_of(table: Any, column: str, asked: list[str]) -> tuple[str, str] | str:
    """The two levels that are compared, or in words why there are none.

    Raises ConfigError where levels are asked for that the column does not have.
    """
    if column not in table:
        if asked or column != "task":
            raise ConfigError(f"perturbation.column: no column {column!r}", f"one of {', '.join(table.columns)}")
        return "part one left out: recordings.parquet has no column task (perturbation.column names another one)"
    there = sorted({str(v) for v in table[column].dropna()})
    if asked:
        if not set(asked) <= set(there):
            raise ConfigError(
                f"perturbation.levels: {', '.join(asked)}; {column} has {', '.join(there[:8]) or 'none'}",
                "name two of its values: perturbation.levels=[rest, wm]",
            )
        return asked[0], asked[1]
    if len(there) < 2:
        return (
            f"part one left out: column {column} has {' and '.join(there) or 'no value'} only, and it takes two "
            "levels (perturbation.column, perturbation.levels)"
        )
    first = REST if REST in there else there[0]
    return first, next(v for v in there if v != first)


def people(table: Any, column: str, pair: tuple[str, str], own: bool, most: int, seed: int) -> list[Person]:
    """Subjects with a recording of the first level and, where `own`, of the second; at most `most`, by the seed."""
    levels = table[column].astype(str)
    rest, task = (
        {str(s): list(ids) for s, ids in table[levels == level].groupby("subject")["id"]} for level in pair
    )  # fmt: skip
    who = sorted(s for s in rest if not own or s in task)
    order = [who[i] for i in np.random.default_rng(seed).permutation(len(who))[:most]]
    parts = []
    for subject in sorted(order):
        again = rest[subject][1:]
        others = [s for s in sorted(rest) if s > subject] + [s for s in sorted(rest) if s < subject]
        null = again[0] if again else rest[others[0]][0] if others else None
        if own and null is None:
            continue
        parts.append(
            Person(subject, rest[subject][0], task[subject][0] if own else None, null if own else None, bool(again))
        )  # fmt: skip
    return parts
