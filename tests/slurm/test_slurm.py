"""The DAG on a real SLURM: the same bytes as without it, and every way in which a job can be lost.

Opt-in (`make test-slurm`): skipped where nothing can be submitted. Jobs that are lost on purpose are this run's own.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from benchmarks.cluster import digests
from tests.slurm.cluster import Submitted, enforces_memory, tell, until
from tests.whole.run import Run

FIRST, SECOND = "sub-01_task-rest", "sub-02_task-rest"
RESTART = "BRAINLM_SLURM_RESTART"  # a command that stops slurmctld and starts it again


def journal(run: Run) -> list[str]:
    """What training wrote of each step so far."""
    files = list(run.outdir.glob("work/train/*.state/log.jsonl"))
    return files[0].read_text().splitlines() if files else []


def stopped_and_went_on(run: Run, before: list[str]) -> bool:
    """Whether the finished log has the seconds of the steps before the stop: they were not done again."""
    first = [json.loads(line) for line in before[:5]]
    with run.file("train_log").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == run.config["train"]["steps"] + 1
    return [row["seconds"] for row in rows[:5]] == [str(row["seconds"]) for row in first]


def ended(process: subprocess.Popen[bytes], said: Path, status: int = 0) -> str:
    """Wait for a run's end; what it said."""
    found, text = process.wait(timeout=600), said.read_text()
    assert found == status, text[-5000:]
    return text


def test_the_same_bytes_as_without_slurm(local: Run, submitted: Submitted) -> None:
    """Series, store, scaler, weights, every sidecar; and then nothing is left to do."""
    here, there = digests(local.outdir), digests(submitted.outdir)
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
    assert sum(name.endswith("model.safetensors") for name in here) == 1
    assert submitted.planned("train") == {}


def test_a_cancelled_job_is_the_only_one_that_is_missing(submitted: Submitted) -> None:
    submitted.forget("resample")
    process, said = submitted.start("preprocess", "--retries", "0", "--until", "resample")
    until("the job", lambda: any(FIRST in comment for comment in submitted.jobs_now("resample")), process)
    tell("scancel", next(number for comment, number in submitted.jobs_now("resample").items() if FIRST in comment))
    assert "At least one job did not complete successfully" in ended(process, said, status=1)
    kept = {path.stem for path in (submitted.outdir / "work/resample").glob("sub-*_task-rest.json")}
    assert kept == {SECOND}
    assert submitted.planned("preprocess", "--until", "resample") == {"resample": 1}


def test_a_job_without_enough_memory_gets_more(submitted: Submitted) -> None:
    """The first attempt asks for less than Python needs."""
    if not enforces_memory():
        pytest.skip("this cluster kills no job for its memory")
    submitted.forget("resample")
    said = submitted("preprocess", "--retries", "4", "--until", "resample", "--config", "jobs={memory: 0.2}")
    assert "Trying to restart job" in said
    assert (submitted.outdir / "work/resample" / f"{FIRST}.json").exists()


@pytest.mark.skipif(RESTART not in os.environ, reason=f"{RESTART} names no command that restarts slurmctld")
def test_the_controller_may_restart(submitted: Submitted) -> None:
    """Nothing answers for a while, during which jobs end: the run waits, notices their end and goes on."""
    submitted.forget("resample")
    process, said = submitted.start("preprocess", "--until", "resample")
    until("the job", lambda: bool(submitted.jobs_now("resample")), process)
    subprocess.run(shlex.split(os.environ[RESTART]), check=True, timeout=300)
    ended(process, said)
    assert {path.stem for path in (submitted.outdir / "work/resample").glob("*.json")} == {FIRST, SECOND}


def test_training_that_is_preempted_goes_on(local: Run, submitted: Submitted) -> None:
    """SIGTERM, a checkpoint, back into the queue, the same weights: what preemption with requeue does."""
    expected = local.file("model").read_bytes()
    submitted.file("model").unlink()
    submitted.forget("train")
    process, said = submitted.start("train")
    until("ten steps", lambda: 10 < len(journal(submitted)) < 200, process)
    tell("scontrol", "requeue", next(iter(submitted.jobs_now("train").values())))
    until("its return to the queue", lambda: bool(submitted.jobs_now("train", "PENDING")), process)
    before = journal(submitted)
    tell("scontrol", "update", f"JobId={submitted.jobs_now('train', 'PENDING').popitem()[1]}", "StartTime=now")
    ended(process, said)
    assert stopped_and_went_on(submitted, before)
    assert submitted.file("model").read_bytes() == expected


def test_training_without_enough_time_gets_more_and_goes_on(local: Run, submitted: Submitted) -> None:
    """One minute, then two, then four, from checkpoint to checkpoint."""
    more = {**submitted.config, "train": {**submitted.config["train"], "steps": 600}}
    run = Submitted(submitted.folder, more | {"jobs": {"time": 0.0005, "max_mb": 9000}})
    run.forget("train")
    process, said = run.start("train", "--retries", "3")
    until("ten steps", lambda: 10 < len(journal(run)) < 100, process)
    before = journal(run)
    assert "Trying to restart job" in ended(process, said)
    assert stopped_and_went_on(run, before)
