"""Accuracy of telling a parcel's functional network, method by method, and what the best one mixes up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_model.figures.style import INK, read_arrays, read_table, with_bars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASSIFIERS = {"knn": ("#0072B2", "o", "k nearest neighbours"), "logistic": ("#D55E00", "D", "logistic regression")}
TITLES = {"within": "Parcels held out within a recording", "across": "Parcels held out in all people"}


def draw(networks_csv: Path, networks_arrays: Path) -> Figure:
    """Dots with 95 % intervals in both protocols, and the confusion matrix of the best method of the first."""
    import matplotlib.pyplot as plt

    table, arrays = read_table(networks_csv), read_arrays(networks_arrays)
    rows = table[table["metric"] == "accuracy"]
    true = rows[rows["labels"] == "true"]
    methods = [method for method in dict.fromkeys(true["method"]) if method != "majority"]
    figure, panels = plt.subplots(
        1, 3, figsize=(12.4, 1.8 + 0.3 * max(len(methods), 6)), width_ratios=[1, 1, 0.95], layout="constrained"
    )
    for axes, protocol in zip(panels, TITLES, strict=False):
        _panel(axes, rows[rows["protocol"] == protocol], methods)
        axes.set_title(TITLES[protocol])
    panels[1].tick_params(labelleft=False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=4, fontsize=8)
    scored = true[(true["protocol"] == "within") & (true["classifier"] != "majority")]
    _confusion(panels[2], arrays, scored.sort_values("value", kind="stable").iloc[-1])
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    true = rows[rows["labels"] == "true"].set_index("method")
    for number, (classifier, (colour, marker, label)) in enumerate(CLASSIFIERS.items()):
        these = true[true["classifier"] == classifier].reindex(methods)
        if these["value"].isna().all():
            continue
        value, bars = with_bars(these)
        axes.errorbar(
            value, np.arange(len(methods)) + 0.24 * number - 0.12, xerr=bars, fmt=marker, color=colour, markersize=5,
            elinewidth=1.3, capsize=2, label=label, zorder=3,
        )  # fmt: skip
    chance = rows[rows["labels"] == "shuffled"].set_index("method").reindex(methods)
    axes.plot(chance["value"], np.arange(len(methods)), "|", color="#7F7F7F", markersize=9, label="labels shuffled")
    largest = true["value"].to_numpy(dtype=float)[true.index == "majority"][0]
    axes.axvline(largest, color=INK, linewidth=0.9, linestyle="--", label="largest network")
    axes.set_yticks(np.arange(len(methods)), [true.loc[[m], "label"].iloc[0] for m in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("accuracy, mean over recordings")
    axes.grid(visible=False, axis="y")


def _confusion(axes: Axes, arrays: dict[str, Any], best: pd.Series) -> None:
    counts = arrays["/".join([best["protocol"], best["classifier"], best["method"], "true"])].astype(float)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = arrays["networks"].tolist()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (true, predicted), value in np.ndenumerate(share):
        if value >= 0.005:
            axes.text(predicted, true, f"{100 * value:.0f}", ha="center", va="center", fontsize=7,
                      color="white" if value > 0.55 else INK)  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_title(f"{best['label']}, {best['classifier']}: %", fontsize=8.5)
