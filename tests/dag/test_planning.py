"""The benchmark of planning, small: what is to do, and that nothing is once manifests and records are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.planning import measure


@pytest.mark.slow
def test_hundreds_of_recordings_in_bundles(tmp_path: Path) -> None:
    found = measure(tmp_path, recordings=400, bundle=20, todo_only=False)
    per_bundle = 11  # stages of a recording's bundle; with anat as many again for the subjects
    assert found["todo_jobs"] == found["todo_again_jobs"] == 20 * per_bundle + 20 + 8 + 1
    assert found["done_jobs"] == 0
    assert found["n_outputs"] > 400 * per_bundle
