"""Balanced accuracy of telling the condition of an event, method by method, and what the best one mixes up."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_model.figures.style import INK, METHODS, read_arrays, read_table, with_bars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 24  # conditions whose names and shares can be read
LONGEST = 22  # letters of a condition's name
DOTS = "\N{HORIZONTAL ELLIPSIS}"


def draw(state_csv: Path, state_arrays: Path) -> Figure:
    """Dots with 95 % intervals, and the confusion matrix of the best method."""
    import matplotlib.pyplot as plt

    table, arrays = read_table(state_csv), read_arrays(state_arrays)
    rows = table[table["metric"] == "balanced_accuracy"].reset_index(drop=True)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10.4, 1.8 + 0.3 * max(len(rows), 8)), width_ratios=[1.2, 1], layout="constrained"
    )
    if rows.empty:
        for axes in (left, right):
            axes.set_axis_off()
        left.text(0, 0.5, "no events of two conditions: no state was decoded", transform=left.transAxes)
        return figure
    _scores(left, rows, len(arrays["conditions"]))
    methods = rows[rows["method"] != "times"]  # which are no method, where there is one
    _confusion(right, arrays, (methods if len(methods) else rows).sort_values("value", kind="stable").iloc[-1])
    return figure


def _scores(axes: Axes, rows: pd.DataFrame, conditions: int) -> None:
    value, bars = with_bars(rows)
    for place, method in enumerate(rows["method"]):
        look = "gaussian"
        if method.endswith("_untrained"):
            look = "untrained"
        elif method in ("tokens", "probe", "cls"):
            look = "model"
        elif method == "times":
            look = "interpolation"
        colour, marker = METHODS[look]
        axes.errorbar(value[place], place, xerr=bars[:, place : place + 1], fmt=marker, color=colour, markersize=5,
                      elinewidth=1.3, capsize=2, zorder=3)  # fmt: skip
    axes.plot(rows["chance"], np.arange(len(rows)), "|", color="#7F7F7F", markersize=9)
    axes.axvline(1 / conditions, color=INK, linewidth=0.9, linestyle="--")
    axes.set_yticks(range(len(rows)), rows["label"].tolist())
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"balanced accuracy, {conditions} conditions")
    axes.grid(visible=False, axis="y")


def _confusion(axes: Axes, arrays: dict[str, Any], best: pd.Series) -> None:
    counts = arrays[best["method"]].astype(float)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    names = shortened(arrays["conditions"].tolist())
    axes.set_xticks([])
    axes.set_yticks([])
    if len(names) <= NAMED:
        size = min(7.0, 130 / len(names))
        for (true, told), value in np.ndenumerate(share):
            if value >= 0.005:
                axes.text(told, true, f"{100 * value:.0f}", ha="center", va="center", fontsize=size,
                          color="white" if value > 0.55 else INK)  # fmt: skip
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
        axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_xlabel("told")
    axes.set_ylabel("true")
    axes.set_title(fill(f"{best['label']}: %", 32), fontsize=8.5)


def shortened(names: Sequence[str]) -> list[str]:
    """Names of at most `LONGEST` letters: long ones without their middle, or from where they differ on."""
    half = (LONGEST - 1) // 2
    cut = [name if len(name) <= LONGEST else f"{name[:half]}{DOTS}{name[-half:]}" for name in names]
    distinct = []
    for name, short in zip(names, cut, strict=True):
        alike = [other for other, its in zip(names, cut, strict=True) if its == short]
        differs = len(commonprefix(alike))  # noqa: RUF071 (by letters, as is meant)
        distinct.append(short if len(alike) == 1 else f"{DOTS}{name[differs : differs + LONGEST - 1]}")
    return distinct
