from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from brainlm_data.cli import main
from tests.slurm.cluster import Submitted, by_hand, missing
from tests.whole.run import Run

CONFIG = {
    "atlas": {"name": "demo424"},
    "collate": {"validation": 0, "test": 0},
    "train": {"steps": 240, "batch_size": 2, "window": 40, "width": 16, "hidden": 32, "depth": 1, "threads": 1},
}
# From raw images to what the denoising needs: once, in one process; what follows is small and goes through the cluster.
FITTED = (
    "template", "atlas", "motion", "slicetiming", "coreg", "sample", "confounds", "filter", "denoise",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if reason := missing():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two small simulated people without T1w, up to the denoising."""
    folder = tmp_path_factory.mktemp("slurm")
    arguments = "--subjects 2 --volumes 40 --tr 2 --shape 28,32,24 --voxel-mm 6.5 --no-t1w 01 02 --seed 3 --quiet"
    assert main(["simulate", "--out", str(folder / "bids"), *arguments.split()]) == 0
    run = Run(folder, {"bids_dir": str(folder / "bids"), "coreg": {"grid_mm": 4.0}, **CONFIG})
    by_hand(run, *FITTED)
    return run


@pytest.fixture(scope="session")
def copied(fitted: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[Run]], Run]:
    """Another folder with the same, for a run of its own."""

    def copy(kind: type[Run]) -> Run:
        run = kind(tmp_path_factory.mktemp(kind.__name__.lower()), fitted.config)
        shutil.copytree(fitted.outdir, run.outdir)
        return run

    return copy


@pytest.fixture(scope="session")
def local(copied: Callable[[type[Run]], Run]) -> Run:
    """The rest on this machine."""
    run = copied(Run)
    run("train")
    return run


@pytest.fixture(scope="session")
def submitted(copied: Callable[[type[Run]], Run]) -> Submitted:
    """The rest through SLURM."""
    run = copied(Submitted)
    assert isinstance(run, Submitted)
    run("train")
    return run
