from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainlm_data.methods import interp
from brainlm_data.methods.sampling import out_of_view


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(2, 20)] * 3), st.integers(0, 9999))
def test_cubic_and_linear_are_those_of_scipy(shape: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=shape).astype(np.float32)
    points = rng.uniform(-0.5, np.array(shape) - 0.5, (200, 3))
    for cubic in (True, False):
        source = interp.coefficients(volume) if cubic else interp.padded(volume)
        expected = ndimage.map_coordinates(volume.astype(float), points.T, order=3 if cubic else 1, mode="mirror")
        np.testing.assert_allclose(interp.sample(source, points, np.eye(4), cubic), expected, atol=2e-5)


def test_grid_points_return_the_volume() -> None:
    volume = np.random.default_rng(0).normal(size=(7, 8, 9)).astype(np.float32)
    points = np.indices(volume.shape).reshape(3, -1).T.astype(float)
    values = interp.sample(interp.coefficients(volume), points, np.eye(4))
    np.testing.assert_allclose(values, volume.ravel(), atol=2e-6)


def test_the_matrix_is_applied_and_outside_is_nan() -> None:
    volume = np.random.default_rng(0).normal(size=(7, 8, 9)).astype(np.float32)
    matrix = np.array([[0, 2.0, 0, 1], [1, 0, 0, 0], [0, 0, 1, -1], [0, 0, 0, 1]])
    source = interp.coefficients(volume)
    assert interp.sample(source, np.array([[3.0, 2.0, 4.0]]), matrix)[0] == pytest.approx(volume[5, 3, 3], abs=1e-5)
    outside = np.array([[-0.51, 0, 0], [0, 7.51, 0], [0, 0, 8.6], [np.nan, 0, 0]])
    assert np.isnan(interp.sample(source, outside, np.eye(4))).all()


def test_always_inside() -> None:
    usable = np.ones((5, 5, 5), bool)
    usable[4, 4, 4] = False
    shift = np.eye(4)
    shift[0, 3] = 2
    points = np.array([[0, 0, 0], [3, 0, 0], [2, 4, 4], [4, 4, 3], [np.nan, 0, 0]])
    assert interp.always_inside(points, np.eye(4)[None], usable).tolist() == [True, True, True, True, False]
    both = np.stack([np.eye(4), shift])
    assert interp.always_inside(points, both, usable).tolist() == [True, False, False, False, False]


def test_volumes_out_of_view() -> None:
    """One volume that left the field of view is left out; where many did, all count."""
    points = np.argwhere(np.ones((10, 10, 10), bool)).astype(float)
    usable = np.ones((10, 10, 10), bool)
    motion = np.tile(np.eye(4), (20, 1, 1))
    motion[3, 2, 3], motion[5, 0, 3] = 1.0, 0.4  # a slice gone, and less than half a voxel
    assert out_of_view(points, motion, usable) == [3]
    motion[:5, 2, 3] = 1.0
    assert out_of_view(points, motion, usable) == []
    assert out_of_view(np.full((4, 3), np.nan), motion, usable) == []
