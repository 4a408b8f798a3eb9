"""What every import does: whole or not at all, never over a store, never one subject on two sides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainlm_data import open_store
from brainlm_data.errors import Refused
from brainlm_data.files.lock import hold
from brainlm_data.files.sidecar import digest
from brainlm_data.imports import Series, write
from brainlm_data.imports.series import resampled
from tests.conftest import ROOT
from tests.imports.made import abide, run, signal

KILLED = """
import os, signal, sys
from brainlm_data import cli
from brainlm_data.imports import write
calls = []
def killed(*words, real=write.{target}):
    calls.append(words)
    if {when}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*words)
write.{target} = killed
cli.main(sys.argv[1:])
"""


def test_the_same_import_is_the_same_bytes_with_any_number_of_writers(tmp_path: Path) -> None:
    file = abide(tmp_path / "in")
    assert run("abide", file, tmp_path / "a") == 0 == run("abide", file, tmp_path / "b", "--workers", "2")
    for name in ("store.zarr", "scaler.npz", "recordings.parquet", "card.json", "card.md"):
        assert digest(tmp_path / "a" / name) == digest(tmp_path / "b" / name), name


def test_a_store_is_not_overwritten_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = abide(tmp_path / "in")
    assert run("abide", file, tmp_path / "out") == 0
    before = digest(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert run("abide", file, tmp_path / "out", "--hz", ".5") == 2
    assert "--force" in capsys.readouterr().err
    (tmp_path / "out" / "notes.txt").unlink()
    assert digest(tmp_path / "out") == before
    assert run("abide", file, tmp_path / "out", "--hz", ".5", "--force") == 0
    assert open_store(tmp_path / "out" / "store.zarr").rate_hz == 0.5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.parametrize(
    ("target", "when", "there"),
    [
        ("resampled", "len(calls) == 5", False), ("gather", "True", False), ("sidecar.write_json", "True", False),
        ("os.replace", "str(words[1]).endswith('/out/card.md')", False),
        ("os.replace", "str(words[1]).endswith('/out/card.md')", True),
    ],
)  # fmt: skip
def test_a_killed_import_leaves_nothing_half(tmp_path: Path, target: str, when: str, there: bool) -> None:
    """`there`: another store was there, and is replaced with --force."""
    file, out = abide(tmp_path / "in"), tmp_path / "out"
    assert run("abide", file, tmp_path / "whole") == 0
    if there:
        assert run("abide", file, out, "--hz", ".5") == 0
    code = KILLED.format(target=target, when=when)
    call = [sys.executable, "-c", code, "import", "abide", str(file), str(out), "--force"]
    ended = subprocess.run(call, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr
    assert not (out / "store.zarr").exists()
    assert run("abide", file, out) == 0
    for name in ("store.zarr", "scaler.npz", "recordings.parquet"):
        assert digest(out / name) == digest(tmp_path / "whole" / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out", "whole"]


def test_two_imports_into_one_folder_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with hold(tmp_path / ".out.importing"):
        assert run("abide", abide(tmp_path / "in"), tmp_path / "out") == 2
    assert "another run" in capsys.readouterr().err


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "gather", fails)
    with pytest.raises(KeyboardInterrupt):
        run("abide", abide(tmp_path / "in"), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_rates(tmp_path: Path) -> None:
    """A rate below the TR's removes what would fold, and the table says up to where there is something."""
    time = np.arange(200)[:, None] * 1.0
    slow, fast = np.sin(2 * np.pi * 0.02 * time), np.sin(2 * np.pi * 0.4 * time)
    values, about = resampled(Series("a", "a", lambda: (slow + fast, ()), tr_s=1.0), 0.5)
    assert about.high_hz == 0.225 and values.shape == (100, 1)
    np.testing.assert_allclose(values[20:-20], slow[::2][20:-20], atol=0.02)
    kept, about = resampled(Series("a", "a", lambda: (slow + fast, ()), tr_s=1.0), 1.0)
    assert about.high_hz == 0.5
    np.testing.assert_allclose(kept, slow + fast, atol=1e-6)


@given(st.integers(0, 12), st.sets(st.integers(0, 11)), st.sets(st.integers(0, 3)))
def test_what_is_missing_stays_missing_and_nothing_else(volumes: int, empty: set[int], constant: set[int]) -> None:
    values = signal(0, 12, 4)[:volumes]
    values[:, sorted(constant)] = 5
    gone = [v for v in empty if v < volumes]
    values[gone] = np.nan
    series = Series("a", "a", lambda: (values, ()), tr_s=2.0)
    if volumes - len(gone) < 4 or len(constant) == 4:
        with pytest.raises(Refused):
            resampled(series, 1.0)
        return
    out, about = resampled(series, 1.0)
    assert about.missing == len(constant) and np.isnan(out[:, sorted(constant)]).all()
    first = min(set(range(volumes)) - empty)
    covered = sorted(set(range(4)) - constant)
    assert np.isnan(out[: 2 * first, covered]).all() and np.isfinite(out[2 * first :, covered]).all()
    for volume in range(volumes):
        assert (2 * volume in about.invalid) == (volume in empty)
        if volume not in empty:
            np.testing.assert_allclose(out[2 * volume, covered], values[volume, covered], rtol=1e-5)


def test_the_table_of_two_recordings_of_one_person(tmp_path: Path) -> None:
    """Two sites by mistake: the person is external with both recordings."""
    (tmp_path / "in").mkdir()
    for number in range(12):
        np.save(tmp_path / "in" / f"r{number}.npy", signal(number))
    people = pd.DataFrame({"id": [f"r{i}" for i in range(12)], "participant_id": [f"{i // 2}" for i in range(12)]})
    people["site"] = ["X", "Y", *["Y"] * 10]
    people.to_csv(tmp_path / "people.tsv", sep="\t", index=False)
    words = ["--tr", "2", "--participants", str(tmp_path / "people.tsv"), "--external", "site=X"]
    assert run("arrays", tmp_path / "in", tmp_path / "out", *words) == 0
    table = pd.read_parquet(tmp_path / "out" / "recordings.parquet").set_index("id")
    assert table.index[table["split"] == "external"].tolist() == ["r0", "r1"]
