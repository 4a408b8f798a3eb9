"""A scheduler's SIGTERM reaches every process of a job at once: what the program then says and keeps must arrive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from brainlm_data.graph.dag import Dag
from brainlm_model.stages import ALL_STAGES
from tests.conftest import write_bids

PROGRAM = """\
import signal, sys, time
def stop(number, frame):
    time.sleep(1)  # a step ends, a checkpoint is written
    print("kept", flush=True)
    sys.exit(2)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(60)
"""


def test_the_shell_waits_for_a_program_that_was_told_to_stop(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    dag = Dag({"bids_dir": str(write_bids(tmp_path / "bids")), "outdir": str(tmp_path / "out")}, ALL_STAGES)
    log = tmp_path / "log.txt"
    values = {
        "params.program": f"{sys.executable} {tmp_path}/program.py",
        "params.stage": "train",
        "params.bundle:q": "cohort",
        "params.signature:q": "x",
        "params.threads": "1",
        "threads": "1",
        "log:q": str(log),
    }
    command = dag.command
    for name, value in values.items():
        command = command.replace("{" + name + "}", value)
    call = ["bash", "-c", f"set -euo pipefail; {command}"]  # as Snakemake does
    with subprocess.Popen(call, start_new_session=True, stdout=subprocess.DEVNULL) as shell:
        end = time.monotonic() + 30
        while not (log.exists() and "ready" in log.read_text()):
            assert time.monotonic() < end and shell.poll() is None
            time.sleep(0.05)
        os.killpg(shell.pid, signal.SIGTERM)
        assert shell.wait(30) == 2
    assert log.read_text().split() == ["ready", "kept"]
