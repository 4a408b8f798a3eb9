"""Forecasts of the next steps: error at each step, R2 of every method, and one example."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import reads
from brainlm_model.figures.style import INK, read_arrays, with_bars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

# Okabe & Ito (2008), and greys; each method also has a marker and a dash of its own
LOOKS: dict[str, tuple[str, str, str]] = {
    "finetuned": ("#0072B2", "o", "-"),
    "pretrained": ("#56B4E9", "s", "-"),
    "untrained": ("#56B4E9", "v", ":"),
    "lstm": ("#CC79A7", "p", "-"),
    "neural_ode": ("#CC79A7", "P", ":"),
    "latent_ode": ("#CC79A7", "X", "--"),
    "ar": ("#D55E00", "D", "-"),
    "ar_process": ("#882255", "*", "-"),
    "var": ("#E69F00", "d", "-"),
    "state_space": ("#E69F00", "h", ":"),
    "gaussian": ("#009E73", "^", "-"),
    "persistence": ("#7F7F7F", "<", ":"),
    "mean": ("#222222", "|", "--"),
}
REFERENCE = "finetuned"
SEEN = 30  # steps of the past that the example shows
PARCELS = 3
WORST = 1.15  # times the error of the mean: where its axis ends


def draw(future_csv: Path, future_arrays: Path) -> Figure:
    """One row of panels a horizon."""
    import matplotlib.pyplot as plt
    import pandas as pd

    with reads(future_csv):
        table = pd.read_csv(future_csv)
    arrays = read_arrays(future_arrays)
    horizons = list(dict.fromkeys(table["horizon"]))
    figure = plt.figure(figsize=(13, 5.1 * len(horizons)), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(h_pad=0.1)  # type: ignore[call-arg]
    grid = figure.add_gridspec(len(horizons), 3, width_ratios=[1.2, 0.95, 1])
    for place, horizon in enumerate(horizons):
        cells = [grid[place, column] for column in range(3)]
        _row(figure, cells, table[table["horizon"] == horizon], arrays, int(horizon))
    return figure


def _row(
    figure: Figure, cells: list[SubplotSpec], rows: pd.DataFrame, arrays: dict[str, Any], horizon: int
) -> None:  # fmt: skip
    """Panels of one horizon."""
    methods = [method for method in LOOKS if method in set(rows["method"])]
    tested = []
    if REFERENCE in methods:
        tested = [method for method in methods if method != REFERENCE]
    height = [3.2, 0.14 * max(len(tested), 1) + 0.1]
    left = cells[0].subgridspec(2, 1, height_ratios=height)
    above, middle = figure.add_subplot(left[0]), figure.add_subplot(cells[1])
    below = figure.add_subplot(left[1], sharex=above)
    steps = rows[(rows["metric"] == "mse") & rows["step"].notna()]
    _steps(above, steps, methods)
    above.set_title(f"Error at each of {horizon} steps")
    _marks(below, steps, tested)
    overall = rows[(rows["metric"] == "r2_flat") & rows["step"].isna()]
    _overall(middle, overall, methods)
    others = overall[overall["method"] != REFERENCE]
    shown = others.sort_values("value", kind="stable")["method"].tolist()[-1:]  # the best one, beside the reference
    if REFERENCE in methods:
        shown.insert(0, REFERENCE)
    _example(figure, cells[2], arrays, horizon, shown, rows)


def _steps(axes: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    """Error of each method as a share of the mean's at the same step, so that easy and hard steps do not hide it.

    What leaves the axis is named with its first value: methods that are far better in the first steps, or worse.
    """
    errors = rows.pivot_table(index="step", columns="method", values="value")
    if "mean" in methods:
        errors = errors.div(errors["mean"], axis=0)
    later = errors.iloc[min(2, len(errors) - 1) :].to_numpy()
    low, high = float(np.nanmin(later)), float(np.nanpercentile(later, 95))
    room = 0.15 * max(high - low, 0.02)
    low, high = max(low - room, 0.0), high + room
    if "mean" in methods:
        high = min(high, WORST)
    below, above = [], []
    for method in methods[::-1]:
        own = errors[method]
        colour, marker, dash = LOOKS[method]
        front = method == REFERENCE
        axes.plot(own.index, own, dash, color=colour, marker=marker, markersize=3.6, markevery=2,
                  linewidth=2.4 if front else 1.2, zorder=4 if front else 3)  # fmt: skip
        label = rows.loc[rows["method"] == method, "label"].iloc[0]
        if own.iloc[0] < low:
            below.append(f"{label} {own.iloc[0]:.2f}")
        if own.max() > high:
            above.append(label)
    axes.set_ylim(low, high)
    top = 0.985
    for names, words in ((above, "above the axis: "), (below, "below it at step 1: ")):
        if names:
            text = fill(words + ", ".join(names), 62)
            axes.text(0.99, top, text, transform=axes.transAxes, ha="right", va="top", fontsize=7, color=INK, zorder=5)
            top -= 0.06 * (1 + text.count("\n"))
    axes.set_ylabel("squared error, mean's = 1" if "mean" in methods else "mean squared error")
    axes.tick_params(labelbottom=False)


def _marks(axes: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    """A star where the fine-tuned model's error is significantly lower than the method's, a cross where higher."""
    from matplotlib.ticker import MaxNLocator

    for place, method in enumerate(methods):
        own = rows[rows["method"] == method]
        for word, marker, colour, size in (("lower", "*", LOOKS[REFERENCE][0], 26.0), ("higher", "x", INK, 13.0)):
            at = own.loc[own["model_error"] == word, "step"]
            size *= min(1.0, 24 / rows["step"].max())  # so that those of 40 steps do not touch
            axes.scatter(at, np.full(len(at), place), marker=marker, color=colour, s=size, linewidths=0.9)
    labels = [rows.loc[rows["method"] == method, "label"].iloc[0] for method in methods]
    axes.set_yticks(range(len(methods)), labels, fontsize=7)
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("step ahead\n* fine-tuned BrainLM's error is lower than this method's,  x higher (p < .05, Holm)")
    axes.grid(visible=False, axis="x")


def _overall(axes: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    """Dots with intervals; what is far below 0 is an arrow; values beside them."""
    from matplotlib.ticker import MaxNLocator

    own = rows.set_index("method").loc[methods]
    shown = own["value"] > -0.25
    low = min(-0.05, own.loc[shown, "low"].min()) - 0.03
    for place, method in enumerate(methods):
        colour, marker, _ = LOOKS[method]
        value = float(own["value"][method])
        if shown[method]:
            _, bars = with_bars(own.loc[[method]])
            axes.errorbar(value, place, xerr=bars, fmt=marker, color=colour, markersize=6, capsize=2, elinewidth=1.3)
        else:
            axes.plot(low, place, marker="<", color=colour, clip_on=False, markersize=6)
        axes.text(1.02, place, f"{value:.3f}".replace("-0.000", "0.000"), transform=axes.get_yaxis_transform(),
                  va="center", fontsize=8, fontweight="bold" if value == own["value"].max() else None)  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.9, linestyle="--")
    axes.set_yticks(range(len(methods)), own["label"].tolist())
    axes.set_ylim(len(methods) - 0.5, -0.7)
    axes.set_xlim(left=low)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("R2 over all steps and values")
    axes.set_title("All steps together")
    axes.grid(visible=False, axis="y")


def _example(
    figure: Figure, cell: SubplotSpec, arrays: dict[str, Any], horizon: int, methods: list[str], rows: pd.DataFrame
) -> None:
    """A few parcels of one recording: those whose futures vary as the 25th, 50th and 75th percentile of parcels."""
    truth = arrays[f"{horizon}/truth"]
    known = np.flatnonzero(np.isfinite(truth).all(axis=1))
    energy = truth[known, -horizon:].var(axis=1)
    order = known[np.argsort(energy, kind="stable")]
    shown = order
    if len(order):
        places = np.linspace(0, len(order) - 1, PARCELS + 2).round().astype(int)
        shown = order[places[1:-1]]  # without the least and the most variable parcel
    inner = cell.subgridspec(PARCELS, 1)
    panels = [figure.add_subplot(inner[place]) for place in range(PARCELS)]
    past = np.arange(-min(SEEN, truth.shape[1] - horizon) + 1, horizon + 1)
    for axes, parcel in zip(panels, shown, strict=False):
        axes.axvspan(0.5, horizon + 0.5, color="#F2F2F2", zorder=0)
        axes.plot(past, truth[parcel, -len(past) :], color=INK, linewidth=1.1, label="measured")
        for method in methods:
            colour, _, dash = LOOKS[method]
            label = rows.loc[rows["method"] == method, "label"].iloc[0]
            values = arrays[f"{horizon}/example/{method}"][parcel]
            axes.plot(np.arange(1, horizon + 1), values, dash, color=colour, linewidth=1.8, label=label)
        axes.set_ylabel(f"parcel {parcel + 1}", fontsize=8)
        axes.set_xlim(past[0], past[-1] + 0.5)
    panels[0].set_title("One recording, three parcels")
    for axes in panels[:-1]:
        axes.tick_params(labelbottom=False)
    panels[-1].set_xlabel("step (1: the first that is forecast)")
    panels[-1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.42), ncols=2, fontsize=7.5)
