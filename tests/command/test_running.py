"""`brainlm BIDS OUT ...` in a process of its own: what it plans, shows and remembers, and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conftest import write_bids


def brainlm(*words: object, cwd: Path | None = None) -> tuple[int, str]:
    """Exit status and output of the command in a process of its own."""
    call = [sys.executable, "-m", "brainlm", *map(str, words)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Parcel series of six people as .npy: what a run can start from that takes seconds."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(1, 7):
        values = np.random.default_rng(number).normal(100, 1, (60, 8)).astype(np.float32)
        np.save(folder / f"sub-{number:02d}_task-rest.npy", values)
    return folder


def test_a_plan_from_any_folder_makes_nothing(tmp_path: Path) -> None:
    bids, out = write_bids(tmp_path / "bids"), tmp_path / "out"
    (tmp_path / "elsewhere").mkdir()
    words = ("../bids", "../out", "participant", "-n", "--atlas", "demo424", "--participant-label", "sub-02")
    status, text = brainlm(*words, cwd=tmp_path / "elsewhere")
    assert status == 0, text
    assert "would run 14 jobs: template, atlas, anat, motion, slicetiming, coreg" in text
    assert "qcgroup" not in text  # the page of all would show this person alone
    assert "core hours" in text and "Building DAG" not in text
    assert not (out / "config.yaml").exists() and not list((tmp_path / "elsewhere").iterdir())
    assert bids.is_dir()


def test_the_demo_is_planned_as_config_demo_says(tmp_path: Path) -> None:
    write_bids(tmp_path / "demo-bids", subjects=("01", "02", "03"))  # as if it had been simulated
    status, text = brainlm("demo", tmp_path / "demo", "--dry-run")
    assert status == 0, text
    assert "would run 20 jobs: template, atlas, anat, motion" in text and f"free in {tmp_path}/demo)" in text


def test_a_run_remembers_says_what_changes_and_goes_on(tmp_path: Path, series: Path) -> None:
    """From parcel series, which takes seconds: the first run, the same again, and a changed key."""
    out = tmp_path / "out"
    words = (series, out, "--input", "arrays", "--target", "dataset", "--set", "input.tr_s=1.0", "bundle_size=6")
    status, text = brainlm(*words, "--cores", "2")
    assert status == 0, text
    assert re.search(r"^  imported +6 of 6 +\d+ s$", text, re.MULTILINE)
    assert "6 of 6 recordings went through" in text
    remembered = yaml.safe_load((out / "config.yaml").read_text())
    assert remembered["input"]["path"] == str(series) and remembered["bundle_size"] == 6
    assert (out / "logs/snakemake.log").is_file()

    status, text = brainlm(series, out, "--target", "dataset")
    assert status == 0 and "6 of 6 recordings went through" in text and "jobs:" not in text
    assert text.startswith("nothing to do: what was asked for is there") and "store.zarr" in text

    changed = ("imported.hz=0.5", "jobs.workers=2", "jobs.disk=1e9")
    status, text = brainlm(series, out, "--target", "dataset", "-n", "--set", *changed)
    assert status == 0
    assert "imported.hz: 1.0 -> 0.5: imported, collate of 6 recordings" in text
    assert "jobs.workers: 1 -> 2 (nothing is made again)" in text
    assert re.search(r"^  imported +1 +2 +\d{4} +\d+$", text, re.MULTILINE)  # jobs, cores, MB, minutes
    assert re.search(r"^warning: .+ needs .+ TB, .+ are free there: it would be refused; .+ jobs\.disk", text, re.M)
    assert yaml.safe_load((out / "config.yaml").read_text())["imported"]["hz"] == 1.0


def test_a_stage_by_hand_goes_on_with_the_folder_and_without_the_dataset(tmp_path: Path, series: Path) -> None:
    """As somebody who was given the results, and draws a figure again."""
    out = tmp_path / "out"
    words = ("--input", "arrays", "--target", "dataset", "--set", "input.tr_s=1.0", "bundle_size=6")
    assert brainlm(series, out, *words)[0] == 0
    series.rename(tmp_path / "gone")
    status, text = brainlm("data", "run", "collate", "--outdir", out)
    assert status == 0 and "the dataset is not there: as it was planned last" in text, text
    assert "store.zarr" in text and "not used" not in text


def test_refused_recordings_are_told_with_their_reason(tmp_path: Path, series: Path) -> None:
    (series / "sub-02_task-rest.npy").write_bytes(b"no array")
    words = ("--input", "arrays", "--target", "preprocess", "--set", "input.tr_s=1.0", "bundle_size=6")
    status, text = brainlm(series, tmp_path / "out", *words)
    assert status == 3, text
    assert "5 of 6 recordings went through" in text
    assert re.search(r"1 refused:\n  sub-02_task-rest: ", text)


def test_what_is_refused_before_the_series_is_said_as_well(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids")  # images that are too small for any head motion
    status, text = brainlm(bids, tmp_path / "out", "--target", "motion", "--atlas", "demo424", "--set", "bundle_size=2")
    assert status == 3, text
    assert "0 of 2 recordings went through\n2 refused:" in text


def test_an_interrupted_run_ends_with_what_there_is_and_goes_on(tmp_path: Path, series: Path) -> None:
    out = tmp_path / "out"
    tiny = ("train.window=40", "train.patch=20", "train.width=16", "train.heads=2", "train.depth=1", "train.threads=1")
    words = [series, out, "--input", "arrays", "--target", "train", "--set", "input.tr_s=1.0", "bundle_size=6", *tiny]
    call = [sys.executable, "-m", "brainlm", *map(str, words), "train.steps=1000000"]
    log, end = out / "work/logs/train/cohort.log", time.monotonic() + 120
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        while not (log.is_file() and "train: " in log.read_text()):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)  # SIGINT is ignored where pytest is a background job
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "6 of 6 recordings went through" in text and text.endswith(
        "interrupted; the same command goes on from here\n"
    )
    assert "failed" not in text  # what was running then
    status, text = brainlm(series, out, "--target", "train", "--set", "train.steps=2")
    assert status == 0 and "to run: 1 job: train" in text, text


def test_a_failed_job_is_told_with_its_error_and_its_log(tmp_path: Path, series: Path) -> None:
    """A model that cannot be trained on 60 steps: the data went through, the status is 1."""
    words = ("--input", "arrays", "--target", "train", "--set", "input.tr_s=1.0", "bundle_size=6", "train.window=200")
    status, text = brainlm(series, tmp_path / "out", *words)
    assert status == 1, text
    assert "6 of 6 recordings went through" in text and "1 job failed" in text
    assert re.search(r"  train of cohort: .+\n    try: .+\n    log: .+train/cohort.log", text)
    assert "RuleException" not in text and "Traceback" not in text
