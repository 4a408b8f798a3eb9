"""Which rows of a recording's events are trials, and what was shown in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainlm_data.dataset.trial_table import COLUMNS, is_one_of
from brainlm_data.errors import InputError
from brainlm_data.reading.table import read_words

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "n/a"


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
    onset, duration = words.numbers("onset"), words.numbers("duration")
    if (negative := duration < 0).any():
        line = words.lines[int(np.argmax(negative))]
        raise InputError(f"{events}: line {line}: a duration below 0", "seconds, or n/a")
    table = pd.DataFrame(words.columns, dtype=object).fillna(UNKNOWN)
    # an event without an onset stays: no volume is in its window, which the table of trials says
    table = table.assign(onset=onset, duration=np.nan_to_num(duration, nan=0.0))
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


def _known(column: pd.Series) -> pd.Series:
    return column != UNKNOWN
