"""Prediction of the columns of the cohort's table: every method with its interval, one panel per column."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import reads
from brainlm_model.figures.style import INK, METHODS, coded, counted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = {"regression": ("r2", "R² (unclipped)", 0.0), "classification": ("auroc", "area under the ROC curve", 0.5)}
GROUPS = {
    "ours": (*METHODS["model"], "embeddings of the model"),
    "readout": (*METHODS["lagged"], "log-Euclidean readout (no model)"),
    "baseline": (*METHODS["gaussian"], "baselines"),
    "trivial": (*METHODS["interpolation"], "no recording at all"),
}
FLOOR = {"regression": -0.5, "classification": 0.2}  # lower values are marked at the edge, with the number beside


def draw(phenotype_csv: Path) -> Figure:
    """Dots with 95% intervals over subjects, in the order of the value; the line is what chance reaches."""
    import matplotlib.pyplot as plt
    import pandas as pd

    with reads(phenotype_csv):
        table = pd.read_csv(phenotype_csv, keep_default_na=False, na_values=[""])
    columns = list(table["column"].unique())
    if not columns:
        figure, axes = plt.subplots(figsize=(5.6, 1.2), layout="constrained")
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no column was predicted", ha="center", va="center")
        return figure
    splits = list(table["validation"].unique())
    most = [int(table[table["validation"] == split].groupby("column")["method"].nunique().max()) for split in splits]
    figure, panels = plt.subplots(
        len(splits), len(columns), figsize=(5.2 * len(columns) + 0.4, 1.6 * len(splits) + 0.24 * sum(most)),
        squeeze=False, layout="constrained", height_ratios=most,
    )  # fmt: skip
    for line, split in zip(panels, splits, strict=True):
        for axes, name in zip(line, columns, strict=True):
            rows = table[(table["column"] == name) & (table["validation"] == split)]
            if rows.empty:  # a column that this split cannot predict
                axes.set_axis_off()
                continue
            metric = SHOWN[rows["task"].iloc[0]][0]
            _panel(axes, rows[rows["metric"] == metric].sort_values("value", kind="stable"))
            column, levels = coded(str(name))
            which = f": {' or '.join(levels.values())}" if levels else ""
            people = counted(rows["n_subjects"].iloc[0], "subject")
            axes.set_title(f"{column}{which} ({people})\n{split}", fontsize=9)
    handles: dict[str, Any] = {}
    for axes in panels.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles[label] = handle
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3, fontsize=8.5)
    figure.suptitle("bars: 95% bootstrap over subjects", fontsize=8.5, color="#555555")
    return figure


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    task = rows["task"].iloc[0]
    _, label, chance = SHOWN[task]
    floor = FLOOR[task]
    places = np.arange(len(rows))
    for group, (colour, marker, words) in GROUPS.items():
        own = (rows["group"] == group).to_numpy()
        if not own.any():
            continue
        value, low, high = rows.loc[own, ["value", "low", "high"]].to_numpy(dtype=float).T
        shown = np.maximum(value, floor)
        bars = np.stack([shown - np.maximum(np.fmin(low, shown), floor), np.fmax(high, shown) - shown])
        axes.errorbar(
            shown, places[own], xerr=np.where(np.isfinite(low), bars, 0), fmt=marker, color=colour, markersize=5.5,
            elinewidth=1.3, capsize=2.5, label=words, clip_on=False, zorder=3,
        )  # fmt: skip
        for place, number in zip(places[own][value < floor], value[value < floor], strict=True):
            axes.annotate(
                f"{number:.2f}", (floor, place), (6, 0), textcoords="offset points", va="center", fontsize=7,
                color=colour,
            )  # fmt: skip
    axes.axvline(chance, color=INK, linewidth=0.8)
    axes.set_yticks(places, rows["label"], fontsize=7.5)
    axes.set_xlim(left=min(floor, chance) if (rows["low"] < floor).any() else None)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(label)
