"""Which rows of events are trials, what was shown in each, and which are for the test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainlm_data.dataset.patterns import TEST, TRAIN
from brainlm_data.errors import InputError
from brainlm_data.files.reads import reads

if TYPE_CHECKING:
    import pandas as pd

ENTITIES = ("subject", "session", "task", "run")
COLUMNS = ("recording", *ENTITIES, "onset", "duration", "stimulus", "category", "split", "reason")
UNKNOWN = ("", "n/a")
SHOWN = 12  # names in a message


def read_trials(
    recording: str,
    entities: Mapping[str, str],
    events: Path | None,
    stimulus: str,
    category: str,
    wanted: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """Rows of an events.tsv that are trials: `COLUMNS`, `from`, and those of the file.

    Parameters
    ----------
    entities: subject, session, task, run. events: None where the recording has none.
    stimulus, category: columns; a row without a stimulus is a trial where the file has categories alone, of its own
        stimulus then. `from`: which of the two columns it was. wanted: column -> values, * is any text; {}: all rows.

    Raises
    ------
    InputError: the file is no table with columns onset and duration.
    """
    import pandas as pd

    empty = pd.DataFrame(columns=[*COLUMNS, "from"])
    if events is None:
        return empty
    with reads(events, "an events.tsv of BIDS: tab-separated, with columns onset and duration, in seconds"):
        table = pd.read_csv(events, sep="\t", dtype=str, keep_default_na=False)
        onset, duration = (pd.to_numeric(table[column].replace("n/a", "nan")) for column in ("onset", "duration"))
    for column, values in wanted.items():
        if column not in table:
            return empty
        table = table[[_is_one_of(value, values) for value in table[column]]]
    source = next((c for c in (stimulus, category) if c in table and _known(table[c]).any()), None)
    if source is None:
        return empty
    table = table[_known(table[source])]
    table = table.assign(onset=onset[table.index], duration=duration[table.index].fillna(0.0))
    table = table[table["onset"].notna()].reset_index(drop=True)
    categories = table[category] if category in table else pd.Series("", table.index)
    shown = [value.removeprefix("stimuli/") for value in table[source]]
    if source != stimulus:  # a category without pictures
        shown = [f"{value}/{recording}/{row}" for row, value in enumerate(table[source])]
    more = {"recording": recording, **entities, "split": "", "reason": "", "from": source}
    return table.assign(**more, stimulus=shown, category=categories.where(_known(categories), ""))


def _known(column: pd.Series) -> pd.Series:
    return ~column.isin(UNKNOWN)


def _is_one_of(value: str, patterns: Sequence[str]) -> bool:
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


def _where(table: pd.DataFrame, wanted: Mapping[str, Sequence[str]]) -> pd.Series:
    """Rows that have one of the values in each of these columns."""
    import pandas as pd

    chosen = pd.Series(True, table.index)
    for column, values in wanted.items():
        if column not in table:
            raise InputError(
                f"trials.test_where: no event has a column {column}", f"there are: {_some(list(table.columns))}"
            )
        here = pd.Series([_is_one_of(str(value), values) for value in table[column]], table.index)
        if not here.any():
            raise InputError(
                f"trials.test_where: no trial's {column} is {', '.join(map(str, values))}",
                f"there are: {_some(sorted(set(table[column].astype(str))))}",
            )
        chosen &= here
    return chosen


def _some(names: Sequence[str]) -> str:
    return ", ".join(list(names)[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
