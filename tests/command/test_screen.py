"""What a run shows, and how it reckons the time that is left: events in, lines out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from brainlm.progress import Progress
from brainlm.screen import CLEAR, Screen
from brainlm_data.files.progress import duration


def job(stage: str, bundle: str, seconds: float | None = 100.0, units: int = 1, level: str = "recording") -> Any:
    """A job as the event `jobs` has it."""
    return {"stage": stage, "bundle": bundle, "level": level, "units": units, "seconds": seconds, "threads": 1,
            "log": f"/nowhere/{stage}/{bundle}.log"}  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says that somebody looks at it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (5000, "1 h 23 min"), (200_000, "55 h")],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_time_left_follows_what_was_measured() -> None:
    """Two cores; a stage takes as long as its jobs did so far, another one as much of its limit as all jobs did."""
    progress = Progress(cores=2)
    bundles = ("a", "b", "c", "d")
    progress.begin([job("motion", b) for b in bundles] + [job("anat", b, 400) for b in bundles])
    progress.begin([job("train", "cohort", None, level="cohort")])
    before, unknown = progress.left(0)
    assert before is None and unknown == ["motion", "anat", "train"]  # nothing was measured yet: no figure
    progress.take("started", ("motion", "a"), 0)
    progress.take("finished", ("motion", "a"), 10)  # a tenth of its limit
    assert progress.left(10)[0] == pytest.approx((3 * 10 + 4 * 40) / 2)
    assert progress.take("finished", ("report", "cohort"), 10) is None


def test_a_job_that_says_how_far_it_is(tmp_path: Path) -> None:
    progress = Progress(cores=1)
    told = job("train", "cohort", None, level="cohort") | {"log": str(tmp_path / "log")}
    progress.begin([told])
    progress.take("started", ("train", "cohort"), 0)
    assert progress.left(20) == (None, ["train"])
    (tmp_path / "log").write_text("train: 1/40, loss .5\n")
    assert progress.left(30) == (None, ["train"])  # 30 s were spent before the first step: no measure of the others
    (tmp_path / "log").write_text("train: 1/40, loss .5\ntrain: 20/40, loss .4, about 2 s left\n")
    assert progress.left(49) == (pytest.approx(20), [])  # 19 steps in 19 s


def test_what_is_done_of_running_jobs_is_a_measure(tmp_path: Path) -> None:
    """Before the first job has ended: two of eight recordings in 20 s."""
    progress = Progress(cores=1)
    log = tmp_path / "log"
    progress.begin([job("motion", "a", 800, units=8) | {"log": str(log)}, job("anat", "a", 400, units=8)])
    progress.take("started", ("motion", "a"), 0)
    log.write_text("motion: sub-01 done (1/8)\n")
    assert progress.left(10) == (pytest.approx(70 + 40), [])
    log.write_text("motion: sub-01 done (1/8)\nmotion: sub-02 done (2/8, about 1 min left)\n")
    assert progress.left(20) == (pytest.approx(60 + 40), [])


def test_a_log_gets_a_line_per_stage_and_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    screen = Screen(2, stream)
    screen.progress.begin([job("motion", "a", units=3), job("motion", "b", units=2), job("anat", "a")])
    for kind, bundle in (("started", "a"), ("started", "b"), ("finished", "b"), ("finished", "a")):
        screen.job({"kind": kind, "stage": "motion", "bundle": bundle})
    screen.job({"kind": "started", "stage": "all", "bundle": "cohort"})  # a target, no stage
    assert stream.getvalue().split() == ["motion", "5", "of", "5", "1", "s"]
    screen.job({"kind": "started", "stage": "anat", "bundle": "a"})
    monkeypatch.setattr("brainlm.screen.FIRST_S", 0.0)
    screen._wait = 0.0
    screen.tick()
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith("  anat (1 s)  |  about ") and last.endswith(" left")


def test_a_failure_is_said_at_once(tmp_path: Path) -> None:
    stream = io.StringIO()
    screen = Screen(1, stream)
    (tmp_path / "log").write_text("motion: sub-01 ...\nerror: motion: the disk is full\n  try: free space\n")
    screen.progress.begin([job("motion", "sub-01") | {"log": str(tmp_path / "log")}])
    screen.job({"kind": "started", "stage": "motion", "bundle": "sub-01"})
    screen.job({"kind": "failed", "stage": "motion", "bundle": "sub-01"})
    lines = stream.getvalue().splitlines()
    assert lines[0] == "  motion of sub-01 failed: motion: the disk is full" and lines[1] == "    try: free space"
    assert lines[2].split()[:4] == ["motion", "0", "of", "1"]


def test_a_terminal_has_one_line_that_is_written_over() -> None:
    stream = Terminal()
    screen = Screen(1, stream)
    screen.progress.begin([job("motion", "sub-01")])
    screen.job({"kind": "started", "stage": "motion", "bundle": "sub-01"})
    screen.tick()
    screen.job({"kind": "finished", "stage": "motion", "bundle": "sub-01"})
    screen.close()
    text = stream.getvalue()
    assert text.count(CLEAR) >= 3 and "motion (1 s)" in text and text.endswith(CLEAR)
    assert text.split("\n")[0].split(CLEAR)[-1] == f"  {'motion':<13} {'1 of 1':>12}   {'1 s':>10}"
