"""Pictures of brains for the QC page: cuts side by side with contours, left and right, and a colour bar.

Composed of arrays: a picture takes hundredths of a second, and two pictures of the same cuts fit each other pixel by
pixel, so that a page can flicker between them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.quality.plots import MARGIN, PLANES, WEBP, Volume

if TYPE_CHECKING:
    from PIL import Image

Array = NDArray[Any]
WIDTH = 1260  # pixels of a picture of cuts
BAR = 92  # of them for a colour bar
FINE = 2  # everything is made this many times larger, and averaged: smooth contours
ENDS = {2: "LR", 1: "LR", 0: "PA"}  # what lies on the left and on the right of a cut: axial, coronal, sagittal
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Contour:
    """A line on an image: where a volume crosses a level, or, without one, between its labels."""

    volume: Volume
    colour: str  # #RRGGBB
    level: float | None = 0.5

    def edge(self, cut: Cut) -> NDArray[np.bool_]:
        """(height, width) true on the line."""
        values = cut.of(self.volume, nearest=self.level is None)
        if self.level is not None:
            values = values > self.level
        # a pixel is on the line if the next one, to the right or below, is on the other side
        edge = np.zeros(values.shape, dtype=bool)
        edge[:, :-1] |= values[:, 1:] != values[:, :-1]
        edge[:-1] |= values[1:] != values[:-1]
        if self.level is not None:  # two pixels wide; lines between labels are many, and thin
            edge[1:] |= edge[:-1]
            edge[:, 1:] |= edge[:, :-1]
        return edge


@dataclass(frozen=True)
class Cut:
    """A plane at `position` (mm) of `axis`: the part from `low` to `high` (mm: horizontal, vertical)."""

    axis: int
    position: float
    low: tuple[float, float]
    high: tuple[float, float]
    pixels: tuple[int, int]  # width, height, fine

    def of(self, volume: Volume, nearest: bool = False) -> Array:
        """(height, width) what a volume has there, linear between voxels, 0 outside; the first row is on top."""
        plane = volume.cut(self.axis, self.position)
        matrices = []
        for side, axis in enumerate(PLANES[self.axis]):
            places = self.low[side] + (np.arange(self.pixels[side]) + 0.5) / self.pixels[side] * (
                self.high[side] - self.low[side]
            )
            voxels = (places - volume.affine[axis, 3]) / volume.zooms[axis]
            matrices.append(_weights(voxels, volume.data.shape[axis], nearest))
        across, up = matrices
        return np.asarray((up @ plane.astype(np.float32) @ across.T)[::-1])


def _weights(voxels: Array, count: int, nearest: bool) -> NDArray[np.float32]:
    """(places, count): the share that each of `count` voxels has in the value at a place; rows of zeros outside."""
    if nearest:
        voxels = np.round(voxels)
    distance = np.abs(voxels[:, None] - np.arange(count))
    return np.maximum(1 - distance, 0).astype(np.float32)


def cuts_of(frame: Volume, axes: Sequence[int] = (2, 1, 0), count: int = 7, width: int = WIDTH) -> list[list[Cut]]:
    """A row of cuts for each axis, spread over what `frame` has (where it is not 0), on one scale."""
    widest = max(np.ptp(frame.range(PLANES[axis][0], MARGIN)) for axis in axes)
    scale = FINE * (width // count) / widest  # fine pixels per mm
    rows = []
    for axis in axes:
        (left, right), (bottom, top) = (frame.range(side, MARGIN) for side in PLANES[axis])
        middle = (left + right) / 2
        left, right = middle - widest / 2, middle + widest / 2
        pixels = (FINE * (width // count), FINE * round(scale * (top - bottom) / FINE))
        first, last = frame.range(axis)
        places = np.linspace(first + 0.12 * (last - first), last - 0.12 * (last - first), count)
        rows.append([Cut(axis, float(place), (left, bottom), (right, top), pixels) for place in places])
    return rows


def cuts_at(frame: Volume, point: Sequence[float], width: int) -> list[list[Cut]]:
    """One row, axial, coronal and sagittal, through a point (x, y, z in mm), on one scale."""
    spans = {axis: [frame.range(side, MARGIN) for side in PLANES[axis]] for axis in PLANES}
    wide = max(np.ptp(span[0]) for span in spans.values())
    high = max(np.ptp(span[1]) for span in spans.values())
    across = FINE * (width // 3)
    pixels = (across, FINE * round(across * high / wide / FINE))
    row = []
    for axis, span in spans.items():
        (x, y) = (sum(span[0]) / 2, sum(span[1]) / 2)
        low, top = (x - wide / 2, y - high / 2), (x + wide / 2, y + high / 2)
        row.append(Cut(axis, float(point[axis]), low, top, pixels))
    return [row]


def picture(
    image: Volume,
    rows: Sequence[Sequence[Cut]],
    contours: Sequence[Contour] = (),
    limits: tuple[float, float] | None = None,
    cmap: str = "gray",
    label: str = "",
    over: tuple[Volume, float] | None = None,
) -> bytes:
    """Rows of cuts as WebP.

    Parameters
    ----------
    contours: drawn over the image, the last on top.
    limits: values of the ends of the colours; None: those of a grey image, `Volume.grey`.
    label: of a colour bar; none where it is empty.
    over: a volume whose values from this level on, of either sign, are coloured (by `cmap` and `limits`) over `image`,
        which is grey then.
    """
    from PIL import Image

    grey = image.grey if limits is None or over is not None else limits
    drawn = []
    for row in rows:
        panels = []
        for cut in row:
            values = cut.of(image)
            if over is None:
                panel = coloured(values, cmap, grey)
            else:
                assert limits is not None
                panel = coloured(values, "gray", grey)
                above = cut.of(over[0])
                shown = np.abs(above) >= over[1]
                panel[shown] = coloured(above[shown], cmap, limits)
            for contour in contours:
                panel[contour.edge(cut)] = rgb(contour.colour)
            panels.append(panel)
        drawn.append(np.hstack(panels))
    pixels = np.vstack(drawn)
    height, width = pixels.shape[0] // FINE, pixels.shape[1] // FINE
    total = np.zeros((height, width, 3), np.uint16)
    for i, j in product(range(FINE), repeat=2):  # `mean` over two axes takes ten times as long
        total += pixels[i::FINE, j::FINE]
    small = total // FINE**2
    if label:
        small = np.hstack([small, np.zeros((height, BAR, 3), small.dtype)])
    canvas = Image.fromarray(small.astype(np.uint8))
    top = 0
    for row in rows:
        left = 0
        for cut in row:
            _write(canvas, cut, left, top)
            left += cut.pixels[0] // FINE
        top += row[0].pixels[1] // FINE
    if label and limits is not None:
        _bar(canvas, width + 10, limits, cmap, label)
    return as_webp(canvas)


def as_webp(canvas: Image.Image) -> bytes:
    """A picture in all its colours, at about the size of one with 256."""
    buffer = io.BytesIO()
    canvas.save(buffer, "webp", **WEBP)
    return buffer.getvalue()


def coloured(values: Array, cmap: str, limits: tuple[float, float]) -> NDArray[np.uint8]:
    """(..., 3) colours of values; those of NaN are the lowest value's."""
    low, high = limits
    share = np.clip((np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-12), 0, 1)
    return _table(cmap)[(255 * share).astype(np.uint8)]


@cache
def _table(cmap: str) -> NDArray[np.uint8]:
    """(256, 3) the colours of a map."""
    if cmap == "gray":
        return np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    import matplotlib as mpl

    return np.asarray(255 * mpl.colormaps[cmap](np.arange(256))[:, :3]).astype(np.uint8)


def rgb(colour: str) -> tuple[int, int, int]:
    """`#RRGGBB` as three numbers."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _write(canvas: Image.Image, cut: Cut, left: int, top: int) -> None:
    """The position below a cut, and what lies on its left and right."""
    from PIL import ImageDraw, ImageFont

    width, height = cut.pixels[0] // FINE, cut.pixels[1] // FINE
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    text = f"{'xyz'[cut.axis]} {round(cut.position)}"  # a whole number has no -0
    draw.text((left + 4, top + height - 4), text, WHITE, font, anchor="ls")
    ends = ENDS[cut.axis]
    draw.text((left + 4, top + 4), ends[0], WHITE, font, anchor="lt")
    draw.text((left + width - 4, top + 4), ends[1], WHITE, font, anchor="rt")


def _bar(canvas: Image.Image, left: int, limits: tuple[float, float], cmap: str, label: str) -> None:
    """A colour bar with its two ends, the middle, and what it measures."""
    from PIL import Image, ImageDraw, ImageFont

    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    top, height = 24, min(canvas.height - 36, 260)
    ramp = coloured(np.linspace(limits[1], limits[0], height)[:, None].repeat(14, 1), cmap, limits)
    canvas.paste(Image.fromarray(ramp), (left, top))
    draw.text((left, 6), label, WHITE, font, anchor="lt")
    for share in (0.0, 0.5, 1.0):
        value = limits[1] + share * (limits[0] - limits[1])
        draw.text((left + 20, top + share * (height - 1)), f"{value + 0.0:.3g}", WHITE, font, anchor="lm")
