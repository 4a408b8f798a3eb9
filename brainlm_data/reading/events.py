"""Events of recordings: which rows are trials and what was shown in each; and when each condition lasted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.trial_table import COLUMNS, is_one_of
from brainlm_data.errors import InputError
from brainlm_data.reading.table import Table, read_words

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "n/a"
EVENTS = ("recording", "onset_s", "duration_s", "trial_type")  # columns of the table beside a store


class Condition(NamedTuple):
    """A condition that lasted from `onset_s` for `duration_s` (0: a moment) in a recording; seconds."""

    recording: str
    onset_s: float
    duration_s: float
    trial_type: str


def read_conditions(path: Path, column: str, recording: str | None = None) -> tuple[list[Condition], int]:
    """Rows of a table of events that have an onset and a condition, in its order; and how many others there are.

    Parameters
    ----------
    column: that names the condition. recording: whose events these are, of which none has a condition where the table
        lacks that column; None: a table of many, whose column `recording` says it. Times are as in the table.

    Raises
    ------
    InputError: the file is no table, has no columns onset and duration (of many: recording and `column`), or one of
        their cells is no time in seconds.
    """
    words = read_words(path)
    onset, duration = _times(words)
    owners = words.column("recording") if recording is None else [recording] * len(onset)
    names = words.column(column) if recording is None else words.columns.get(column, [None] * len(onset))
    rows = []
    for owner, start_s, lasted_s, name in zip(owners, onset, duration, names, strict=True):
        if owner is not None and name is not None and np.isfinite(start_s):
            rows.append(Condition(owner, float(start_s), float(lasted_s), name))
    return rows, len(onset) - len(rows)


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
    InputError: the file is no table, has no columns onset and duration, or one of their cells is no time in seconds.
    """
    import pandas as pd

    empty = pd.DataFrame(columns=[*COLUMNS, "from"])
    if events is None:
        return empty
    words = read_words(events)
    onset, duration = _times(words)
    table = pd.DataFrame(words.columns, dtype=object).fillna(UNKNOWN)
    # an event without an onset stays: no volume is in its window, which the table of trials says
    table = table.assign(onset=onset, duration=duration)
    for column, values in wanted.items():
        if column not in table:
            return empty
        table = table[[is_one_of(str(value), values) for value in table[column]]]
    source = next((c for c in (stimulus, category) if c in table and _known(table[c]).any()), None)
    if source is None:
        return empty
    table = table[_known(table[source])].reset_index(drop=True)
    categories = table[category] if category in table else pd.Series("", table.index)
    shown = [str(value).removeprefix("stimuli/") for value in table[source]]
    if source != stimulus:  # a category without pictures
        shown = [f"{value}/{recording}/{row}" for row, value in enumerate(table[source])]
    more = {"recording": recording, **entities, "split": "", "reason": "", "from": source}
    return table.assign(**more, stimulus=shown, category=categories.where(_known(categories), ""))


def in_series(rows: Sequence[Condition], starts: Mapping[str, float]) -> list[Condition]:
    """Events of recordings that have a start, with onsets from their series' first step on, in order.

    `starts`: recording -> when its first step was measured, s after the start of the first volume (BIDS StartTime).
    """
    moved = []
    for row in rows:
        if row.recording in starts:
            moved.append(row._replace(onset_s=row.onset_s - starts[row.recording]))
    return sorted(moved)


def said_of_left_out(rows: Sequence[Condition], others: int, recordings: Collection[str], column: str) -> list[str]:
    """Warnings: how many rows of a table of events are used for nothing, and why.

    `rows`, `others`: of `read_conditions`. `recordings`: that there are.
    """
    lines = [f"{others} rows are no events: without an onset or a {column}"] if others else []
    strangers = [row.recording for row in rows if row.recording not in recordings]
    if strangers:
        lines.append(f"{len(strangers)} events are of no recording here, such as {strangers[0]}")
    return lines


def write_events(rows: Sequence[Condition], path: Path) -> None:
    """The table of events beside a store, with columns `EVENTS`; onsets are in the time of the stored series."""
    import pandas as pd

    pd.DataFrame(rows, columns=list(EVENTS)).to_csv(path, sep="\t", index=False, float_format="%.6g")


def read_events(path: Path) -> pd.DataFrame:
    """What `write_events` wrote: a row for each event, with columns `EVENTS`; a duration without a value is 0.

    Raises
    ------
    InputError: the file is no such table, or a row lacks a recording, an onset or a condition.
    """
    import pandas as pd

    words = read_words(path)
    onset, duration = _times(words, "onset_s", "duration_s")
    for name in ("recording", "onset_s", "trial_type"):
        for cell, line in zip(words.column(name), words.lines, strict=True):
            if cell is None:
                raise InputError(f"{path}: line {line}: no {name}", "an event has one; leave the row out")
    named = {name: words.column(name) for name in ("recording", "trial_type")}
    return pd.DataFrame({**named, "onset_s": onset, "duration_s": duration}, columns=list(EVENTS))


def _times(words: Table, starts: str = "onset", lasts: str = "duration") -> tuple[NDArray[np.float64], ...]:
    """Onset, NaN where it is unknown, and duration, 0 where it is, s. Raises InputError for a duration below 0."""
    onset, duration = words.numbers(starts), words.numbers(lasts)
    if (negative := duration < 0).any():
        line = words.lines[int(np.argmax(negative))]
        raise InputError(f"{words.path}: line {line}: a duration below 0", "seconds, or n/a")
    return onset, np.nan_to_num(duration, nan=0.0)


def _known(column: pd.Series) -> pd.Series:
    return column != UNKNOWN
