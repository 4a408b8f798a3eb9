"""The latent space: pictures coloured by variables with what neighbours say beside them, and identification rates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import in_legend
from brainlm_model.figures.style import INK, METHODS, coded, counted, read_arrays, read_table, with_bars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = {"cls_umap": "CLS, UMAP", "cls_pca": "CLS, PCA", "connectivity_umap": "Connectivity, UMAP"}
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7F7F7F", "#F0E442", "#332288", "#882255")
LEAST = 15  # recordings of a UMAP: as many as its neighbours
MOST = 5  # variables that are shown, and
NAMED = 10  # levels that are named in a legend
SHORT = {"balanced_accuracy": "bal. acc.", "r": "r"}


def draw(latent_csv: Path, latent_arrays: Path) -> Figure:
    """A column a variable, a row a picture; below them identification by every method."""
    import matplotlib.pyplot as plt

    table, arrays = read_table(latent_csv), read_arrays(latent_arrays)
    names = arrays["columns"].tolist()[:MOST] or [""]
    wide = max(2.35 * len(names), 7.0) + 0.4
    figure = plt.figure(figsize=(wide, 2.35 * len(PICTURES) + 3.4), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=[2.35 * len(PICTURES) + 0.5, 2.7], squeeze=False)
    upper, lower = parts[0, 0], parts[1, 0]
    panels = upper.subplots(len(PICTURES), len(names), squeeze=False)
    for i, (space, title) in enumerate(PICTURES.items()):
        for j, name in enumerate(names):
            _picture(panels[i, j], arrays, table, space, name, last=i == len(PICTURES) - 1)
            if i == 0:  # the variable's name above what the first picture says of it
                panels[i, j].annotate(coded(name)[0], (0, 1), (0, 28), xycoords="axes fraction",
                                      textcoords="offset points", fontsize=10, weight="bold")  # fmt: skip
        panels[i, 0].set_ylabel(title, weight="bold")
    _identification(lower, table[table["part"] == "identification"])
    return figure


def _picture(axes: Axes, arrays: dict[str, Any], table: pd.DataFrame, space: str, name: str, last: bool) -> None:
    xy = arrays[f"xy/{space}"]
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    size = 12 if len(xy) > 60 else 20
    if space.endswith("umap") and len(xy) < LEAST:  # where dots lie says nothing then
        few = f"{counted(len(xy), 'recording')}:\ntoo few for UMAP"
        axes.text(0.5, 0.5, few, ha="center", va="center", color="#5C5C5C", transform=axes.transAxes)
        xy = np.full_like(xy, np.nan)
    axes.scatter(xy[:, 0], xy[:, 1], s=size * 0.6, color="#D0D0D0", linewidths=0)  # those without a value
    if not name:
        return
    rows, values, levels = arrays[f"rows/{name}"], arrays[f"values/{name}"], arrays[f"levels/{name}"]
    x, y = xy[rows].T
    words = coded(name)[1]
    if len(levels):
        for level, text in enumerate(levels.tolist()):
            own = values == level
            axes.scatter(x[own], y[own], s=size, color=COLOURS[level % len(COLOURS)], linewidths=0, alpha=0.85,
                         label=in_legend(words.get(text, text)) if level < NAMED else None)  # fmt: skip
        if last:
            title = None
            if len(levels) > NAMED:
                title = f"and {len(levels) - NAMED} more"
            axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, handletextpad=0.1,
                        columnspacing=0.6, title=title, title_fontsize=7)  # fmt: skip
    else:
        low, high = np.percentile(values, [2, 98])
        image = axes.scatter(x, y, s=size, c=values, cmap="viridis", vmin=low, vmax=high, linewidths=0)
        if last:
            axes.figure.colorbar(image, cax=axes.inset_axes((0.05, -0.12, 0.9, 0.06)), orientation="horizontal")
    row = table[(table["method"] == space) & (table["column"] == name) & (table["metric"] != "silhouette")].iloc[0]
    p = row["p_holm"]
    text = f"{SHORT[row['metric']]} {row['value']:.2f} (chance {row['chance']:.2f})\n{_p_text(p)}"
    axes.set_title(text.replace("-0.00", "0.00"), fontsize=7.5, weight="bold" if p < 0.05 else "normal")


def _p_text(p: float) -> str:
    if p < 0.001:
        return "p < .001"
    if p < 0.995:
        return f"p {p:.3f}".replace("0.", ".")
    return "p 1"


def _identification(figure: Any, table: pd.DataFrame) -> None:
    """Rank-1 rates and differential identifiability of every method, with intervals; the dashed line is chance."""
    panels = figure.subplots(1, 3)
    for axes, metric, title in zip(
        panels, ("rank1", "percentile", "i_diff"),
        ("Identified at once", "Others less similar, share", "Own minus others' similarity"), strict=True,
    ):  # fmt: skip
        axes.set_title(title)
        rows = table[table["metric"] == metric]
        if rows.empty:
            axes.set_axis_off()
            axes.text(0, 0.5, "nobody has two recordings", transform=axes.transAxes)
            continue
        value, bars = with_bars(rows)
        for i, method in enumerate(rows["method"]):
            look = "model"
            if method.startswith("connectivity"):
                look = "gaussian"
            elif method.endswith("_untrained"):
                look = "untrained"
            colour, marker = METHODS[look]
            axes.errorbar(value[i], i, xerr=bars[:, i : i + 1], fmt=marker, color=colour, markersize=5, elinewidth=1.3,
                          capsize=2)  # fmt: skip
        axes.axvline(rows["chance"].mean(), color=INK, linewidth=0.9, linestyle="--")
        labels = [""] * len(rows)
        if axes is panels[0]:
            labels = rows["label"].tolist()
        axes.set_yticks(range(len(rows)), labels, fontsize=8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        if metric != "i_diff":
            axes.set_xlim(-0.03, 1.03)
    if len(table):
        panels[0].set_xlabel(
            f"{counted(int(table['n_subjects'].iloc[0]), 'person', 'people')}; dashed: chance", fontsize=8
        )
