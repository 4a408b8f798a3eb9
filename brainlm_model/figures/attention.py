"""Attention of the model: CLS on the brain, by network, against connectivity, and the difference of two groups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import by_network, mark_networks
from brainlm_model.figures.brain import TWO_SIDED, markers
from brainlm_model.figures.style import INK, METHODS, Sheet, read_arrays, read_table, with_bars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(attention_csv: Path, attention_arrays: Path) -> Figure:
    """Two rows of panels, and a third where two groups were compared."""
    table, arrays = read_table(attention_csv), read_arrays(attention_arrays)
    compared = (table["part"] == "difference_parcel").any()
    sheet = Sheet(10.2, 9.6 if compared else 6.5)

    cls = _rows(table, "cls_parcel", "model")
    sheet.title(0.1, f"What CLS attends to: {cls['n_recordings'].iloc[0]} recordings (1: uniform attention)")
    markers(sheet.panel(0, 0.4, 6.6, 2.4), arrays["coordinates"], cls["value"].to_numpy(dtype=float), "viridis")
    _dots(sheet.panel(8.0, 0.3, 2.1, 2.0), table, "cls_network", "CLS attention, times uniform", 1.0)

    order, groups = by_network(arrays["network"].tolist())
    ordered = np.ix_(order, order)
    attention = arrays["attention_model"][1:, 1:] * len(arrays["attention_model"])
    _matrix(sheet.panel(1.1, 3.5, 2.6, 2.6), attention[ordered], groups, "Attention, times uniform", "viridis")
    _matrix(sheet.panel(4.6, 3.5, 2.6, 2.6), arrays["connectivity"][ordered], groups, "Connectivity (r)",
            TWO_SIDED, names=False)  # fmt: skip
    _coupling(sheet.panel(8.5, 3.6, 1.5, 2.2), table[table["part"] == "coupling"])
    if compared:
        rows = _rows(table, "difference_parcel", "model")
        significant = rows["significant"].astype(str).eq("True").to_numpy()
        first, second = arrays["levels"]
        count = f"{significant.sum()} of {len(rows)} parcels with p < .05"
        sheet.title(6.7, f"CLS attention, {second} minus {first}: t; {count}")
        t = rows["t"].to_numpy(dtype=float)
        markers(sheet.panel(0, 7.0, 6.6, 2.4), arrays["coordinates"], t, TWO_SIDED, ringed=significant)
        _dots(sheet.panel(8.0, 6.9, 2.1, 1.9), table, "difference_network", "difference, times uniform", 0.0)
    return sheet.figure


def _rows(table: pd.DataFrame, part: str, method: str) -> pd.DataFrame:
    return table[(table["part"] == part) & (table["method"] == method)]


def _dots(axes: Axes, table: pd.DataFrame, part: str, label: str, line: float) -> None:
    """One row per network, trained and untrained beside one another, with 95 % intervals."""
    names = list(_rows(table, part, "model")["name"])
    methods = [method for method in ("model", "untrained") if method in set(table["method"])]
    for number, method in enumerate(methods):
        rows = _rows(table, part, method).set_index("name").loc[names]
        value, bars = with_bars(rows)
        colour, marker = METHODS[method]
        axes.errorbar(
            value, np.arange(len(names)) + 0.22 * number, xerr=bars, fmt=marker, color=colour, markersize=4.5,
            elinewidth=1.2, capsize=2, label=rows["label"].iloc[0],
        )  # fmt: skip
    axes.axvline(line, color=INK, linewidth=0.8)
    axes.set_yticks(np.arange(len(names)) + 0.11, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.2, -0.24))


def _matrix(axes: Axes, matrix: Any, groups: Any, title: str, colours: str, names: bool = True) -> None:
    axes.set_facecolor("#D9D9D9")
    off_diagonal = matrix[~np.eye(len(matrix), dtype=bool)]
    known = off_diagonal[np.isfinite(off_diagonal)]
    low, high = np.percentile(known, [1, 99]) if known.size else (0, 1)
    if colours == TWO_SIDED:
        high = max(abs(low), abs(high))
        low = -high
    image = axes.imshow(matrix, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    mark_networks(axes, groups, names=names)
    axes.set_xticks([])
    axes.set_title(title)
    axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, extend="both")


def _coupling(axes: Axes, table: pd.DataFrame) -> None:
    for number, method in enumerate(("model", "untrained")):
        rows = table[table["method"] == method]
        value, bars = with_bars(rows)
        colour, marker = METHODS[method]
        axes.errorbar(
            np.arange(len(rows)) + 0.2 * number, value, bars, fmt=marker, color=colour, markersize=5, capsize=2.5,
            label=rows["label"].iloc[0],
        )  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks([0.1, 1.1], ["all pairs", "distance\nremoved"])
    axes.set_xlim(-0.4, 1.6)
    axes.set_title("Attention with\nconnectivity, r")
