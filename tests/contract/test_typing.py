"""A user's program is checked with the types of the public names: both packages say that they are typed (PEP 561)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PROGRAM = """\
import numpy as np
from brainlm_data import ParcelSeries, Store, open_store, resample_series
from brainlm_model import BrainLMEmbedder, TrainedModel, WindowDataset, load

store: Store = open_store("results/store.zarr")
series: ParcelSeries = store.recording("sub-01_task-rest")
rate: float = store.rate_hz
names: list[str] = series.names
slower: ParcelSeries = resample_series(series, 0.5)
model: TrainedModel = load("results/models/tiny")
windows = WindowDataset(store, split="train", window=200, labels=["age"])
rows: int = len(windows)
embedded: np.ndarray = BrainLMEmbedder(model, kind="mean").fit_transform([series])
"""
WRONG = {  # what a checker must object to
    "store.recording(1)\n": "arg-type",
    'load("x").colour\n': "attr-defined",
    'WindowDataset(store, short="never")\n': "arg-type",
    'BrainLMEmbedder(model, kind="best")\n': "arg-type",
    "rate_of_store: str = store.rate_hz\n": "assignment",
}


def test_both_packages_are_marked() -> None:
    for package in ("brainlm_data", "brainlm_model"):
        assert (ROOT / package / "py.typed").read_text() == ""
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text()


def test_a_program_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM + "".join(WRONG))
    # with the project's own settings, so that what `mypy` has read of it before is not read again
    call = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(file)]
    done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT)
    complaints = [line for line in done.stdout.splitlines() if "error:" in line]
    first = len(PROGRAM.splitlines()) + 1
    assert len(complaints) == len(WRONG), done.stdout
    for number, code in enumerate(WRONG.values()):
        assert f"program.py:{first + number}:" in complaints[number] and f"[{code}]" in complaints[number]
