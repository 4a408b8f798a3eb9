"""The picture experiment: what is shown, what is written, and that visual cortex answers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainlm_data.bids.index import Select, read_index
from brainlm_data.errors import InputError
from brainlm_data.simulate.cohort import simulate
from brainlm_data.simulate.pictures import Stimuli, trials
from brainlm_data.simulate.plan import Plan

PLAN = Plan(
    Path("unused"), 1, 45, 2.0, (28, 33, 26), 6.5, seed=5, t1w_mm=4.0, tasks=("pictures",), runs=2, noise=0.0,
    physio=0.0, motion_mm=0.0, pictures=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pictures") / "ds"
    simulate(dataclasses.replace(PLAN, out=out), quiet=True)
    return out


def events(root: Path, run: int) -> pd.DataFrame:
    return pd.read_csv(root / "sub-01" / "func" / f"sub-01_task-pictures_run-{run}_events.tsv", sep="\t")


def test_each_picture_is_shown_once_but_those_of_the_small_set() -> None:
    plan = dataclasses.replace(PLAN, runs=8, volumes=150)
    stimuli, counts = Stimuli.of(plan), Counter[int]()
    for run in range(8):
        for trial in trials(plan, "01", run):
            assert trial.repeated == (trial.picture < stimuli.n_repeated)
            counts[trial.picture] += 1
    assert set(counts) == set(range(len(stimuli.pixels)))
    assert {counts[p] for p in range(stimuli.n_repeated)} == {2}
    assert {counts[p] for p in range(stimuli.n_repeated, len(stimuli.pixels))} == {1}


def test_events_name_pictures_that_are_there(shown: Path) -> None:
    index = read_index(shown, Select())
    tables = [file for r in index.recordings for file in r.events_files.values()]
    assert len(tables) == 2
    for run in (1, 2):
        rows = events(shown, run)
        assert list(rows.columns) == ["onset", "duration", "trial_type", "stim_file", "stimulus_set"]
        assert {f"stimuli/{name}" for name in rows["stim_file"]} <= set(index.stimulus_files)
        assert (rows["onset"].diff().dropna() == 6).all() and rows["onset"].max() < 90


def test_voxels_of_visual_cortex_answer_pictures_as_the_truth_says(shown: Path) -> None:
    answers = np.load(shown / "truth" / "sub-01" / "sub-01_desc-cortex_response.npz")
    table = pd.read_csv(shown / "truth" / "parcels.tsv", sep="\t").sort_values("index").reset_index(drop=True)
    assert table["network"][answers["parcel"]].str.startswith("Visual").all()
    assert np.allclose(answers["answers"].mean(1), 0, atol=1e-4)
    image = nib.load(shown / "sub-01" / "func" / "sub-01_task-pictures_run-1_bold.nii.gz")
    parcels = nib.load(shown / "truth" / "sub-01" / "func" / "sub-01_task-pictures_run-1_desc-parcels_dseg.nii.gz")
    data, labels = np.asarray(image.dataobj, float), np.asarray(parcels.dataobj)
    neural = pd.read_csv(
        shown / "truth" / "sub-01" / "func" / "sub-01_task-pictures_run-1_desc-neural_timeseries.tsv", sep="\t"
    )
    left = {}
    for row, label in enumerate(table["index"]):
        inside = labels == label
        if inside.sum() < 5:
            continue
        series = data[inside] / data[inside].mean(-1, keepdims=True)
        own = np.c_[neural.iloc[:, row], np.ones(len(neural))]
        rest = series.T - own @ np.linalg.lstsq(own, series.T, rcond=None)[0]
        left.setdefault(table["network"][row].split()[0], []).append(100 * rest.std())
    # percent: what the neural series of the parcel does not explain
    assert np.mean(left["Visual"]) > 2 * np.mean(left["Somatomotor"])


def test_what_cannot_be_shown_is_one_line() -> None:
    with pytest.raises(InputError, match="there are 1797"):
        Stimuli.of(dataclasses.replace(PLAN, runs=60, volumes=300))
    with pytest.raises(InputError, match="runs of 40 s"):
        dataclasses.replace(PLAN, volumes=20)
    with pytest.raises(InputError, match="--control"):
        dataclasses.replace(PLAN, control=True)
