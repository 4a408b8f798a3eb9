"""Examples in the docstrings of public names run, and give what they say."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path
from typing import Any

import matplotlib
import pytest

import brainlm_data
import brainlm_model
from tests.model.api_example import make_results

matplotlib.use("Agg")
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_results(tmp_path_factory.mktemp("examples"))


def examples() -> list[Any]:
    """Doctests of what the two packages export, each once."""
    finder, found = doctest.DocTestFinder(), {}
    for package in (brainlm_data, brainlm_model):
        for name in package.__all__:
            value = getattr(package, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                tests = finder.find(value, f"{package.__name__}.{name}", globs={})
                found |= {test.name: test for test in tests if test.examples}
    return list(found.values())


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_runs(example: doctest.DocTest, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    lines: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=lines.append, clear_globs=True)
    assert not lines, "".join(lines)


def test_what_people_use_has_an_example() -> None:
    named = {example.name.split(".")[1] for example in examples()}
    assert {"Store", "ParcelSeries", "prepare", "load", "TrainedModel", "WindowDataset", "BrainLMEmbedder"} <= named
