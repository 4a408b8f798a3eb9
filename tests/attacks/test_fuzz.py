"""A sample of `python -m tests.attacks.fuzz`: the same few cases of every cheap format in each run of the suite."""

from __future__ import annotations

import pytest

from tests.attacks.formats import FORMATS
from tests.attacks.fuzz import fuzz

# read by functions that are still to be made to refuse what is damaged
PENDING = ("config", "strategy", "scaler", "scaler-zip", "filter-recipe", "denoise-recipe", "zarr.json", "zarr-array",
           "zarr-chunk", "parquet", "manifest", "receipt", "listing", "index")  # fmt: skip
CHEAP = [name for name, form in FORMATS.items() if not form.slow and name not in PENDING]


@pytest.mark.parametrize("name", CHEAP)
def test_damaged_files_are_refused_in_one_line_or_read_right(name: str) -> None:
    report = fuzz([name], seed=20, rounds=[0], size=30)
    assert report.executions == 30 and report.found == {}
