"""Whether the groups of a cohort (sites, scanners, sessions) differ in quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.groups import Grouping
from brainlm_data.quality.group import FEWEST, robust_sd
from brainlm_data.quality.measures import PANELS

if TYPE_CHECKING:
    import pandas as pd

    from brainlm_data.quality.group import Cohort

Array = NDArray[np.float64]
EFFECT = 1.0  # robust standard deviations: a difference that a page marks
ALPHA = 0.05  # and its corrected p value


@dataclass(frozen=True)
class Comparison:
    """The groups of a column side by side.

    Attributes
    ----------
    names: (metrics,) main metrics that were measured.
    medians: (groups, metrics) over recordings, NaN where none was measured.
    effects: (groups, metrics) distance in robust standard deviations, NaN where not compared; see `compare`.
    p: (metrics,) of a Kruskal-Wallis test, Holm-corrected over the metrics; NaN where not compared.
    """

    grouping: Grouping
    names: Sequence[str]
    medians: Array
    effects: Array
    p: Array

    @property
    def differs(self) -> NDArray[np.bool_]:
        """(groups, metrics) true where a group is at least `EFFECT` away and the metric's p is below `ALPHA`."""
        return (np.abs(np.nan_to_num(self.effects)) >= EFFECT) & (np.nan_to_num(self.p, nan=1.0) < ALPHA)

    @property
    def differing(self) -> list[str]:
        """Metrics in which some group differs."""
        return [name for column, name in enumerate(self.names) if self.differs[:, column].any()]


def compare(cohort: Cohort, grouping: Grouping) -> Comparison:
    """Whether groups differ in the main metrics (`PANELS`).

    A subject counts once per group and task, with the median of its recordings there: recordings of one subject are
    alike. In each task (all recordings alike where the cohort is not compared within tasks), groups of at least
    `FEWEST` subjects are compared:

        effect(g) = (median(g) - middle) / SD

    where middle is the median of the groups' medians, of two groups the other's median; SD is the robust standard
    deviation of all subjects about their own group's median. A group's effect is the mean over tasks, weighted by its
    subjects. p is that of a Kruskal-Wallis test on the subjects' ranks within their tasks, averaged over tasks.
    """
    import pandas as pd

    names = [name for name in PANELS if name in cohort.names]
    frame = pd.DataFrame(cohort.values, columns=list(cohort.names))[names]
    group = pd.Series([grouping.of[row["id"]] for row in cohort.done], dtype=object)
    medians = frame.groupby(group).median().reindex(list(grouping.groups)).to_numpy(float)
    task = [str(row["task"]) if cohort.within_task else "" for row in cohort.done]
    frame = frame.assign(task=task, group=group, subject=[row["subject"] for row in cohort.done])
    keys = ["task", "group", "subject"]
    subjects = frame.groupby(keys)[names].median().reset_index()  # without those of no group
    effects = np.full(medians.shape, np.nan)
    p = np.full(len(names), np.nan)
    for column, name in enumerate(names):
        known = subjects[[*keys, name]].dropna().rename(columns={name: "value"})
        known = known[known.groupby(["task", "group"])["value"].transform("size") >= FEWEST]
        known = known[known.groupby("task")["group"].transform("nunique") >= 2]
        if len(known):
            effects[:, column] = _effects(known, grouping.groups)
            p[column] = _kruskal(known)
    return Comparison(grouping, names, medians, effects, _holm(p))


def _effects(known: pd.DataFrame, groups: Sequence[str]) -> Array:
    """(groups,) means of the effects over tasks. known: one row per subject, group and task."""
    total, weight = np.zeros(len(groups)), np.zeros(len(groups))
    for _, task in known.groupby("task"):
        value, of = task["value"].to_numpy(float), task["group"].to_numpy()
        here = [place for place, group in enumerate(groups) if (of == group).any()]
        medians = np.array([np.median(value[of == groups[place]]) for place in here])
        away = np.concatenate(
            [value[of == groups[place]] - median for place, median in zip(here, medians, strict=True)]
        )
        sd = robust_sd(away, float(np.abs(medians).max()))
        middle = np.median(medians) if len(here) > 2 else medians[::-1]
        size = np.array([(of == groups[place]).sum() for place in here])
        total[here] += size * (medians - middle) / (sd or 1.0)  # SD 0: all medians are 0
        weight[here] += size
    return np.divide(total, weight, out=np.full(len(groups), np.nan), where=weight > 0)


def _kruskal(known: pd.DataFrame) -> float:
    """P value that the groups are alike; 1 where all values are."""
    from scipy.stats import kruskal

    # Ranks lie between 0 and 1 in each task, whatever its level and spread.
    ranks = known.groupby("task")["value"].rank(pct=True) - 0.5 / known.groupby("task")["value"].transform("size")
    mean = known.assign(rank=ranks).groupby(["group", "subject"])["rank"].mean()
    if mean.max() == mean.min():
        return 1.0
    return float(kruskal(*[of_group.to_numpy(float) for _, of_group in mean.groupby("group")]).pvalue)


def _holm(p: Array) -> Array:
    """P values times the number of those that are not smaller, never falling; NaN stays (Holm, 1979)."""
    corrected = np.full(p.shape, np.nan)
    order = [place for place in np.argsort(p, kind="stable") if np.isfinite(p[place])]
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[place]))
        corrected[place] = highest
    return corrected
