"""One look for all pictures of parcels: the figures of reports, and what `ParcelSeries` and `Store` plot themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.splits import SPLITS
from brainlm_data.files.text import draw_as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID, UNKNOWN = "#222222", "#E3E3E3", "#D9D9D9"
# Okabe & Ito (2008): colour-blind readers can tell them apart
SPLIT_COLOURS = dict(zip((*SPLITS, "excluded"), ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00"), strict=True))
FIGURE_STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.hashsalt": "brainlm",  # the same figure is the same bytes
}
OTHER = ("", "n/a", "nan", "none", "unassigned", "unknown", "0")


@contextmanager
def drawing(axes: Axes | None = None, size: tuple[float, float] = (6.4, 4.8)) -> Iterator[Axes]:
    """The axes to draw in, those of a new figure for None, with the settings of all figures; `$` in a name is text."""
    import matplotlib.pyplot as plt

    with plt.rc_context(FIGURE_STYLE):  # type: ignore[arg-type]
        if axes is None:
            axes = plt.subplots(figsize=size)[1]
        yield axes
        draw_as_text(axes.figure)  # type: ignore[arg-type]


def stacked(heights: Sequence[float], size: tuple[float, float]) -> list[Axes]:
    """Panels of a new figure below each other, which share their x axis, with the settings of all figures."""
    import matplotlib.pyplot as plt

    with plt.rc_context(FIGURE_STYLE):  # type: ignore[arg-type]
        _, panels = plt.subplots(len(heights), sharex=True, squeeze=False, figsize=size, height_ratios=heights)
    return list(panels[:, 0])


def network_name(name: object) -> str:
    """A network as it is shown: `unassigned` for every way of saying that there is none."""
    return "unassigned" if str(name).strip().lower() in OTHER else str(name)


def by_network(networks: Sequence[str]) -> tuple[NDArray[np.intp], list[tuple[str, int, int]]]:
    """Order of the parcels by network, unassigned ones last, and (name, first, last + 1) of each network in it."""
    names = np.array([network_name(n) for n in networks])
    order = np.lexsort((np.arange(len(names)), names, names == "unassigned"))
    ordered = names[order]
    edges = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1], True])
    return order, [(str(ordered[a]), int(a), int(b)) for a, b in pairwise(edges)]


def mark_networks(axes: Axes, groups: Sequence[tuple[str, int, int]], both: bool = False, names: bool = True) -> None:
    """Lines between networks and their names, on the y axis (and the x axis where `both`) of an image by parcels."""
    for _, first, _ in groups[1:]:
        axes.axhline(first - 0.5, color=INK, linewidth=0.5)
        if both:
            axes.axvline(first - 0.5, color=INK, linewidth=0.5)
    total = groups[-1][2]
    shown = [g for g in groups if (g[2] - g[1]) >= total / 60]  # thinner ones have no room for a name
    centres = [(first + last - 1) / 2 for _, first, last in shown]
    labels = [""] * len(shown)
    if names:
        labels = [name for name, _, _ in shown]
    axes.set_yticks(centres, labels, fontsize=7.5)
    if both:
        axes.set_xticks(centres, labels, rotation=90, fontsize=7.5)
    axes.tick_params(length=0)
    axes.grid(visible=False)
