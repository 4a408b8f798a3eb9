"""Exact quantiles in several passes: the same numbers as sorting."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainlm_data import InputError, open_store
from brainlm_data.dataset.fit_scaler import fit_scaler
from brainlm_data.dataset.quantiles import _floats, _keys, quantiles
from brainlm_data.dataset.store import write_store
from tests.core.test_store import PARCELS

VALUES = arrays(np.float32, (9, 2), elements=st.floats(-1000, 1000, width=32) | st.sampled_from([0.0, -0.0, np.nan, 1]))


@settings(deadline=None)  # the first call imports dask
@given(VALUES, st.sampled_from([4, 7, 11, 16]))
def test_equal_to_numpy(values: np.ndarray, bits: int) -> None:
    strands = [lambda: [values[:4], values[4:5]], lambda: iter([values[5:]])]
    found = quantiles(strands, 2, (0.25, 0.5, 0.9), bits)
    for column, numbers in zip(found.T, values.T, strict=True):
        known = numbers[np.isfinite(numbers)].astype(float)
        expected = np.quantile(known, (0.25, 0.5, 0.9)) if known.size else np.full(3, np.nan)
        np.testing.assert_allclose(column, expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("threads", [1, 3])
def test_many_values_with_ties(threads: int) -> None:
    values = np.round(np.random.default_rng(0).standard_normal((5000, 7)), 2).astype(np.float32)
    values[:, 3] = np.nan
    strands = [lambda part=part: [values[part::5]] for part in range(5)]
    found = quantiles(strands, 7, (0.0, 0.25, 0.5, 1.0), threads=threads)
    assert np.isnan(found[:, 3]).all()
    keep = [0, 1, 2, 4, 5, 6]
    expected = np.quantile(values[:, keep].astype(float), (0.0, 0.25, 0.5, 1.0), axis=0)
    np.testing.assert_allclose(found[:, keep], expected, rtol=1e-12)


@given(arrays(np.float32, 5, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_keys_keep_order_and_come_back(values: np.ndarray) -> None:
    assert _floats(_keys(values)).tobytes() == values.tobytes()
    order = np.argsort(_keys(values), kind="stable")
    assert (np.diff(values[order].astype(float)) >= 0).all()


def test_workers_of_a_scheduler_find_the_same(tmp_path: Path) -> None:
    """Two processes, as of two machines that see the store."""
    distributed = pytest.importorskip("distributed", reason="no dask.distributed: pip install 'dask[distributed]'")
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(n, 3)).astype(np.float32) for n in (40, 70, 55, 90)]
    table = pd.DataFrame({"id": list("abcd"), "n_steps": [len(x) for x in series]})
    write_store(tmp_path / "store.zarr", series, table, PARCELS, {"rate_hz": 1.0}, chunk_steps=16)
    store = open_store(tmp_path / "store.zarr")
    here = fit_scaler(store, list("abd"))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = fit_scaler(store, list("abd"), scheduler=cluster.scheduler_address)
    np.testing.assert_array_equal(there.iqr, here.iqr)
    np.testing.assert_array_equal(there.median, here.median)


def test_a_scheduler_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    table = pd.DataFrame({"id": ["a"], "n_steps": [40]})
    write_store(tmp_path / "store.zarr", [np.eye(40, 3, dtype=np.float32)], table, PARCELS, {"rate_hz": 1.0})
    with pytest.raises(InputError, match=r"needs dask.distributed.*pip install"):
        fit_scaler(open_store(tmp_path / "store.zarr"), ["a"], scheduler="tcp://127.0.0.1:1")
