"""Drive Snakemake over tiny datasets: plan, pretend that a run is complete, plan again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from brainlm_data.dag import Dag
from brainlm_model.stages import ALL_STAGES as STAGES
from tests.conftest import ROOT


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
    rows = re.findall(r"^(\w+)\s+(\d+)$", output, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule not in {"all", "preprocess", "dataset", "total"}}


def pretend_complete(directory: Path, config: dict[str, Any], *arguments: str) -> Dag:
    """Write every manifest and declared file as if all jobs had run, and let Snakemake record their params."""
    dag = Dag(config, STAGES)
    for stage in dag.stages.values():
        node = dag[stage.name]
        for bundle, path in zip(dag.bundles[stage.level], node.manifests, strict=True):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(json.dumps({"bundle": bundle, "repairs": 0, "units": {}}))
        if stage.level == "cohort":
            for name in stage.outputs:
                file = Path(node.file(name))
                if file.suffix != ".zarr":
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.touch()
    snakemake(directory, config, "--touch", *arguments)
    return dag
