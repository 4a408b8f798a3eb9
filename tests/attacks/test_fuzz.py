"""A sample of `python -m tests.attacks.fuzz`: the same few cases of every cheap format in each run of the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.formats import FORMATS
from tests.attacks.fuzz import attempt, fuzz, mutated

CHEAP = [name for name, form in FORMATS.items() if not form.slow]


@pytest.mark.parametrize("name", CHEAP)
def test_damaged_files_are_refused_in_one_line_or_read_right(name: str) -> None:
    report = fuzz([name], seed=20, rounds=[0], size=30)
    assert report.executions == 30 and report.found == {}


# What an hour of it found: each once more.
FOUND = {"abide-zip": "15:3385", "scaler-zip": "15:1436", "strategy": "15:241", "manifest": "15:3603"}


@pytest.mark.parametrize("name", FOUND)
def test_what_fell_out_once(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    path = form.write(tmp_path)
    expected = form.read(path) if form.whole else None
    path.write_bytes(mutated(form, path.read_bytes(), name, FOUND[name]))
    assert attempt(form, path, expected) == "refused" or name == "manifest"
