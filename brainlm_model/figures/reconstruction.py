"""One held-out window: truth, what was visible, and reconstructions; parcels by network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import by_network, mark_networks, network_name
from brainlm_model.figures.style import INK, METHODS, read_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "One held-out window. Grey: masked. The recording is the one with the model's median R², and the parcels "
    "below lie at the quartiles of the model's R² in this window, so that nothing is picked by hand."
)

TRACES = 3


def draw(masked_example: Path) -> Figure:
    """Four images (parcel by time) with one colour scale, and traces of a few parcels around the median R2."""
    import matplotlib.pyplot as plt

    data = read_arrays(masked_example)
    order, groups = by_network(data["network"].tolist())
    truth, mask = data["truth"], data["mask"]
    limit = float(np.nanpercentile(np.abs(truth), 98)) or 1.0
    rate, unit = float(data["rate_hz"]), "time (s)"
    if np.isnan(rate):  # recordings have several rates
        rate, unit = 1.0, "time (volumes)"
    second = np.arange(truth.shape[1]) / rate

    figure = plt.figure(figsize=(9.6, 8.4), layout="constrained")
    grid = figure.add_gridspec(2 + TRACES, 2, height_ratios=[3.2, 3.2, *[1] * TRACES])
    panels = {
        "Truth": truth,
        "Visible to every method": np.where(mask, np.nan, truth),
        "Model": data["x_model"],
        "Conditional Gaussian": data["x_gaussian"],
    }
    images = []
    for number, (name, values) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[number // 2, number % 2])
        axes.set_facecolor("#D9D9D9")
        image = axes.imshow(
            values[order], aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest",
            extent=(0, second[-1] + second[1], len(order) - 0.5, -0.5),
        )  # fmt: skip
        mark_networks(axes, groups, names=number % 2 == 0)
        axes.tick_params(axis="x", labelbottom=number > 1)
        title = name
        if number > 1:
            title = f"{name}: R² {_r2(truth, values, mask):.2f} in this window"
        axes.set_title(title)
        images.append(axes)
    figure.colorbar(image, ax=images, label="scaled BOLD (interquartile ranges)", shrink=0.5, aspect=30, pad=0.01)
    traces = []
    for number, parcel in enumerate(_parcels(data)):
        axes = figure.add_subplot(grid[2 + number, :])
        _trace(axes, data, parcel, second)
        axes.set_ylabel("scaled BOLD")
        if number == 0:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8)
        axes.tick_params(labelbottom=number == TRACES - 1)
        traces.append(axes)
    axes.set_xlabel(unit)
    figure.align_ylabels(traces)
    figure.suptitle(
        f"{data['recording']}, {data['masking']} masking of {float(data['mask_ratio']):g} of the tokens "
        "(the test recording with the model's median R²)", fontsize=8.5, color="#555555",
    )  # fmt: skip
    return figure


def _r2(truth: Any, predicted: Any, mask: Any) -> float:
    from brainlm_model.eval.statistics import masked_r2

    return float(masked_r2.r2(masked_r2.sums(truth, predicted, mask & np.isfinite(truth)).sum(axis=0)))


def _parcels(data: Mapping[str, Any]) -> list[int]:
    """Parcels at the lower quartile, median and upper quartile of the model's R2, so that none is picked by hand."""
    from brainlm_model.eval.statistics import masked_r2

    scored = data["mask"] & np.isfinite(data["truth"])
    values = masked_r2.r2(masked_r2.sums(data["truth"], data["x_model"], scored))
    known = np.flatnonzero(np.isfinite(values))
    ranked = known[np.argsort(values[known], kind="stable")]
    return [int(ranked[round(q * (len(ranked) - 1))]) for q in (0.75, 0.5, 0.25)]


def _trace(axes: Axes, data: Mapping[str, Any], parcel: int, second: Any) -> None:
    masked = data["mask"][parcel]
    edges = np.flatnonzero(np.diff(np.r_[False, masked, False].astype(int)))
    step = second[1]
    for first, last in edges.reshape(-1, 2):
        axes.axvspan(first * step, last * step, color="#EFEFEF", linewidth=0, zorder=0)
    axes.plot(second, data["truth"][parcel], color=INK, linewidth=1.1, label="truth")
    for name, label in (("model", "model (where masked)"), ("gaussian", "conditional Gaussian (where masked)")):
        hidden = np.where(masked, data[f"x_{name}"][parcel], np.nan)
        axes.plot(second, hidden, color=METHODS[name][0], linewidth=1.3, label=label)
    network = network_name(data["network"][parcel])
    axes.set_title(f"{data['parcel'][parcel]} ({network})", fontsize=8.5, weight="normal", loc="left")
    axes.set_xlim(0, second[-1] + step)
    axes.grid(visible=False)
