"""Stages parcellate and resample: the end of the temporal operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainlm_data.methods.operators import Recipe, high_pass
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import confounds, denoise, filter, parcellate, resample
from brainlm_data.tables import read_table, write_table
from tests.stages import fitted


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, dict[str, Any]]:
    files, truth = fitted.recording(tmp_path_factory.mktemp("parcellate"), non_steady=2, noise=20)
    files = fitted.run(confounds.STAGE, files)[1]
    files = fitted.run(filter.STAGE, files, censor_fd_mm=0.4)[1]
    return fitted.run(denoise.STAGE, files)[1], truth


def native(files: Files, **section: Any) -> tuple[Facts, Files, NDArray[np.float64]]:
    facts, files = fitted.run(parcellate.STAGE, files, **section)
    return facts, files, read_table(files["parcels_native"])[1]


def test_parcels(made: tuple[Files, dict[str, Any]]) -> None:
    files, truth = made
    facts, out, series = native(files)
    assert read_table(out["parcels_native"])[0] == fitted.NAMES and series.shape == (fitted.T, 8)
    assert np.isnan(series[:2]).all() and np.isnan(series[:, 7]).all() and np.isfinite(series[2:, :7]).all()
    assert np.abs(series[2:, :7].mean(0)).max() < 5 and facts["MeanRemoved"]
    raw = read_table(files["parcels_raw"])[1]
    for i, name in enumerate("abc"):  # the networks come out as they were put in: 14 of 1000 is 140 of 10,000
        course = high_pass(truth["courses"][f"network_{name}"][2:, None], Recipe.load(files["filter_recipe"]))[:, 0]
        assert np.corrcoef(series[2:, i], course)[0, 1] > 0.98 > 0.9 > np.corrcoef(raw[2:, i], course)[0, 1]
        assert series[2:, i].std() == pytest.approx(140 * course.std(), rel=0.05)
    assert np.abs(np.corrcoef(series[2:, 3], truth["courses"]["motion"][2:])[0, 1]) < 0.3  # the rim
    assert (facts["GrandMeanScaling"], facts["Units"], facts["Dropped"]) == (10_000, "grand mean 10000", 2)
    assert facts["EffectiveBand"] == [0.01, 0.25] and facts["Censored"] and facts["MissingParcels"] == ["p7"]


def test_scaling_is_a_factor(made: tuple[Files, dict[str, Any]]) -> None:
    files, _ = made
    scaled = native(files)[2]
    facts, _, plain = native(files, grand_mean=None)
    np.testing.assert_allclose(scaled, 10 * plain, rtol=1e-6, atol=1e-5)
    assert facts["Units"] == "scanner units" and "scanner units" in parcellate.describe(facts)


def test_common_rate(made: tuple[Files, dict[str, Any]]) -> None:
    _, files, series = native(made[0])
    facts, out = fitted.run(resample.STAGE, files)
    steps = read_table(out["parcels"])[1]
    assert steps.shape == (279, 8) and facts["NumberOfSteps"] == 279 and facts["SamplingFrequency"] == 1
    assert np.isnan(steps[:4]).all() and np.isfinite(steps[4:, :7]).all() and np.isnan(steps[:, 7]).all()
    np.testing.assert_allclose(steps[4::2, :7], series[2:, :7], rtol=1e-6, atol=1e-4)  # volumes lie on steps 4, 6, ...
    censored = made[0].facts("filter_recipe")["Censored"]
    expected = {0, 1, 2, 3} | {2 * c + k for c in censored for k in (-1, 0, 1)}
    assert facts["InvalidSteps"] == sorted(expected)
    assert facts["EffectiveBand"] == [0.01, 0.25] and facts["RepetitionTime"] == 2.0 and facts["NumberOfVolumes"] == 140


def test_lower_rate_narrows_the_band(made: tuple[Files, dict[str, Any]]) -> None:
    files = native(made[0])[1]
    names, series = read_table(files["parcels_native"])
    series[:, 6] = 100 * np.sin(2 * np.pi * 0.22 * fitted.TR * np.arange(fitted.T))
    series[:2, 6] = np.nan
    write_table(files["parcels_native"], names, series)
    facts, out = fitted.run(resample.STAGE, files, hz=0.25)
    steps = read_table(out["parcels"])[1]
    assert facts["EffectiveBand"] == [0.01, pytest.approx(0.9 * 0.125)] and len(steps) == 70
    assert np.nanstd(steps[5:-5, 6]) < 1  # .22 Hz is beyond the new Nyquist frequency
    assert np.nanstd(steps[:, 0]) > 0.7 * np.nanstd(series[:, 0])


def test_native_rate(made: tuple[Files, dict[str, Any]]) -> None:
    files = native(made[0])[1]
    facts, out = fitted.run(resample.STAGE, files, hz=None)
    np.testing.assert_array_equal(read_table(out["parcels"])[1], read_table(files["parcels_native"])[1])
    assert facts["SamplingFrequency"] == 0.5 and "native TR of 2 s" in resample.describe(facts)
    assert facts["InvalidSteps"] == sorted({0, 1, *made[0].facts("filter_recipe")["Censored"]})


def test_golden(made: tuple[Files, dict[str, Any]], tmp_path: Path) -> None:
    """If these change on purpose, raise the stage's version and write the new numbers here."""
    files = native(fitted.run(denoise.STAGE, made[0], strategy=None)[1])[1]
    assert (parcellate.STAGE.version, resample.STAGE.version) == (2, 1)
    values = read_table(files["parcels_native"])[1][2::40, 0]
    np.testing.assert_allclose(values, NATIVE, atol=0.02)
    values = read_table(fitted.run(resample.STAGE, files)[1]["parcels"])[1][5::80, 0]
    np.testing.assert_allclose(values, RESAMPLED, atol=0.02)


NATIVE = [-145.906, -29.660, 196.626, 59.168]
RESAMPLED = [-118.314, -25.313, 200.116, 91.151]
