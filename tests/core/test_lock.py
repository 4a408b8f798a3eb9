"""Two writers: who is kept out, what is said, and what a kill leaves."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from brainlm_data.errors import InputError
from brainlm_data.files import lock
from brainlm_data.files.processes import end_with, processes
from brainlm_data.graph.dag import Dag
from brainlm_data.graph.edges import load_job
from brainlm_data.runner.bundle import run_bundle
from tests.core import toy
from tests.core.test_runner import raw

FORK = multiprocessing.get_context("fork")
HOLDER = r"\(host \S+, process \d+, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\)"


def until(there: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not there():
        assert time.monotonic() < limit
        time.sleep(0.01)


def elsewhere(target: Callable[..., Any], *arguments: Any) -> Any:
    """A process of its own that runs this."""
    process = FORK.Process(target=target, args=arguments)
    process.start()
    return process


def _hold(outdir: Path, flag: Path) -> None:
    _ = lock.hold(outdir)
    flag.touch()
    time.sleep(60)


def _job(outdir: Path, name: str, flag: Path, seconds: float) -> None:
    with lock.job(outdir, name) as scratch:
        (scratch / "half").write_text("x")
        flag.touch()
        time.sleep(seconds)


def test_a_lock_names_its_holder_and_ends_with_a_kill(tmp_path: Path) -> None:
    process = elsewhere(_hold, tmp_path / "out", tmp_path / "flag")
    until((tmp_path / "flag").exists)
    with pytest.raises(InputError, match=HOLDER) as caught:
        lock.hold(tmp_path / "out")
    assert f"process {process.pid}" in caught.value.message
    process.kill()
    process.join()
    lock.hold(tmp_path / "out").close()


def test_a_lock_whose_file_was_removed_keeps_nobody_out_and_lets_nobody_in_twice(tmp_path: Path) -> None:
    with lock.beside(tmp_path / "out", "writing") as folder:
        with pytest.raises(InputError, match=HOLDER), lock.beside(tmp_path / "out", "writing"):
            pass
        (folder / "half").mkdir()
    assert not folder.exists()
    old = lock.hold(tmp_path / "out")
    (tmp_path / "out" / lock.LOCK).unlink()  # as who had it does at the end
    with lock.hold(tmp_path / "out"), pytest.raises(InputError, match=HOLDER):
        lock.hold(tmp_path / "out")
    old.close()


def test_a_lock_for_an_import_leaves_no_trace(tmp_path: Path) -> None:
    with lock.holding(tmp_path / "new"), pytest.raises(InputError, match="another run"):
        lock.hold(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    lock.hold(tmp_path / "run").close()  # as an import that was killed leaves it
    with lock.holding(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / "work").exists()
    (tmp_path / "run/work/motion").mkdir(parents=True)
    with lock.holding(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / lock.LOCK).exists()


def test_the_same_job_is_waited_for_and_what_a_kill_left_is_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / lock.SCRATCH
    alive = elsewhere(_job, tmp_path, "motion.sub-01", tmp_path / "a", 0.5)
    killed = elsewhere(_job, tmp_path, "motion.sub-02", tmp_path / "b", 60)
    until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
    killed.kill()
    killed.join()
    other, old = scratch / "coreg.sub-03@other-host@7", scratch / "coreg.sub-04@other-host@7"
    for folder in (other, old):
        folder.mkdir()
        (scratch / f"{folder.name.split('@')[0]}.lock").touch()
    os.utime(old, (0, 0))
    (scratch / "motion-sub-01-123").mkdir()  # of a release without locks
    lock.clear_scratch(tmp_path)
    left = {path.name.split("@")[0] for path in scratch.iterdir()}
    assert left == {"motion.sub-01", "motion.sub-01.lock", "coreg.sub-03", "coreg.sub-03.lock"}
    with lock.job(tmp_path, "motion.sub-01") as folder:
        assert not alive.is_alive() or alive.join(5) is None
        assert not list(folder.iterdir())
    assert f"process {alive.pid}" in capsys.readouterr().err


def test_temporary_files_of_processes_that_are_gone_are_cleared(tmp_path: Path) -> None:
    dead = elsewhere(int)
    dead.join()
    mine = lock.temporary_name(tmp_path / "x.json")
    left = tmp_path / f".{dead.pid}@{lock.HOST}@x.json"
    other = tmp_path / ".7@other-host@x.json"
    for file in (mine, left, other):
        file.touch()
    assert lock.fresh_temporary(tmp_path / "x.json") == mine
    assert sorted(tmp_path.iterdir()) == sorted([mine, other])


def _parent(numbers: Path) -> None:
    with processes(2) as pool:
        numbers.with_suffix(".new").write_text(" ".join({str(pool.submit(os.getpid).result()) for _ in range(20)}))
        numbers.with_suffix(".new").rename(numbers)
        time.sleep(60)


def _launcher(numbers: Path) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = subprocess.Popen(sleeper, start_new_session=True, preexec_fn=partial(end_with, os.getpid()))
    numbers.with_suffix(".new").write_text(f"{child.pid}")
    numbers.with_suffix(".new").rename(numbers)
    time.sleep(60)


@pytest.mark.parametrize("parent", [_parent, _launcher])
def test_workers_end_with_a_parent_that_is_killed(parent: Callable[[Path], None], tmp_path: Path) -> None:
    process = elsewhere(parent, tmp_path / "numbers")
    until((tmp_path / "numbers").exists)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    for number in (tmp_path / "numbers").read_text().split():
        until(lambda: not Path(f"/proc/{number}").exists() or " Z " in Path(f"/proc/{number}/stat").read_text())  # noqa: B023


def test_jobs_never_read_the_listing_of_another_plan(bids: Path, tmp_path: Path) -> None:
    first = Dag(raw(bids, tmp_path / "out"), toy.STAGES)
    first.prepare()
    same = Dag(raw(bids, tmp_path / "out"), toy.STAGES)
    same.prepare()  # as `snakemake -n` in another clone
    first.begin([]).close()
    Dag(raw(bids, tmp_path / "out", select={"subject": ["01"]}), toy.STAGES).prepare()
    with pytest.raises(InputError, match="has planned or written"):
        first.begin([])
    with lock.hold(tmp_path / "out"):
        beside = Dag(raw(bids, tmp_path / "out"), toy.STAGES)
        beside.prepare()  # writes nothing: the run's jobs read what is there
    with pytest.raises(InputError, match="has planned or written"):
        beside.begin([])


def test_a_run_clears_what_a_killed_job_left(bids: Path, tmp_path: Path) -> None:
    dag = Dag(raw(bids, tmp_path / "out"), toy.STAGES)
    dag.prepare()
    killed = elsewhere(_job, dag.outdir, "anat.sub-01", tmp_path / "flag", 60)
    until((tmp_path / "flag").exists)
    killed.kill()
    killed.join()
    with dag.begin([]):
        assert not list((dag.outdir / lock.SCRATCH).iterdir())
        run_bundle(load_job(toy.STAGES, "anat", dag.outdir, "sub-01", dag["anat"].signature))
    assert not list((dag.outdir / lock.SCRATCH).iterdir())
