"""What simpler methods make of the same patterns, learnt from the same training rows.

Shapes are in the names: N training and M test rows, V voxels; pictures (N, h, w[, channel]) with values from 0 to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# That ridge regression chooses from. With more voxels than rows the least of them interpolates already: leave-one-out
# is flat from 1 down to .001, and what is still less is rounding errors (docs/measurements.md).
PENALTIES = np.logspace(0, 6, 13)


def mean(pictures_N: Array, count: int) -> Array:
    """The mean training picture, `count` times: what is right without any pattern."""
    return np.repeat(pictures_N.mean(axis=0, keepdims=True), count, axis=0)


def nearest(patterns_NV: Array, pictures_N: Array, test_MV: Array) -> Array:
    """The picture of the training pattern that correlates most with a test pattern."""
    from brainlm_model.decode.pictures import correlations

    closest: Array = pictures_N[correlations(test_MV, patterns_NV).argmax(axis=1)]
    return closest


def ridge(patterns_NV: Array, target_N: Array, test_MV: Array) -> Array:
    """Ridge regression from voxels to a target of any shape; leave-one-out on training rows chooses its penalty."""
    from sklearn.linear_model import RidgeCV

    flat = target_N.reshape(len(target_N), -1)
    predicted: Array = RidgeCV(alphas=PENALTIES).fit(patterns_NV, flat).predict(test_MV)
    return predicted.reshape(len(test_MV), *target_N.shape[1:])


def ridge_pixels(patterns_NV: Array, pictures_N: Array, test_MV: Array) -> Array:
    """Ridge regression to the pixels."""
    return ridge(patterns_NV, pictures_N, test_MV).clip(0, 1)


def ridge_features(patterns_NV: Array, features_NF: Array, pictures_N: Array, test_MV: Array) -> Array:
    """The training picture whose features, by a judge of pictures, correlate most with those that ridge predicts."""
    return nearest(features_NF, pictures_N, ridge(patterns_NV, features_NF, test_MV))
