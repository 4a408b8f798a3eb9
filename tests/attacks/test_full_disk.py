"""A disk that has no room: one line with its remedy, nothing half, and the same command goes through later."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainlm_data.cli import main as data
from brainlm_model.cli import main as model
from tests.attacks.kills import SMALL, series_of
from tests.full_disk import files_up_to


@pytest.mark.parametrize("size", [0, 3000])
def test_every_command_says_it_in_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    series_of(tmp_path / "series", 8)
    store = str(tmp_path / "out/store.zarr")
    imported = ["arrays", str(tmp_path / "series"), str(tmp_path / "out"), "--tr", "1", "--test", "0.3"]
    commands = (
        (data, ["import", *imported, "--validation", "0.2"]),
        (data, ["export", store, str(tmp_path / "npy"), "--to", "npy"]),
        (model, ["train", store, "--out", str(tmp_path / "model"), "--set", *SMALL]),
    )
    for program, words in commands:
        before = {path for path in tmp_path.rglob("*") if ".training" not in str(path)}
        capsys.readouterr()
        with files_up_to(size):
            assert program(words) == 2
        said = capsys.readouterr().err.splitlines()
        lines = [line for line in said if line.startswith(("error: ", "  try: ")) or "Traceback" in line]
        assert len(lines) == 2 and str(tmp_path) in lines[0] and "ulimit -f" in lines[1], lines
        assert {path for path in tmp_path.rglob("*") if ".training" not in str(path)} == before
        assert program(words) == 0
