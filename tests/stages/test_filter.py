"""What the filter decides, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from brainlm_data.errors import Refused
from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import read_table
from brainlm_data.methods.operators import Recipe
from brainlm_data.stage import Files
from brainlm_data.stages import confounds, filter
from tests.stages import fitted


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return fitted.run(confounds.STAGE, fitted.recording(tmp_path_factory.mktemp("filter"), non_steady=2)[0])[1]


def test_default_is_a_high_pass(files: Files) -> None:
    facts, out = fitted.run(filter.STAGE, files)
    recipe = Recipe.load(out["filter_recipe"])
    assert recipe == Recipe(fitted.TR, fitted.T, 2, (), "butterworth", 0.01, None)
    assert facts["EffectiveBand"] == [0.01, 0.25] and facts["Warnings"] == [] and facts["Dropped"] == 2
    content = json.loads(out["filter_recipe"].read_text())
    expected = {"method": "butterworth", "order": 5, "low_hz": 0.01, "high_hz": None, "tr_s": 2.0, "n_volumes": 140,
                "dropped": 2, "censored": []}  # fmt: skip
    assert {k: content[k] for k in expected} == expected
    assert out.facts("filter_recipe")["RequestedBand"] == [0.01, None]
    assert filter.describe(facts) == (
        "The effective band was 0.01-0.25 Hz: high-pass by Butterworth filter of order 5, forward and backward, before"
        " denoising; no low-pass. 2 non-steady-state volumes were dropped."
    )


@pytest.mark.parametrize("high", [0.25, 0.3, 1.0])
def test_an_edge_beyond_nyquist_is_clamped_and_said(files: Files, high: float) -> None:
    facts, out = fitted.run(filter.STAGE, files, high_hz=high)
    assert facts["EffectiveBand"] == [0.01, 0.25] and facts["RequestedBand"] == [0.01, high]
    assert Recipe.load(out["filter_recipe"]).high_hz is None
    assert f"{high:g} Hz is not below Nyquist" in facts["Warnings"][0]
    assert f"requested upper edge of {high:g} Hz" in filter.describe(facts)


def test_censoring(files: Files) -> None:
    facts, _ = fitted.run(filter.STAGE, files, censor_fd_mm=0.4, high_hz=0.1, drop=5)
    names, table = read_table(files["confounds"])
    fd = table[:, names.index("framewise_displacement")]
    assert facts["Censored"] == [i for i, v in enumerate(fd) if v > 0.4 and i >= 5] and len(facts["Censored"]) > 2
    assert facts["Dropped"] == 5 and facts["EffectiveBand"] == [0.01, 0.1]
    text = filter.describe(facts)
    assert "low-pass by Butterworth" in text and "0.4 mm (FD; Power et al., 2014)" in text


def test_censoring_by_displacement_without_breathing(tmp_path: Path) -> None:
    """Where the table has it; at a long TR the plain one decides, and the sidecar says so."""
    inputs, _ = fitted.recording(tmp_path)
    asked = {"censor_fd_mm": 0.3, "fd": "filtered"}
    facts, _ = fitted.run(filter.STAGE, fitted.run(confounds.STAGE, inputs, n_compcor=0)[1], **asked)
    assert facts["CensorFd"] == "plain" and "breathing" not in filter.describe(facts)
    for name in ("voxel_sample", "motion_params", "parcels_raw"):
        write_facts(inputs[name], inputs.facts(name) | {"RepetitionTime": 0.8})
    files = fitted.run(confounds.STAGE, inputs, n_compcor=0)[1]
    facts, _ = fitted.run(filter.STAGE, files, **asked)
    names, table = read_table(files["confounds"])
    moved = table[:, names.index("framewise_displacement_filtered")] > 0.3
    assert facts["CensorFd"] == "filtered" and facts["Censored"] == [int(t) for t in moved.nonzero()[0]] != []
    assert "(FD without breathing; Fair et al., 2020; Power et al., 2014)" in filter.describe(facts)


def test_volumes_without_an_image_are_always_censored(files: Files, tmp_path: Path) -> None:
    for name in ("parcels_raw", "confounds"):
        (tmp_path / files[name].name).write_bytes(files[name].read_bytes())
    facts = {**files.facts("parcels_raw"), "EmptyVolumes": [0, 7, 31]}
    write_facts(tmp_path / "parcels_raw.tsv", facts)
    inputs = {**files, **{n: tmp_path / files[n].name for n in ("parcels_raw", "confounds")}}
    found, out = fitted.run(filter.STAGE, Files(inputs, files.meta))
    assert Recipe.load(out["filter_recipe"]).censored == (7, 31) == tuple(found["Censored"])  # 0 is dropped
    assert "2 without an image were interpolated and marked invalid" in filter.describe(found)


def test_only_the_mean(files: Files) -> None:
    facts, _ = fitted.run(filter.STAGE, files, low_hz=None)
    assert facts["EffectiveBand"] == [0.0, 0.25] and "only the mean" in filter.describe(facts)


def test_cosines_of_a_short_recording(files: Files) -> None:
    facts, _ = fitted.run(filter.STAGE, files, method="cosine", low_hz=0.005)
    assert facts["EffectiveBand"][0] == pytest.approx(2 / (2 * 138 * 2.0))  # below what was asked for: it is said
    facts, _ = fitted.run(filter.STAGE, files, low_hz=0.002)
    assert "longer than the recording" in facts["Warnings"][0]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"censor_fd_mm": 0.001}, "volumes are left"),
        ({"drop": 130}, "10 of 140 volumes are left"),
        ({"low_hz": 0.25}, "not below the Nyquist frequency, 0.25 Hz"),
    ],
)
def test_refusals(files: Files, section: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        fitted.run(filter.STAGE, files, **section)
    assert "sub-01_task-rest" in caught.value.message and caught.value.remedy


@pytest.mark.parametrize(
    "section", [{"low_hz": 0}, {"low_hz": 0.1, "high_hz": 0.05}, {"drop": -1}, {"drop": "some"}, {"method": "fft"}]
)
def test_impossible_sections(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        filter.Config(**section)


def test_words_from_the_command_line() -> None:
    config = filter.Config.model_validate({"high_hz": "0.09", "low_hz": "null", "drop": "3"})
    assert (config.high_hz, config.low_hz, config.drop) == (0.09, None, 3)


def test_golden(files: Files, golden: Callable[..., None]) -> None:
    facts, out = fitted.run(filter.STAGE, files, censor_fd_mm=0.4, high_hz=0.1)
    golden(filter.STAGE, out, facts, after=[confounds.STAGE])
