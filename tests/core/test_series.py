"""A recording in hand: what it says of itself, tables, xarray, pictures; other rates and units."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainlm_data import InputError, ParcelSeries, Refused, Store, open_store, resample_series, scale_series
from brainlm_data.methods.operators import PERCENT
from tests.core.test_store import write

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    table = write(folder / "store.zarr")[1]
    table = table.assign(status=["done", "done", "excluded"], split=["train", "test", None], fd=[0.1, 0.2, np.nan])
    table.to_parquet(folder / "recordings.parquet")
    return open_store(folder / "store.zarr")


@pytest.fixture
def recording(store: Store) -> ParcelSeries:
    return store.recording("r1")


def test_a_store_says_what_is_in_it(store: Store) -> None:
    said = repr(store)
    assert said.startswith(f"Store {store.path}: 2 recordings of 2 subjects (train 1, test 1, 1 excluded), 3 parcels")
    assert "1 Hz" in said and "no scaler beside it" in said and "\n" not in said
    assert "2 recordings of 2 subjects" in store._repr_html_()


def test_a_store_with_a_damaged_table_can_still_be_shown(tmp_path: Path) -> None:
    write(tmp_path / "store.zarr")
    (tmp_path / "recordings.parquet").write_bytes(b"damaged")
    assert "recordings.parquet" in repr(open_store(tmp_path / "store.zarr"))


def test_a_recording_says_what_it_is(recording: ParcelSeries) -> None:
    assert repr(recording) == (
        "ParcelSeries r1: 10 steps at 1 Hz (10 s) x 3 parcels, 2 steps dropped or censored, a.u."
    )
    assert repr(ParcelSeries(np.full((4, 2), np.nan))) == "ParcelSeries: 4 steps x 2 parcels, 2 of them unknown"
    assert "shape (4,)" in repr(ParcelSeries(np.zeros(4)))
    html = ParcelSeries(np.zeros((4, 2)), id="<script>")._repr_html_()
    assert "&lt;script&gt;" in html and "<script>" not in html


def test_as_a_table_and_as_xarray(store: Store, recording: ParcelSeries) -> None:
    table = recording.to_dataframe()
    assert table.index.name == "time_s" and table.columns.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(table.to_numpy(), store.series("r1"))
    array = recording.to_xarray()
    assert array.sel(parcel="b", time=3.0).item() == store.series("r1")[3, 1]
    assert array["network"].to_numpy().tolist() == ["x", "y", "x"] and array["hemisphere"][0].item() == "L"
    assert array["recording"].item() == "r1" and array["valid"].to_numpy().sum() == 8
    assert array.attrs == {"units": "a.u.", "rate_hz": 1.0} and array["time"].attrs["units"] == "s"
    unnamed = ParcelSeries(np.zeros((4, 2)))
    assert unnamed.to_dataframe().index.name == "step" and unnamed.to_xarray()["time"].attrs["units"] == "steps"
    assert unnamed.names == ["1", "2"]
    assert np.asarray(recording).shape == recording.shape == (10, 3)


def test_the_whole_store_has_coordinates(store: Store) -> None:
    dataset = store.dataset
    assert set(dataset.coords) == {"recording", "time_s", "parcel", "hemisphere", "network", "x", "y", "z"}
    for name in ("r1", "r2", "r3"):
        place = (dataset["recording"] == name).to_numpy()
        np.testing.assert_array_equal(dataset["bold"].to_numpy()[place], store.series(name))
        np.testing.assert_array_equal(dataset["time_s"].to_numpy()[place], np.arange(place.sum()))
    padding = (dataset["recording"] == "").to_numpy()
    assert padding.sum() == 40 - 33 and np.isnan(dataset["time_s"].to_numpy()[padding]).all()
    assert dataset["bold"].sel(parcel="b").shape == (40,)


def test_connectivity_is_of_valid_steps(store: Store) -> None:
    values, valid = store.series("r3"), store.valid("r3")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(store.recording("r3").connectivity(), np.corrcoef(values[valid].T), atol=1e-12)
        gap = store.recording("r2").connectivity()  # its third parcel is not known
        assert np.isnan(gap[2]).all() and np.isfinite(gap[:2, :2]).all()
        assert np.isnan(ParcelSeries(np.zeros((2, 2))).connectivity()).all()
        assert np.isnan(ParcelSeries(np.zeros((9, 2))).connectivity()).all()


def test_pictures_are_axes(store: Store, recording: ParcelSeries) -> None:
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        carpet = recording.plot(fd_mm=np.linspace(0, 1, 10))
        assert carpet.get_xlabel() == "time (s)" and len(carpet.figure.axes) == 4  # two courses, carpet, colour bar
        assert [label.get_text() for label in carpet.get_yticklabels()] == ["x", "y"]
        mine = plt.subplots()[1]
        assert recording.plot(mine) is mine and len(mine.figure.axes) == 2
        assert recording.plot_connectivity().images[0].get_array().shape == (3, 3)
        assert ParcelSeries(np.zeros((4, 2))).plot().get_ylabel() == "parcel"
        panel = store.plot_qc("n_steps", "fd")
        assert len(panel.collections) == 2  # the recording without a number is in no group
    with pytest.raises(InputError, match="10 steps"):
        recording.plot(fd_mm=[1.0])
    with pytest.raises(InputError, match="no column of numbers nonsense -> one of n_steps, fd"):
        store.plot_qc("nonsense")
    plt.close("all")


@settings(deadline=None)  # the first call imports scipy
@given(st.floats(0.6, 3.0), st.sampled_from([0.5, 1.0, 2.0]))
def test_a_slow_wave_is_the_same_at_any_rate(tr_s: float, hz: float) -> None:
    steps = math.ceil(200 / tr_s)
    wave = np.sin(2 * np.pi * 0.02 * np.arange(steps) * tr_s)[:, None] + np.zeros((1, 2))
    made = resample_series(ParcelSeries(wave, rate_hz=1 / tr_s), hz)
    assert made.rate_hz == hz and made.valid is not None and made.valid.all()
    values = np.asarray(made)
    times = np.arange(len(values)) / hz
    inner = (times > 20) & (times < 180)
    np.testing.assert_allclose(values[inner, 0], np.sin(2 * np.pi * 0.02 * times[inner]), atol=0.02)


def test_what_cannot_be_resampled() -> None:
    with pytest.raises(InputError, match="rate is not known"):
        resample_series(ParcelSeries(np.zeros((9, 2))), 1.0)
    with pytest.raises(Refused, match="TR of 900 s"):
        resample_series(ParcelSeries(np.ones((9, 2)), rate_hz=1 / 900), 1.0)
    gap = np.random.default_rng(0).normal(size=(20, 2))
    gap[:2], gap[9] = np.nan, np.nan
    made = resample_series(ParcelSeries(gap, rate_hz=0.5), 1.0)
    assert made.valid is not None and not made.valid[:4].any() and not made.valid[18]
    assert np.isfinite(np.asarray(made)[4:]).all() and "resampled from TR 2 s to 1 Hz" in made.stated


@settings(deadline=None)
@given(st.floats(1.0, 1e5))
def test_units_of_a_card(level: float) -> None:
    raw = level * (1 + 0.02 * np.random.default_rng(0).normal(size=(50, 3))) * [1, 2, 3]
    grand = scale_series(ParcelSeries(raw), "grand mean 10000")
    assert grand.units == "grand mean 10000" and np.asarray(grand).mean() == pytest.approx(10000)
    factor = np.asarray(grand) / raw
    np.testing.assert_allclose(factor, factor[0, 0])
    same = ParcelSeries(raw)
    assert scale_series(same, "") is same
    with pytest.raises(InputError, match="its mean was removed"):
        scale_series(ParcelSeries(raw - raw.mean(0)), "grand mean 10000")


def test_percent_of_each_parcel() -> None:
    raw = pd.DataFrame({"a": [9.0, 11.0], "b": [90.0, 110.0], "c": [0.0, 0.0]}).to_numpy()
    made = np.asarray(scale_series(ParcelSeries(raw), PERCENT))
    np.testing.assert_allclose(made[:, :2], [[90, 90], [110, 110]])
    assert np.isnan(made[:, 2]).all()
