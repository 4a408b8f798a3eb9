"""Shared fixtures: tiny BIDS trees, and the real data where they are at hand."""

from __future__ import annotations

import os

from threadpoolctl import threadpool_limits

# One thread per library: the problems are small, and threads that wait for each other on two cores cost several times
# the work itself. Registration promises the same bytes for one thread only. Variables are for libraries that are yet to
# be loaded and for child processes; a plugin of pytest (zarr has one) has loaded NumPy already.
for _library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
threadpool_limits(1)

# ruff: noqa: E402
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import settings

from tests.browser import CHROMIUM, Browser
from tests.golden.check import check

# the same examples in every run of the suite; HYPOTHESIS_PROFILE=search looks for new ones
settings.register_profile("suite", derandomize=True)
settings.register_profile("search", max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


# Files whose tests take more than about four CPU seconds together: `pytest -m "not slow"` leaves them out.
SLOW = {
    "attacks": "flips full_disk names pages",
    "command": "running wheel",
    "contract": "typing",
    "core": "damage registration shards",
    "dag": "dryrun pages planning second_clone",
    "imports": "abide fmriprep_kind input write",
    "model": "alone attention baselines damage decode diffusion embedder evaluate examples figures finetune"
    " finetune_future future latent networks official paper paper_truth perturbation phenotype phenotype_parts"
    " pictures published published_networks readout report resume scaling state stream train training waits",
    "simulate": "distortion parcels pictures simulate",
    "stages": "anat coreg denoise distortion motion overrides parcellate qc qcgroup sample strategies trials voxels",
    "whole": "gallery reruns simulated spinal_cord studyforrest",
}

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem.removeprefix("test_") in SLOW.get(item.path.parent.name, "").split():
            item.add_marker(pytest.mark.slow)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="write golden files that are missing or out of date")


@pytest.fixture(autouse=True)
def denormal_numbers() -> Iterator[None]:
    """A command takes denormal numbers for zero in its own process; Hypothesis refuses to work there."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real browser (`tests/browser.py`)."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Compare what a stage wrote with its golden file: see `tests.golden.check.check`."""
    return partial(check, renew=request.config.getoption("--golden"))


def write_bids(
    root: Path,
    subjects: Sequence[str] = ("01", "02"),
    tasks: Sequence[str] = ("rest",),
    sessions: Sequence[str | None] = (None,),
    runs: Sequence[str | None] = (None,),
    t1w: bool = True,
    volumes: int = 6,
) -> Path:
    """A valid BIDS dataset of very small random images: enough for the index and the DAG, not for the methods."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "tiny", "BIDSVersion": "1.9.0"}')
    rows = ["participant_id\tage"] + [f"sub-{s}\t{20 + i}" for i, s in enumerate(subjects)]
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    for subject in subjects:
        for session in sessions:
            base = root / f"sub-{subject}" / (f"ses-{session}" if session else "")
            stem = f"sub-{subject}" + (f"_ses-{session}" if session else "")
            if t1w:
                _image(base / "anat" / f"{stem}_T1w.nii.gz", rng, (6, 6, 6))
            for task in tasks:
                for run in runs:
                    name = f"{stem}_task-{task}" + (f"_run-{run}" if run else "") + "_bold"
                    _image(base / "func" / f"{name}.nii.gz", rng, (6, 6, 6, volumes))
                    (base / "func" / f"{name}.json").write_text(json.dumps({"RepetitionTime": 2.0, "TaskName": task}))
    return root


def _image(path: Path, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(rng.integers(1, 999, shape).astype(np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """Two subjects, one rest run each."""
    return write_bids(tmp_path / "bids")


@pytest.fixture(scope="session")
def studyforrest() -> Path:
    """The real recording; skipped where it is not at hand."""
    root = SHARED / "data" / "bids" / "studyforrest"
    if not root.is_dir():
        pytest.skip("real data not at hand: expected the studyforrest BIDS folder beside the project")
    return root


@pytest.fixture(scope="session")
def atlases() -> Path:
    """A424 and the MNI152NLin6Asym template; skipped where they are not at hand."""
    root = SHARED / "data" / "atlases"
    if not root.is_dir():
        pytest.skip("A424 not at hand: expected the atlas folder beside the project")
    return root
