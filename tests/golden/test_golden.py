"""Summaries tell contents apart; a golden file fails where the output changed and the version did not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainlm_data.stages import filter
from brainlm_model.stages import ALL_STAGES
from tests.golden import check as module
from tests.golden.check import check, golden_file
from tests.golden.summary import content, differences


def test_every_stage_has_a_golden_file_of_its_version(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--golden"):
        pytest.skip("the files are being written")
    held = {file.stem: json.loads(file.read_text())["version"] for file in module.HERE.glob("*.json")}
    assert held == {stage.name: stage.version for stage in ALL_STAGES}


X = np.random.default_rng(0).normal(5, 2, (40, 6))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (X * (1 + 1e-6), True),
        (X + 0.1, False),
        (X * 1.01, False),
        (X[::-1], False),
        (np.roll(X, 1, axis=1), False),
        (np.where(X > 8, np.nan, X), False),
        (X[:-1], False),
        (X.T, False),
    ],
    ids=["rounding", "shift", "scale", "time reversed", "columns moved", "missing", "shorter", "transposed"],
)
def test_arrays_are_told_apart(other: Any, same: bool) -> None:
    assert (not list(differences(content({"x": other}), content({"x": X}), 1e-3))) == same


@pytest.mark.parametrize("change", [{"a": 2.01}, {"b": "word"}, {"c": None}, {"d": [1, 2]}, {"e": 1}, {"f": True}])
def test_facts_are_told_apart(change: dict[str, Any]) -> None:
    facts = {"a": 2.0, "b": "words", "c": 0, "d": [1, 2, 3], "f": False}
    assert list(differences(content(facts | change), content(facts), 1e-3))
    assert not list(differences(content(facts), content(facts), 1e-3))


def test_an_output_changes_only_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HERE", tmp_path)
    file, first = {"filter_recipe": tmp_path / "recipe.json"}, filter.STAGE
    second = replace(first, version=first.version + 1)
    file["filter_recipe"].write_text('{"low_hz": 0.01}')
    with pytest.raises(AssertionError, match="make golden"):
        check(first, file)
    check(first, file, renew=True)
    check(first, file)
    file["filter_recipe"].write_text('{"low_hz": 0.02}')
    for renew in (False, True):  # writing anew is no way around the version
        with pytest.raises(AssertionError, match="raise its version"):
            check(first, file, renew=renew)
    with pytest.raises(AssertionError, match="make golden"):
        check(second, file)
    check(second, file, renew=True)
    check(second, file)
    assert json.loads(golden_file(second).read_text())["version"] == second.version
    with pytest.raises(AssertionError, match="make golden"):  # another stage made the input
        check(second, file, after=[first])
