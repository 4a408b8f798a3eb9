"""The figures of a recording's QC page. Each function returns one PNG, drawn with Agg and without dates."""

from __future__ import annotations

import io
from collections.abc import Sequence
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
MARGIN = 6.0  # mm around what is drawn
PLANES = {2: (0, 1), 1: (0, 2), 0: (1, 2)}  # axial, coronal, sagittal: axis of the cut -> (horizontal, vertical)


def new_figure(width: float, height: float, layout: Any = "constrained", **more: Any) -> Figure:
    """A figure of this size in inches, that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout, dpi=90, **more)


def as_png(figure: Figure) -> bytes:
    """256 colours: a third of the size, and no difference to the eye."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    draw_as_text(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(256).save(buffer, "png", optimize=True)
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

    def range(self, axis: int, margin: float = 0.0) -> tuple[float, float]:
        """Positions (mm, along the voxel axis) of the first and last voxel with data, `margin` mm wider."""
        others = tuple({0, 1, 2} - {axis})
        used = np.flatnonzero((self.data != 0).any(others))
        if not len(used):
            used = np.arange(self.data.shape[axis])
        low = float(self.affine[axis, 3] + self.zooms[axis] * used[0])
        high = float(self.affine[axis, 3] + self.zooms[axis] * used[-1])
        return low - margin, high + margin

    def cut(self, axis: int, position: float) -> tuple[Array, tuple[float, float, float, float]]:
        """The slice nearest to a position (vertical, horizontal), and its extent in mm."""
        index = round((position - self.affine[axis, 3]) / self.zooms[axis])
        last = self.data.shape[axis] - 1
        image = self.data[(slice(None),) * axis + (min(max(index, 0), last),)].T
        if not 0 <= index <= last:  # beyond the image
            image = np.zeros_like(image)
        sides = []
        for side in PLANES[axis]:
            start = self.affine[side, 3] - self.zooms[side] / 2
            sides += [start, start + self.zooms[side] * self.data.shape[side]]
        return image, tuple(sides)


def slices(
    image: Volume,
    contours: Sequence[tuple[Volume, float, str]] = (),
    axes: Sequence[int] = (2, 1, 0),
    count: int = 7,
    cmap: str = "gray",
    limits: tuple[float, float] | None = None,
    label: str = "",
) -> bytes:
    """Cuts of an image, a row for each of `axes`, with contours (volume, level, colour) of others over them."""
    figure = new_figure(count * 1.35, len(axes) * 1.45, facecolor="black", layout="none")
    edges = {"left": 0.0, "right": 0.93 if label else 1.0, "bottom": 0.0, "top": 1.0, "wspace": 0.02, "hspace": 0.02}
    grid = figure.subplots(len(axes), count, squeeze=False, gridspec_kw=edges)
    known = image.data[np.isfinite(image.data) & (image.data != 0)]
    low, high = 0.0, 1.0
    if limits is not None:
        low, high = limits
    elif known.size:
        low, high = np.percentile(known, [2, 98])
    shown: Any = None
    for row, axis in zip(grid, axes, strict=True):
        first, last = image.range(axis)
        span = last - first
        for panel, position in zip(row, np.linspace(first + 0.12 * span, last - 0.12 * span, count), strict=True):
            data, extent = image.cut(axis, position)
            shown = panel.imshow(data, origin="lower", extent=extent, cmap=cmap, vmin=low, vmax=high)
            for volume, level, colour in contours:
                line, box = volume.cut(axis, position)
                if line.min() < level < line.max():
                    panel.contour(line, [level], origin="lower", extent=box, colors=colour, linewidths=0.7)
            _frame(panel, image, axis)
            panel.text(
                0.02, 0.02, f"{'xyz'[axis]} {position:.0f}", color="white", fontsize=6, transform=panel.transAxes
            )
    if label and shown is not None:
        bar = figure.colorbar(shown, cax=figure.add_axes((0.94, 0.12, 0.012, 0.76)))
        bar.set_label(label, color="white", fontsize=8)
        bar.ax.tick_params(colors="white", labelsize=7)
    return as_png(figure)


def _frame(panel: Axes, image: Volume, axis: int) -> None:
    """Show what has data, and no axes."""
    horizontal, vertical = PLANES[axis]
    panel.set_xlim(image.range(horizontal, MARGIN))
    panel.set_ylim(image.range(vertical, MARGIN))
    panel.set_axis_off()


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
    return as_png(figure)


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
    return as_png(figure)


def components(maps: Sequence[Volume], mixing: Array, titles: Sequence[str], noise: Sequence[bool], tr: float) -> bytes:
    """One row per component: z-map at its peak (three cuts), time course, power spectrum; orange is noise."""
    figure = new_figure(9.5, 1.15 * len(maps) + 0.3, layout="none")
    height = figure.get_figheight()
    edges = {"left": 0.0, "right": 0.985, "bottom": 0.45 / height, "top": 1 - 0.25 / height, "hspace": 0.55}
    grid = figure.subplots(
        len(maps), 5, squeeze=False, width_ratios=[1, 1, 1, 3.4, 2.2], gridspec_kw={**edges, "wspace": 0.06}
    )
    times = np.arange(len(mixing)) * tr
    frequencies = np.fft.rfftfreq(len(mixing), tr)
    for row, volume, course, title, is_noise in zip(grid, maps, mixing.T, titles, noise, strict=True):
        peak = np.unravel_index(np.argmax(np.abs(volume.data)), volume.data.shape)
        limit = max(float(np.abs(volume.data).max()), 1e-6)
        for panel, axis in zip(row[:3], PLANES, strict=True):
            image, extent = volume.cut(axis, float(volume.affine[axis, 3] + volume.zooms[axis] * peak[axis]))
            panel.imshow(image, origin="lower", extent=extent, cmap="RdBu_r", vmin=-limit, vmax=limit)
            _frame(panel, volume, axis)
        colour = ORANGE if is_noise else GREEN
        row[3].plot(times, course, color=colour, linewidth=0.7)
        row[4].plot(frequencies, np.abs(np.fft.rfft(course - course.mean())) ** 2, color=colour, linewidth=0.8)
        row[3].set_title(title, fontsize=7.5, loc="left", color=colour, pad=2)
        for panel in row[3:]:
            panel.set_yticks([])
            panel.tick_params(labelsize=6, length=2)
            panel.spines[["top", "right", "left"]].set_visible(False)
    grid[-1][3].set_xlabel("time (s)", fontsize=7)
    grid[-1][4].set_xlabel("frequency (Hz)", fontsize=7)
    return as_png(figure)


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
    return as_png(figure)


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
    return as_png(figure)
