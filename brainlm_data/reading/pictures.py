"""Pictures that were shown, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.reads import reads

Pixels = NDArray[np.uint8]
GREY = ("1", "L", "I;16")  # of Pillow's modes


def read_picture(path: Path, size: int) -> Pixels:
    """A picture file at (size, size), grey or (size, size, 3): its middle square, reduced.

    Raises
    ------
    InputError: it cannot be read.
    """
    from PIL import Image

    with reads(path, "a picture file: PNG or JPEG"), Image.open(path) as image:
        return resized(np.asarray(image.convert("L" if image.mode in GREY else "RGB")), size)


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
