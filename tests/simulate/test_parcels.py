"""The cohort of parcel series, and what the command says of impossible plans."""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainlm_data import open_store, read_events
from brainlm_data.errors import InputError
from brainlm_data.simulate import add_arguments
from brainlm_data.simulate.cohort import simulate
from brainlm_data.simulate.parcels import simulate_parcels
from tests.simulate.test_simulate import REST, SMALL


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sim") / "parcels"
    plan = dataclasses.replace(SMALL, out=out, subjects=60, volumes=150)
    simulate_parcels(plan, quiet=True)
    return out


def test_parcels_only_is_a_store_that_training_reads(cohort):
    store = open_store(cohort / "store.zarr")
    table = store.recordings
    assert len(table) == 120 and set(table["split"]) == {"train", "validation", "test"}
    assert table.groupby("subject")["split"].nunique().max() == 1
    assert set(table["n_steps"]) == {299}  # floor((150 - 1) * 2 * 1) + 1
    series = np.load(cohort / "series" / f"{REST}.npy")
    assert series.dtype == np.float32 and np.array_equal(store.series(REST), series)
    assert store.scaler is not None and np.isfinite(store.scaler.iqr).all()
    blocks = read_events(cohort / "events.tsv")  # of the task, not of rest
    assert len(set(blocks["recording"])) == 60 and set(blocks["trial_type"]) == {"block"}
    assert blocks["onset_s"].tolist()[:2] == [20.0, 60.0]
    # training subjects alone: the scaler is the one of their series
    rows = table.loc[table["split"] == "train", "id"]
    stacked = np.concatenate([(x := store.series(r)[:, :3].astype(float)) - x.mean(0) for r in rows])
    low, high = np.percentile(stacked, [25, 75], axis=0)
    assert store.scaler.iqr[:3] == pytest.approx(high - low, rel=1e-5)
    assert list(pd.read_csv(cohort / "recordings.tsv", sep="\t").columns) == [
        "id", "subject", "session", "task", "run", "tr_s", "age", "sex"]  # fmt: skip


def test_networks_age_and_subjects(cohort):
    table = pd.read_csv(cohort / "recordings.tsv", sep="\t").query("task == 'rest'")
    networks = pd.read_csv(cohort / "atlas.tsv", sep="\t")["network"].to_numpy()
    assert len(set(networks)) == 7
    same = (networks[:, None] == networks) & ~np.eye(len(networks), dtype=bool)
    first, second = sorted(set(networks))[:2]
    pair = (networks[:, None] == first) & (networks == second)
    within, merged = [], []
    for name in table["id"]:
        r = np.corrcoef(np.load(cohort / "series" / f"{name}.npy").T)
        within.append(r[same].mean())
        merged.append(r[pair].mean())
        assert r[same].mean() > r[~same].mean() + 0.1
    assert np.corrcoef(table["age"], within)[0, 1] < -0.35
    assert np.corrcoef(table["age"], merged)[0, 1] > 0.2


def test_connectivity_identifies_the_subject_across_tasks(cohort):
    def connectome(subject: int, task: str) -> np.ndarray:
        r = np.corrcoef(np.load(cohort / "series" / f"sub-{subject:02d}_task-{task}.npy").T)
        return r[np.triu_indices(len(r), 1)]

    rest, task = (np.array([connectome(s, t) for s in range(1, 21)]) for t in ("rest", "wm"))
    similarity = np.corrcoef(rest - rest.mean(0), task - task.mean(0))[:20, 20:]
    assert (similarity.argmax(1) == np.arange(20)).mean() > 0.5  # chance is 0.05


def test_a_task_drives_two_networks(cohort):
    networks = pd.read_csv(cohort / "atlas.tsv", sep="\t")["network"].to_numpy()
    driven = np.isin(networks, sorted(set(networks))[-2:])
    mean = np.mean([np.load(cohort / "series" / f"sub-{s:02d}_task-wm.npy") for s in range(1, 61)], axis=0)
    phase = (np.arange(len(mean)) - 6) % 40  # blocks are on from 20 to 40 s of every 40; the response is 6 s late
    on, off = (phase >= 20) & (np.arange(len(mean)) > 30), (phase < 20) & (np.arange(len(mean)) > 30)
    effect = mean[on].mean(0) - mean[off].mean(0)
    assert effect[driven].mean() > 50 and abs(effect[~driven].mean()) < 15  # 1 percent is 100


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tr_s": -2.0}, "--tr -2"),
        ({"shape": (10, 12, 8)}, "too small for a head"),
        ({"shape": (2, 64, 64)}, "4 voxels"),
        ({"subjects": 0}, "--subjects 0"),
        ({"volumes": 0}, "--volumes 0"),
        ({"tasks": ("rest", "n-back")}, "letters and digits"),
        ({"tasks": ()}, "--tasks"),
        ({"no_t1w": ("07",)}, "sub-07|07"),
        ({"non_steady": 99}, "--non-steady 99"),
        ({"motion_mm": -1.0}, "--motion-mm"),
    ],
)
def test_impossible_plans_are_one_line_with_a_remedy(change, says):
    with pytest.raises(InputError, match=says) as caught:
        dataclasses.replace(SMALL, **change)
    assert caught.value.remedy and "\n" not in str(caught.value)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "precious").touch()
    for write in (simulate, simulate_parcels):
        with pytest.raises(InputError, match="not empty"):
            write(dataclasses.replace(SMALL, out=tmp_path), True)
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]


def test_the_command(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    line = f"--out {tmp_path / 'p'} --subjects 3 --volumes 20 --tr 1 --seed 2 --parcels-only"
    arguments = parser.parse_args(line.split())
    arguments.call(arguments)
    assert (tmp_path / "p" / "store.zarr" / "zarr.json").exists()
    assert "3/3" in capsys.readouterr().err


def test_the_parser_is_cheap_to_make():
    code = "import sys, brainlm_data.simulate; print([m for m in ('numba', 'nibabel', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
