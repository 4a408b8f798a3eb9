"""Perturbations: the change that carries rest to a task, by network, and what one driven parcel moves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import reads
from brainlm_model.figures.style import INK, METHODS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {**METHODS, "sd": METHODS["gaussian"], "network": ("#332288", "P"), "visible": ("#E69F00", "d"),
          "group": METHODS["gaussian"]}  # fmt: skip
WIDE = 10.4  # inches


def draw(perturbation_csv: Path, perturbation_arrays: Path) -> Figure:
    """Part one above, part two in the middle, the response of one seed and its connectivity on the brain below."""
    import matplotlib.pyplot as plt
    import pandas as pd

    with reads(perturbation_csv):
        table = pd.read_csv(perturbation_csv, keep_default_na=False, na_values=[""])
    with reads(perturbation_arrays), np.load(perturbation_arrays, allow_pickle=False) as file:
        arrays = dict(file)
    one, two = (table["part"] == "moved_network").any(), (table["part"] == "response").any()
    height = 0.5 + 3.6 * one + (3.5 + 4.7) * two
    # nilearn places its brains itself, which no automatic layout knows of: places are in inches from the top
    figure = plt.figure(figsize=(WIDE, height))
    figure.set_layout_engine("none")

    def panel(left: float, top: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / WIDE, 1 - (top + high) / height, wide / WIDE, high / height))

    top = 0.4
    if one:
        _moved(panel(1.35, top, 3.3, 2.35), panel(6.5, top, 3.7, 2.35), table, arrays["levels"].tolist())
        top += 3.6
    if two:
        _agreement(panel(2.2, top, 2.9, 2.2), table)
        _by_network(panel(6.5, top, 3.7, 2.2), table)
        top += 3.4
        _brains(figure, panel, top, height, arrays)
    return figure


def _dots(axes: Axes, rows: pd.DataFrame, names: list[str], key: str, place: float, method: str, **more: Any) -> None:
    rows = rows.set_index(key).reindex(names)
    value = rows["value"].to_numpy(dtype=float)
    ends = np.nan_to_num(np.abs(rows[["low", "high"]].to_numpy(dtype=float).T - value))
    colour, marker = STYLES[method]
    look = {"fmt": marker, "color": colour, "markersize": 5, "elinewidth": 1.3, "capsize": 2, **more}
    axes.errorbar(value, np.arange(len(names)) + place, xerr=ends, **look)


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
    for method in names:
        for target, fill, place in (("own", None, -0.12), ("group", "white", 0.12)):
            these = rows[(rows["method"] == method) & (rows["name"] == target)]
            only = {"label": f"with {'own, unseen' if target == 'own' else 'training'} connectivity"}
            more = {"markerfacecolor": fill} if fill else {}
            more |= only if method == names[0] else {}
            _dots(axes, these, names, "method", place, method, **more)
    axes.axvline(0, color=INK, linewidth=0.8)
    _names(axes, names)
    axes.set_yticks(range(len(names)), [labels[n] for n in names], fontsize=8)
    axes.set_xlabel("r over parcels")
    axes.set_title("Response to a driven parcel")
    axes.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(-0.6, -0.2), ncols=2)


def _by_network(axes: Axes, table: pd.DataFrame) -> None:
    rows = table[(table["part"] == "response_network") & (table["name"] == "own")]
    names = sorted(set(rows["network"]))
    shown = [m for m in ("model", "untrained", "visible") if m in set(rows["method"])]
    for number, method in enumerate(shown):
        these = rows[rows["method"] == method]
        _dots(axes, these, names, "network", 0.2 * (number - 1), method, label=these["label"].iloc[0])
    axes.axvline(0, color=INK, linewidth=0.8)
    _names(axes, names)
    axes.set_xlabel("r over parcels, with own unseen connectivity")
    axes.set_title("By network of the seed")
    axes.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(-0.3, -0.2), ncols=3, columnspacing=1)


def _brains(figure: Figure, panel: Any, top: float, height: float, arrays: dict[str, Any]) -> None:
    """One seed: the response of the model and connectivity, as markers in a glass brain; the seed has a ring."""
    from nilearn.plotting import plot_markers

    place, seeds, networks = arrays["coordinates"], arrays["seeds"], arrays["networks"]
    known = np.isfinite(place).all(1)
    ready = [k for k in range(len(seeds)) if known[seeds[k]] and np.isfinite(arrays["map/model"][k]).sum() > 3]
    if not ready:
        figure.text(0.1 / WIDE, 1 - top / height, "no seed with coordinates", va="top")
        return
    chosen = next((k for k in ready if networks[seeds[k]] == "Default"), ready[0])
    name, network = arrays["parcels"][seeds[chosen]], networks[seeds[chosen]]
    for row, (key, title) in enumerate(
        (("map/model", f"Response of the model to parcel {name} ({network}), a unit"),
         ("map/unseen", "Its connectivity in the same people, unseen steps (r)"))
    ):  # fmt: skip
        values = arrays[key][chosen].astype(float)
        shown = known & np.isfinite(values)
        limit = max(float(np.percentile(np.abs(values[shown]), 99)), 1e-9)
        figure.text(0.1 / WIDE, 1 - (top + 2.35 * row) / height, title, fontsize=10, weight="bold", va="top")
        axes = panel(0, top + 2.35 * row + 0.25, WIDE - 0.3, 2.0)
        axes.set_axis_off()
        display = plot_markers(
            values[shown], place[shown], node_size=26, node_cmap="RdBu_r", node_vmin=-limit, node_vmax=limit,
            alpha=0.9, axes=axes, display_mode="lyrz", colorbar=True,
        )  # fmt: skip
        display.add_markers(place[[seeds[chosen]]], marker_color="none", edgecolor=INK, marker_size=90)
