"""config.yaml: every mistake names its key and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from brainlm_data.config import validate
from brainlm_data.errors import ConfigError
from tests.core.toy import STAGES


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"anatt": {}}, ["unknown key anatt", "allowed here", "anat", "bids_dir"]),
        ({"anat": {"grid": 2}}, ["unknown key anat.grid", "grid_mm"]),
        ({"anat": {"grid_mm": -1}}, ["anat.grid_mm", "greater than 0", "working resolution", "default 2.0"]),
        ({"anat": {"grid_mm": "two"}}, ["anat.grid_mm", "valid number", "'two'"]),
        ({"bundle_size": 0}, ["bundle_size", "greater than or equal to 1"]),
        ({"preprocess": {"engine": "spm"}}, ["preprocess.engine", "'native' or 'fmriprep'"]),
        ({"select": {"subject": "01"}}, ["select.subject", "list"]),
        ({"anat": 3}, ["anat"]),
    ],
)
def test_mistakes(raw: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        validate(raw, STAGES)
    for word in words:
        assert word in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


def test_strings_from_the_command_line_are_coerced() -> None:
    config: Any = validate({"anat": {"grid_mm": "4"}, "bundle_size": "3"}, STAGES)
    assert config.anat.grid_mm == 4.0
    assert config.bundle_size == 3


def test_key_order_does_not_change_the_signature() -> None:
    first: Any = validate({"motion": {"gain": 2, "refuse": "x"}}, STAGES)
    second: Any = validate({"motion": {"refuse": "x", "gain": 2.0}}, STAGES)
    assert STAGES[1].signature(first.motion) == STAGES[1].signature(second.motion)
