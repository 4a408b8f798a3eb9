"""Perturbations: the change that carries rest to a task, by network, and what one driven parcel moves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_model.figures.style import INK, METHODS, Sheet, read_arrays, read_table, with_bars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {**METHODS, "sd": METHODS["gaussian"], "network": ("#332288", "P"), "visible": ("#E69F00", "d"),
          "group": METHODS["gaussian"]}  # fmt: skip
WIDE = 10.4  # inches


def draw(perturbation_csv: Path, perturbation_arrays: Path) -> Figure:
    """Part one above, part two in the middle, the response of one seed and its connectivity on the brain below."""
    table, arrays = read_table(perturbation_csv), read_arrays(perturbation_arrays)
    one, two = (table["part"] == "moved_network").any(), (table["part"] == "response").any()
    sheet = Sheet(WIDE, 0.5 + 3.6 * one + (3.5 + 4.7) * two)
    top = 0.4
    if one:
        left, right = sheet.panel(1.35, top, 3.3, 2.35), sheet.panel(6.5, top, 3.7, 2.35)
        _moved(left, right, table, arrays["levels"].tolist())
        top += 3.6
    if two:
        _agreement(sheet.panel(2.2, top, 2.9, 2.2), table)
        _by_network(sheet.panel(6.5, top, 3.7, 2.2), table)
        top += 3.4
        _brains(sheet, top, arrays)
    return sheet.figure


def _dots(axes: Axes, rows: pd.DataFrame, names: list[str], key: str, place: float, method: str, **more: Any) -> None:
    """One row per name, moved by `place`."""
    value, bars = with_bars(rows.set_index(key).reindex(names))
    colour, marker = STYLES[method]
    look = {"fmt": marker, "color": colour, "markersize": 5, "elinewidth": 1.3, "capsize": 2, **more}
    axes.errorbar(value, np.arange(len(names)) + place, xerr=bars, **look)


def _names(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _moved(left: Axes, right: Axes, table: pd.DataFrame, levels: list[str]) -> None:
    rows = table[table["part"] == "moved_network"]
    names = list(dict.fromkeys(rows["network"]))
    model = rows[rows["method"] == "model"]
    _dots(left, model[model["metric"] == "task"], names, "network", -0.14, "model", label=f"to {levels[1]}")
    _dots(
        left, model[model["metric"] == "null"], names, "network", 0.14, "interpolation", label=f"to {levels[0]} (null)"
    )
    _names(left, names)
    left.set_xlim(left=0)
    left.set_xlabel("change, root mean square, scaled units")
    left.set_title(f"Smallest change of {levels[0]} that moves CLS")
    left.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(-0.3, -0.2), ncols=2)
    change = rows[rows["metric"] == "share_difference"]
    for number, method in enumerate(dict.fromkeys(change["method"])):
        these = change[change["method"] == method]
        place = 0.22 * (number - 1)
        _dots(right, these, names, "network", place, method, label=these["label"].iloc[0])
        ordered = these.set_index("network").reindex(names)
        for i in np.flatnonzero(ordered["p_holm"].to_numpy(dtype=float) < 0.05):
            right.annotate("*", (ordered["high"].iloc[i], i + place), (4, -5), textcoords="offset points", fontsize=11)
    right.axvline(0, color=INK, linewidth=0.8)
    _names(right, names)
    right.set_xlabel("share, task minus null (1: the mean of all parcels)")
    right.set_title("Which networks beyond the null (*: p < .05)")
    right.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(-0.3, -0.2), ncols=3, columnspacing=1)


def _agreement(axes: Axes, table: pd.DataFrame) -> None:
    rows = table[table["part"] == "response"]
    labels = dict(zip(rows["method"], rows["label"], strict=True))
    names = list(labels)
    looks: dict[str, tuple[float, str, dict[str, str]]] = {
        "own": (-0.12, "with own, unseen connectivity", {}),
        "group": (0.12, "with training connectivity", {"markerfacecolor": "white"}),
    }
    for method in names:
        for target, (place, label, look) in looks.items():
            these = rows[(rows["method"] == method) & (rows["name"] == target)]
            if method == names[0]:  # the legend names each kind once
                look = {**look, "label": label}
            _dots(axes, these, names, "method", place, method, **look)
    axes.axvline(0, color=INK, linewidth=0.8)
    _names(axes, names)
    axes.set_yticks(range(len(names)), list(labels.values()), fontsize=8)
    axes.set_xlabel("r over parcels")
    axes.set_title("Response to a driven parcel")
    axes.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(-0.6, -0.2), ncols=2)


def _by_network(axes: Axes, table: pd.DataFrame) -> None:
    rows = table[(table["part"] == "response_network") & (table["name"] == "own")]
    names = sorted(set(rows["network"]))
    shown = [method for method in ("model", "untrained", "visible") if method in set(rows["method"])]
    for number, method in enumerate(shown):
        these = rows[rows["method"] == method]
        _dots(axes, these, names, "network", 0.2 * (number - 1), method, label=these["label"].iloc[0])
    axes.axvline(0, color=INK, linewidth=0.8)
    _names(axes, names)
    axes.set_xlabel("r over parcels, with own unseen connectivity")
    axes.set_title("By network of the seed")
    axes.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(-0.3, -0.2), ncols=3, columnspacing=1)


def _brains(sheet: Sheet, top: float, arrays: dict[str, Any]) -> None:
    """One seed: the response of the model and connectivity, as markers in a glass brain; the seed has a ring."""
    from nilearn.plotting import plot_markers

    place, seeds, networks = arrays["coordinates"], arrays["seeds"], arrays["networks"]
    known = np.isfinite(place).all(1)
    ready = np.flatnonzero(known[seeds] & (np.isfinite(arrays["map/model"]).sum(1) > 3))
    if not len(ready):
        sheet.text(top, "no seed with coordinates")
        return
    of_default = ready[networks[seeds[ready]] == "Default"]
    chosen = [*of_default, *ready][0]  # the first seed in the default network, if there is one
    name, network = arrays["parcels"][seeds[chosen]], networks[seeds[chosen]]
    titles = {
        "map/model": f"Response of the model to parcel {name} ({network}), a unit",
        "map/unseen": "Its connectivity in the same people, unseen steps (r)",
    }
    for row, (key, title) in enumerate(titles.items()):
        values = arrays[key][chosen].astype(float)
        shown = known & np.isfinite(values)
        limit = max(float(np.percentile(np.abs(values[shown]), 99)), 1e-9)
        sheet.title(top + 2.35 * row, title)
        axes = sheet.panel(0, top + 2.35 * row + 0.25, WIDE - 0.3, 2.0)
        axes.set_axis_off()
        display = plot_markers(
            values[shown], place[shown], node_size=26, node_cmap="RdBu_r", node_vmin=-limit, node_vmax=limit,
            alpha=0.9, axes=axes, display_mode="lyrz", colorbar=True,
        )  # fmt: skip
        display.add_markers(place[[seeds[chosen]]], marker_color="none", edgecolor=INK, marker_size=90)
