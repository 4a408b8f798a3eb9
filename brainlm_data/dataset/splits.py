"""Splits by subject, and there is no way to ask for anything else.

Whole groups of subjects (sites) can be left out as an external test. The others are ordered by a digest of (seed,
subject); the first ones are the test set, the next validation, the rest training. Adding a subject moves at most one
subject across each border.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from brainlm_data.errors import InputError

SPLITS = ("train", "validation", "test", "external")
SHOWN = 30  # columns or values that a message lists


def split_subjects(
    subjects: Iterable[str], validation: float, test: float, seed: int, external: Collection[str] = ()
) -> dict[str, str]:
    """Subject -> one of `SPLITS`.

    Parameters
    ----------
    subjects: labels; repetitions do not count.
    validation, test: shares of the subjects that are not external. A share above 0 gets at least one subject where
        there are three or more.
    seed: another seed is another split.
    external: subjects that are an external test, whatever the shares (`external_subjects`).
    """
    everyone = set(subjects)
    splits = dict.fromkeys(sorted(everyone), "external")
    # An order that depends on seed and label only: a new subject moves no other, but for one at each border.
    ordered = sorted(everyone - set(external), key=lambda s: hashlib.sha256(f"{seed}/{s}".encode()).hexdigest())
    enough = len(ordered) >= 3
    place = 0
    for name, share in (("test", test), ("validation", validation)):
        count = round(share * len(ordered))
        if share > 0 and enough:
            count = max(count, 1)
        splits |= dict.fromkeys(ordered[place : place + count], name)
        place += count
    splits |= dict.fromkeys(ordered[place:], "train")
    return splits


def external_subjects(
    people: Iterable[tuple[str, Mapping[str, Any]]], external: Mapping[str, Sequence[str]]
) -> set[str]:
    """Subjects that any of their recordings gives one of these values.

    Parameters
    ----------
    people: (subject, its columns of participants.tsv), one per recording.
    external: column -> values; a number is compared as `as_text` writes it.

    Raises
    ------
    InputError: no such column, or nobody has such a value; names what there is.
    """
    rows = list(people)
    chosen: set[str] = set()
    for column, values in external.items():
        known = [(subject, as_text(columns[column])) for subject, columns in rows if columns.get(column) is not None]
        if not any(column in columns for _, columns in rows):
            there = sorted({name for _, columns in rows for name in columns})
            raise InputError(f"external: no column {column} of the participants", f"there are: {_some(there)}")
        has = {value for _, value in known}
        if missing := [value for value in values if as_text(value) not in has]:
            raise InputError(
                f"external: nobody's {column} is {', '.join(map(str, missing))}", f"there are: {_some(sorted(has))}"
            )
        wanted = {as_text(value) for value in values}
        chosen |= {subject for subject, value in known if value in wanted}
    return chosen


def as_text(value: object) -> str:
    """A value of a table as it is compared: `2`, 2 and 2.0 are the same, `02` is another."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
