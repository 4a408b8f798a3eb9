"""Time courses through a file: the same values as one array, whatever the size of a block; a full disk is one error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainlm_data.methods import courses
from brainlm_data.methods.courses import Courses, median
from brainlm_data.methods.nuisance import compcor, compcor_regions, dvars
from brainlm_data.methods.operators import cosines
from tests.full_disk import files_up_to

FLOATS = st.floats(-(2.0**60), 2.0**60, width=32)


def filled(folder: Path, values: np.ndarray) -> Courses:
    """(volume, voxel) in a file."""
    made = Courses(folder, *values.shape)
    for number, volume in enumerate(values):
        made[number] = volume
    return made


@given(arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=FLOATS))
def test_the_median_is_numpy_s(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    with filled(tmp_path_factory.getbasetemp(), values) as made:
        np.testing.assert_equal(median(made), float(np.median(values)))


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_blocks_are_time_courses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(courses, "VALUES", size)
    values = np.random.default_rng(0).normal(size=(5, 13)).astype(np.float32)
    chosen = values[0] > 0
    with filled(tmp_path, values) as made:
        np.testing.assert_array_equal(np.concatenate([block for _, block in made.blocks(chosen)]).T, values[:, chosen])
        for places, block in made.blocks():
            made.replace(places, 2 * block)
        np.testing.assert_array_equal(np.stack(list(made)), 2 * values)
    assert not list(tmp_path.iterdir())


def test_confounds_do_not_depend_on_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = (1000 + np.cumsum(rng.normal(size=(60, 400)), 0) + rng.normal(size=(60, 400))).astype(np.float32)
    regions = {"csf": np.arange(400) < 90, "white_matter": np.arange(400) > 300}
    results = []
    for size in (1 << 20, 60 * 37):
        monkeypatch.setattr(courses, "VALUES", size)
        with filled(tmp_path, values) as made:
            masks = compcor_regions(made, 2, regions)
            parts = [compcor(made, 2, mask, cosines(58, 1.0, 1 / 50), 5)[0] for mask in masks.values()]
            results.append([*dvars(made), *masks.values(), *parts])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_a_disk_that_is_too_small_is_an_error_at_once(tmp_path: Path) -> None:
    with files_up_to(10_000), pytest.raises(OSError, match="File too large"):
        Courses(tmp_path, 100, 100)
