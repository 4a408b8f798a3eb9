"""Masked R2 by tested ratio, by amount of data, and on the brain."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_model.figures.brain import TWO_SIDED, markers
from brainlm_model.figures.style import INK, METHODS, Sheet, read_arrays, read_table, with_bars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # of models; Okabe & Ito (2008)
LINES = ("-", "--", ":", "-.")  # of training ratios
TITLES = {"test": "Unseen people", "external": "People of groups left out", "validation": "Validation people"}
SHOWN = -0.1  # lowest R2 of the axes: what lies below is in the table
APART = 0.014  # between markers of one ratio, on its axis
WIDTH, HEIGHT = 10.2, 8.15  # inches


def draw(scaling_csv: Path, scaling_arrays: Path) -> Figure:
    """R2 by tested ratio, one panel per split; R2 by number of training subjects; R2 of each parcel."""
    table, arrays = read_table(scaling_csv), read_arrays(scaling_arrays)
    flat = table[table["metric"] == "r2_flat"]
    splits = list(dict.fromkeys(flat["split"]))
    sheet = Sheet(WIDTH, HEIGHT)
    panels = [*splits[:2], "data"]
    wide = (WIDTH - 0.7 - 0.55 * (len(panels) - 1) - 0.15) / len(panels)
    ratio = float(arrays["map_ratio"])
    for number, name in enumerate(panels):
        axes = sheet.panel(0.7 + number * (wide + 0.55), 0.4, wide, 3.0)
        if name == "data":
            _by_data(axes, flat[(flat["split"] == splits[0]) & (flat["mask_ratio"] == ratio)])
            axes.set_title(f"More data ({splits[0]}, {ratio:g} hidden)")
        else:
            _by_ratio(axes, flat[flat["split"] == name])
            axes.set_title(TITLES.get(name, name))
        if number == 0:
            axes.set_ylabel("masked R²")
            handles, labels = axes.get_legend_handles_labels()
    legend_place = (0.5, 1 - 3.85 / HEIGHT)
    sheet.figure.legend(handles, labels, ncols=3, fontsize=7.5, loc="upper center", bbox_to_anchor=legend_place)
    difference = arrays["r2_model"] - arrays["r2_gaussian"]
    where = f"{ratio:g} hidden, {arrays['map_split']}"
    for number, (values, title, colours) in enumerate(
        ((arrays["r2_model"], f"R² of each parcel, the run's checkpoint ({where})", "viridis"),
         (difference, "The same, minus the conditional Gaussian's", TWO_SIDED))
    ):  # fmt: skip
        top = 4.85 + 1.65 * number
        sheet.title(top, title)
        markers(sheet.panel(0.1, top + 0.2, 7.2, 1.4), arrays["coordinates"], values, colours, size=16)
        _histogram(sheet.panel(7.9, top + 0.25, 2.1, 0.95), values)
    return sheet.figure


def _looks(flat: pd.DataFrame) -> tuple[dict[Any, str], dict[Any, str]]:
    """Colours of models, and lines of training ratios: in turn, in the order of the table."""
    trained = flat[flat["method"] == "trained"]
    models = dict.fromkeys(trained["model"].astype(str))
    ratios = dict.fromkeys(trained["training_ratio"].astype(str))
    return dict(zip(models, cycle(COLOURS), strict=False)), dict(zip(ratios, cycle(LINES), strict=False))


def _by_ratio(axes: Axes, flat: pd.DataFrame) -> None:
    """Lines of what saw all the data (largest share), means over seeds; the checkpoint with its interval."""
    colours, lines = _looks(flat)
    trained = flat[(flat["method"] == "trained") & (flat["share"] == flat["share"].max())]
    for (model, ratio), rows in trained.groupby(["model", trained["training_ratio"].astype(str)], sort=False):
        mean = rows.groupby("mask_ratio")["value"].mean()
        axes.plot(mean.index, mean, lines[ratio], color=colours[model], linewidth=1.6,
                  label=f"{model}, trained at {ratio}")  # fmt: skip
    full = flat[flat["share"] == 1]
    methods = [method for method in METHODS if method in set(full["method"])]
    for number, method in enumerate(methods):
        colour, marker = METHODS[method]
        rows = full[full["method"] == method].sort_values("mask_ratio")
        places = rows["mask_ratio"] + APART * (number - (len(methods) - 1) / 2)  # side by side: none hides another
        value, bars = with_bars(rows)
        if method == "model":
            axes.errorbar(places, value, bars, fmt=marker, color=INK, markersize=5, capsize=2.5,
                          label=rows["label"].iloc[0], zorder=4)  # fmt: skip
        else:
            axes.plot(places, value, marker, color=colour, markersize=5, markerfacecolor="none",
                      label=rows["label"].iloc[0], zorder=3)  # fmt: skip
    axes.set_ylim(bottom=max(SHOWN, axes.get_ylim()[0]))
    axes.set_xlabel("share of tokens hidden")
    axes.set_xticks(sorted(flat["mask_ratio"].unique()))


def _by_data(axes: Axes, flat: pd.DataFrame) -> None:
    """R2 at one ratio by number of training subjects; one dot per seed."""
    colours, lines = _looks(flat)
    trained = flat[flat["method"] == "trained"]
    for (model, ratio), rows in trained.groupby(["model", trained["training_ratio"].astype(str)], sort=False):
        mean = rows.groupby("training_subjects")["value"].mean()
        axes.plot(mean.index, mean, lines[ratio], color=colours[model], linewidth=1.6)
        axes.plot(rows["training_subjects"], rows["value"], "o", color=colours[model], markersize=3.5)
    gaussian = flat[flat["method"] == "gaussian"].groupby("training_subjects")["value"].mean()
    colour, marker = METHODS["gaussian"]
    axes.plot(gaussian.index, gaussian, marker, linestyle="-", linewidth=0.8, color=colour, markerfacecolor="none")
    axes.set_xscale("log")
    counts = sorted(flat["training_subjects"].dropna().astype(int).unique())
    axes.set_xticks(counts, [str(c) for c in counts])
    axes.minorticks_off()
    axes.set_xlabel("training subjects")


def _histogram(axes: Axes, values: Any) -> None:
    known = values[np.isfinite(values)]
    axes.hist(known, bins=24, color="#7F7F7F")
    if known.size and known.min() < 0 < known.max():
        axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_ylabel("parcels")
    axes.set_xlabel("R²", labelpad=1)
    axes.tick_params(labelsize=7.5)
