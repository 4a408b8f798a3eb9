"""The fMRIPrep rule: its command, and what happens without a container engine. Stand-ins: no container is run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainlm_data.errors import InputError
from brainlm_data.graph.dag import Dag
from brainlm_data.graph.edges import load_job
from brainlm_data.pipeline import STAGES
from brainlm_data.runner.bundle import run_bundle
from brainlm_data.runner.call import call as run
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


def test_command_of_apptainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path that is named is bound, at its own place; the raw data and the licence only for reading."""
    monkeypatch.setenv("PATH", str(tmp_path))
    config = Config(runner="apptainer", fs_license=Path("/home/l.txt"), fs_reconall=True, extra=["--dummy-scans", "2"])
    expected = [
        "apptainer", "run", "--cleanenv", "--bind", "/ds:/ds:ro", "--bind", "/home/l.txt:/home/l.txt:ro",
        "--bind", "/out:/out", "--bind", "/work:/work", "docker://nipreps/fmriprep:25.2.7",
        "/ds", "/out", "participant", "--participant-label", "01", "--work-dir", "/work",
        "--fs-license-file", "/home/l.txt", "--output-spaces", "MNI152NLin6Asym:res-2",
        "--nprocs", "4", "--mem-mb", "16000", "--notrack", "--dummy-scans", "2",
    ]  # fmt: skip
    folders = Path("/ds"), Path("/out"), Path("/work")
    assert command(*folders, "01", config) == expected
    program(tmp_path, "singularity", "exit 0")
    assert command(*folders, "01", config) == ["singularity", *expected[1:]]
    with pytest.raises(InputError, match="/o:ut: apptainer cannot bind"):
        command(Path("/ds"), Path("/o:ut"), Path("/work"), "01", config)


@pytest.mark.parametrize("image", ["/images/fmriprep.sif", "docker://lab/fmriprep@sha256:0", "oras://lab/f:1"])
def test_images_that_apptainer_takes_as_they_are(image: str) -> None:
    assert fmriprep.address(image) == image


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


def engines(tmp_path: Path, runner: str, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the container engine, alone on PATH with the shell's own programs."""
    program(tmp_path / "bin", "docker", "exit 0")
    program(tmp_path / "bin", "fmriprep-docker" if runner == "docker" else "apptainer", body)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


@pytest.mark.parametrize("runner", ["docker", "apptainer"])
def test_runs_and_records(
    runner: str, tmp_path: Path, files: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in program that writes the page fMRIPrep would: what is tested is our call and our record."""
    derivatives = tmp_path / "out/derivatives/fmriprep"
    engines(tmp_path, runner, f'echo "$@" > {tmp_path}/called; echo x > {derivatives}/sub-01.html', monkeypatch)
    facts = run(fmriprep.STAGE, *files, Config.model_validate({"runner": runner}))
    assert f"{tmp_path}/bids {derivatives} participant --participant-label 01" in (tmp_path / "called").read_text()
    assert json.loads((tmp_path / "run.json").read_text())["Image"] == facts["Image"] == fmriprep.IMAGE
    assert "fMRIPrep (Esteban et al., 2019" in fmriprep.STAGE.describe(facts)


@pytest.mark.parametrize(
    ("runner", "missing"), [("docker", "fmriprep-docker"), ("apptainer", "apptainer")], ids=["docker", "apptainer"]
)
def test_without_an_engine_it_says_which_and_the_command(
    runner: str, missing: str, tmp_path: Path, files: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    config = Config.model_validate({"runner": runner})
    out = tmp_path / "out"
    call = command(tmp_path / "bids", out / "derivatives/fmriprep", out / "work/fmriprep-scratch", "01", config)
    with pytest.raises(InputError) as caught:
        run(fmriprep.STAGE, *files, config)
    message = str(caught.value)
    assert f"needs a container engine: {missing} is not on PATH" in message
    assert "engine: native" in message and message.endswith(shlex.join(call))


@pytest.mark.parametrize("key", ["fs_license", "image"])
def test_files_of_the_section_must_be_there(
    key: str, tmp_path: Path, files: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines(tmp_path, "apptainer", "exit 0", monkeypatch)
    config = Config.model_validate({"runner": "apptainer", key: f"{tmp_path}/none.sif"})
    with pytest.raises(InputError, match=rf"fmriprep.{key}: .*none.sif does not exist"):
        run(fmriprep.STAGE, *files, config)


@pytest.mark.parametrize("runner", ["docker", "apptainer"])
def test_a_failure_is_never_passed_on_and_its_work_is_kept(
    runner: str, tmp_path: Path, files: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt finds what the first one left in the work folder."""
    work, page = tmp_path / "out/work/fmriprep-scratch", tmp_path / "out/derivatives/fmriprep/sub-01.html"
    body = f"if [ -e {work}/half ]; then echo x > {page}; else echo x > {work}/half; exit 3; fi"
    engines(tmp_path, runner, body, monkeypatch)
    config = Config.model_validate({"runner": runner})
    with pytest.raises(InputError, match=rf"status 3.*goes on from {work}"):
        run(fmriprep.STAGE, *files, config)
    assert (work / "half").exists() and not (tmp_path / "run.json").exists()
    assert run(fmriprep.STAGE, *files, config)["Report"] == str(page)


def test_another_run_of_the_subject_is_another_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By content: a run that was only touched takes no second day of fMRIPrep."""
    bids, out = write_bids(tmp_path / "bids", subjects=("01",)), tmp_path / "out"
    engines(tmp_path, "docker", f"echo call >> {tmp_path}/calls; echo x > {out}/derivatives/fmriprep/sub-01.html",
            monkeypatch)  # fmt: skip
    sections = {"preprocess": {"engine": "fmriprep"}, "template": {"name": "MNI152NLin6Asym"}}

    def calls() -> int:
        dag = Dag({"bids_dir": str(bids), "outdir": str(out), "atlas": {"name": "A424"}, **sections}, STAGES)
        dag.prepare()
        run_bundle(load_job(list(dag.stages.values()), "fmriprep", out, "sub-01", dag["fmriprep"].signature))
        return len((tmp_path / "calls").read_text().split())

    bold = next(bids.rglob("*_bold.nii.gz"))
    assert calls() == calls() == 1
    os.utime(bold, (1, 1))
    assert calls() == 1
    shutil.copy(next(bids.rglob("*_T1w.nii.gz")), bold)
    assert calls() == 2


def test_golden(
    tmp_path: Path, files: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch, golden: Callable[..., None]
) -> None:
    engines(tmp_path, "docker", f"echo x > {tmp_path}/out/derivatives/fmriprep/sub-01.html", monkeypatch)
    facts = run(fmriprep.STAGE, *files, Config())
    golden(fmriprep.STAGE, files[1], facts, ignore=("Command", "Derivatives", "Report"))
