"""Masked R2 on held-out subjects by mask ratio: the model beside every baseline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainlm_data import reads
from brainlm_model.figures.style import GRID, INK, METHODS, counted, with_bars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = "Masked R² on held-out subjects, model and baselines. Values below the axis are written out."

FLOOR = -0.2  # lower values are marked at the edge, with the number beside


def draw(masked_csv: Path) -> Figure:
    """One panel a way of masking; points with 95% intervals over subjects, methods side by side."""
    import matplotlib.pyplot as plt
    import pandas as pd

    with reads(masked_csv):
        table = pd.read_csv(masked_csv)
    flat = table[table["metric"] == "r2_flat"]
    kinds = list(flat["masking"].unique())
    figure, panels = plt.subplots(
        1, len(kinds), figsize=(max(1.2 + 3.9 * len(kinds), 6.4), 4.3), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, kind in zip(panels[0], kinds, strict=True):
        _panel(axes, flat[flat["masking"] == kind])
        axes.set_title(f"{kind.capitalize()} masking")
    panels[0, 0].set_ylabel("masked R² (flat, unclipped)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(kinds) + 1, 3), fontsize=8.5)
    people, band = flat["n_subjects"].iloc[0], flat["band"].iloc[0]
    figure.suptitle(
        f"{counted(people, 'held-out subject')}, band {band}; bars: 95% bootstrap over subjects",
        fontsize=8.5,
        color="#555555",
    )
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    ratios = sorted(table["mask_ratio"].unique())
    methods = [method for method in METHODS if method in set(table["method"])]
    for number, method in enumerate(methods):
        rows = table[table["method"] == method].set_index("mask_ratio").loc[ratios]
        places = np.arange(len(ratios)) + (number - (len(methods) - 1) / 2) * 0.15
        value, (below, above) = with_bars(rows)
        shown = np.maximum(value, FLOOR)
        bars = np.where(value > FLOOR, np.stack([np.minimum(below, shown - FLOOR), above]), 0)
        colour, marker = METHODS[method]
        axes.errorbar(
            places, shown, bars, fmt=marker, color=colour, markersize=5.5, elinewidth=1.3, capsize=2.5,
            label=rows["label"].iloc[0], clip_on=False, zorder=3,
        )  # fmt: skip
        for place, number_below in zip(places[value < FLOOR], value[value < FLOOR], strict=True):
            axes.annotate(
                f"{number_below:.2f}", (place, FLOOR), (0, 6), textcoords="offset points", ha="center", fontsize=7,
                color=colour,
            )  # fmt: skip
    for edge in np.arange(len(ratios) - 1) + 0.5:
        axes.axvline(edge, color=GRID, linewidth=0.8)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(ratios)), [f"{ratio:g}" for ratio in ratios])
    axes.set_xlim(-0.5, len(ratios) - 0.5)
    axes.set_ylim(bottom=FLOOR)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("share of tokens masked")
