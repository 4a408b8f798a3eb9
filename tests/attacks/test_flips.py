"""A small sample of `tests.attacks.flips`; the long form is run by hand."""

from __future__ import annotations

from pathlib import Path

from tests.attacks.flips import attack


def test_damage_at_rest_is_noticed_whatever_reads_it(tmp_path: Path) -> None:
    report = attack(tmp_path, seed=0, cases=25)
    assert report.tried == 25 and report.fell == {}
