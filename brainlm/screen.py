"""What a run shows: a line when a stage is done, and one that says what runs now and how long the rest will take.

On a terminal that last line is written over again and again. Elsewhere (a log, a scheduler's output) a line comes when
a stage is done, and now and then one that says that the run lives.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from brainlm.progress import Job, Progress
from brainlm_data.errors import one_line
from brainlm_data.files.progress import duration
from brainlm_data.graph.outcome import last_words

FIRST_S, EVERY_S = 30.0, 120.0  # until a log gets its first line of life, and between two of them
LOOK_S = 5.0  # between two looks into the logs of running jobs, where no line is written over
SHOWN = 3  # running jobs that are named
CLEAR = "\r\x1b[2K"


class Screen:
    """Takes a run's events and shows them."""

    def __init__(self, cores: int, stream: TextIO | None = None) -> None:
        self.progress = Progress(cores)
        self._stream = stream or sys.stdout
        self._is_terminal = self._stream.isatty()
        self._begun = time.monotonic()
        self._said = self._begun  # when the last line came
        self._wait = FIRST_S
        self._live = False  # whether the line that is written over stands there

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._begun

    def say(self, *lines: str) -> None:
        """Lines that stay."""
        self._clear()
        for line in lines:
            print(line, file=self._stream)
        self._stream.flush()
        self._said = time.monotonic()

    def job(self, event: Mapping[str, Any]) -> None:
        """A job has started, finished or failed."""
        kind, key = event["kind"], (event["stage"], event["bundle"])
        job = self.progress.take(kind, key, self.now)
        if job is None:
            return
        if kind == "failed":
            first, *more = last_words(job.log)
            self.say(f"  {job.stage} of {job.bundle} failed: {one_line(first)}", *(f"    {one_line(m)}" for m in more))
        jobs = [other for other in self.progress.jobs.values() if other.stage == job.stage]
        if kind != "started" and all(other.ended is not None for other in jobs):
            self.say(self._stage(job.stage, jobs))
        self.tick()

    def _stage(self, name: str, jobs: Sequence[Job]) -> str:
        """The line of a stage that is done."""
        units = sum(job.units for job in jobs)
        done = sum(job.units for job in jobs if not job.failed)
        begun = min(job.started for job in jobs if job.started is not None)
        ended = max(job.ended for job in jobs if job.ended is not None)
        return f"  {name:<13} {_counted(done, units):>12}   {duration(ended - begun):>10}"

    def tick(self) -> None:
        """Say what runs now: on a terminal at once, elsewhere now and then."""
        if not self.progress.jobs:
            return
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(CLEAR + self._now()[:width])
            self._stream.flush()
            self._live = True
            return
        if self.now - self.progress.looked > LOOK_S:
            self.progress.left(self.now)  # which keeps when a job's log first said how far it is
        if time.monotonic() - self._said > self._wait:
            self._wait = EVERY_S
            self.say(self._now())

    def _now(self) -> str:
        """What runs, how much is done, how long the rest takes."""
        running = [job for job in self.progress.jobs.values() if job.runs]
        parts = []
        for stage in dict.fromkeys(job.stage for job in running):
            jobs = [job for job in self.progress.jobs.values() if job.stage == stage]
            if len(jobs) == 1 and jobs[0].units == 1:
                share = jobs[0].share()
                parts.append(f"{stage} {share:.0%}" if share else f"{stage} ({duration(self.now - _start(jobs[0]))})")
            else:
                done = sum(job.share() * job.units if job.runs else job.units * (job.ended is not None) for job in jobs)
                parts.append(f"{stage} {_counted(int(done), sum(job.units for job in jobs))}")
        if len(parts) > SHOWN:
            parts = [*parts[:SHOWN], "..."]
        seconds, unknown = self.progress.left(self.now)
        rest = [name for name in unknown if name not in {job.stage for job in running}]
        if seconds is None or (unknown and seconds < 1):
            left = ""  # nothing was measured yet, or nothing of what is to come
        else:
            left = f"about {duration(seconds)} left" + (f", without {', '.join(rest[:2])}" if rest else "")
        return "  " + "  |  ".join(part for part in (", ".join(parts) or "waiting", left) if part)

    def close(self) -> None:
        """Leave no half line behind."""
        self._clear()
        self._stream.flush()

    def _clear(self) -> None:
        if self._live:
            self._stream.write(CLEAR)
            self._live = False


def _start(job: Job) -> float:
    return job.started or 0.0


def _counted(done: int, units: int) -> str:
    return f"{done} of {units}"
