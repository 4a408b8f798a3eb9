"""A cohort's quality metrics side by side: the table, and which values stand out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.quality.measures import MEANINGS, WORSE

if TYPE_CHECKING:
    import pandas as pd

    from brainlm_data.dataset.groups import Grouping

Array = NDArray[np.float64]
NORMAL_MAD = 1.4826  # SD of a Gaussian, in its median absolute deviations
NORMAL_MEAN = 1.2533  # the same in its mean absolute deviations
FEWEST = 8  # recordings; a median and MAD of fewer say little
FLOOR = 0.01  # least spread, share of the median: smaller differences are of no consequence
ACQUISITION = {"n_volumes", "tr_s", "grand_mean"}  # how it was scanned, not how well: no outliers
UNITS = {
    "tr_s": "s", "mean_fd_mm": "mm", "max_fd_mm": "mm", "mean_fd_filtered_mm": "mm", "epi_offset_mm": "mm",
    "t1w_offset_mm": "mm",
    "mean_dvars": "thousandths of the median", "grand_mean": "scanner units",
}  # fmt: skip
ENTITIES = {
    "id": "the recording's BIDS name without suffix",
    "subject": "BIDS entity sub",
    "session": "BIDS entity ses",
    "task": "BIDS entity task",
    "run": "BIDS entity run",
    "status": "done, or refused: it could not be processed",
    "reason": "why it was refused",
    "page": "quality page of the recording, below this folder",
    "n_warnings": "warnings of the recording: thresholds of stage qc, and what earlier stages noticed",
    "n_outliers": "metrics that stand out",
    "outliers": "their names; the sign says on which side of the median",
    "warnings": "the warnings, separated by |",
}


def robust_z(values: Array) -> Array:
    """Distance from the median of each column in robust standard deviations.

    Parameters
    ----------
    values: (recordings, metrics), NaN where not measured.

    Returns
    -------
    (recordings, metrics); NaN where not measured, and in columns with fewer than `FEWEST` known values. The spread is
    1.4826 MAD; where more than half of the values are equal (MAD 0), 1.2533 times the mean absolute deviation; and at
    least 1% of the median, so that differences of no consequence are none.
    """
    z = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        known = np.isfinite(values[:, column])
        if known.sum() < FEWEST:
            continue
        x = values[known, column]
        middle = float(np.median(x))
        away = x - middle
        spread = robust_sd(away, abs(middle))
        z[known, column] = 0.0  # where all are 0
        if spread:
            z[known, column] = away / spread
    return z


def robust_sd(away: Array, level: float) -> float:
    """SD of values whose distances from their median are `away`; at least 1% of `level`, the size of that median.

    Both factors turn the measure into the SD that a Gaussian with it would have: its MAD is SD / 1.4826, its mean
    absolute deviation sqrt(2 / pi) SD = SD / 1.2533.
    """
    spread = NORMAL_MAD * float(np.median(np.abs(away)))
    if spread == 0:
        spread = NORMAL_MEAN * float(np.abs(away).mean())
    return max(spread, FLOOR * level)


@dataclass(frozen=True)
class Cohort:
    """All recordings, those without metrics (refused) apart.

    Attributes
    ----------
    rows: every recording: names, status, reason, page, warnings, metrics.
    done: those with metrics, in the order of the arrays.
    names: (metrics,) those that some recording has.
    values, z: (recordings, metrics), NaN where not measured or not compared.
    limit: |z| above which a value stands out, on the sides that are bad (`measures.WORSE`).
    within_task: whether recordings were compared with those of their task only.
    """

    rows: Sequence[Mapping[str, Any]]
    done: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    values: Array
    z: Array
    limit: float
    within_task: bool

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], limit: float, within_task: bool) -> Cohort:
        """Compare recordings, in groups of one task each where `within_task`."""
        done = [row for row in rows if row["status"] == "done"]
        names = [name for name in MEANINGS if any(name in row["metrics"] for row in done)]
        values = np.full((len(done), len(names)), np.nan)
        for place, row in enumerate(done):
            values[place] = [row["metrics"].get(name, np.nan) for name in names]
        groups = np.zeros(len(done), dtype=int)
        if within_task and done:
            groups = np.unique([str(row["task"]) for row in done], return_inverse=True)[1]
        z = np.full(values.shape, np.nan)
        for group in np.unique(groups):
            z[groups == group] = robust_z(values[groups == group])
        z[:, np.isin(names, list(ACQUISITION))] = np.nan
        return cls(rows, done, names, values, z, limit, within_task)

    @property
    def refused(self) -> list[Mapping[str, Any]]:
        """Recordings without metrics."""
        return [row for row in self.rows if row["status"] != "done"]

    @property
    def outliers(self) -> NDArray[np.bool_]:
        """(recordings, metrics) true where a value stands out on a bad side: nobody moves too little."""
        z = np.nan_to_num(self.z)
        sides = np.array([WORSE.get(name, 0) for name in self.names], dtype=float)
        return np.where(sides == 0, np.abs(z), z * sides) > self.limit

    @property
    def not_compared(self) -> int:
        """Recordings of a task (or cohort) that is too small for outliers."""
        return int(np.isnan(self.z).all(1).sum())

    def warned(self) -> NDArray[np.bool_]:
        """(recordings, metrics) true where a warning begins with the metric's name: a threshold of stage qc."""
        marks = np.zeros(self.values.shape, dtype=bool)
        for place, row in enumerate(self.done):
            first_words = [str(warning).partition(" ")[0] for warning in row["warnings"]]
            marks[place] = np.isin(self.names, first_words)
        return marks

    def table(self, groupings: Sequence[Grouping] = ()) -> pd.DataFrame:
        """qc.tsv: one row per recording, in the order of the index; the columns of `groupings`, then metrics last."""
        import pandas as pd

        findings: dict[str, dict[str, Any]] = {}
        for row, values, z, is_outlier in zip(self.done, self.values, self.z, self.outliers, strict=True):
            outliers = []
            for place in np.flatnonzero(is_outlier).tolist():
                side = "+" if z[place] > 0 else "-"
                outliers.append(f"{side}{self.names[place]}")
            findings[row["id"]] = {
                "n_warnings": len(row["warnings"]),
                "n_outliers": len(outliers),
                "outliers": " ".join(outliers),
                "warnings": " | ".join(" ".join(str(warning).split()) for warning in row["warnings"]),
                **dict(zip(self.names, values.tolist(), strict=True)),
            }
        records = []
        for row in self.rows:
            groups = {name: grouping.of[row["id"]] for name, grouping in self._own(groupings).items()}
            records.append({**row, "warnings": None, **groups, **findings.get(row["id"], {})})
        table = pd.DataFrame(records).reindex(columns=[*ENTITIES, *self._own(groupings), *self.names])
        # an empty cell is missing, and a cell has no tabs and line breaks of its own
        return table.replace(r"^\s*$", None, regex=True).replace(r"[\t\r\n]+", " ", regex=True)

    def _own(self, groupings: Sequence[Grouping]) -> dict[str, Grouping]:
        """Column of qc.tsv -> grouping, without what has a column anyway; a name that is taken gets `_participants`."""
        taken = {*ENTITIES, *self.names}
        own: dict[str, Grouping] = {}
        for grouping in groupings:
            if grouping.column == "session":  # the BIDS entity
                continue
            name = " ".join(grouping.column.split())
            while name in taken or name in own:
                name += "_participants"
            own[name] = grouping
        return own

    def words(self, groupings: Sequence[Grouping] = ()) -> dict[str, list[str]]:
        """Columns of words of every recording, in the order of `rows`: task, run, session, groups; none is "n/a"."""
        words: dict[str, list[str]] = {}
        for name in ("task", "session", "run"):
            values = ["n/a" if row.get(name) in (None, "") else str(row[name]) for row in self.rows]
            if set(values) != {"n/a"}:
                words[name] = values
        for name, grouping in self._own(groupings).items():
            words[name] = [grouping.of[row["id"]] or "n/a" for row in self.rows]
        return words

    def columns(self, groupings: Sequence[Grouping] = ()) -> dict[str, dict[str, str]]:
        """qc.json: what each column of qc.tsv is, with units, as BIDS asks for."""
        columns = {name: {"Description": text} for name, text in ENTITIES.items()}
        for name, grouping in self._own(groupings).items():
            columns[name] = {
                "Description": f"{grouping.column} in the dataset's tables; recordings were compared by it"
            }
        for name in self.names:
            columns[name] = {"Description": MEANINGS[name]}
            if name in UNITS:
                columns[name]["Units"] = UNITS[name]
        return columns
