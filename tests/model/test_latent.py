"""Stage `latent`: planted people and groups are found, without any nothing is, and a subject never helps itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainlm_model.eval.latent import features, identify, separate
from brainlm_model.stages import PAPER_TASKS
from brainlm_model.training import stage as train
from tests.model.parcel_people import outputs, run
from tests.model.people import trained
from tests.model.written import write

PARCELS, STEPS, TRAINING, HELD = 16, 100, 6, 20


def make(folder: Path, planted: bool, runs: int = 2) -> Path:
    """A cohort with a model. Planted: everyone mixes parcels in a way of their own, and the half of group `a` more so.

    Control: all mix them alike, so that neither person nor group is in the data.
    """
    rng = np.random.default_rng(1)
    common = rng.standard_normal((PARCELS, PARCELS))
    one = np.zeros((PARCELS, PARCELS))
    one[: PARCELS // 2] = 1.0  # one course for half of the parcels
    data, rows = [], []
    for number in range(TRAINING + HELD):
        own, group = rng.standard_normal((PARCELS, PARCELS)), "ab"[number % 2]
        mix = 0.6 * common + planted * (0.6 * own + 0.6 * (group == "a") * one)
        mix *= np.exp(planted * rng.standard_normal((PARCELS, 1)))  # and has amplitudes of their own
        for run_ in range(runs):
            smooth = np.apply_along_axis(
                lambda s: np.convolve(s, np.ones(4) / 2, "same"), 0, rng.standard_normal((STEPS, PARCELS))
            )
            data.append((10 * smooth @ mix.T + 100).astype(np.float32))
            rows.append({"id": f"sub-{number:02d}_task-rest_run-{run_ + 1}", "subject": f"{number:02d}", "task": "rest",
                         "split": "train" if number < TRAINING else "test", "n_steps": STEPS, "status": "done",
                         "group": group, "age": float(rng.integers(20, 80)), "note": None})  # fmt: skip
    data[-1][:, 3] = np.nan  # a parcel outside the field of view of the last recording
    table = pd.DataFrame(rows)
    atlas = pd.DataFrame({"index": range(1, PARCELS + 1), "name": [f"p{i:02d}" for i in range(PARCELS)]})
    atlas[["x", "y", "z"]] = rng.uniform(-50, 50, (PARCELS, 3))
    trained(write(folder, data, table, atlas), folder / "model")
    return folder


KEYS = {"columns": ["group", "age", "note", "colour"], "neighbours": 5}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("planted"), planted=True)


@pytest.fixture(scope="module")
def finished(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    run("latent", planted, out, **KEYS)
    return out


def table(out: Path, part: str) -> pd.DataFrame:
    rows = pd.read_csv(out / "latent_csv.csv", keep_default_na=False, na_values=[""])
    keys = ["method", "metric"] if part == "identification" else ["column", "method", "metric"]
    return rows[rows["part"] == part].set_index(keys).sort_index()


def test_planted_people_are_known_again(finished):
    rows = table(finished, "identification")
    best = rows.loc[("connectivity", "rank1")]
    assert best["value"] > 0.9 and best["p_holm"] < 0.01 and best["chance"] == pytest.approx(1 / HELD, abs=0.03)
    for method in ("cls", "mean", "parcels"):  # personal amplitudes are in every embedding
        found = rows.loc[(method, "percentile")]
        assert found["low"] > 0.5 and found["p_holm"] < 0.05
    content = json.loads((finished / "latent_json.json").read_text())
    assert content["Pairs"].startswith("two recordings of the same task") and content["PairedSubjects"] == HELD
    pairs = {(r["method"], r["against"], r["metric"]) for r in content["Comparisons"] if r["part"] == "identification"}
    assert len(pairs) == 3 * 3 * 2


def test_a_planted_group_is_separated_and_age_is_not(finished):
    rows = table(finished, "separation")
    group = rows.loc[("group", "connectivity", "balanced_accuracy")]
    assert group["value"] > 0.75 and group["p_holm"] < 0.05 and group["chance"] == pytest.approx(0.5, abs=0.06)
    assert rows.loc[("age", "connectivity", "r"), "p_holm"] > 0.05
    content = json.loads((finished / "latent_json.json").read_text())
    assert content["Columns"] == {"group": ["a", "b"], "age": "number"}
    assert [line.partition(":")[0] for line in content["ColumnsLeftOut"]] == ["note", "colour"]
    assert content["UnknownPairsOfParcels"] == PARCELS - 1 and len(content["Summary"]) == 3
    assert not any(entry["comparable"] for entry in content["Published"])
    with np.load(finished / "latent_arrays.npz") as arrays:
        assert arrays["xy/cls_umap"].shape == arrays["xy/cls_pca"].shape == (2 * HELD, 2)
        assert arrays["similarity/cls"].shape == (HELD, HELD)
    assert (finished / "latent_png.png").stat().st_size > 10_000


def test_where_nothing_is_planted_nothing_is_found(tmp_path):
    run("latent", make(tmp_path / "control", planted=False), tmp_path / "out", **KEYS)
    people = table(tmp_path / "out", "identification")
    assert (people["p_holm"] > 0.05).all()
    rate = people.xs("rank1", level="metric")
    assert ((rate["low"] <= 1 / HELD) & (rate["high"] >= 1 / HELD)).all()
    groups = table(tmp_path / "out", "separation").drop("silhouette", level="metric")
    assert (groups["p_holm"] > 0.05).all()


def test_one_recording_each_is_cut_into_halves_and_finished_parts_are_kept(tmp_path, monkeypatch):
    home, calls, some = make(tmp_path / "single", planted=True, runs=1), [], features._some
    run("latent", home, tmp_path / "a", **KEYS)

    def counted(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return some(*given)

    monkeypatch.setattr(features, "_some", counted)
    with pytest.raises(KeyboardInterrupt):
        run("latent", home, tmp_path / "b", tmp_path / "work", **KEYS)
    run("latent", home, tmp_path / "b", tmp_path / "work", **KEYS)
    assert len(calls) == 8 + 1  # of eight pieces one was kept, and the one that was cut off was made again
    for name in ("csv.csv", "json.json"):
        same = [(tmp_path / place / f"latent_{name}").read_bytes() for place in "ab"]
        assert same[0] == same[1]
    content = json.loads((tmp_path / "a/latent_json.json").read_text())
    assert content["Pairs"].startswith("halves, within one scan") and any("easier" in w for w in content["Warnings"])
    assert table(tmp_path / "a", "identification").loc[("connectivity", "rank1"), "value"] > 0.5


def test_a_subject_does_not_help_itself():
    rng = np.random.default_rng(0)
    who = [f"{n // 3}" for n in range(120)]
    x = np.repeat(rng.standard_normal((40, 8)), 3, axis=0) + 1e-6 * rng.standard_normal((120, 8))
    labels = np.repeat(rng.integers(0, 2, 40), 3).astype(float)
    near = separate.neighbours(x, who, 5)
    assert all(who[i] != who[j] for i, row in enumerate(near) for j in row)
    found = separate.predictions(labels[None], near, 2)
    assert separate.score(found, labels[None], np.ones((1, 120)), 2)[0] < 0.7


def test_subjects_are_permuted_and_recordings_of_one_stay_together():
    rng = np.random.default_rng(0)
    who = ["a", "a", "b", "b", "c", "d"]
    constant = separate.permuted(np.array([1.0, 1, 2, 2, 3, 4]), who, rng)
    assert constant[0] == constant[1] and constant[2] == constant[3] and len(set(constant)) == 4
    varying = separate.permuted(np.array([1.0, 2, 3, 4, 5, 6]), who, rng)
    assert set(varying[:2]) in ({1.0, 2.0}, {3.0, 4.0}) and set(varying[4:]) == {5.0, 6.0}


def test_scores_by_hand():
    similarity = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.6], [0.1, 0.3, 0.7]])
    # by rows the second is third; by columns everybody is first
    assert identify.scores(similarity)[:, :3].tolist() == [[1, 1, 1], [0.5, 2, 0.5], [1, 1, 1]]
    assert identify.scores(similarity)[0, 3] == pytest.approx(0.9 - (0.1 + 0.2 + 0.8 + 0.1) / 4)
    chance, p = identify.by_chance(np.eye(12), 200, 0)
    assert chance[0] == pytest.approx(1 / 12, abs=0.03) and p[0] == pytest.approx(1 / 201)
    assert identify.ranks(np.ones((3, 3))).tolist() == [2, 2, 2]


def test_swapping_predictions_tells_a_good_one_from_noise():
    rng = np.random.default_rng(0)
    truth, who = rng.standard_normal(60), [str(n) for n in range(60)]
    good, noise = truth + 0.3 * rng.standard_normal(60), rng.standard_normal((2, 60))
    assert separate.swap_test(good, noise[0], truth, who, 0, 0) < 0.01
    assert separate.swap_test(noise[1], noise[0], truth, who, 0, 0) > 0.05


def test_pairs_are_of_the_same_task_first_then_of_two_tasks():
    people = [str(n) for n in range(8)]
    rows = [{"id": f"{s}-{t}", "subject": s, "task": t} for s in people for t in ("rest", "wm")]
    found = identify.pairs_of(pd.DataFrame(rows), "auto")
    assert found.mode == "tasks" and found.first[0] == ("0-rest", None) and found.second[0] == ("0-wm", None)
    rows += [{"id": f"{s}-again", "subject": s, "task": "wm"} for s in people[:6]]
    found = identify.pairs_of(pd.DataFrame(rows), "auto")
    assert found.mode == "retest" and len(found.subjects) == 6 and found.second[0] == ("0-again", None)
    assert identify.pairs_of(pd.DataFrame(rows[:1]), "auto") is None


def test_golden(finished: Path, golden: Callable[..., None]) -> None:
    golden(PAPER_TASKS["latent"], outputs("latent", finished), after=[train.STAGE], rtol=0.05, ignore=("xy/cls_umap",))
