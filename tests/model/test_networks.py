"""Stage `networks`: planted networks are recovered, without any nothing is, and no label gets where it must not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainlm_data import InputError
from brainlm_model.eval.networks import classify
from brainlm_model.eval.networks.stage import networks_of
from brainlm_model.stages import PAPER_TASKS
from brainlm_model.training import stage as train
from tests.model.parcel_people import make, outputs, run

LABELS = np.repeat(np.arange(4), 10)
KNOWN = np.ones((12, 40), dtype=bool)


@pytest.fixture(scope="module")
def finished(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    run("networks", planted, out)
    return out


def accuracy(out: Path) -> pd.DataFrame:
    table = pd.read_csv(out / "networks_csv.csv", keep_default_na=False, na_values=[""])
    rows = table[table["metric"] == "accuracy"]
    return rows.set_index(["protocol", "classifier", "method", "labels"]).sort_index()


def test_planted_networks_are_recovered(finished):
    rows = accuracy(finished)
    for method in ("raw", "series", "connectivity"):
        assert rows.loc[("within", "knn", method, "true"), "value"] > 0.8
    assert rows.loc[("across", "knn", "connectivity", "true"), "value"] > 0.8
    # who has a network's course in common differs from person to person: series of others say nothing
    assert rows.loc[("across", "knn", "series", "true"), "value"] < 0.5
    # coordinates were drawn at random
    assert rows.loc[("within", "knn", "position", "true"), "value"] < 0.5
    assert rows.loc[("across", "majority", "majority", "true"), "value"] == pytest.approx(0.25, abs=0.02)


def test_shuffled_labels_give_chance(finished):
    rows = accuracy(finished).xs("shuffled", level="labels")
    assert len(rows) == 20
    assert rows["value"].mean() == pytest.approx(0.25, abs=0.08)
    assert (rows.loc["within", "value"] < 0.4).all()  # across, one draw for all people: single ones may be far off


def test_the_tables_say_what_was_compared(finished):
    content = json.loads((finished / "networks_json.json").read_text())
    pairs = {(r["protocol"], r["classifier"], r["method"], r["against"]) for r in content["Comparisons"]}
    assert len(pairs) == len(content["Comparisons"]) == 4 * (9 + 8)
    verdict = next(
        r for r in content["Comparisons"]
        if (r["protocol"], r["classifier"], r["method"], r["against"]) == ("within", "knn", "attention", "raw")
    )  # fmt: skip
    assert verdict["verdict"] == "worse" and verdict["high"] < 0 and verdict["p"] <= verdict["p_holm"]
    assert content["Networks"] == {"Default": 5, "Limbic": 5, "Somatomotor": 5, "Visual": 5}
    assert content["UnknownParcels"] == 1 and any("sub-99" in line for line in content["Warnings"])
    assert {e["method"]: e["value"] for e in content["Published"]}["raw"] == 0.392
    assert not any(e["comparable"] for e in content["Published"]) and len(content["Summary"]) == 2
    with np.load(finished / "networks_arrays.npz") as arrays:
        counts = arrays["within/knn/raw/true"]
        assert counts.shape == (4, 4) and np.trace(counts) / counts.sum() > 0.8
        # each recording holds out a fifth; across, each parcel of each recording is held out once
        assert arrays["across/knn/raw/true"].sum() == 32 * 20 - 1
    assert (finished / "networks_png.png").stat().st_size > 10_000


def test_where_nothing_is_planted_nothing_is_found(control, tmp_path):
    run("networks", control, tmp_path / "out", methods=["attention", "raw", "connectivity", "vae", "gcn"])
    rows = accuracy(tmp_path / "out").xs("true", level="labels").drop("majority", level="classifier")
    within = rows.loc["within"]
    assert ((within["low"] <= 0.25) & (within["high"] >= 0.25)).mean() >= 0.8
    assert within["value"].max() < 0.45


def test_the_same_seed_gives_the_same_table_and_finished_methods_are_kept(planted, tmp_path, monkeypatch):
    from brainlm_model.eval.networks import stage as networks

    keys = {"methods": ["vae", "gcn", "raw"], "classifiers": ["knn"]}
    run("networks", planted, tmp_path / "a", **keys)
    calls = []

    def counted(name):
        make_it = networks.FEATURES[name]

        def features(of):
            calls.append(name)
            if calls == ["vae", "gcn"]:
                raise KeyboardInterrupt
            return make_it(of)

        return features

    monkeypatch.setattr(networks, "FEATURES", {name: counted(name) for name in keys["methods"]})
    with pytest.raises(KeyboardInterrupt):
        run("networks", planted, tmp_path / "b", tmp_path / "work", **keys)
    run("networks", planted, tmp_path / "b", tmp_path / "work", **keys)
    assert calls == ["vae", "gcn", "gcn", "raw"]
    for name in ("csv.csv", "json.json"):
        same = [(tmp_path / place / f"networks_{name}").read_bytes() for place in "ab"]
        assert same[0] == same[1]


def test_folds_spread_every_network_and_leave_out_what_has_none():
    fold = classify.folds(np.r_[LABELS, -1, -1], np.random.default_rng(0))
    assert (fold[40:] == -1).all()
    for network in range(4):
        assert np.bincount(fold[:40][network == LABELS]).tolist() == [2] * 5


@pytest.mark.parametrize("classifier", ["knn", "logistic"])
@pytest.mark.parametrize("what", ["subject", "parcel"])
def test_who_it_is_or_which_parcel_does_not_help_across_people(classifier, what):
    noise = 1e-3 * np.random.default_rng(0).standard_normal((12, 40, 52)).astype(np.float32)
    people, parcels = np.eye(52)[:12, None], np.eye(52)[None, 12:]
    x = (people if what == "subject" else parcels) + noise
    found = classify.across((x, KNOWN), (x, KNOWN), LABELS, classifier, 0, shuffle=False).confusion.sum(0)
    assert found.sum() == 12 * 40
    # at most the ties of a fold go to one network
    assert np.trace(found) / found.sum() < 0.4


def test_what_is_held_out_is_never_seen(monkeypatch):
    x = np.broadcast_to(np.arange(40, dtype=np.float32)[None, :, None], (12, 40, 1)).copy()  # a parcel's own number
    seen = []

    def spy(fit, check, both, x_mF, count):
        seen.append([set(part.ravel().tolist()) for part in (fit[0], check[0], both[0], x_mF)])
        return np.zeros(len(x_mF), dtype=np.int64)

    monkeypatch.setitem(classify.CLASSIFIERS, "knn", spy)
    classify.across((x, KNOWN), (x, KNOWN), LABELS, "knn", 0, shuffle=False)
    classify.within(x, KNOWN, [f"r{i}" for i in range(12)], LABELS, "knn", 0, shuffle=False)
    assert len(seen) == 5 + 12
    for fit, check, both, held in seen:
        assert not both & held and not fit & check and fit | check == both and len(both) == 32 and len(held) == 8
    assert set().union(*(held for *_, held in seen[:5])) == set(range(40))


def test_neighbours_by_hand():
    train = np.array([[0.0], [1], [2], [10], [11]], dtype=np.float32), np.array([0, 0, 0, 1, 1])
    votes = classify._votes(train, np.array([[0.2], [10.4], [6.4]], dtype=np.float32), 2, (1, 4, 45))
    assert votes.tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0]]  # 4 neighbours of 6.4: two of each, the nearer one's


def test_an_atlas_without_networks_is_refused(tmp_path):
    store = make(tmp_path)
    store.parcels["network"] = "n/a"
    with pytest.raises(InputError, match="name 0 networks"):
        networks_of(store)
    store.parcels.loc[:7, "network"] = ["A", "B"] * 4
    names, labels, few = networks_of(store)
    assert names == ["A", "B"] and (labels == -1).sum() == 12 and few == ["A", "B"]


def test_golden(finished: Path, golden: Callable[..., None]) -> None:
    golden(PAPER_TASKS["networks"], outputs("networks", finished), after=[train.STAGE], rtol=0.05)
