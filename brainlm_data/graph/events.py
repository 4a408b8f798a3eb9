"""What a run tells whoever started it: one JSON object per line, by a pipe, and which jobs have failed.

`brainlm` starts Snakemake with the pipe's number in `BRAINLM_EVENTS`. Snakemake reports its jobs by log records; a
handler turns them into events. Without a pipe nothing is told, and failed jobs are still counted, for the summary.

    {"kind": "plan", "lines": [...]}                  what is odd, what has to be done again and why, what it takes
    {"kind": "stats", "stats": {stage: jobs}, "takes", "warning", "requests": [{"stage", "jobs", "cores", "mb", ...}]}
                                                      how many jobs there are, what they take, and what each requests
    {"kind": "jobs", "jobs": [{"stage", "bundle", "units", "seconds", "threads", "log"}, ...]}    before the first one
    {"kind": "started" | "finished" | "failed", "stage", "bundle"}
    {"kind": "end", "lines": [...], "if_interrupted": [...], "refused": n, "through": n, "failed": n}
                                                      the summary; and without the jobs that Ctrl-C has ended
    {"kind": "error", "message", "remedy"}            before any job
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

VARIABLE = "BRAINLM_EVENTS"
COMMAND = "BRAINLM_COMMAND"  # as it was typed, for pages that say it
LOGGER = "snakemake.logging"
COHORT = "cohort"
NOTHING = "Nothing to be done"  # how Snakemake begins to say so


class Events(logging.Handler):
    """Snakemake's log records as events.

    Attributes
    ----------
    failed: (stage, bundle) of the jobs that have failed and did not succeed at a later attempt.
    nothing_to_do: called where Snakemake has nothing to do: it calls no hook of the workflow then.
    takes: what the jobs that are going to run take: the further content of `stats`.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        number = os.environ.pop(VARIABLE, "")  # not for the jobs, in which that number is another file
        self._pipe = int(number) if number.isdigit() else None
        self._jobs: dict[int, tuple[str, str]] = {}
        self.failed: dict[tuple[str, str], None] = {}
        self.nothing_to_do: Callable[[], None] = lambda: None
        self.takes: Callable[[], dict[str, Any]] = dict
        logger = logging.getLogger(LOGGER)
        for old in [handler for handler in logger.handlers if isinstance(handler, Events)]:
            logger.removeHandler(old)
        logger.addHandler(self)

    @property
    def is_told(self) -> bool:
        """Whether somebody listens, who then shows what is told."""
        return self._pipe is not None

    def tell(self, kind: str, **content: Any) -> None:
        """One event; where nobody listens (any more) it is lost."""
        if self._pipe is None:
            return
        text = json.dumps({"kind": kind, **content}, default=str) + "\n"
        with suppress(OSError):
            data = text.encode()
            while data:
                data = data[os.write(self._pipe, data) :]

    def emit(self, record: logging.LogRecord) -> None:
        """Take one of Snakemake's log records."""
        told = vars(record)
        event = str(told.get("event", ""))
        if event == "job_info":
            job = told["rule_name"], told["wildcards"].get("bundle", COHORT)
            self._jobs[told["jobid"]] = job
            self.tell("started", stage=job[0], bundle=job[1])
        elif event == "job_finished" and told["job_id"] in self._jobs:
            job = self._jobs[told["job_id"]]
            self.failed.pop(job, None)
            self.tell("finished", stage=job[0], bundle=job[1])
        elif event == "job_error" and told["jobid"] in self._jobs:
            job = self._jobs[told["jobid"]]
            self.failed[job] = None
            self.tell("failed", stage=job[0], bundle=job[1])
        elif event == "run_info" and told.get("stats"):
            self.tell("stats", stats=told["stats"], **self.takes())
        elif not event and str(record.msg).startswith(NOTHING):
            self.nothing_to_do()
