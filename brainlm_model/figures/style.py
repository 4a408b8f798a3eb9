"""One look for all figures: colours that colour-blind readers can tell apart, and files that are the same each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import draw_as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008); each method also has a marker of its own
METHODS = {
    "model": ("#0072B2", "o"),
    "untrained": ("#56B4E9", "s"),
    "gaussian": ("#D55E00", "D"),
    "lagged": ("#E69F00", "d"),
    "pca": ("#CC79A7", "p"),
    "mean": ("#009E73", "^"),
    "interpolation": ("#7F7F7F", "v"),
}
SPLITS = {
    "train": "#0072B2", "validation": "#E69F00", "test": "#009E73", "external": "#CC79A7", "excluded": "#D55E00",
}  # fmt: skip
INK, GRID = "#222222", "#E3E3E3"
SETTINGS: dict[str, Any] = {
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
def style() -> Iterator[None]:
    """Settings of every figure, and a backend that needs no screen."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(SETTINGS):  # type: ignore[arg-type]
        yield


def save(figure: Figure, svg: Path, png: Path, dpi: int) -> None:
    """Write a figure twice, without dates, and close it."""
    import matplotlib.pyplot as plt

    draw_as_text(figure)
    figure.savefig(svg, format="svg", dpi=dpi, metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(figure)


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
    labels = [name for name, _, _ in shown] if names else [""] * len(shown)
    axes.set_yticks(centres, labels, fontsize=7.5)
    if both:
        axes.set_xticks(centres, labels, rotation=90, fontsize=7.5)
    axes.tick_params(length=0)
    axes.grid(visible=False)
