"""Stages are run, and sidecars written, in one place: `runner/call.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOOR = ROOT / "brainlm_data/runner/call.py"
SIDECARS = ROOT / "brainlm_data/files/sidecar.py"
RAW = ROOT / "brainlm_data/simulate/write.py"  # a scanner's JSON, not a stage's
CODE = sorted(
    file
    for folder in ("brainlm_data", "brainlm_model", "benchmarks", "tests")
    for file in (ROOT / folder).rglob("*.py")
    if file not in {DOOR, SIDECARS, RAW, Path(__file__)}
)
RUNS_A_STAGE = re.compile(r"\b(?:stage|STAGE|_TASKS\[\w+\])\.run\((?!\))")
WRITES_A_SIDECAR = re.compile(r"sidecar_path\([^\n]*\)\.write_text\(|write_json\([^\n]*sidecar_path\(")


@pytest.mark.parametrize("file", CODE, ids=lambda file: str(file.relative_to(ROOT)))
def test_only_the_door_runs_stages_and_writes_sidecars(file: Path) -> None:
    """Fixtures describe files that no stage made by `sidecar.write_facts`, which knows where a sidecar lies."""
    text = file.read_text()
    assert not RUNS_A_STAGE.search(text), "use brainlm_data.runner.call.call"
    assert not WRITES_A_SIDECAR.search(text), "use brainlm_data.files.sidecar.write_facts"
    if file.relative_to(ROOT).parts[0] == "brainlm_data":
        assert "write_facts(" not in text, "stages return facts, the runner writes them"
