"""The plots of the group page: one dot per recording and metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brainlm_data.quality.measures import PANELS
from brainlm_data.quality.plots import BLUE, GREEN, INK, ORANGE, Array, as_picture, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from brainlm_data.quality.group import Cohort
    from brainlm_data.quality.groups import Comparison

COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")  # Okabe and Ito (2008)
GREY = "#888888"  # of further groups, and of recordings whose group is not known
DRAWN = 12  # groups; of more, the table alone is readable
LONGEST = 16  # characters of a group's name below its dots


def strips(cohort: Cohort) -> bytes:
    """A panel for each main metric that was measured, recordings along x in their order; empty bytes for none."""
    shown = [name for name in PANELS if name in cohort.names]
    if not shown:
        return b""
    figure, panels = _panels(len(shown))
    for panel, name in zip(panels, shown, strict=True):
        _strip(panel, cohort, list(cohort.names).index(name), PANELS[name])
    for panel in panels[-2:]:
        panel.set_xlabel("recordings, in the order of their names", fontsize=7)
    return as_picture(figure)


def grouped_strips(cohort: Cohort, comparison: Comparison) -> bytes:
    """The same with recordings ordered and coloured by group; empty bytes for no metric, or too many groups."""
    grouping = comparison.grouping
    if not comparison.names or not 1 <= len(grouping.groups) <= DRAWN:
        return b""
    groups: list[str | None] = [*grouping.groups, None]
    of = np.array([groups.index(grouping.of[row["id"]]) for row in cohort.done])
    order = np.argsort(of, kind="stable")
    figure, panels = _panels(len(comparison.names))
    for panel, name in zip(panels, comparison.names, strict=True):
        _grouped(panel, cohort.values[order, list(cohort.names).index(name)], of[order], len(grouping.groups))
        _finish(panel, len(of), PANELS[name])
    places = [float(np.flatnonzero(of[order] == group).mean()) for group in np.unique(of)]
    labels = [_short(groups[group]) for group in np.unique(of)]
    for panel in panels[-2:]:
        panel.set_xticks(places, labels, fontsize=7, rotation=0 if len(labels) <= 4 else 45)
        if len(labels) > 4:
            for label in panel.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
    return as_picture(figure)


def _short(group: str | None) -> str:
    name = "not known" if group is None else " ".join(group.split())
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, two in a row."""
    rows = (count + 1) // 2
    figure = new_figure(10.5, 1.75 * rows + 0.3)
    panels = list(figure.subplots(rows, 2, squeeze=False).ravel())
    for panel in panels[count:]:
        panel.set_axis_off()
    return figure, panels[:count]


def _grouped(panel: Axes, values: Array, of: Array, known: int) -> None:
    """Dots and a median line per group. of: number of each recording's group, in order; `known` for no group."""
    x = np.arange(len(values))
    size = float(np.clip(4000 / max(len(values), 1), 4, 20))
    for group in np.unique(of):
        here = of == group
        colour = COLOURS[group] if group < min(known, len(COLOURS)) else GREY
        panel.scatter(x[here], values[here], s=size, color=colour, linewidths=0, alpha=0.8 if len(x) < 500 else 0.4)
        if np.isfinite(values[here]).any():
            line = [np.flatnonzero(here)[0] - 0.4, np.flatnonzero(here)[-1] + 0.4]
            panel.plot(line, [np.nanmedian(values[here])] * 2, color=INK, linewidth=1.6)


def _strip(panel: Axes, cohort: Cohort, column: int, title: str) -> None:
    values, out, warned = cohort.values[:, column], cohort.outliers[:, column], cohort.warned()[:, column]
    x = np.arange(len(values))
    size = float(np.clip(4000 / max(len(values), 1), 4, 20))
    panel.scatter(x[~out], values[~out], s=size, color=BLUE, linewidths=0, alpha=0.8 if len(x) < 500 else 0.4)
    panel.scatter(x[out], values[out], s=size + 6, color=ORANGE, linewidths=0)
    panel.scatter(x[warned], values[warned], s=size + 18, facecolors="none", edgecolors=INK, linewidths=0.8)
    panel.axhline(np.nanmedian(values), color=INK, linewidth=0.7)
    z = np.where(out, cohort.z[:, column], 0)
    for place in {int(z.argmax()), int(z.argmin())} if out.any() else ():  # the farthest on each side is named
        if not out[place]:
            continue
        side, away = ("right", -5) if place > len(x) / 2 else ("left", 5)  # towards the middle
        panel.annotate(
            cohort.done[place]["id"], (float(place), float(values[place])), xytext=(away, 0),
            textcoords="offset points", ha=side, va="center", fontsize=6, color=INK,
        )  # fmt: skip
    _finish(panel, len(x), title)


def _finish(panel: Axes, count: int, title: str) -> None:
    """Title, limits and ticks of a panel with so many recordings."""
    panel.set_title(title, fontsize=8.5, loc="left")
    panel.set_xlim(-0.02 * count - 0.6, 1.02 * count - 0.4)
    panel.set_xticks([])
    panel.margins(y=0.12)
    panel.tick_params(labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)
