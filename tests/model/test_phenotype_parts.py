"""Scores, folds, features and learners of stage phenotype, each against a definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.covariance import LedoitWolf, ledoit_wolf_shrinkage
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from benchmarks import contrast
from brainlm_data import InputError
from brainlm_model.baselines import coskewness, small_networks, tangent
from brainlm_model.baselines.traits import CANDIDATES, LEARNERS, Data
from brainlm_model.eval.phenotype import features, learn, scores
from brainlm_model.eval.phenotype.cohort import _parts
from brainlm_model.eval.phenotype.finetuned import SETTINGS
from brainlm_model.eval.phenotype.people import (
    Fold,
    Target,
    default_columns,
    folds_of,
    people_of,
    site_of,
    target_of,
    with_splits,
)
from brainlm_model.eval.phenotype.section import Config
from brainlm_model.eval.statistics.paired import holm
from tests.model import traits


def held(outputs: np.ndarray, truth: np.ndarray, folds: np.ndarray | None = None) -> scores.HeldOutPredictions:
    where = np.zeros(len(truth), np.intp) if folds is None else folds
    return scores.HeldOutPredictions(outputs, outputs, truth, truth, where, where)


def test_everybody_has_as_many_candidates() -> None:
    assert {len(learner.settings) for learner in LEARNERS.values()} == {CANDIDATES}
    assert {len(settings) for settings in small_networks.SETTINGS.values()} == {CANDIDATES} == {len(SETTINGS)}


def test_a_transform_may_be_none() -> None:
    """Elsewhere in a section the word means null."""
    config = Config(columns=[{"name": "IQ", "transform": "none"}], leave_out="none")  # type: ignore[list-item]
    assert config.columns[0].transform == "none" and config.leave_out is None


def test_areas_and_accuracies_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    truth, outputs = rng.integers(0, 3, 60).astype(float), rng.standard_normal((60, 3)).round(1)
    found = scores.measure(held(outputs, truth), np.ones((1, 60)))
    one_against_rest = [roc_auc_score(truth == k, outputs[:, k]) for k in range(3)]
    assert found["auroc"][0] == pytest.approx(np.mean(one_against_rest))
    untied = outputs + 1e-3 * rng.standard_normal((60, 3))
    accuracy = scores.measure(held(untied, truth), np.ones((1, 60)))["balanced_accuracy"][0]
    assert accuracy == pytest.approx(balanced_accuracy_score(truth, untied.argmax(1)))
    alike = scores.measure(held(np.ones((60, 3)), truth), np.ones((1, 60)))
    assert alike["balanced_accuracy"][0] == pytest.approx(1 / 3) and alike["auroc"][0] == 0.5
    two, weights = (truth > 0).astype(float), rng.integers(0, 3, (1, 60)).astype(float)
    weighted = scores.measure(held(outputs[:, :2], two), weights)["auroc"][0]
    assert weighted == pytest.approx(roc_auc_score(two, outputs[:, 1], sample_weight=weights[0]))


def test_folds_are_not_compared_with_each_other() -> None:
    truth = np.array([0, 1, 0, 1.0])
    folds = np.array([0, 0, 1, 1])
    outputs = np.array([[0, 0.1], [0, 0.2], [0, 5.1], [0, 5.2]])  # another level in each fold
    assert scores.measure(held(outputs, truth, folds), np.ones((1, 4)))["auroc"][0] == 1
    numbers = np.array([3.0, 4.0, 15.0, 16.0])
    found = scores.measure(held(np.array([[9.0], [10.0], [2.0], [3.0]]), numbers, folds), np.ones((1, 4)))
    assert found["r_within"][0] == pytest.approx(1) and found["r"][0] < 0
    constant = np.array([[1.0], [1.0], [2.0], [2.0]])
    assert np.isnan(scores.measure(held(constant, np.array([3, 4, 5, 6.0]), folds), np.ones((1, 4)))["r"][0])


def test_a_rare_class_is_not_forgotten() -> None:
    """Features that outnumber people are fitted exactly, whatever the weights; a level makes up for it."""
    rng = np.random.default_rng(0)
    labels = (np.arange(240) % 6 == 0).astype(float)
    x = rng.standard_normal((240, 400))
    x[:, :40] += 0.45 * labels[:, None]
    target = Target("rare", "classification", "none", np.arange(240), labels, ["no", "yes"], None, None, {})
    parts = tuple(np.arange(0, 160)[k::3] for k in range(3))
    fold = Fold("1", np.arange(160), np.arange(160, 240), parts)
    none = np.zeros((0, 240), np.intp)
    task = learn.Task(target, fold, labels, 0, 1, lambda name: [x], None, none)  # type: ignore[arg-type]
    outputs = learn.learner_of("cls_ridge", task).outputs
    found = scores.measure(held(outputs, labels[160:]), np.ones((1, 80)))
    assert found["auroc"][0] > 0.75 and found["balanced_accuracy"][0] > 0.65


def test_holm_and_permutations() -> None:
    assert holm([0.01, 0.04, float("nan"), 0.03]) == pytest.approx([0.03, 0.06, float("nan"), 0.06], nan_ok=True)
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(80)
    sites = np.arange(80) % 4
    orders = scores.orders_of(sites, 99, 0)
    assert (sites[orders] == sites).all() and not (orders == np.arange(80)).all()
    assert scores.p_of_permutations(held(truth[:, None] + 1, truth), "regression", orders) == 0.01
    p = [scores.p_of_permutations(held(rng.standard_normal((80, 1)), truth), "regression", orders) for _ in range(60)]
    assert 0.3 < np.mean(p) < 0.7 and np.mean(np.array(p) <= 0.05) < 0.2


def test_permuted_scores_are_the_scores_of_permuted_labels() -> None:
    rng = np.random.default_rng(0)
    folds, truth = np.arange(60) % 3, rng.integers(0, 3, 60).astype(float)
    outputs, orders = rng.standard_normal((60, 3)), scores.orders_of(folds, 5, 0)
    areas = scores._areas(outputs[:, None], truth[orders.T], folds)
    numbers = rng.standard_normal(60)
    correlations = scores._correlations(outputs[:, :1], numbers[orders.T], folds)
    for order, area, correlation in zip(orders, areas, correlations, strict=True):
        assert area == pytest.approx(scores.measure(held(outputs, truth[order], folds), np.ones((1, 60)))["auroc"][0])
        found = scores.measure(held(outputs[:, :1], numbers[order], folds), np.ones((1, 60)))
        assert correlation == pytest.approx(found["r_within"][0])


def test_what_sites_explain_is_not_credited() -> None:
    rng = np.random.default_rng(0)
    sites, own = np.repeat(np.arange(4), 25), rng.standard_normal(100)
    truth = 10.0 * sites + own
    knows_the_site = held((10.0 * sites + rng.standard_normal(100))[:, None], truth, sites)
    found = scores.measure(knows_the_site, np.ones((1, 100)))
    assert found["r2"][0] > 0.9 and found["r2_within"][0] < 0 and abs(found["r_within"][0]) < 0.3
    knows_the_person = scores.measure(held((0.5 * own + 100 * sites)[:, None], truth, sites), np.ones((1, 100)))
    assert knows_the_person["r2_within"][0] == pytest.approx(0.75)
    # weights of a bootstrap are people who come several times
    weights = rng.integers(0, 3, (1, 100)).astype(float)
    places = np.repeat(np.arange(100), weights[0].astype(int))
    again = held(knows_the_site.outputs[places], truth[places], sites[places])
    assert scores.measure(knows_the_site, weights)["r2_within"][0] == pytest.approx(
        scores.measure(again, np.ones((1, len(places))))["r2_within"][0]
    )


def test_decisions_that_know_the_site_alone_are_right_for_half_of_a_pair() -> None:
    rng = np.random.default_rng(0)
    sites = np.repeat(np.arange(4), 25)
    truth = (rng.random(100) < np.array([0.1, 0.3, 0.7, 0.9])[sites]).astype(float)
    found = scores.measure(held(np.eye(2)[(sites > 1).astype(int)], truth, sites), rng.integers(0, 3, (5, 100)) * 1.0)
    assert found["balanced_accuracy"].min() > 0.6
    np.testing.assert_allclose(found["balanced_accuracy_within"], 0.5)
    three, outputs = rng.integers(0, 3, 100).astype(float), rng.standard_normal((100, 3))
    of_one = scores.measure(held(outputs, three), np.ones((1, 100)))  # of one stratum both are the same
    assert of_one["balanced_accuracy_within"][0] == pytest.approx(balanced_accuracy_score(three, outputs.argmax(1)))


@pytest.mark.parametrize(("unit", "level"), [(1e-7, 0.0), (1.0, 1e8)])
def test_units_of_a_label_do_not_matter(unit: float, level: float) -> None:
    """`transform: none` leaves labels in their units."""
    rng = np.random.default_rng(0)
    truth, sites = rng.standard_normal(60), np.arange(60) % 3
    predicted = truth + rng.standard_normal(60)
    plain = scores.measure(held(predicted[:, None], truth, sites), np.ones((1, 60)))
    found = scores.measure(held(level + unit * predicted[:, None], level + unit * truth, sites), np.ones((1, 60)))
    for metric in ("r", "r2", "r_within", "r2_within"):
        assert found[metric][0] == pytest.approx(plain[metric][0], rel=1e-5), metric


def test_nobody_is_a_batch_alone() -> None:
    """Batch norm has no variance of one: 33 training people were an error."""
    for people, sizes in ((1, [1]), (32, [32]), (33, [33]), (34, [32, 2]), (97, [32, 32, 33])):
        parts = small_networks.batches(np.arange(people))
        assert [len(part) for part in parts] == sizes and np.concatenate(parts).tolist() == list(range(people))


def test_refitted_permutations_are_fits_to_permuted_labels() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((40, 12)), rng.standard_normal(40)
    parts = tuple(np.arange(0, 30)[k::3] for k in range(3))
    fold = Fold("1", np.arange(30), np.arange(30, 40), parts)
    for classes, learnt in (([], labels), (["no", "yes"], (labels > 0).astype(float))):
        task_name = "classification" if classes else "regression"
        target = Target("x", task_name, "none", np.arange(40), learnt, classes, None, None, {})  # type: ignore[arg-type]
        orders = scores.orders_of(np.zeros(40, np.intp), 3, 0)

        def fitted(learnt: np.ndarray, orders: np.ndarray, target: Target = target) -> learn.Outcome:
            task = learn.Task(target, fold, learnt, 0, 1, lambda name: [x], None, orders)  # type: ignore[arg-type]
            return learn.learner_of("readout", task)

        for number, order in enumerate(orders):
            own = fitted(learnt[order], orders[:0]).outputs
            permuted = fitted(learnt, orders).permuted[:, number]
            np.testing.assert_allclose(permuted - permuted.mean(0), own - own.mean(0), atol=1e-9)


def test_ridge_is_ridge_and_features_that_name_the_subject_do_not_help() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 50)), rng.standard_normal(30)
    found = LEARNERS["ridge"].predict(Data(x[:20], y[:20], x[20:], 0), [{"strength": 0.5}])[0][:, 0]
    singular = np.linalg.svd(x[:20] - x[:20].mean(0), compute_uv=False)
    expected = Ridge(alpha=0.5 * (singular**2).mean()).fit(x[:20], y[:20]).predict(x[20:])
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    names, labels = np.eye(40), (np.arange(40) % 2).astype(float)
    for learner in LEARNERS.values():
        for outputs in learner.predict(Data(names[:30], labels[:30], names[30:], 2), learner.settings):
            assert np.ptp(outputs, axis=0).max() < 1e-6  # all unknown people are the same
    apart = np.column_stack([labels, rng.standard_normal(40)])
    for learner in LEARNERS.values():
        outputs = learner.predict(Data(apart[:30], labels[:30], apart[30:], 2), learner.settings[1:2])[0]
        assert (outputs.argmax(1) == labels[30:]).mean() > 0.7


@pytest.mark.parametrize("learner", LEARNERS)
def test_features_that_do_not_vary_say_nothing(learner: str) -> None:
    constant = {"cls": np.ones((30, 4), np.float32)}
    (flat,) = features.space("cls", SimpleNamespace(**constant), np.arange(20), None)  # type: ignore[arg-type]
    assert flat.shape == (30, 1)
    labels = (np.arange(20) % 2).astype(float)
    for classes in (0, 2):
        for outputs in LEARNERS[learner].predict(
            Data(flat[:20], labels, flat[20:], classes), LEARNERS[learner].settings
        ):
            assert np.isfinite(outputs).all() and np.ptp(outputs, axis=0).max() == 0


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    store = traits.make(tmp_path_factory.mktemp("traits"))
    table = store.recordings[store.recordings["status"] == "done"]
    people = people_of(table, table["id"].tolist(), "all")
    rng = np.random.default_rng(0)
    names = [name for ids in people.recordings for name in ids]
    embedded = {n: {"cls": rng.normal(size=5), "mean": rng.normal(size=5), "parcels": rng.normal(size=(12, 5)),
                    "adapted": rng.normal(size=78), "attention": rng.normal(size=66)} for n in names}  # fmt: skip
    recorded, measured, left_out = features.record(store, people.recordings, embedded)
    assert measured == names and not left_out
    return people, recorded, table


def test_no_subject_is_on_both_sides(cohort: tuple) -> None:
    people, _, table = cohort
    assert default_columns(people.table) == ["age", "sex"]
    assert len(people) == len(set(people.names)) == table["subject"].nunique()
    target = target_of(people, "sex", "auto", "z", [], None, 4)
    assert target.classes == ["F", "M"] and target.task == "classification"
    folds = folds_of(target, people, 5, 3, 0)
    assert sorted(np.concatenate([f.test for f in folds])) == list(range(len(target.rows)))
    for fold in folds:
        assert not set(fold.train) & set(fold.test)
        assert sorted(np.concatenate(fold.inner)) == sorted(fold.train)
        shares = [target.labels[part].mean() for part in fold.inner]
        assert np.ptp(shares) < 0.1
        train, validation = fold.within(1)
        assert not set(train) & set(validation) and not set(train) & set(fold.test)
    sites = folds_of(target_of(people, "sex", "auto", "z", [], "site", 4), people, 5, 2, 0)
    groups = people.table["site"].to_numpy()[target.rows]
    for fold in sites:
        assert set(groups[fold.test]) == {fold.name} and fold.name not in groups[fold.train]


def test_the_splits_of_the_store_make_one_fold(cohort: tuple) -> None:
    people, _, _ = cohort
    split = people.table["split"].mask(people.table["site"].eq("A") & people.table["split"].eq("test"), "external")
    people = replace(people, table=people.table.assign(split=split))
    target = with_splits(target_of(people, "sex", "auto", "z", [], None, 4), people)
    (fold,) = folds_of(target, people, 5, 3, 0)
    own = split.to_numpy()[target.rows]
    train, validation = fold.within(0)
    for places, names in ((train, {"train"}), (validation, {"validation"}), (fold.test, {"test", "external"})):
        assert set(own[places]) == names and len(places) == np.isin(own, list(names)).sum()
    assert sorted(fold.train) == sorted([*train, *validation])
    for name, (seen,) in _parts(target, [fold]):
        assert set(own[fold.test[seen]]) == {name}
    lone = replace(people, table=people.table.assign(split=split.mask(people.table["sex"].eq("M"), "test")))
    with pytest.raises(InputError, match="split train of the store is without M"):
        with_splits(target_of(lone, "sex", "auto", "z", [], None, 4), lone)


def test_a_recording_that_cannot_be_measured_is_left_out() -> None:
    """No parcel is known throughout: neither that person nor the others are lost without a word."""
    rng = np.random.default_rng(0)
    courses = {name: rng.standard_normal((60, 4)) for name in "abc"}
    courses["b"][np.arange(4), np.arange(4)] = np.nan
    table = pd.DataFrame({"id": list("abc"), "n_steps": 60})
    parcels = pd.DataFrame({"index": range(1, 5)})
    store = SimpleNamespace(recordings=table, series=courses.get, rate_hz=1.0, parcels=parcels)
    embedded = {name: dict.fromkeys(features.EMBEDDINGS, np.zeros(2)) for name in "abc"}
    recorded, measured, left_out = features.record(store, [["a"], ["b"], ["c"]], embedded)
    assert measured == ["a", "c"] and len(recorded.z) == len(recorded.series) == 2
    assert left_out[0].startswith("b: connectivity: 0 steps with data")
    both, measured, _ = features.record(store, [["a", "b"]], embedded)
    assert measured == ["a"] and np.isfinite(both.z).all()
    with pytest.raises(InputError, match="no recording can be measured; b: connectivity"):
        features.record(store, [["b"]], embedded)


def test_who_is_of_no_split_or_of_two_is_in_none(cohort: tuple) -> None:
    _, _, table = cohort
    table = table.assign(split=table["split"].mask(table["subject"].isin(["00", "01"]), None))
    table.loc[table["id"] == "sub-15_task-rest_run-1", "split"] = "train"  # of run-0: test
    own = people_of(table, table["id"].tolist(), "all")
    target = with_splits(target_of(own, "sex", "auto", "z", [], None, 4), own)
    assert target.left_out["of no split of the store"] == 2
    assert target.left_out["recordings with different split"] == 1
    assert not {"00", "01", "15"} & {own.names[row] for row in target.rows}
    unseen = people_of(table, table["id"].tolist(), "unseen")
    assert "15" not in unseen.names and "14" in unseen.names and not unseen.seen.any()
    assert len(target.rows) == len(target.labels) == len(target.sites) == len(target.splits)


def test_two_sites_are_compared_within_and_none_is_left_out(cohort: tuple) -> None:
    _, _, table = cohort
    table = table.assign(site=np.where(table["site"].isin(["A", "B"]), "A", "B"))
    table.loc[table["id"] == "sub-15_task-rest_run-1", "site"] = "A"
    two = people_of(table, table["id"].tolist(), "all")
    target = target_of(two, "age", "auto", "z", [], None, 4)
    expected = table.groupby("subject")["site"].first().mask(lambda site: site.index == "15", "")
    assert target.sites.tolist() == expected.to_numpy()[target.rows].tolist()
    assert site_of(two.table) is None and target.groups is None
    assert target_of(two, "site", "auto", "z", [], None, 4).sites is None  # nobody of a site is of another


def test_recordings_that_disagree_make_no_number_of_a_class() -> None:
    """Means over recordings, .5, .33, ..., are more values than a class has."""
    rows = [{"subject": f"{n:02d}", "dx": float(k < n % 7)} for n in range(30) for k in range(6 if n < 7 else 1)]
    table = pd.DataFrame(rows).assign(split="train")
    table["id"] = [f"recording-{n}" for n in range(len(table))]
    people = people_of(table, table["id"].tolist(), "all")
    target = target_of(people, "dx", "auto", "auto", [], None, 4)
    assert target.classes == ["0", "1"] and target.left_out == {"recordings with different labels": 5}
    again = people_of(table.sample(frac=1, random_state=0), table["id"].tolist(), "all")
    assert again.recordings == people.recordings and again.table.equals(people.table)
    with pytest.raises(InputError, match=r"recording recording-3 has no subject \(3 have none\)"):
        people_of(table.assign(subject=table["subject"].mask(table["subject"] == "00")).iloc[3:], table["id"], "all")


@pytest.mark.parametrize(
    ("labels", "keys", "said"),
    [
        (
            lambda age: age.mask(age.index == "04", np.inf),
            {},
            "age of recordings.parquet: 1 subjects have an inf",
        ),
        (lambda age: 0 * age + 7, {"task": "regression"}, "all subjects have the value 7"),
        (lambda age: age - age.min(), {"transform": "log"}, "transform log, and a label is 0"),
        (lambda age: age - age.mean(), {"transform": "logminmax"}, "transform logminmax, and a label is -"),
    ],
)
def test_numbers_that_cannot_be_learnt_are_said(cohort: tuple, labels: Callable, keys: dict, said: str) -> None:
    people, _, _ = cohort
    changed = replace(people, table=people.table.assign(age=labels(people.table["age"])))
    with pytest.raises(InputError, match=said) as caught:
        target_of(changed, "age", keys.get("task", "auto"), keys.get("transform", "auto"), [], None, 4)
    assert caught.value.remedy
    with pytest.raises(InputError, match="infinite"):
        target_of(replace(people, table=people.table.assign(fd=np.inf)), "age", "auto", "auto", ["fd"], None, 4)


def test_every_class_is_among_those_who_are_learnt_from(cohort: tuple) -> None:
    """Patients at two of four sites: without one of them, and one more in an inner split, nobody would be left."""
    people, _, _ = cohort
    site = people.table["site"]
    ill = people.table.assign(sex=np.where(site.isin(["A", "B"]) & (np.arange(len(site)) // 4 % 2 == 0), "ill", "well"))
    target = target_of(replace(people, table=ill), "sex", "auto", "z", [], "site", 4)
    for fold in folds_of(target, people, 5, 3, 0):
        for number in range(3):
            assert set(target.labels[fold.within(number)[0]]) == {0, 1}
        apart = fold.name in "CD"  # both sites with patients are left: sites are kept together
        sites = [set(target.sites[part]) for part in fold.inner]
        assert (sum(map(len, sites)) == 3) == apart
    lone = replace(people, table=ill.assign(sex=ill["sex"].mask(site.eq("B") & (ill.index != "01"), "well")))
    with pytest.raises(InputError, match="without fold A class ill has 1 people, at least 2"):
        folds_of(target_of(lone, "sex", "auto", "z", [], "site", 4), people, 5, 3, 0)
    same = replace(people, table=people.table.assign(age=people.table["age"].where(site == "A", 50.0)))
    with pytest.raises(InputError, match="without fold A all people have the value 50"):
        folds_of(target_of(same, "age", "auto", "z", [], "site", 4), people, 5, 3, 0)


@pytest.mark.parametrize("name", features.SPACES)
def test_what_is_fitted_does_not_see_test_people(cohort: tuple, name: str) -> None:
    people, recorded, _ = cohort
    train = np.arange(0, len(people), 2)
    test = np.setdiff1d(np.arange(len(people)), train)
    confounds = np.random.default_rng(0).standard_normal((len(people), 2))
    values = {k: v.copy() for k, v in vars(recorded).items() if k != "series"}
    values["z"][test], values["third"][test] = 0.9 * values["z"][test], 3.0
    for key in ("variance", "raw", "cls", "mean", "parcels", "adapted", "attention", "log", "z_global"):
        values[key][test] = 7 * values[key][test] + 1
    changed, moved = features.Recorded(**values, series=recorded.series), confounds.copy()
    moved[test] += 5
    for before, after in zip(
        features.space(name, recorded, train, confounds), features.space(name, changed, train, moved), strict=True
    ):
        np.testing.assert_allclose(before[train], after[train], atol=1e-5)
        assert np.abs(before[test] - after[test]).max() > 1e-3
        design = np.column_stack([confounds[train], np.ones(len(train))])
        assert np.abs(design.T @ before[train]).max() < 1e-2 * np.abs(before[train]).max() * len(train)


@pytest.mark.parametrize("name", [name for name in learn.METHODS if name != "finetuned"])
def test_no_method_sees_test_people(cohort: tuple, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other test people, with other labels: what is chosen, and what is predicted of those who stayed, is the same."""
    first = {learner: settings[:1] for learner, settings in small_networks.SETTINGS.items()}
    monkeypatch.setattr(small_networks, "SETTINGS", first)
    people, recorded, _ = cohort
    target = target_of(people, "sex", "auto", "z", [], None, 4)
    lacks_a_parcel = target.rows.tolist().index(people.names.index("05"))
    fold = next(f for f in folds_of(target, people, 4, 2, 0) if lacks_a_parcel in f.within(0)[0])
    own, others = recorded.take(target.rows), fold.test[::2]
    arrays = {key: getattr(own, key).copy() for key in features.ARRAYS}
    for values in arrays.values():
        values[others] = -0.7 * values[others] + 0.1
    arrays["variance"], arrays["shrinkage"] = np.abs(arrays["variance"]), np.abs(arrays["shrinkage"])
    series = [[-2 * x + 1 for x in of] if row in others else of for row, of in enumerate(own.series)]
    labels = target.labels.copy()
    labels[fold.test] = 1 - labels[fold.test]
    found = []
    for who, known in ((own, target.labels), (replace(own, **arrays, series=series), labels)):

        def spaces(feature: str, who: features.Recorded = who) -> list[np.ndarray]:
            return features.space(feature, who, fold.train, None)

        none = np.zeros((0, len(target.rows)), np.intp)
        task = learn.Task(replace(target, labels=known), fold, known, 0, 1, spaces, who, none)
        found.append(learn.learner_of(name, task))
    stayed = ~np.isin(fold.test, others)
    before, after = found
    assert after.chosen == before.chosen and after.inner == pytest.approx(before.inner, abs=1e-6)
    np.testing.assert_allclose(after.outputs[stayed], before.outputs[stayed], atol=1e-4)
    assert np.abs(after.outputs[~stayed] - before.outputs[~stayed]).max() > 1e-6


def test_unknown_parcels_are_filled_from_training_people(cohort: tuple) -> None:
    people, recorded, _ = cohort
    place = people.names.index("05")
    assert np.isnan(recorded.z[place]).sum() == 11 and np.isnan(recorded.z).sum() == 11
    filled = features.filled(recorded.z, np.setdiff1d(np.arange(len(people)), [place]))
    unknown = np.isnan(recorded.z[place])
    np.testing.assert_allclose(filled[place, unknown], np.nanmean(recorded.z[:, unknown], axis=0), rtol=1e-5)


def test_third_moments_are_those_of_the_tensor() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 5))
    x[:, 1] += 1.5 * (rng.exponential(size=400) - 1)  # the only skewed direction
    x = (x - x.mean(0)) / x.std(0)
    pairs = [(t, u) for t in range(400) for u in range(400) if abs(t - u) >= coskewness.APART]
    left, right = np.array(pairs).T
    expected = np.einsum("ni,nj,n->ij", x[left], x[right], (x[left] * x[right]).sum(1) ** 2) / len(pairs)
    found = coskewness.third_moments(x)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert np.abs(coskewness.subspace(found, 1)[:, 0]).argmax() == 1
    tensor = np.einsum("ti,tj,tk->ijk", x, x, x).reshape(5, -1) / 400
    assert np.trace(tensor @ tensor.T) > np.trace(found)  # a step with itself would add noise that is no third moment


def test_the_contrastive_benchmark_compares_with_the_same_tangent_space() -> None:
    x_PT = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 60)) + np.linspace(0, 2, 60))
    z_TP = (x_PT.T - x_PT.T.mean(0)).numpy() / x_PT.T.numpy().std(0)
    expected = LedoitWolf(assume_centered=True).fit(z_TP).covariance_
    np.testing.assert_allclose(contrast.shrunk_correlations(x_PT), expected, atol=1e-12)


def test_tangent_vectors_are_zero_at_the_reference() -> None:
    rng = np.random.default_rng(0)
    one = np.cov(rng.standard_normal((50, 4)), rowvar=False)
    other = np.cov(rng.standard_normal((50, 4)), rowvar=False)
    found = tangent.features(np.stack([one, one, other]), np.array([0, 1]))
    assert np.abs(found[:2]).max() < 1e-5 < 0.1 < np.abs(found[2]).max()


def test_tangent_vectors_are_those_of_pyriemann() -> None:
    """pyriemann 0.12: Covariances("lwf"), mean_riemann, tangent_space, of six recordings of three parcels."""
    rng = np.random.default_rng(0)
    matrices = []
    for _ in range(6):
        x = rng.standard_normal((40, 3)) @ (np.eye(3) + 0.3 * rng.standard_normal((3, 3)))
        x = (x - x.mean(0)) / x.std(0)
        shrinkage = ledoit_wolf_shrinkage(x, assume_centered=True)
        matrices.append((1 - shrinkage) * x.T @ x / 40 + shrinkage * np.eye(3))
    found = tangent.features(np.stack(matrices), np.arange(6))
    rows, columns = np.tril_indices(3)  # nilearn goes along the rows of the lower triangle
    expected = {(0, 0): 0.051812, (0, 1): -0.123632, (0, 2): 0.083692, (1, 1): 0.026033, (1, 2): 0.072616,
                (2, 2): 0.046252}  # fmt: skip
    upper = [expected[column, row] for row, column in zip(rows, columns, strict=True)]
    np.testing.assert_allclose(found[0], upper, atol=2e-6)
    second = {(0, 0): -0.052187, (0, 1): 0.393831, (0, 2): 0.456389, (1, 1): -0.048059, (1, 2): 0.210424,
              (2, 2): 0.006931}  # fmt: skip
    upper = [second[column, row] for row, column in zip(rows, columns, strict=True)]
    np.testing.assert_allclose(found[1], upper, atol=2e-6)


def test_networks_learn_what_is_there_and_stop(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 6))
    y = x[:, 0] - x[:, 1]
    task = small_networks.Fit(y, 0, np.arange(60), np.arange(60, 75), 60, 10, 0)
    source = features.Rows(x, task.train)
    setting = small_networks.SETTINGS["mlp"][1]
    made = [small_networks.fit(lambda: small_networks.Perceptron(6, 1, 16), source, task, setting) for _ in range(2)]
    found = [small_networks.predict(network, source, np.arange(75, 90)) for network in made]
    np.testing.assert_array_equal(*found)
    assert np.corrcoef(found[0][:, 0], y[75:])[0, 1] > 0.9
    graph = small_networks.graph(torch.from_numpy(np.corrcoef(rng.standard_normal((20, 50)))[None]).float())[0]
    torch.testing.assert_close(graph, graph.T)
    assert (graph.diagonal() > 0).all() and float(torch.linalg.eigvalsh(graph).max()) == pytest.approx(1, abs=1e-4)
