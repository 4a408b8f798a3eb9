"""Motion, tSNR and coverage of every recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainlm_data import reads
from brainlm_model.figures.style import INK, SPLITS, counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "Head motion, temporal SNR and coverage of every recording."

PANELS = {
    "mean_fd_mm": ("Head motion", "mean framewise displacement (mm)"),
    "median_tsnr": ("Signal", "median temporal SNR"),
    "coverage_min": ("Field of view", "lowest coverage of any parcel"),
}


def draw(recordings: Path) -> Figure:
    """One point a recording, by split; a line at each group's median; refused recordings are counted in the title."""
    import matplotlib.pyplot as plt
    import pandas as pd

    with reads(recordings):
        table = pd.read_parquet(recordings)
    group = table["split"].where(table["status"] == "done", table["status"])
    names = [name for name in SPLITS if (group == name).any()]
    figure, panels = plt.subplots(1, len(PANELS), figsize=(9.0, 3.6), layout="constrained")
    for axes, (column, (title, label)) in zip(panels, PANELS.items(), strict=True):
        values = pd.Series(np.nan, table.index)
        if column in table:
            values = pd.to_numeric(table[column], errors="coerce")
        for place, name in enumerate(names):
            y = values[group == name].dropna().to_numpy(dtype=float)
            spread = np.zeros(len(y))
            if len(y) > 1:  # side by side, without chance
                spread = 0.3 * np.linspace(-1, 1, len(y))
            axes.plot(place + spread, y, "o", color=SPLITS[name], markersize=4, alpha=0.75, markeredgewidth=0)
            if len(y):
                axes.plot([place - 0.38, place + 0.38], [np.median(y)] * 2, color=INK, linewidth=1.4)
        if not values.notna().any():
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="#777777")
        axes.set_title(title)
        axes.set_ylabel(label)
        axes.set_xticks(range(len(names)), [f"{name}\n(n = {int((group == name).sum())})" for name in names])
        axes.set_xlim(-0.6, max(len(names), 1) - 0.4)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", length=0)
    panels[0].set_ylim(bottom=0)
    panels[2].set_ylim(0, 1.03)
    counts = table["status"].value_counts()
    listed = ", ".join(f"{counts[status]} {status}" for status in ("done", "excluded", "refused") if status in counts)
    figure.suptitle(f"{counted(len(table), 'recording')}: {listed}; line: median", fontsize=8.5, color="#555555")
    return figure
