"""Which trials are for the test; `reading.events` reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from brainlm_data.dataset.patterns import TEST, TRAIN
from brainlm_data.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

ENTITIES = ("subject", "session", "task", "run")
COLUMNS = ("recording", *ENTITIES, "onset", "duration", "stimulus", "category", "split", "reason")
SHOWN = 12  # names in a message
OF_TEST_SUBJECT = "its subject is for the test"


def is_one_of(value: str, patterns: Sequence[str]) -> bool:
    """Whether a value is one of these, in which * is any text."""
    return any(fnmatchcase(value, str(pattern)) for pattern in patterns)


def split_trials(table: pd.DataFrame, by: str, share: float, where: Mapping[str, Sequence[str]], seed: int) -> None:
    """Fill in `split`, and `reason` of training trials that show what is for the test.

    Parameters
    ----------
    by: stimulus, category or run: what is in one split as a whole. share: of these, for the test. seed: of the choice.
    where: column -> values of the test trials, in place of a share.

    Raises
    ------
    InputError: `where` names what is not there.
    """
    unit = table["recording" if by == "run" else by].astype(str)
    if where:
        test = _where(table, where)
    else:
        # An order that depends on seed and name only, so that another stimulus moves no other one.
        ordered = sorted(set(unit), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
        count = min(max(1, round(share * len(ordered))), len(ordered) - 1)
        test = unit.isin(ordered[:count])
    table["split"] = np.where(test, TEST, TRAIN)
    both = ~test & (unit.isin(set(unit[test])) | table["stimulus"].isin(set(table["stimulus"][test])))
    table.loc[both, "reason"] = f"its {by} is for the test"


def split_subjects(table: pd.DataFrame, wanted: Sequence[str]) -> set[str]:
    """The people who are for the test alone; fills in `reason`: of them test trials count, of others training trials.

    Raises
    ------
    InputError: there is no such person, or nobody else.
    """
    subject = table["subject"].astype(str)
    known = set(subject)
    new: set[str] = set()
    for name in wanted:
        found = {one for one in known if is_one_of(one, [name.removeprefix("sub-")])}
        if not found:
            raise InputError(f"trials.test_subjects: no subject {name}", f"there are: {_some(sorted(known))}")
        new |= found
    if new and new == known:
        raise InputError("trials.test_subjects: it names all subjects, none is left to learn from", "name fewer")
    for reason, rows in (
        (OF_TEST_SUBJECT, subject.isin(new) & (table["split"] == TRAIN)),
        ("its subject is for training", bool(new) & ~subject.isin(new) & (table["split"] == TEST)),
    ):
        table.loc[rows & (table["reason"] == ""), "reason"] = reason
    return new


def _where(table: pd.DataFrame, wanted: Mapping[str, Sequence[str]]) -> pd.Series:
    """Rows that have one of the values in each of these columns."""
    import pandas as pd

    chosen = pd.Series(True, table.index)
    for column, values in wanted.items():
        if column not in table:
            raise InputError(
                f"trials.test_where: no event has a column {column}", f"there are: {_some(list(table.columns))}"
            )
        here = pd.Series([is_one_of(str(value), values) for value in table[column]], table.index)
        if not here.any():
            raise InputError(
                f"trials.test_where: no trial's {column} is {', '.join(map(str, values))}",
                f"there are: {_some(sorted(set(table[column].astype(str))))}",
            )
        chosen &= here
    return chosen


def _some(names: Sequence[str]) -> str:
    return ", ".join(list(names)[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
