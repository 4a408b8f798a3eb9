from __future__ import annotations

from pathlib import Path

import pytest

from brainlm_data.cli import main
from tests.whole.run import Run

# Small enough for a test, and every operator has something to do: volumes are dropped and censored, both edges filter.
# A job is one process, most of whose time goes to imports: bundles halve their number.
CONFIG = {
    "bundle_size": 2,
    "atlas": {"name": "demo424"},
    "keep": ["preproc", "denoised"],
    "anat": {"grid_mm": 4.0, "registration": "fast"},
    "coreg": {"grid_mm": 4.0},
    "filter": {"drop": 2, "censor_fd_mm": 0.5, "high_hz": 0.1},
    "collate": {"validation": 0.25, "test": 0.25},
    "train": {"steps": 2, "batch_size": 2, "eval_every": 1, "window": 80, "width": 16, "hidden": 32, "depth": 1},
    "evaluate": {"bootstrap": 100},
}


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four simulated subjects, the last without T1w, from raw BIDS to the report; killed once on the way."""
    folder = tmp_path_factory.mktemp("whole")
    arguments = (
        "--subjects 4 --volumes 70 --tr 2 --shape 32,38,28 --voxel-mm 5.5 --t1w-mm 2.5 --no-t1w 04 --workers 2"
        " --motion-mm 0.3 --seed 3 --quiet"
    )
    assert main(["simulate", "--out", str(folder / "bids"), *arguments.split()]) == 0
    run = Run(folder, {"bids_dir": str(folder / "bids"), **CONFIG})
    run.kill_after(5)
    run()
    return run


@pytest.fixture(scope="session")
def truth(simulated: Run) -> Path:
    return simulated.folder / "bids" / "truth"
