"""Progress of commands: no time is said to be left before something was measured."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from brainlm_data.files import progress
from brainlm_data.files.progress import Progress, left_after


def test_the_time_left_is_said_once_a_whole_thing_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    things = Progress("simulate", 3)
    for clock.now, amount in ((20.0, 0.02), (40.0, 0.98), (60.0, 1.0), (80.0, 1.0)):
        things.add(amount)
    fetched = Progress("fetch", 500.0, " MB")
    for clock.now, amount in ((90.0, 1.0), (100.0, 49.0)):
        fetched.add(amount)
    assert capsys.readouterr().err.splitlines() == [
        "simulate: 0/3",
        "simulate: 1/3, about 1 min left",
        "simulate: 2/3, about 30 s left",
        "simulate: 3/3",
        "fetch: 1/500 MB",
        "fetch: 50/500 MB, about 3 min left",
    ]


def test_nothing_is_left_of_nothing() -> None:
    assert [left_after(10, done, 2) for done in (0, 1, 2)] == ["", "about 10 s left", ""]
