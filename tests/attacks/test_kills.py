"""A seeded sample of `python -m tests.attacks.kills`, which runs as many as one likes."""

from __future__ import annotations

from tests.attacks import kills


def test_what_was_killed_and_run_again_is_what_was_never_killed() -> None:
    found = kills.main(["--tries", "2", "--seed", "3", "--only", "bundles with workers"])
    assert found["tried"] == found["survived"] == 2, found["fell"]
    assert found["kills"] >= 2
