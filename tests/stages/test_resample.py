"""Stage resample: a common rate, with anti-aliasing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import read_table, write_table
from brainlm_data.stage import Files
from brainlm_data.stages import confounds, denoise, filter, parcellate, resample
from tests.stages import fitted


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Files:
    files: Files = fitted.recording(tmp_path_factory.mktemp("resample"), non_steady=2, noise=20)[0]
    sections: list[tuple[Any, dict[str, Any]]] = [
        (confounds, {}), (filter, {"censor_fd_mm": 0.4}), (denoise, {"strategy": None}), (parcellate, {}),
    ]  # fmt: skip
    for stage, section in sections:
        files = fitted.run(stage.STAGE, files, **section)[1]
    atlas = files["parcels_raw"].with_name("atlas.tsv")
    atlas.touch()
    return Files({**files, "atlas_table": atlas}, files.meta)


def test_common_rate(native: Files) -> None:
    series = read_table(native["parcels_native"])[1]
    facts, out = fitted.run(resample.STAGE, native)
    steps = read_table(out["parcels"])[1]
    assert steps.shape == (279, 8) and facts["NumberOfSteps"] == 279 and facts["SamplingFrequency"] == 1
    assert np.isnan(steps[:4]).all() and np.isfinite(steps[4:, :7]).all() and np.isnan(steps[:, 7]).all()
    np.testing.assert_allclose(steps[4::2, :7], series[2:, :7], rtol=1e-6, atol=1e-4)  # volumes lie on steps 4, 6, ...
    censored = native.facts("filter_recipe")["Censored"]
    expected = {0, 1, 2, 3} | {2 * c + k for c in censored for k in (-1, 0, 1)}
    assert facts["InvalidSteps"] == sorted(expected)
    assert facts["EffectiveBand"] == [0.01, 0.25] and facts["RepetitionTime"] == 2.0 and facts["NumberOfVolumes"] == 140


def test_lower_rate_narrows_the_band(native: Files, tmp_path: Path) -> None:
    names, series = read_table(native["parcels_native"])
    series[:, 6] = 100 * np.sin(2 * np.pi * 0.22 * fitted.TR * np.arange(fitted.T))
    series[:2, 6] = np.nan
    changed = tmp_path / "series.tsv"
    write_table(changed, names, series)
    write_facts(changed, native.facts("parcels_native"))
    facts, out = fitted.run(resample.STAGE, Files({**native, "parcels_native": changed}, native.meta), hz=0.25)
    steps = read_table(out["parcels"])[1]
    assert facts["EffectiveBand"] == [0.01, pytest.approx(0.9 * 0.125)] and len(steps) == 70
    assert np.nanstd(steps[5:-5, 6]) < 1  # .22 Hz is beyond the new Nyquist frequency
    assert np.nanstd(steps[:, 0]) > 0.7 * np.nanstd(series[:, 0])


def test_native_rate(native: Files) -> None:
    facts, out = fitted.run(resample.STAGE, native, hz=None)
    np.testing.assert_array_equal(read_table(out["parcels"])[1], read_table(native["parcels_native"])[1])
    assert facts["SamplingFrequency"] == 0.5 and "native TR of 2 s" in resample.describe(facts)
    assert facts["InvalidSteps"] == sorted({0, 1, *native.facts("filter_recipe")["Censored"]})


@pytest.mark.parametrize("hz", [0.5, 0.500002, 0.499998])
def test_the_rate_of_the_volumes_but_for_rounding(native: Files, hz: float) -> None:
    """Headers hold a TR in single precision: that must neither move a series nor cut its last step off."""
    facts, out = fitted.run(resample.STAGE, native, hz=hz)
    assert out["parcels"].read_bytes() == native["parcels_native"].read_bytes()
    assert facts["NumberOfSteps"] == fitted.T and facts["EffectiveBand"] == [0.01, 0.25]


def test_an_atlas_in_another_space_is_stated(native: Files, tmp_path: Path) -> None:
    mismatch = "atlas in MNI152NLin6Asym, template MNI152NLin2009aSym"
    (tmp_path / "atlas.tsv").touch()
    write_facts(tmp_path / "atlas.tsv", {"SpaceMismatch": mismatch, "Warnings": [f"{mismatch}: look"]})
    facts, _ = fitted.run(resample.STAGE, Files({**native, "atlas_table": tmp_path / "atlas.tsv"}, native.meta))
    assert facts["SpaceMismatch"] == mismatch and facts["Warnings"][-1] == f"{mismatch}: look"


def test_golden(native: Files, golden: Callable[..., None]) -> None:
    facts, out = fitted.run(resample.STAGE, native)
    golden(resample.STAGE, out, facts, after=[confounds.STAGE, filter.STAGE, denoise.STAGE, parcellate.STAGE])
