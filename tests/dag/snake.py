"""Drive Snakemake over tiny datasets: what it plans."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

# Most of a dry run's time is importing Snakemake and the stages. One process does that; each dry run is a fork of it.
IMPORTED = multiprocessing.get_context("forkserver")
IMPORTED.set_forkserver_preload(["snakemake.cli", "brainlm_model.stages", "pytest", "tests.dag.snake"])

# rules that run once per recording, in order
PER_RECORDING = (
    "motion",
    "slicetiming",
    "coreg",
    "distortion",
    "sample",
    "confounds",
    "filter",
    "denoise",
    "parcellate",
    "resample",
    "qc",
)


def snakemake(directory: Path, config: dict[str, Any], *arguments: str, check: bool = True) -> str:
    """Run Snakemake with this configuration file; what it printed. The atlas is that which needs no download."""
    file = directory / "test-config.yaml"
    file.write_text(json.dumps({"atlas": {"name": "demo424"}} | config))
    call = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(directory),
        "--configfile", str(ROOT / "config.yaml"), str(file), "--cores", "2", "--workflow-profile", "none", *arguments,
    ]  # fmt: skip
    return called(call, check)


def called(call: Sequence[str], check: bool = True) -> str:
    """What a call of `python -m snakemake` printed; one that runs no job is made in a process that has it imported."""
    if {"-n", "--lint"} & set(call):
        code, output = _forked(call[call.index("snakemake") :])
    else:
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        code, output = done.returncode, done.stdout + done.stderr
    if check:
        assert code == 0, output[-4000:]
    return output


def _forked(call: Sequence[str]) -> tuple[int | None, str]:
    """Exit status and output of `snakemake ...`."""
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as output:
        process = IMPORTED.Process(target=_main, args=(list(call), output.name))
        process.start()
        process.join()
        return process.exitcode, output.read()


def _main(call: list[str], output: str) -> None:
    """Be `snakemake ...`, with what it prints in a file."""
    from snakemake.cli import main

    with open(output, "w") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    sys.argv = call
    main(call[1:])


def planned(directory: Path, config: dict[str, Any], *arguments: str) -> dict[str, int]:
    """Rule -> number of jobs that `snakemake -n` plans; without the target rules themselves."""
    output = snakemake(directory, config, *arguments, "-n", "--quiet", "rules")
    return jobs(output)


def jobs(output: str) -> dict[str, int]:
    """The table of jobs in what Snakemake printed."""
    rows = re.findall(r"^(\w+)\s+(\d+)$", output, flags=re.MULTILINE)
    return {
        rule: int(count) for rule, count in rows if rule not in {"all", "preprocess", "recordings", "dataset", "total"}
    }
