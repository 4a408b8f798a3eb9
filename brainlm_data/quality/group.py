"""A cohort's quality metrics side by side: the table, and which values stand out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.quality.measures import MEANINGS

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
NORMAL_MAD = 1.4826  # SD of a Gaussian, in its median absolute deviations
NORMAL_MEAN = 1.2533  # the same in its mean absolute deviations
FEWEST = 8  # recordings; a median and MAD of fewer say little
FLOOR = 0.01  # least spread, share of the median: smaller differences are of no consequence
ACQUISITION = {"n_volumes", "tr_s", "grand_mean"}  # how it was scanned, not how well: no outliers
UNITS = {
    "tr_s": "s", "mean_fd_mm": "mm", "max_fd_mm": "mm", "epi_offset_mm": "mm", "t1w_offset_mm": "mm",
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
        middle = np.median(x)
        away = x - middle
        spread = NORMAL_MAD * np.median(np.abs(away)) or NORMAL_MEAN * np.abs(away).mean()
        spread = max(spread, FLOOR * abs(middle))
        z[known, column] = away / spread if spread else 0.0
    return z


@dataclass(frozen=True)
class Cohort:
    """All recordings, those without metrics (refused) apart.

    Attributes
    ----------
    rows: every recording: names, status, reason, page, warnings, metrics.
    done: those with metrics, in the order of the arrays.
    names: (metrics,) those that some recording has.
    values, z: (recordings, metrics), NaN where not measured or not compared.
    limit: |z| above which a value stands out.
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
        values = np.array([[row["metrics"].get(n, np.nan) for n in names] for row in done], dtype=np.float64)
        values = values.reshape(len(done), len(names))
        tasks = np.array([str(row["task"]) if within_task else "" for row in done])
        z = np.full(values.shape, np.nan)
        for task in np.unique(tasks):
            z[tasks == task] = robust_z(values[tasks == task])
        z[:, [name in ACQUISITION for name in names]] = np.nan
        return cls(rows, done, names, values, z, limit, within_task)

    @property
    def refused(self) -> list[Mapping[str, Any]]:
        """Recordings without metrics."""
        return [row for row in self.rows if row["status"] != "done"]

    @property
    def outliers(self) -> NDArray[np.bool_]:
        """(recordings, metrics) true where a value stands out."""
        return np.abs(np.nan_to_num(self.z)) > self.limit

    @property
    def not_compared(self) -> int:
        """Recordings of a task (or cohort) that is too small for outliers."""
        return int(np.isnan(self.z).all(1).sum())

    def warned(self) -> NDArray[np.bool_]:
        """(recordings, metrics) true where a warning begins with the metric's name: a threshold of stage qc."""
        first = [{str(warning).partition(" ")[0] for warning in row["warnings"]} for row in self.done]
        marks = [[name in words for name in self.names] for words in first]
        return np.array(marks, dtype=bool).reshape(self.values.shape)

    def table(self) -> pd.DataFrame:
        """qc.tsv: one row per recording, in the order of the index; metrics last."""
        import pandas as pd

        findings: dict[str, dict[str, Any]] = {}
        for row, values, z, out in zip(self.done, self.values, self.z, self.outliers, strict=True):
            names = [f"{'+' if z[i] > 0 else '-'}{self.names[i]}" for i in np.flatnonzero(out).tolist()]
            findings[row["id"]] = {
                "n_warnings": len(row["warnings"]),
                "n_outliers": len(names),
                "outliers": " ".join(names),
                "warnings": " | ".join(" ".join(str(w).split()) for w in row["warnings"]),
                **dict(zip(self.names, values.tolist(), strict=True)),
            }
        columns = [*ENTITIES, *self.names]
        records = [{**row, **dict.fromkeys(("warnings",)), **findings.get(row["id"], {})} for row in self.rows]
        table = pd.DataFrame(records).reindex(columns=columns)
        return table.replace(r"^\s*$", None, regex=True).replace(r"[\t\r\n]+", " ", regex=True)

    def columns(self) -> dict[str, dict[str, str]]:
        """qc.json: what each column of qc.tsv is, with units, as BIDS asks for."""
        plain = {name: {"Description": text} for name, text in ENTITIES.items()}
        metrics = {name: {"Description": MEANINGS[name], "Units": UNITS.get(name, "")} for name in self.names}
        return plain | {name: {k: v for k, v in entry.items() if v} for name, entry in metrics.items()}
