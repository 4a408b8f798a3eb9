"""The fMRIPrep rule: its command, and what happens without docker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brainlm_data.errors import InputError
from brainlm_data.stage import Files
from brainlm_data.stages import fmriprep
from brainlm_data.stages.fmriprep import Config, command
from tests.conftest import write_bids


def test_command(tmp_path: Path) -> None:
    config = Config(fs_license=Path("/licence.txt"), extra=["--dummy-scans", "2"])
    assert command(Path("/ds"), Path("/out"), Path("/work"), "01", config) == [
        "fmriprep-docker", "--no-tty", "--image", "nipreps/fmriprep:25.2.7", "--work-dir", "/work",
        "--fs-license-file", "/licence.txt", "--output-spaces", "MNI152NLin6Asym:res-2",
        "/ds", "/out", "participant", "--participant-label", "01",
        "--nprocs", "4", "--mem-mb", "16000", "--notrack", "--fs-no-reconall", "--dummy-scans", "2",
    ]  # fmt: skip


def test_the_wrapper_knows_the_options() -> None:
    """fmriprep-docker itself, which is installed, must accept what we give it."""
    program = Path(sys.executable).with_name("fmriprep-docker")
    helptext = subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout
    for option in ("--image", "--work-dir", "--fs-license-file", "--output-spaces", "--no-tty"):
        assert option in helptext


@pytest.fixture
def files(tmp_path: Path) -> tuple[Files, Files]:
    bids = write_bids(tmp_path / "bids", subjects=("01",))
    meta: dict[str, Any] = {"id": "sub-01", "subject": "01", "outdir": str(tmp_path / "out")}
    return (
        Files({"t1w": bids / "sub-01/anat/sub-01_T1w.nii.gz"}, meta),
        Files({"fmriprep_run": tmp_path / "run.json"}, meta),
    )


def program(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def test_runs_and_records(tmp_path: Path, files: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in program that writes the page fMRIPrep would: what is tested is our call and our record."""
    derivatives = tmp_path / "out/derivatives/fmriprep"
    program(tmp_path / "bin", "docker", "exit 0")
    program(tmp_path / "bin", "fmriprep-docker", f'echo "$@" > {tmp_path}/called; echo x > {derivatives}/sub-01.html')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    facts = fmriprep.run(*files, Config())
    assert f"{tmp_path}/bids {derivatives} participant --participant-label 01" in (tmp_path / "called").read_text()
    assert json.loads((tmp_path / "run.json").read_text())["Image"] == facts["Image"] == fmriprep.IMAGE
    assert "fMRIPrep (Esteban et al., 2019" in fmriprep.STAGE.describe(facts)


def test_without_docker_it_says_so(tmp_path: Path, files: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"not on PATH.*engine: native"):
        fmriprep.run(*files, Config())


def test_a_failure_is_never_passed_on(
    tmp_path: Path, files: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "docker", "exit 0")
    program(tmp_path / "bin", "fmriprep-docker", "exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(InputError, match="status 3"):
        fmriprep.run(*files, Config())
