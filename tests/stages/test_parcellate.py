"""Stage parcellate: scaling, filter and regression of the parcel means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import read_table, write_table
from brainlm_data.methods.operators import Recipe, high_pass
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import confounds, denoise, filter, parcellate
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


def test_percent_of_each_parcels_own_mean(made: tuple[Files, dict[str, Any]]) -> None:
    """Over the volumes that are neither dropped nor censored; each column is the other scaling times one factor."""
    files, _ = made
    scaled = native(files)[2]
    facts, _, percent = native(files, scale="percent")
    recipe, raw = Recipe.load(files["filter_recipe"]), read_table(files["parcels_raw"])[1]
    kept = [t for t in range(2, fitted.T) if t not in recipe.censored]
    assert recipe.censored
    factor = 100 / raw[kept, :7].mean(0) / (10_000 / files.facts("parcels_raw")["GrandMean"])
    np.testing.assert_allclose(percent[2:, :7], scaled[2:, :7] * factor, rtol=1e-6, atol=1e-8)
    assert np.isnan(percent[:2]).all() and np.isnan(percent[:, 7]).all()
    assert facts["Units"] == "percent of the parcel's mean" and facts["GrandMeanScaling"] is None
    assert "in percent of each parcel's own mean" in parcellate.describe(facts)
    assert not any("no positive mean" in warning for warning in facts["Warnings"])


def test_a_parcel_without_a_positive_mean_has_no_percent(made: tuple[Files, dict[str, Any]], tmp_path: Path) -> None:
    files, _ = made
    names, raw = read_table(files["parcels_raw"])
    raw[:, 1] -= 2 * np.nanmean(raw[:, 1])
    path = tmp_path / "raw.tsv"
    write_table(path, names, raw)
    write_facts(path, files.facts("parcels_raw"))
    facts, _, percent = native(Files({**files, "parcels_raw": path}, files.meta), scale="percent")
    assert np.isnan(percent[:, 1]).all() and np.isfinite(percent[2:, 0]).all()
    assert "1 parcels have no positive mean to be in percent of: n/a" in facts["Warnings"]


def test_golden(made: tuple[Files, dict[str, Any]], golden: Callable[..., None]) -> None:
    facts, out, _ = native(fitted.run(denoise.STAGE, made[0], strategy=None)[1])
    golden(parcellate.STAGE, out, facts, after=[confounds.STAGE, filter.STAGE, denoise.STAGE])
