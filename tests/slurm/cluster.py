"""A real cluster, if this machine can submit to one, and runs of the DAG on it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.whole.run import Run

PATIENCE_S = 240  # for anything that should happen at once on an idle cluster
ANSWER_S = 60  # for one answer of the controller
COMMANDS = ("sbatch", "scontrol", "squeue", "scancel")


def tell(*call: str) -> str:
    """What a SLURM command prints; "" where it fails, is not there, or waits for a controller that does not answer."""
    try:
        return subprocess.run(call, capture_output=True, text=True, check=False, timeout=ANSWER_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def missing() -> str:
    """Why nothing can be submitted from here, "" where it can."""
    absent = [name for name in COMMANDS if shutil.which(name) is None]
    if absent:
        return f"no SLURM on this machine: {absent[0]} is not on PATH"
    if " is UP" not in tell("scontrol", "ping"):
        return "SLURM is installed, but no controller answers: scontrol ping"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return 'no SLURM plugin: pip install "snakemake-executor-plugin-slurm>=2.8,<3"'
    return ""


def enforces_memory() -> bool:
    """Whether a job that takes more memory than it asked for is killed."""
    config = tell("scontrol", "show", "config")
    return "OverMemoryKill" in config or "task/cgroup" in config


def until(what: str, found: Callable[[], bool], run: subprocess.Popen[bytes]) -> None:
    """Wait for something while a run goes on; fail with its name where it does not come."""
    end = time.monotonic() + PATIENCE_S
    while not found():
        assert run.poll() is None, f"the run ended before {what}"
        assert time.monotonic() < end, f"waited {PATIENCE_S} s for {what}\n{tell('squeue')}"
        time.sleep(0.3)


@dataclass(frozen=True)
class Submitted(Run):
    """The same as `Run`, every job by SLURM."""

    def command(self, *arguments: str) -> list[str]:
        return [
            *super().command(*arguments), "--profile", str(ROOT / "profiles/slurm"), "--latency-wait", "10",
            "--slurm-init-seconds-before-status-checks", "3", "--jobs", "4",
        ]  # fmt: skip

    def start(self, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start without waiting; the process and the file that it writes to."""
        said = self.folder / "said.txt"
        with said.open("wb") as stream:
            return subprocess.Popen(self.command(*arguments), stdout=stream, stderr=subprocess.STDOUT), said

    def jobs_now(self, rule: str, state: str = "RUNNING") -> dict[str, str]:
        """Comment (rule and bundle) -> job id, of this user's jobs of a rule in a state."""
        rows = [line.split("|") for line in tell("squeue", "--me", "-h", "-o", "%k|%i|%T").splitlines()]
        return {comment: number for comment, number, now in rows if comment.startswith(f"rule_{rule}") and now == state}

    def forget(self, stage: str) -> None:
        """As if a stage had never run: manifests, receipts, checkpoints."""
        shutil.rmtree(self.outdir / "work" / stage, ignore_errors=True)
        shutil.rmtree(self.outdir / "work" / "receipts" / stage, ignore_errors=True)


def by_hand(run: Run, *stages: str) -> None:
    """Stages in one process of this machine, without Snakemake."""
    run.command()
    code = "import sys; from brainlm_data.cli import main; sys.exit(any(main(c.split()) for c in sys.argv[1:]))"
    calls = [f"run {stage} --configfile {run.folder}/config.yaml --threads 1" for stage in stages]
    done = subprocess.run([sys.executable, "-c", code, *calls], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
