"""What a picture shows, for the n-way measure: a classifier of digits, learnt from scikit-learn's own 1,797.

Those are written in another way than the digits of most experiments (8 x 8 pixels, thick, closed loops), so it learns
from slanted, turned, narrowed and thinned copies, too. The measure asks it what it sees in the TRUE picture and whether
it sees that in the decoded one, so that it judges by what it knows, right or wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CLASSES = 10
SIDE = 8  # pixels of what the classifier sees
LARGE = 28  # pixels of what is slanted and turned
COPIES = 4  # of each digit
FAINT = 0.3  # of the range of a picture: below, it is paper


@dataclass(frozen=True)
class Judge:
    """A classifier of pictures.

    Attributes
    ----------
    name: for tables. scores: pictures (N, h, w[, 3]) to (N, C), for C classes. features: to (N, F), what scores are of.
    """

    name: str
    scores: Callable[[Array], Array]
    features: Callable[[Array], Array]


def digit_scores(pictures_N: Array) -> Array:
    """How much (N, 10) each digit speaks from pictures (N, h, w), or from colour ones, of which the mean is taken."""
    scores: Array = _trained().decision_function(digit_features(pictures_N))
    return scores


def digit_features(pictures_N: Array) -> Array:
    """What the classifier sees (N, 64) of pictures: their ink, reduced to 8 x 8 pixels."""
    grey = pictures_N.mean(axis=3) if pictures_N.ndim == 4 else pictures_N
    return np.stack([framed(picture) for picture in grey])


def framed(picture: Array) -> Array:
    """Values (64,) from 0 to 1 of the smallest square with all ink of a picture, each the mean over an area."""
    low, high = picture.min(), picture.max()
    scaled = (picture - low) / max(high - low, 1e-9)
    ink = scaled > FAINT
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if len(rows):  # a picture of one value has no ink
        scaled = scaled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(scaled.shape)
    above, left = (side - scaled.shape[0]) // 2, (side - scaled.shape[1]) // 2
    square = np.zeros((side, side))
    square[above : above + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    # each pixel is repeated SIDE times along both axes, so that any size divides into SIDE blocks
    fine = square.repeat(SIDE, axis=0).repeat(SIDE, axis=1)
    blocks: Array = fine.reshape(SIDE, side, SIDE, side).mean(axis=(1, 3))
    return blocks.ravel()


DIGITS = Judge("a classifier of ten digits", digit_scores, digit_features)


@cache
def _trained() -> Any:
    """A support vector machine; made once per process, always the same."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    digits = load_digits()
    rng = np.random.default_rng(0)
    features, labels = [], []
    for picture, label in zip(digits.images / 16, digits.target, strict=True):
        large = zoom(np.pad(picture, 2), LARGE / (SIDE + 4), order=1)
        versions = [large, *(_written_otherwise(large, rng) for _ in range(COPIES))]
        features += [framed(version) for version in versions]
        labels += [label] * len(versions)
    return SVC(C=5.0).fit(np.stack(features), labels)


def _written_otherwise(picture: Array, rng: np.random.Generator) -> Array:
    """A digit turned, slanted and made wider or narrower; one of three with hard edges, thin or thick."""
    from scipy.ndimage import affine_transform

    slant, turn, width = rng.uniform(-0.4, 0.5), rng.uniform(-0.2, 0.2), rng.uniform(0.75, 1.3)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [slant - np.sin(turn), width * np.cos(turn)]])
    middle = np.full(2, (LARGE - 1) / 2)
    moved: Array = affine_transform(picture, matrix, middle - matrix @ middle, order=1)
    if rng.integers(3) == 0:
        moved = (moved > rng.uniform(0.35, 0.75)).astype(float)
    return moved
