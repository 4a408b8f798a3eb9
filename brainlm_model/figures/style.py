"""One look for all figures: colours that colour-blind readers can tell apart, and files that are the same each time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import draw_as_text, reads

if TYPE_CHECKING:
    import pandas as pd
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


def read_table(path: Path) -> pd.DataFrame:
    """A table of results; only empty cells are missing, so that a network may be called "None"."""
    import pandas as pd

    with reads(path):
        return pd.read_csv(path, keep_default_na=False, na_values=[""])


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a result file by name."""
    with reads(path), np.load(path, allow_pickle=False) as file:
        return dict(file)


def with_bars(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values (row,) and the lengths (2, row) of their bars down to `low` and up to `high`; 0 without an interval."""
    value = rows["value"].to_numpy(dtype=float)
    ends = rows[["low", "high"]].to_numpy(dtype=float).T
    return value, np.nan_to_num(np.abs(ends - value))


class Sheet:
    """A figure whose panels have places in inches from its upper left corner.

    nilearn places its brains itself, which no automatic layout of Matplotlib knows of.
    """

    def __init__(self, wide: float, high: float) -> None:
        import matplotlib.pyplot as plt

        self.wide, self.high = wide, high
        self.figure = plt.figure(figsize=(wide, high))
        self.figure.set_layout_engine("none")

    def panel(self, left: float, top: float, wide: float, high: float) -> Axes:
        """A panel of this size."""
        return self.figure.add_axes(
            (left / self.wide, 1 - (top + high) / self.high, wide / self.wide, high / self.high)
        )

    def text(self, top: float, text: str, **look: Any) -> None:
        """A line at the left edge."""
        self.figure.text(0.1 / self.wide, 1 - top / self.high, text, va="top", **look)

    def title(self, top: float, text: str) -> None:
        """A line in bold at the left edge."""
        self.text(top, text, fontsize=10, weight="bold")


def network_name(name: object) -> str:
    """A network as it is shown: `unassigned` for every way of saying that there is none."""
    return "unassigned" if str(name).strip().lower() in OTHER else str(name)


def counted(count: int, one: str, more: str = "") -> str:
    """`1 subject`, `2 subjects`, `2 people`."""
    return f"{count} {one if count == 1 else more or f'{one}s'}"


CODE = re.compile(r"_(\d+)([A-Za-z]+)")
SEXES = {"m": "male", "f": "female"}


def coded(column: str) -> tuple[str, dict[str, str]]:
    """`sex_1m_2f` is the column sex, in which 1 means male and 2 female; of other names, nothing is meant by a code."""
    codes = CODE.findall(column)
    name = CODE.sub("", column)
    if len(codes) < 2 or not name:
        return column, {}
    return name, {code: SEXES.get(word.lower(), word) for code, word in codes}


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
