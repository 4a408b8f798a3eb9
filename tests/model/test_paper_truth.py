"""The paper's tasks on 120 simulated people whose truth is known, and on 120 of whom there is nothing to find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainlm_data import open_store
from brainlm_data.cli import main as data
from brainlm_model.cli import main as model
from tests.model.parcel_people import run
from tests.model.written import write

SUBJECTS, EVERY = 120, 6  # every sixth parcel of the atlas: 71
LINEAR = ["correlations_ridge", "tangent_ridge", "coskewness_ridge"]
OURS = ["cls_ridge", "parcels_ridge"]


def cohort(folder: Path, *options: str) -> Path:
    """A store of rest and task runs of 120 people, and a model that was trained on 96 of them for 20 steps."""
    call = (
        f"simulate --out {folder / 'all'} --subjects {SUBJECTS} --volumes 110 --tr 2 --seed 3 --tasks rest,wm --quiet"
    )
    assert data([*call.split(), "--parcels-only", *options]) == 0
    store = open_store(folder / "all" / "store.zarr")
    table, kept = store.recordings.drop(columns="start"), np.arange(0, len(store.parcels), EVERY)
    series = [np.asarray(store.series(name)[:, kept], np.float32) for name in table["id"]]
    atlas = store.parcels.iloc[kept].reset_index(drop=True)
    write(folder, series, table, atlas)
    train = ["train", str(folder / "store.zarr"), "--out", str(folder / "model")]
    assert model([*train, "--set", "train.steps=20", "train.threads=1"]) == 0
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort(tmp_path_factory.mktemp("control"), "--control")


def table(task: str, home: Path, **keys: object) -> pd.DataFrame:
    out = home / "out" / task
    run(task, home, out, **keys)
    return pd.read_csv(out / f"{task}_csv.csv", keep_default_na=False, na_values=[""])


def test_age_is_in_connectivity_and_sex_is_nowhere(planted: Path) -> None:
    found = table("phenotype", planted, columns=["age", "sex"], methods=[*LINEAR, *OURS])
    age = found[(found["column"] == "age") & (found["metric"] == "r2")].set_index("method")
    assert age.loc["correlations_ridge", "low"] > 0.3 and age.loc["tangent_ridge", "low"] > 0.1  # on connectivity
    assert age.loc["cls_ridge", "p_permutation"] < 0.05 and age.loc["cls_ridge", "low"] > 0.1
    sex = found[(found["column"] == "sex") & (found["metric"] == "auroc")].set_index("method")
    assert nothing(sex)


def test_no_trait_is_found_where_there_is_none(control: Path) -> None:
    found = table("phenotype", control, columns=["age", "sex"], methods=[*LINEAR, *OURS])
    age = found[(found["column"] == "age") & (found["metric"] == "r2")].set_index("method")
    assert (age.loc[[*LINEAR, *OURS], "low"] < 0).all() and age.loc[[*LINEAR, *OURS], "value"].max() < 0.05
    sex = found[(found["column"] == "sex") & (found["metric"] == "auroc")].set_index("method")
    assert nothing(sex)


def nothing(rows: pd.DataFrame) -> bool:
    """Permuted labels do as well as every method, after correction for the number of methods."""
    p = rows.loc[[*LINEAR, *OURS], "p_permutation"]
    return bool((p * len(p) > 0.05).all())


NETWORKS = {"train_recordings": 20, "methods": ["embedding", "connectivity", "raw", "position"], "classifiers": ["knn"]}


def accuracies(found: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by protocol and method, and that of the largest network."""
    rows = found[(found["metric"] == "accuracy") & (found["labels"] == "true")]
    return rows.set_index(["protocol", "method"])


def test_networks_are_found_in_series_and_connectivity(planted: Path) -> None:
    found = accuracies(table("networks", planted, **NETWORKS))
    chance = found.loc[("within", "majority"), "value"]
    assert found.loc[("within", "raw"), "low"] > 0.6 and found.loc[("within", "connectivity"), "low"] > 0.5
    assert found.loc[("across", "connectivity"), "low"] > 0.5 > 2 * chance
    assert found.loc[("across", "raw"), "value"] < chance + 0.1  # a course of one recording says nothing in another


def test_no_network_is_found_where_there_is_none_but_by_position(control: Path) -> None:
    found = accuracies(table("networks", control, **NETWORKS))
    for protocol in ("within", "across"):
        for method in ("raw", "connectivity"):
            assert found.loc[(protocol, method), "value"] < found.loc[(protocol, "majority"), "value"] + 0.05
        # an embedding holds the parcel's coordinates, from which its network can be guessed
        assert found.loc[(protocol, "embedding"), "value"] < found.loc[(protocol, "position"), "value"] + 0.05


@pytest.mark.parametrize(("name", "there"), [("planted", True), ("control", False)])
def test_hidden_parcels_are_filled_in_from_others_only_where_they_share_something(
    name: str, there: bool, request: pytest.FixtureRequest
) -> None:
    home = request.getfixturevalue(name)
    keys = {"models": ["tiny"], "training_ratios": [0.75], "shares": [1.0], "steps": 5, "mask_ratios": [0.5]}
    found = table("scaling", home, **keys)
    flat = found[found["metric"] == "r2_flat"].set_index("method")
    low, high = (0.3, 1.0) if there else (-0.05, 0.02)
    assert low < flat.loc["gaussian", "value"] < high
    assert flat.loc["model", "value"] > flat.loc["gaussian", "value"]  # it continues series in time, too
