"""brainlm_data spells no task, figure or stage of the model: to add one touches brainlm_model alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainlm_data import STAGES as DATA_STAGES
from brainlm_model.figures import FIGURES
from brainlm_model.stages import STAGES
from tests.conftest import ROOT

MODEL = {stage.name for stage in STAGES}
NAMES = MODEL | {name for stage in STAGES for name in stage.artifacts} | set(FIGURES) - {"cohort"}  # a level, too
# Words that mean something else there.
ELSEWHERE = {
    "dataset/splits.py": {"train"},  # the split
    "dataset/gather.py": {"train"},
    "dataset/patterns.py": {"train"},
    "exports/hf.py": {"train", "state"},  # state.json of a dataset
    "paths.py": {"state"},  # what a killed job goes on from
    "simulate/parcels.py": {"train"},
    "dataset/card.py": {"networks", "model"},  # of an atlas; the part of a model's card that is not its data's
    "imports/images.py": {"networks"},
    "quality/page.py": {"figures"},  # of a QC page
}
CODE = sorted((ROOT / "brainlm_data").rglob("*.py"))


def spelled(text: str) -> Iterator[str]:
    """Names and paths among the strings of a module: what has no space, in words. Docstrings are sentences."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value.strip():
            yield node.value
            yield from re.split(r"[^a-z0-9_]+", node.value)


@pytest.mark.parametrize("file", CODE, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_spells_a_name_of_the_model(file: Path) -> None:
    allowed = ELSEWHERE.get(str(file.relative_to(ROOT / "brainlm_data")), set())
    assert set(spelled(file.read_text())) & NAMES == allowed


def test_a_name_is_seen_in_a_path_and_alone() -> None:
    assert {"scaling", "train"} <= set(spelled('a = "metrics/scaling.json"\nb = {"train": 1}\n')) & NAMES
    assert not MODEL & {stage.name for stage in DATA_STAGES}
