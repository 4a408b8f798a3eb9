"""Pictures that were shown, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.reads import reads

Pixels = NDArray[np.uint8]
DEEP = ("I", "I;16", "I;16B", "I;16L")  # of Pillow's modes: 16 bits per pixel, which it would cut off at 255
GREY = ("1", "L", "LA")
BEHIND = 128  # what is seen through a transparent pixel: mid-grey, the usual background of an experiment


def read_picture(path: Path, size: int) -> Pixels:
    """A picture file at (size, size), grey or (size, size, 3): its middle square, reduced, and upright (EXIF).

    Raises
    ------
    InputError: it cannot be read, or what it holds is no brightness from 0 to 255 or, in 16 bits, to 65535.
    """
    from PIL import Image, ImageOps

    with reads(path, "a picture file: PNG or JPEG"), Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in DEEP:
            deep = np.asarray(upright).astype(np.int64)
            if deep.min() < 0 or deep.max() > 65535 or 0 < deep.max() < 256:  # the last: 8 bits, stored in 16
                raise ValueError(f"16 bits per pixel, with brightness from {deep.min()} to {deep.max()}")
            return resized((deep >> 8).astype(np.uint8), size)
        if upright.mode == "F":
            raise ValueError("brightness in floating point")
        kind = "L" if upright.mode in GREY else "RGB"
        if upright.has_transparency_data:
            behind = Image.new("RGBA", upright.size, (BEHIND, BEHIND, BEHIND, 255))
            upright = Image.alpha_composite(behind, upright.convert("RGBA"))
        return resized(np.asarray(upright.convert(kind)), size)


def read_pictures(paths: Sequence[Path], size: int) -> Pixels:
    """(m, size, size) where all are grey, else (m, size, size, 3). Raises InputError where one cannot be read."""
    pictures = [read_picture(path, size) for path in paths]
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [np.stack([p] * 3, axis=-1) if p.ndim == 2 else p for p in pictures]
    return np.stack(pictures)


def resized(picture: Pixels, size: int) -> Pixels:
    """The middle square of (h, w) or (h, w, 3), at (size, size)."""
    from PIL import Image

    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(np.ascontiguousarray(picture[top : top + side, left : left + side]))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS) if side != size else square)
