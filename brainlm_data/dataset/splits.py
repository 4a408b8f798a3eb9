"""Splits by subject, and there is no way to ask for anything else.

Whole groups of subjects (sites) can be left out as an external test. The others are ordered by a digest of (seed,
subject); the first ones are the test set, the next validation, the rest training. Adding a subject moves at most one
subject across each border.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from brainlm_data.errors import InputError

SPLITS = ("train", "validation", "test", "external")
SHOWN = 30  # columns, values or subjects that a message lists


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
    people: Iterable[tuple[str, Mapping[str, Any]]], external: Mapping[str, Sequence[str]], notes: Sequence[str] = ()
) -> set[str]:
    """Subjects that any of their recordings gives one of these values.

    Parameters
    ----------
    people: (subject, its columns of participants.tsv), one per recording.
    external: column -> values; a number is compared as `as_text` writes it. notes: on what did not join, for messages.

    Raises
    ------
    InputError: no such column, nobody has such a value, or somebody has nearly the same one; names what there is.
    """
    rows = list(people)
    chosen: set[str] = set()
    why = f"; {notes[0]}" if notes else ""
    for column, values in external.items():
        known = [(subject, as_text(columns[column])) for subject, columns in rows if columns.get(column) is not None]
        if not any(column in columns for _, columns in rows):
            there = sorted({name for _, columns in rows for name in columns})
            raise InputError(f"external: no column {column} of the participants", f"there are: {_some(there)}{why}")
        has = {value for _, value in known}
        if missing := [value for value in values if as_text(value) not in has]:
            raise InputError(
                f"external: nobody's {column} is {', '.join(map(str, missing))}",
                f"there are: {_some(sorted(has))}{why}",
            )
        wanted = {as_text(value) for value in values}
        if alike := sorted(value for value in has - wanted if _spelled(value) in {_spelled(one) for one in wanted}):
            count = len({subject for subject, value in known if value in alike})
            raise InputError(
                f"external: {column} of {count} subjects is {', '.join(alike)}, spelled otherwise than"
                f" {', '.join(sorted(wanted))}",
                "name both spellings, or make one of them in the table",
            )
        chosen |= {subject for subject, value in known if value in wanted}
    return chosen


def unknown_groups(
    people: Iterable[tuple[str, Mapping[str, Any]]], external: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Column of `external` -> subjects of whom no recording has a value there: they may belong to a group left out."""
    rows = list(people)
    unknown = dict[str, list[str]]()
    for column in external:
        known = {subject for subject, columns in rows if columns.get(column) is not None}
        if without := sorted({subject for subject, _ in rows} - known):
            unknown[column] = without
    return unknown


def said_of_unknown(column: str, subjects: Sequence[str]) -> str:
    """The sentence on them."""
    return (
        f"external: the {column} of {len(subjects)} subjects is not known ({_some(subjects)}): they are in the other"
        " splits, and may be of a group that is left out"
    )


def _spelled(value: str) -> str:
    """What two spellings of a value share: capitals, spaces, _ and - aside; zeros before a number."""
    if value.isascii() and value.isdigit():
        return value.lstrip("0")
    return re.sub(r"[\s_-]", "", value.casefold()) if re.search(r"[^\W\d]", value) else value


def as_text(value: object) -> str:
    """A value of a table as it is compared: `2`, 2 and 2.0 are the same, `02` is another."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
