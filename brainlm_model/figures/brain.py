"""Parcels as markers in a glass brain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_model.figures.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TWO_SIDED = "RdBu_r"  # white at 0


def markers(axes: Axes, place: Any, values: Any, colours: str, size: int = 30, ringed: Any = None) -> None:
    """Values (parcel,) at coordinates (parcel, 3) in mm; a ring around parcels that are `ringed`.

    nilearn places its brains itself: the figure needs a layout of fixed places.
    """
    from nilearn.plotting import plot_markers

    axes.set_axis_off()
    known = np.isfinite(place).all(1) & np.isfinite(values)
    if not known.any():
        axes.text(0.5, 0.5, "the atlas has no coordinates", ha="center", va="center", transform=axes.transAxes)
        return
    shown = values[known]
    low, high = np.percentile(shown, [2, 98])
    if colours == TWO_SIDED:
        high = max(np.abs(shown).max(), 1e-9)
        low = -high
    display = plot_markers(
        shown, place[known], node_size=size, node_cmap=colours, node_vmin=low, node_vmax=max(high, low + 1e-9),
        alpha=0.9, axes=axes, display_mode="lyrz", colorbar=True,
    )  # fmt: skip
    if ringed is not None and ringed[known].any():
        display.add_markers(place[known][ringed[known]], marker_color="none", edgecolor=INK, marker_size=2 * size)
