"""How far a run is: jobs by stage, what has been measured of them, and the time that is left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Key = tuple[str, str]  # stage, bundle
COUNT = re.compile(r"(\d+)/(\d+)")  # of a job's last line: `sub-01 done (3/8, ...)`, `train: 120/1000, ...`
TAIL = 2000  # bytes at the end of a log that are looked at


@dataclass
class Job:
    """One job: what is known before, and its times (seconds on the run's clock)."""

    stage: str
    bundle: str
    units: int
    seconds: float | None  # at most; None: nobody knows before
    threads: int
    log: Path
    is_cohort: bool
    started: float | None = None
    ended: float | None = None
    failed: bool = False
    seen: tuple[float, float] | None = None  # when its log first said how much was done, and how much that was

    @property
    def runs(self) -> bool:
        """Started and not ended."""
        return self.started is not None and self.ended is None

    def share(self) -> float:
        """How much of it is done, 0 to 1, as its log says; 0 where that says nothing."""
        if self.ended is not None:
            return 1.0
        if not self.runs:
            return 0.0
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(stream.seek(0, 2) - TAIL, 0))
                counts = COUNT.findall(stream.read().decode(errors="replace"))
        except OSError:
            return 0.0
        if not counts or int(counts[-1][1]) == 0:
            return 0.0
        return min(int(counts[-1][0]) / int(counts[-1][1]), 1.0)


@dataclass
class Progress:
    """All jobs of a run, by stage in the order of the pipeline."""

    cores: int
    jobs: dict[Key, Job] = field(default_factory=dict)
    now: float = 0.0
    looked: float = 0.0  # when the logs of running jobs were last looked into

    def begin(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        """The jobs that are going to run, as the event `jobs` has them."""
        for told in jobs:
            job = Job(told["stage"], told["bundle"], told["units"], told["seconds"], told["threads"],
                      Path(told["log"]), told["level"] == "cohort")  # fmt: skip
            self.jobs[job.stage, job.bundle] = job

    def take(self, kind: str, key: Key, now: float) -> Job | None:
        """An event of a job; the job, or None where it is none of the run's."""
        self.now = now
        job = self.jobs.get(key)
        if job is None:
            return None
        if kind == "started":
            job.started, job.ended, job.failed, job.seen = now, None, False, None
        else:
            job.started = now if job.started is None else job.started
            job.ended, job.failed = now, kind == "failed"
        return job

    def stages(self) -> dict[str, list[Job]]:
        """Stage -> its jobs."""
        by_stage: dict[str, list[Job]] = {}
        for job in self.jobs.values():
            by_stage.setdefault(job.stage, []).append(job)
        return by_stage

    def left(self, now: float) -> tuple[float | None, list[str]]:
        """Seconds that are left, and the stages that are to come of which nobody knows how long they take.

        None as long as nothing was measured. A stage of which jobs have ended takes as long as those did; another one
        as much of its limit as all jobs so far took of theirs. Jobs of recordings share the cores; those of the cohort
        come one after the other.
        """
        self.looked = now
        ratios = self._ratios(now)
        shared, serial, unknown, is_known = 0.0, 0.0, list[str](), False
        for stage, jobs in self.stages().items():
            waiting = [job for job in jobs if job.ended is None]
            for job in waiting:
                seconds = self._remaining(job, now, ratios.get(stage, ratios.get("")))
                if seconds is None:
                    unknown.append(stage)
                    continue
                is_known = True
                if job.is_cohort:
                    serial += seconds
                else:
                    shared += seconds * min(job.threads / self.cores, 1.0)
        return shared + serial if is_known or not unknown else None, list(dict.fromkeys(unknown))

    def _ratios(self, now: float) -> dict[str, float]:
        """Stage -> measured over expected seconds, of what is done of its jobs; "": of all."""
        sums: dict[str, list[float]] = {}
        for job in self.jobs.values():
            share = job.share()
            if job.started is None or not job.seconds or not share or job.failed:
                continue
            for name in (job.stage, ""):
                pair = sums.setdefault(name, [0.0, 0.0])
                pair[0] += (now if job.ended is None else job.ended) - job.started
                pair[1] += job.seconds * share
        return {name: took / expected for name, (took, expected) in sums.items()}

    def _remaining(self, job: Job, now: float, ratio: float | None) -> float | None:
        """Seconds of a job that has not ended; None where nobody knows."""
        if job.runs and job.started is not None:
            elapsed, share = now - job.started, job.share()
            if share and job.seen is None:
                job.seen = now, share
            # what it did since its log first spoke: starting up (imports, caches) is no measure of the rest
            if job.seen and share > job.seen[1]:
                begun, before = job.seen
                return (now - begun) / (share - before) * (1 - share)
            if job.seconds is None or ratio is None:
                return None
            return max(job.seconds * ratio - elapsed, 0.1 * job.seconds * ratio)
        return None if job.seconds is None or ratio is None else job.seconds * ratio
