"""The plots of the group page: one dot a recording and metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brainlm_data.quality.plots import BLUE, INK, ORANGE, as_png, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from brainlm_data.quality.group import Cohort

PANELS = {
    "mean_fd_mm": "mean FD (mm)",
    "mean_std_dvars": "mean standardized DVARS",
    "median_tsnr": "median tSNR",
    "n_ica_noise": "noise components",
    "epi_offset_mm": "EPI: offset (mm)",
    "epi_r2": "EPI: fit of the tissue maps",
    "t1w_r2": "T1w: fit of the tissue maps",
    "coverage_min": "smallest coverage of a parcel",
}


def strips(cohort: Cohort) -> bytes:
    """A panel for each main metric that was measured, recordings along x in their order; empty bytes for none."""
    shown = [name for name in PANELS if name in cohort.names]
    if not shown:
        return b""
    figure = new_figure(10.5, 1.75 * ((len(shown) + 1) // 2) + 0.3)
    panels = figure.subplots((len(shown) + 1) // 2, 2, squeeze=False).ravel()
    for panel, name in zip(panels, shown, strict=False):
        _strip(panel, cohort, list(cohort.names).index(name), PANELS[name])
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    for panel in panels[max(len(shown) - 2, 0) : len(shown)]:
        panel.set_xlabel("recordings, in the order of their names", fontsize=7)
    return as_png(figure)


def _strip(panel: Axes, cohort: Cohort, column: int, title: str) -> None:
    values, out, warned = cohort.values[:, column], cohort.outliers[:, column], cohort.warned()[:, column]
    x = np.arange(len(values))
    size = float(np.clip(4000 / max(len(values), 1), 4, 20))
    panel.scatter(x[~out], values[~out], s=size, color=BLUE, linewidths=0, alpha=0.8 if len(x) < 500 else 0.4)
    panel.scatter(x[out], values[out], s=size + 6, color=ORANGE, linewidths=0)
    panel.scatter(x[warned], values[warned], s=size + 18, facecolors="none", edgecolors=INK, linewidths=0.8)
    panel.axhline(np.nanmedian(values), color=INK, linewidth=0.7)
    z = np.where(out, cohort.z[:, column], 0)
    for place in {int(z.argmax()), int(z.argmin())} if out.any() else ():  # the farthest on each side is named
        if not out[place]:
            continue
        side, away = ("right", -5) if place > len(x) / 2 else ("left", 5)  # towards the middle
        panel.annotate(
            cohort.done[place]["id"], (float(place), float(values[place])), xytext=(away, 0),
            textcoords="offset points", ha=side, va="center", fontsize=6, color=INK,
        )  # fmt: skip
    panel.set_title(title, fontsize=8.5, loc="left")
    panel.set_xlim(-0.02 * len(x) - 0.6, 1.02 * len(x) - 0.4)
    panel.set_xticks([])
    panel.margins(y=0.12)
    panel.tick_params(labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)
