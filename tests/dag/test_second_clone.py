"""Two clones of the code and one outdir: what the first has made, the second judges as the first would."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from brainlm_data.cli import main
from tests.conftest import ROOT
from tests.dag.snake import called, jobs


def clone(folder: Path) -> Path:
    """What of the code a run is started from, without any of Snakemake's records."""
    folder.mkdir()
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_a_changed_key_takes_effect_from_a_second_clone_and_an_unchanged_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(1, 5):
        series = np.random.default_rng(number).normal(100, 1, (60, 3)).astype(np.float32)
        np.save(tmp_path / f"in/sub-{number:02d}_task-rest.npy", series)
    section = {"kind": "arrays", "path": str(tmp_path / "in"), "tr_s": 2.0}
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"outdir": str(tmp_path / "out"), "input": section, "bundle_size": 4}))
    for stage in ("input", "imported", "collate"):
        assert main(["run", stage, "--configfile", str(file)]) == 0

    def snakemake(folder: Path, *arguments: str) -> str:
        call = [sys.executable, "-m", "snakemake", "dataset", "--snakefile", str(folder / "Snakefile")]
        configs = ["--configfile", str(folder / "config.yaml"), str(file)]
        return called([*call, "--directory", str(folder), "--cores", "1", *configs, *arguments])

    def steps() -> set[int]:
        return set(pd.read_parquet(tmp_path / "out/recordings.parquet").n_steps)

    first, second = clone(tmp_path / "first"), clone(tmp_path / "second")
    changed = ("--config", "imported={hz: 0.5}")
    assert steps() == {119}  # 60 volumes of 2 s at 1 Hz
    assert jobs(snakemake(second, "-n")) == {}
    assert jobs(snakemake(second, "-n", *changed)) == {"imported": 1, "collate": 1}
    snakemake(second, *changed)
    assert steps() == {60}
    assert jobs(snakemake(first, "-n", *changed)) == {}
    assert jobs(snakemake(first, "-n")) == {"imported": 1, "collate": 1}
