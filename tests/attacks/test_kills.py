"""A seeded sample of `python -m tests.attacks.kills`, which runs as many as one likes."""

from __future__ import annotations

import pytest

from tests.attacks import kills


@pytest.mark.parametrize("kind", ["bundles with workers", pytest.param("fetch", marks=pytest.mark.slow)])
def test_what_was_killed_and_run_again_is_what_was_never_killed(kind: str) -> None:
    found = kills.main(["--tries", "2", "--seed", "3", "--only", kind])
    assert found["tried"] == found["survived"] == 2, found["fell"]
    assert found["kills"] >= 2
