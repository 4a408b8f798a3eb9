"""The tests of SLURM are skipped, with the reason, where there is none or where none answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.slurm import cluster

DOWN = "echo 'Slurmctld(primary) at head is DOWN'; exit 1"


def install(folder: Path, script: str) -> None:
    """SLURM's commands, all of them this script."""
    for name in cluster.COMMANDS:
        command = folder / name
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "no SLURM on this machine: sbatch is not on PATH"),
        (DOWN, "no controller answers"),
        ("exec sleep 30", "no controller answers"),
    ],
    ids=["no commands", "controller down", "no answer in time"],
)
def test_the_reason_is_stated(script: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if script is not None:
        install(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if script else str(tmp_path))
    monkeypatch.setattr(cluster, "ANSWER_S", 0.2)
    assert reason in cluster.missing()
    assert not cluster.enforces_memory()


def test_all_are_skipped(tmp_path: Path) -> None:
    """As `make test-slurm` runs them; an error while they are collected would end `.ci/run`."""
    call = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/slurm"]
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no SLURM on this machine" in done.stdout
    assert "passed" not in done.stdout
