"""Store, splits, scaler, prepare."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainlm_data import open_store, prepare
from brainlm_data.dataset.fit_scaler import fit_scaler
from brainlm_data.dataset.scaler import Scaler
from brainlm_data.dataset.store import layout, write_store
from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import digest

PARCELS = pd.DataFrame(
    {"index": [1, 2, 5], "name": list("abc"), "hemisphere": "L", "network": list("xyx"), "x": 1.0, "y": 2.0, "z": 3.0}
)


def write(path: Path) -> tuple[list[np.ndarray], pd.DataFrame]:
    rng = np.random.default_rng(0)
    series = [rng.normal(5, 2, (n, 3)).astype(np.float32) for n in (10, 7, 16)]
    series[1][:, 2] = np.nan
    table = pd.DataFrame({"id": ["r1", "r2", "r3"], "n_steps": [10, 7, 16], "subject": ["1", "2", "3"]})
    write_store(path, series, table, PARCELS, {"rate_hz": 1.0, "units": "a.u."}, [[0, 1], [], [3]], chunk_steps=8)
    return series, table


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    series, _ = write(tmp_path / "store.zarr")
    store = open_store(tmp_path / "store.zarr")
    for name, values in zip(("r1", "r2", "r3"), series, strict=True):
        np.testing.assert_array_equal(store.series(name), values)
    assert store.valid("r1").tolist() == [False] * 2 + [True] * 8
    assert store.valid("r3").sum() == 15
    assert store.parcels["network"].tolist() == ["x", "y", "x"]
    assert store.rate_hz == 1.0
    assert store.recordings["start"].tolist() == [0, 16, 24]


def test_opens_with_xarray_without_a_warning(tmp_path: Path) -> None:
    import xarray as xr

    write(tmp_path / "store.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xr.open_zarr(tmp_path / "store.zarr")
    assert dict(dataset.sizes) == {"time": 40, "parcel": 3}
    assert dataset["bold"].dims == ("time", "parcel")
    assert np.isnan(dataset["bold"][10:16]).all()
    assert not dataset["valid"][10:16].any()


def test_opens_by_an_address_with_xarray(tmp_path: Path) -> None:
    import fsspec
    import xarray as xr

    write(tmp_path / "store.zarr")
    fsspec.filesystem("memory").put(str(tmp_path / "store.zarr"), "/bucket/store.zarr", recursive=True)
    here, there = xr.open_zarr(tmp_path / "store.zarr"), xr.open_zarr("memory://bucket/store.zarr")
    xr.testing.assert_identical(here, there)
    with pytest.raises(InputError, match="an address, and a store is read as files"):
        open_store("memory://bucket/store.zarr")


def test_same_data_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr")
    write(tmp_path / "b.zarr")
    assert digest(tmp_path / "a.zarr") == digest(tmp_path / "b.zarr")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Zarr v3 store"):
        open_store(tmp_path)
    write(tmp_path / "store.zarr")
    with pytest.raises(InputError, match="no recording r9"):
        open_store(tmp_path / "store.zarr").series("r9")
    with pytest.raises(InputError, match="expected"):
        table = pd.DataFrame({"id": ["r"], "n_steps": [4]})
        write_store(tmp_path / "x.zarr", [np.zeros((5, 3), np.float32)], table, PARCELS, {})


@given(st.lists(st.integers(1, 900), min_size=1, max_size=30), st.integers(1, 300))
def test_recordings_never_share_a_chunk(lengths: list[int], chunk: int) -> None:
    starts, total = layout(lengths, chunk)
    ends = [*starts[1:], total]
    assert all(s % chunk == 0 for s in ends)
    assert all(e - s >= n > e - s - chunk for s, e, n in zip(starts, ends, lengths, strict=True))


def test_scaler_is_the_median_and_iqr_of_valid_demeaned_training_steps(tmp_path: Path) -> None:
    series, _ = write(tmp_path / "store.zarr")
    store = open_store(tmp_path / "store.zarr")
    scaler = fit_scaler(store, ["r1", "r2"])
    first = (series[0] - series[0].mean(0))[2:]  # demeaned as `prepare` does, then valid steps only
    pooled = np.concatenate([first, series[1] - series[1].mean(0)])
    np.testing.assert_allclose(scaler.median[:2], np.median(pooled[:, :2], axis=0), rtol=1e-5)
    expected = np.subtract(*np.quantile(pooled[:, :2], [0.75, 0.25], axis=0))
    np.testing.assert_allclose(scaler.iqr[:2], expected, rtol=1e-5)
    third = first[:, 2]  # the second recording has no data there
    assert scaler.iqr[2] == pytest.approx(np.subtract(*np.quantile(third, [0.75, 0.25])), rel=1e-5)
    with pytest.raises(InputError, match="no training recording"):
        fit_scaler(store, [])


def test_the_scaler_does_not_see_other_subjects(tmp_path: Path) -> None:
    """Changing a test recording changes no statistic that training uses."""
    series, table = write(tmp_path / "a.zarr")
    series[2] = series[2] * 100
    write_store(tmp_path / "b.zarr", series, table, PARCELS, {"rate_hz": 1.0}, [[0, 1], [], [3]], chunk_steps=8)
    one, two = (fit_scaler(open_store(tmp_path / f"{n}.zarr"), ["r1", "r2"]) for n in "ab")
    np.testing.assert_array_equal(one.iqr, two.iqr)
    np.testing.assert_array_equal(one.median, two.median)


def test_prepare(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    series = rng.normal(50, 3, (20, 2))
    scaler = Scaler(np.array([1, 0], np.float32), np.array([2, np.nan], np.float32))
    scaled = prepare(series, scaler)
    np.testing.assert_allclose(scaled[:, 0], (series[:, 0] - series[:, 0].mean() - 1) / 2, rtol=1e-5)
    assert np.isnan(scaled[:, 1]).all()
    scaler.save(tmp_path / "scaler.npz")
    np.testing.assert_array_equal(prepare(series, tmp_path / "scaler.npz"), scaled)
    with pytest.raises(InputError, match="same atlas"):
        prepare(series[:, :1], scaler)


def test_any_number_of_writers_and_either_source_give_the_same_bytes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("brainlm_data.dataset.store.SHARD_CHUNKS", 2)  # recordings reach over shards
    series = [np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32) for n in (10, 7, 40, 16, 1)]
    table = pd.DataFrame({"id": list("abcde"), "n_steps": [len(s) for s in series], "age": [1.5, None, 2, 3, 4]})
    for name, source, workers in (("a", iter(series), 1), ("b", series.__getitem__, 1), ("c", series.__getitem__, 2)):
        write_store(tmp_path / name, source, table, PARCELS, {"rate_hz": 1.0}, chunk_steps=8, workers=workers)
    assert len({digest(tmp_path / name) for name in "abc"}) == 1
    store = open_store(tmp_path / "c")
    for name, values in zip("abcde", series, strict=True):
        np.testing.assert_array_equal(store.series(name), values)
        assert store.valid(name).all()
    assert np.isnan(store["bold"].to_numpy()[~store["valid"].to_numpy()]).all()
    assert store.recordings["age"].isna().tolist() == [False, True, False, False, False]


def test_parcels_have_coordinates(tmp_path: Path) -> None:
    write(tmp_path / "store.zarr")
    store = open_store(tmp_path / "store.zarr")
    assert store["x"].dims == ("parcel",)
    assert store["y"].to_numpy().tolist() == [2.0] * 3


def test_scaler_does_not_depend_on_memory_or_threads(tmp_path: Path) -> None:
    write(tmp_path / "store.zarr")
    store = open_store(tmp_path / "store.zarr")
    whole, blocks = fit_scaler(store, ["r1", "r2", "r3"]), fit_scaler(store, ["r1", "r2", "r3"], 0, 2)
    np.testing.assert_array_equal(whole.median, blocks.median)
    np.testing.assert_array_equal(whole.iqr, blocks.iqr)


def test_scaled_training_data_have_median_0_and_iqr_1(tmp_path: Path) -> None:
    write(tmp_path / "store.zarr")
    store = open_store(tmp_path / "store.zarr")
    scaler = fit_scaler(store, ["r1", "r2", "r3"])
    scaled = np.concatenate([prepare(store.series(r), scaler)[store.valid(r)] for r in ("r1", "r2", "r3")])
    np.testing.assert_allclose(np.nanmedian(scaled, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.subtract(*np.nanquantile(scaled, [0.75, 0.25], axis=0)), 1, rtol=1e-5)


def test_a_constant_parcel_has_no_scale(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["r"], "n_steps": [9]})
    series = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    series[:, 1] = 7
    write_store(tmp_path / "s", [series], table, PARCELS, {"rate_hz": 1.0})
    scaler = fit_scaler(open_store(tmp_path / "s"), ["r"])
    assert np.isnan(scaler.iqr).tolist() == [False, True, False]
    filled = prepare(series, scaler, fill=0)
    assert np.isfinite(filled).all()
    assert (filled[:, 1] == 0).all()


def test_a_store_of_another_kind_is_refused(tmp_path: Path) -> None:
    import zarr

    zarr.create_group(tmp_path / "other.zarr", attributes={"format": 99})
    with pytest.raises(InputError, match="format 99"):
        open_store(tmp_path / "other.zarr")


def _replace(root: Path, times: int) -> None:
    """Put a new store in the place of the old one, as an import and stage collate do: one of two kinds in turn."""
    for number in range(times):
        shutil.copytree(root / f"kind{number % 2}", root / "new", copy_function=shutil.copyfile)
        os.replace(root / "store.zarr", root / "old")
        os.replace(root / "new", root / "store.zarr")
        shutil.rmtree(root / "old")


def test_a_store_that_is_replaced_meanwhile_is_an_error_never_a_mixture(tmp_path: Path) -> None:
    series, table = write(tmp_path / "kind0")
    more = [10 + values for values in reversed(series)]
    rows = table.iloc[::-1].reset_index(drop=True)
    write_store(tmp_path / "kind1", more, rows, PARCELS, {"rate_hz": 1.0, "units": "a.u."}, chunk_steps=8)
    kinds = [dict(zip(table["id"], series, strict=True)), dict(zip(rows["id"], more, strict=True))]
    shutil.copytree(tmp_path / "kind0", tmp_path / "store.zarr")
    opened = open_store(tmp_path / "store.zarr")
    _replace(tmp_path, 1)
    for read in (lambda: opened.series("r1"), lambda: opened.valid("r1"), lambda: opened.scaler):
        with pytest.raises(InputError, match="replaced or removed"):
            read()
    writer = multiprocessing.get_context("fork").Process(target=_replace, args=(tmp_path, 60))
    writer.start()
    seen: Counter[str] = Counter()
    while writer.is_alive():
        try:
            store = open_store(tmp_path / "store.zarr")
            found = {name: store.series(name) for name in ("r1", "r3")}
        except InputError:
            seen["error"] += 1
            continue
        whole = [all(np.array_equal(found[name], kind[name], equal_nan=True) for name in found) for kind in kinds]
        assert any(whole)
        seen["values"] += 1
    writer.join()
    assert seen["values"] > 0
    open_store(tmp_path / "store.zarr")
