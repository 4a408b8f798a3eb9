"""Drive Snakemake over tiny datasets: what it plans."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

# rules that run once per recording, in order
PER_RECORDING = (
    "motion",
    "slicetiming",
    "coreg",
    "sample",
    "confounds",
    "filter",
    "denoise",
    "parcellate",
    "resample",
    "qc",
)


def snakemake(directory: Path, config: dict[str, Any], *arguments: str, check: bool = True) -> str:
    """Run Snakemake with this configuration file; what it printed."""
    file = directory / "test-config.yaml"
    file.write_text(json.dumps(config))
    call = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(directory),
        "--configfile", str(ROOT / "config.yaml"), str(file), "--cores", "2", "--workflow-profile", "none", *arguments,
    ]  # fmt: skip
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if check:
        assert done.returncode == 0, output[-4000:]
    return output


def planned(directory: Path, config: dict[str, Any], *arguments: str) -> dict[str, int]:
    """Rule -> number of jobs that `snakemake -n` plans; without the target rules themselves."""
    output = snakemake(directory, config, *arguments, "-n", "--quiet", "rules")
    return jobs(output)


def jobs(output: str) -> dict[str, int]:
    """The table of jobs in what Snakemake printed."""
    rows = re.findall(r"^(\w+)\s+(\d+)$", output, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule not in {"all", "preprocess", "dataset", "total"}}
