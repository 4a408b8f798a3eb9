"""What the first pages tell a newcomer to type runs as it stands, on small datasets: all that looks, and an import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from brainlm_data import open_store
from tests.conftest import ROOT
from tests.contract.commands import blocks, commands
from tests.imports.images import atlas, derivatives


def calls(page: str, places: dict[str, Path]) -> list[list[str]]:
    """The calls of `brainlm` on a page, without the program, with other folders in place of those in it."""
    found = []
    for block in blocks((ROOT / page).read_text()):
        for name, path in places.items():
            block = block.replace(name, str(path))
        found += [words[1:] for words in commands(block) if words[0] == "brainlm"]
    return found


def said(call: list[str]) -> str:
    """What a call of `brainlm` prints; it must end well."""
    done = subprocess.run([sys.executable, "-m", "brainlm", *call], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials/own-data.md"])
def test_looking_and_planning(page: str, bids: Path, tmp_path: Path) -> None:
    looked = 0
    for call in calls(page, {"/data/ds": bids, "/data/out": tmp_path / "out"}):
        if call[:2] == ["data", "index"]:
            assert "sub-01_task-rest" in said(call)
            looked += 1
        elif "-n" in call and "--atlas" not in call:  # the published atlas would be fetched
            assert "motion" in said([*call, "--atlas", "demo424"])
            looked += 1
    assert looked >= 2
    assert not list((tmp_path / "out").glob("derivatives/sub-*"))


def test_fmripreps_derivatives(tmp_path: Path) -> None:
    """The page's index, and its first import."""
    folder, out = derivatives(tmp_path / "in"), tmp_path / "out"
    people = folder / "participants.tsv"
    people.write_text("participant_id\tage\nsub-01\t20\nsub-02\t30\n")
    places = {"/data/ds/participants.tsv": people, "/data/fmriprep": folder, "/data/out": out}
    index, run, *_ = (call for call in calls("docs/tutorials/fmriprep.md", places) if call[0] == "data")
    labels = ["--atlas", str(atlas(tmp_path / "atlas"))]  # in place of A424, which would be fetched
    assert "sub-01_task-rest" in said([*index, *labels])
    said([*run, *labels])
    store = open_store(out / "store.zarr")
    columns = ["id", "n_dropped", "n_censored", "n_confounds", "coverage_min", "mean_fd_mm", "status", "reason", "age"]
    assert len(store.recordings[columns])
