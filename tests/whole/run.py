"""Run the real DAG as a person would, and kill it as a cluster would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainlm_data.paths import artifacts_of
from brainlm_model.stages import ALL_STAGES
from tests.conftest import ROOT
from tests.dag.snake import called, jobs


@dataclass(frozen=True)
class Run:
    """A dataset, its configuration and where the results go."""

    folder: Path
    config: Mapping[str, Any]

    @property
    def outdir(self) -> Path:
        return self.folder / "out"

    def command(self, *arguments: str) -> list[str]:
        file = self.folder / "config.yaml"
        file.write_text(json.dumps({**self.config, "outdir": str(self.outdir)}))
        configs = [] if "--configfile" in arguments else ["--configfile", str(ROOT / "config.yaml"), str(file)]
        return [
            sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile"),
            "--directory", str(self.folder), "--workflow-profile", str(ROOT / "profiles/default"), "--cores", "2",
            *configs,
        ]  # fmt: skip

    def __call__(self, *arguments: str) -> str:
        """Run to the end; what it printed."""
        return called(self.command(*arguments))

    def planned(self, *arguments: str) -> dict[str, int]:
        """Rule -> number of jobs that would run now."""
        return jobs(self("-n", *arguments))

    def kill_after(self, manifests: int, *arguments: str) -> None:
        """Start, and SIGKILL everything once so many jobs are done."""
        process = subprocess.Popen(
            self.command(*arguments), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and len(list(self.outdir.glob("work/*/*.json"))) < manifests:
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def file(self, artifact: str, prefix: str = "", seg: str = "demo424", space: str = "MNI152NLin2009aSym") -> Path:
        """Path of an artifact of this run."""
        return artifacts_of(ALL_STAGES)[artifact].path(
            self.outdir, prefix, {"space": space, "seg": seg, "model": "tiny"}
        )

    def __hash__(self) -> int:
        return hash(self.folder)
