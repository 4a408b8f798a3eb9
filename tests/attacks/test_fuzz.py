"""A sample of `python -m tests.attacks.fuzz`: the same few cases of every cheap format in each run of the suite."""

from __future__ import annotations

import pytest

from tests.attacks.formats import FORMATS
from tests.attacks.fuzz import fuzz

CHEAP = [name for name, form in FORMATS.items() if not form.slow]


@pytest.mark.parametrize("name", CHEAP)
def test_damaged_files_are_refused_in_one_line_or_read_right(name: str) -> None:
    report = fuzz([name], seed=20, rounds=[0], size=30)
    assert report.executions == 30 and report.found == {}
