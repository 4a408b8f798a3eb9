"""The figures of a recording's QC page. Each function returns one picture, drawn with Agg and without dates."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.text import draw_as_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
INK, BLUE, ORANGE, GREEN = "#222222", "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito (2008)
WEBP = {"quality": 88, "method": 3}  # of pictures with shades
MARGIN = 6.0  # mm around what is drawn
PLANES = {2: (0, 1), 1: (0, 2), 0: (1, 2)}  # axial, coronal, sagittal: axis of the cut -> (horizontal, vertical)


def new_figure(width: float, height: float, layout: Any = "constrained", **more: Any) -> Figure:
    """A figure of this size in inches, that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout, dpi=90, **more)


def as_picture(figure: Figure, shades: bool = False) -> bytes:
    """PNG with 256 colours, a third of the size and no difference to the eye; of `shades`, WebP with all of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    draw_as_text(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    buffer = io.BytesIO()
    if shades:
        pixels.save(buffer, "webp", **WEBP)
    else:
        pixels.quantize(256).save(buffer, "png", optimize=True)
    return buffer.getvalue()


class Volume:
    """An image (x, y, z) in RAS order with a box-aligned affine: cuts of it, and where they are in mm."""

    def __init__(self, data: Array, affine: Array) -> None:
        import nibabel as nib
        from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

        orientation = io_orientation(affine)
        self.affine = affine @ inv_ornt_aff(orientation, data.shape[:3])
        self.data = np.asarray(apply_orientation(data, orientation))
        self.zooms = nib.affines.voxel_sizes(self.affine)

    @cached_property
    def grey(self) -> tuple[float, float]:
        """Values of black and white in a grey picture: the brightest tissue stays below white."""
        known = self.data[np.isfinite(self.data) & (self.data != 0)]
        if not known.size:
            return 0.0, 1.0
        low, high = np.percentile(known, [1, 99.5])
        return float(min(low, 0.5 * high)), float(1.12 * high)

    @cached_property
    def _used(self) -> list[tuple[int, int]]:
        """First and last voxel with data on each axis; of an image of zeros all."""
        spans = []
        there = self.data != 0
        for axis, length in enumerate(there.shape):
            others = tuple({0, 1, 2} - {axis})
            used = np.flatnonzero(there.any(others))
            spans.append((int(used[0]), int(used[-1])) if len(used) else (0, length - 1))
        return spans

    def range(self, axis: int, margin: float = 0.0) -> tuple[float, float]:
        """Positions (mm, along the voxel axis) of the first and last voxel with data, `margin` mm wider."""
        first, last = self._used[axis]
        low = float(self.affine[axis, 3] + self.zooms[axis] * first)
        high = float(self.affine[axis, 3] + self.zooms[axis] * last)
        return low - margin, high + margin

    def cut(self, axis: int, position: float) -> Array:
        """The slice nearest to a position: (vertical, horizontal), 0 beyond the image."""
        index = round((position - self.affine[axis, 3]) / self.zooms[axis])
        last = self.data.shape[axis] - 1
        image = self.data[(slice(None),) * axis + (min(max(index, 0), last),)].T
        return image if 0 <= index <= last else np.zeros_like(image)


def traces(panels: Sequence[tuple[str, Sequence[tuple[str, Array]]]], times: Array, invalid: Sequence[int]) -> bytes:
    """A panel for each (axis label, [(name, values over time)]); grey lines at the invalid volumes."""
    figure = new_figure(9.5, 1.35 * len(panels) + 0.4)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (label, lines) in zip(grid, panels, strict=True):
        for (name, values), colour in zip(lines, (BLUE, ORANGE, GREEN), strict=False):
            panel.plot(times, values, color=colour, linewidth=0.9, label=name)
        for index in invalid:
            panel.axvline(times[index], color="#BBBBBB", linewidth=0.8, zorder=0)
        panel.set_ylabel(label, fontsize=8)
        panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        panel.spines[["top", "right"]].set_visible(False)
    grid[-1].set_xlabel("time (s)", fontsize=8)
    return as_picture(figure)


def carpets(
    before: Array, after: Array, tissue: Array, fd: Array, dvars: Array, times: Array, invalid: Sequence[int]
) -> bytes:
    """FD and DVARS, then voxels by tissue before and after cleaning, on one grey scale (% of the grand mean).

    before, after: (T, voxels), after with NaN where volumes were dropped; tissue: (voxels,) 0 GM, 1 WM, 2 CSF, sorted.
    """
    figure = new_figure(9.5, 7.2)
    panels = figure.subplots(4, 1, sharex=True, height_ratios=[1, 1, 3.2, 3.2])
    for panel, values, name, colour in ((panels[0], fd, "FD (mm)", ORANGE), (panels[1], dvars, "std. DVARS", BLUE)):
        panel.plot(times, values, color=colour, linewidth=0.9)
        panel.set_ylabel(name, fontsize=8)
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
        for index in invalid:
            panel.axvline(times[index], color="#BBBBBB", linewidth=0.8, zorder=0)
    panels[0].axhline(0.5, color=INK, linewidth=0.6, linestyle=":")
    step = times[1] - times[0] if len(times) > 1 else 1.0
    extent = (times[0] - step / 2, times[-1] + step / 2, len(tissue), 0)
    limit = max(float(np.nanpercentile(np.abs(before), 95)), 1e-6)
    edges = np.searchsorted(tissue, [0, 1, 2, 3])
    shown: Any = None
    for panel, values, name in ((panels[2], before, "before"), (panels[3], after, "after")):
        shown = panel.imshow(
            values.T, aspect="auto", cmap="gray", vmin=-limit, vmax=limit, extent=extent, interpolation="nearest"
        )
        panel.set_facecolor("#F4D9C6")
        panel.set_ylabel(name, fontsize=9)
        for edge in edges[1:3]:
            panel.axhline(edge, color=GREEN, linewidth=1.2)
        panel.set_yticks((edges[:-1] + edges[1:]) / 2, ["GM", "WM", "CSF"], fontsize=7)
    panels[3].set_xlabel("time (s)", fontsize=8)
    figure.colorbar(shown, ax=panels[2:], label="% of the grand mean", shrink=0.6, pad=0.01)
    return as_picture(figure, shades=True)


def confounds(names: Sequence[str], values: Array) -> bytes:
    """Correlations (Pearson) of the confounds, values (T, names), with each other."""
    with np.errstate(all="ignore"):
        matrix = np.corrcoef(values.T)
    figure = new_figure(9.5, 1.6 + 0.2 * len(names))
    panel = figure.subplots()
    panel.set_facecolor("#BBBBBB")
    shown = panel.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    panel.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    panel.set_yticks(range(len(names)), names, fontsize=7)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    figure.colorbar(shown, ax=panel, label="Pearson correlation", shrink=0.6, pad=0.01)
    return as_picture(figure, shades=True)


def explained(masks: Sequence[tuple[str, Array]]) -> bytes:
    """Cumulative share of variance by number of components, a line for each (name, shares)."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(9.5, 2.6)
    panel = figure.subplots()
    for (name, shares), colour, marker in zip(masks, (BLUE, ORANGE, GREEN, INK), "osD^", strict=False):
        x = np.arange(1, len(shares) + 1)
        panel.plot(x, 100 * shares, color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=name)
    panel.axhline(50, color=INK, linewidth=0.6, linestyle=":")
    panel.set_ylim(0, 102)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("components", fontsize=8)
    panel.set_ylabel("variance explained (%)", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return as_picture(figure)


def _networks(table: pd.DataFrame) -> tuple[Array, list[tuple[str, int, int]]]:
    """Order of parcels by network, and (name, first, last + 1) of each."""
    names = table["network"].astype(str).to_numpy()
    order = np.lexsort((np.arange(len(names)), names))
    groups, starts = np.unique(names[order], return_index=True)
    ends = [*starts[1:], len(names)]
    return order, [(str(name), int(a), int(b)) for name, a, b in zip(groups, starts, ends, strict=True)]


def _centres(groups: Sequence[tuple[str, int, int]]) -> tuple[list[float], list[str]]:
    """Where the name of each network stands on an axis of parcels, and the name."""
    return [(first + last - 1) / 2 for _, first, last in groups], [name for name, _, _ in groups]


def connectivity(before: Array, after: Array, table: pd.DataFrame) -> bytes:
    """Correlation of parcels before and after cleaning, ordered by network; missing parcels are grey."""
    order, groups = _networks(table)
    figure = new_figure(9.5, 4.6)
    shown: Any = None
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=True)
    for panel, series, title in zip(panels, (before, after), ("before", "after"), strict=True):
        values = series[np.isfinite(series).any(1)][:, order]
        matrix = np.full((len(order), len(order)), np.nan)
        if len(values) > 2:
            with np.errstate(all="ignore"):
                matrix = np.corrcoef(values.T)
        panel.set_facecolor("#BBBBBB")
        shown = panel.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        for _, first, _ in groups[1:]:
            panel.axhline(first - 0.5, color=INK, linewidth=0.5)
            panel.axvline(first - 0.5, color=INK, linewidth=0.5)
        panel.set_yticks(*_centres(groups), fontsize=7)
        panel.set_xticks([])
        panel.set_title(title, fontsize=9, loc="left")
    figure.colorbar(shown, ax=panels, label="Pearson correlation", shrink=0.7, pad=0.01)
    return as_picture(figure, shades=True)


def coverage(values: Array, table: pd.DataFrame) -> bytes:
    """Coverage of every parcel, by network."""
    order, groups = _networks(table)
    figure = new_figure(9.5, 1.9)
    panel = figure.subplots()
    colours = np.where(values[order] >= 1, BLUE, ORANGE).tolist()
    panel.bar(np.arange(len(order)), values[order], width=1.0, color=colours)
    for _, first, _ in groups[1:]:
        panel.axvline(first - 0.5, color=INK, linewidth=0.5)
    panel.set_xticks(*_centres(groups), rotation=30, fontsize=7)
    panel.set_ylim(0, 1.02)
    panel.set_xlim(-0.5, len(order) - 0.5)
    panel.set_ylabel("coverage", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    return as_picture(figure)
