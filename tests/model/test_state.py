"""Stage `state`: planted states are found, where nothing is planted nothing is, and no label gets where it must not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from brainlm_data import InputError, open_store
from brainlm_data.reading.events import EVENTS, Condition, write_events
from brainlm_model.cli import main
from brainlm_model.eval.state import features, probes, samples, scores, stage, words
from brainlm_model.eval.state.samples import Samples, Steps
from brainlm_model.eval.state.surrogates import exchanged, surrogate
from brainlm_model.eval.statistics.paired import holm, least_p, sign_flip
from brainlm_model.figures import state as figure
from brainlm_model.stages import PAPER_TASKS
from brainlm_model.trained.load import load
from brainlm_model.training import stage as train
from tests.model import parcel_people
from tests.model.parcel_people import outputs, run

WAYS: list[samples.Validation] = ["runs", "people", "parts"]
KEYS: dict[str, Any] = {"delay_s": 0.0, "surrogates": 3, "events": 80}

# whose scores are far from chance, where single events would fall to either side on another processor
SURE = ["tokens", "probe", "tokens_untrained", "parcels", "parcels_z", "course", "connectivity"]


@pytest.fixture(scope="module")
def finished(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    run("state", planted, out, **{**KEYS, "surrogates": 4}, methods=SURE)
    return out


def accuracy(out: Path) -> pd.DataFrame:
    table = pd.read_csv(out / "state_csv.csv", keep_default_na=False, na_values=[""])
    return table[table["metric"] == "balanced_accuracy"].set_index("method")


def test_planted_states_are_found(finished: Path, golden: Callable[..., None]) -> None:
    rows = accuracy(finished)
    assert rows.loc["times", "p"] < 0.05  # without being asked for
    rows = rows.drop("times")
    assert rows.loc[["parcels", "parcels_z", "course", "tokens", "probe"], "value"].min() > 0.9
    assert rows["chance"].between(0.35, 0.65).all()  # surrogates know nothing of the events
    assert rows.loc["parcels", "p"] < 0.05
    assert rows["n_events"].tolist() == [80] * 6 and rows["n_units"].tolist() == [16] * 6
    content = json.loads((finished / "state_json.json").read_text())
    assert sum(content["Conditions"].values()) == 80 and content["Validation"] == "people"
    assert "connectivity" not in rows.index and "left out, the shortest answer" in content["Warnings"][-1]
    assert content["Warnings"][0].startswith("the times of the events alone tell the condition (")
    assert {(row["method"], row["against"]) for row in content["Comparisons"]} == {
        (ours, other)
        for ours in ("tokens", "probe")
        for other in ("parcels", "parcels_z", "course", *["tokens_untrained"] * (ours == "tokens"))
    }
    assert content["Summary"][0].startswith("2 conditions, 80 events of 16 people (people held out)")
    more = "; ".join(rows.loc[rows["p_holm"] < 0.05, "label"])
    assert "parcel means, linear" in more
    assert content["Summary"][1] == f"More than from surrogates (corrected p < .05): {more}."
    with np.load(finished / "state_arrays.npz") as arrays:
        assert arrays["parcels"].sum() == 80 and arrays["conditions"].tolist() == ["off", "on"]
    assert (finished / "state_png.png").stat().st_size > 10_000
    golden(PAPER_TASKS["state"], outputs("state", finished), after=[train.STAGE], rtol=0.05)


def test_where_nothing_is_planted_only_the_times_tell(control: Path, tmp_path: Path) -> None:
    """All runs have one order of conditions."""
    methods = ["parcels", "tokens", "probe", "cls", "times"]
    run("state", control, tmp_path, **KEYS, methods=methods)
    rows = accuracy(tmp_path)
    assert rows["value"].drop("times").between(0.35, 0.65).all() and not (rows["p_holm"] < 0.05).any()
    assert rows.loc["times", "value"] > 0.95 and rows.loc["times", "p"] < 0.05
    content = json.loads((tmp_path / "state_json.json").read_text())
    assert content["Warnings"][0].startswith("the times of the events alone tell the condition (")
    assert content["Summary"][1] == "No method tells more than from surrogates (corrected p < .05)."


def test_what_tells_runs_apart_is_no_state(planted: Path, tmp_path: Path) -> None:
    """One condition is in runs of rest, the other in those of the task, whose variances are others."""
    home, found = at_home(planted, tmp_path), list[Condition]()
    for name in pd.read_parquet(planted / "recordings.parquet")["id"]:
        condition = name.split("-")[-1]
        found += [Condition(name, float(onset), 18.0, condition) for onset in (0, 20, 40)]
    write_events(found, home / "events.tsv")
    run("state", home, tmp_path, **KEYS, validation="people", methods=["connectivity"])
    row = accuracy(tmp_path).loc["connectivity"]
    assert row["value"] > 0.8 and row["chance"] > 0.8 and row["p"] > 0.05 and row["chance_p"] < 0.05
    assert "even from surrogates" in json.loads((tmp_path / "state_json.json").read_text())["Warnings"][0]


def at_home(source: Path, folder: Path) -> Path:
    """A store and its model under links, without events."""
    home = folder / "home"
    home.mkdir()
    for file in source.iterdir():
        (home / file.name).symlink_to(file)
    (home / "events.tsv").unlink()
    return home


def test_a_study_of_rest_says_so(planted: Path, tmp_path: Path) -> None:
    home = at_home(planted, tmp_path)
    write_events([], home / "events.tsv")
    run("state", home, tmp_path)
    content = json.loads((tmp_path / "state_json.json").read_text())
    assert content["Summary"] == ["No state was decoded: no recording of split test has events."]
    (home / "events.tsv").unlink()
    command = ["paper", str(home / "store.zarr"), str(home / "model"), "--tasks", "state", "--out", str(tmp_path / "o")]
    assert main(command) == 2  # asked for by name, and there is no table


def test_a_condition_that_nobody_has_is_an_error(planted: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"state.conditions: no event is On .*there are: off, on"):
        run("state", planted, tmp_path, conditions=["On", "off"])


def made(seed: int, people: int, runs: int, every: int) -> Samples:
    """Samples of random conditions, one every so many steps in each run."""
    rng = np.random.default_rng(seed)
    names = [(f"{who}-{number}", str(who)) for who in range(people) for number in range(runs) for _ in range(12)]
    first = np.tile(every * np.arange(12), people * runs)
    answer = np.stack([first, first + 6], axis=1)
    placed = [samples.around(a, b, 12 * every + 80, Steps(1.0, 40, 10)) for a, b in answer]
    start, tokens = (np.array(column) for column in zip(*placed, strict=True))
    recording, subject = (np.array(column) for column in zip(*names, strict=True))
    return Samples(recording, subject, rng.integers(0, 2, len(names)), ["a", "b"], answer, start, tokens)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 3), st.integers(3, 20), st.sampled_from(WAYS))
def test_what_is_held_out_shares_nothing_with_training(
    seed: int, people: int, runs: int, every: int, validation: samples.Validation
) -> None:
    given_ = samples.usable(made(seed, people, runs, every), validation, 6)
    reach, groups = given_.reach(10), samples.groups_of(given_, validation)
    folds = samples.folds_of(given_, validation, 10, seed)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist() if folds else []) == list(range(len(given_)))
    for fold in folds:
        for train_, test in ((fold.train, fold.test), *fold.inner):
            assert set(train_) <= set(fold.train) and not set(train_) & set(test)
            steps = [(given_.recording[i], t) for i in test for t in range(*reach[i])]
            assert not {(given_.recording[i], t) for i in train_ for t in range(*reach[i])} & set(steps)
        assert not set(groups[fold.train]) & set(groups[fold.test])
        if validation != "people":  # within a person
            assert len(set(given_.subject[np.concatenate([fold.train, fold.test])])) == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 200), st.integers(1, 60))
def test_a_window_lies_in_its_recording_and_its_patches_hold_the_answer(first: int, length: int) -> None:
    end, steps = first + length, Steps(1.0, 40, 10)
    start, (patch, last) = samples.around(first, end, end + 7, steps) if end + 7 >= 40 else (0, (0, 1))
    assert 0 <= start <= max(end + 7 - 40, 0) and 0 <= patch < last <= 4
    if end + 7 >= 40 and length <= 40:
        assert start + 10 * patch < end and start + 10 * last > first


def test_a_window_has_a_patch_in_the_middle_of_the_answer() -> None:
    assert samples.around(100, 104, 300, Steps(1.0, 40, 10)) == (77, (2, 3))  # 97 to 107
    assert samples.around(0, 4, 300, Steps(1.0, 40, 10)) == (0, (0, 1))
    assert samples.around(100, 130, 300, Steps(1.0, 40, 10)) == (90, (1, 4))


def test_pictures_of_a_block_are_one_event() -> None:
    events = pd.DataFrame(
        [("r", 1.0, 0.9, "a"), ("r", 2.0, 0.9, "a"), ("r", 4.5, 0.9, "a"), ("r", 5.5, 1.0, "b"), ("s", 6.0, 1.0, "b")]
    ).set_axis(EVENTS, axis=1)
    found = samples.joined(events, 1.0).to_numpy().tolist()
    assert found == [["r", 1.0, 1.9, "a"], ["r", 4.5, 0.9, "a"], ["r", 5.5, 1.0, "b"], ["s", 6.0, 1.0, "b"]]
    assert len(samples.joined(events[:0], 1.0)) == 0


def test_pauses_are_a_condition() -> None:
    events = pd.DataFrame([("r", 10.0, 5.0, "a"), ("r", 30.0, 20.0, "a"), ("r", 40.0, 2.0, "b"), ("r", 60.0, 5.0, "a")])
    events = events.set_axis(EVENTS, axis=1)
    pauses = samples.pauses_of(events, 10.0).to_numpy().tolist()
    assert pauses == [["r", 15.0, 15.0, "baseline"], ["r", 50.0, 10.0, "baseline"]]
    # those between any events, of whatever conditions are asked for
    found = stage._blocks(events, stage.Config(conditions=["b", "baseline"], baseline_s=10.0))
    assert found["trial_type"].tolist() == ["b", "baseline", "baseline"]


def test_other_events_do_not_end_a_block() -> None:
    rows = [("r", float(t), 1.0, name) for t, name in enumerate(["face", "press", "face", "press", "house", "press"])]
    events = pd.DataFrame(rows).set_axis(EVENTS, axis=1)
    found = stage._blocks(events, stage.Config(conditions=["face", "house"])).to_numpy().tolist()
    assert found == [["r", 0.0, 3.0, "face"], ["r", 4.0, 1.0, "house"]]


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_table_says_nothing(random: Any) -> None:
    rows = [("r", float(t), float(length), name) for t in range(4) for length in (0, 1, 9) for name in "ab"]
    expected = samples.joined(pd.DataFrame(rows).set_axis(EVENTS, axis=1), 0.5).to_numpy().tolist()
    random.shuffle(rows)
    assert samples.joined(pd.DataFrame(rows).set_axis(EVENTS, axis=1), 0.5).to_numpy().tolist() == expected


def test_ridge_is_that_of_scikit_learn_with_conditions_that_count_the_same() -> None:
    rng = np.random.default_rng(0)
    x, far, labels = rng.standard_normal((30, 8)), rng.standard_normal((5, 8)), np.repeat([0, 1, 3], [20, 6, 4])
    scores = probes.ridge(x @ x.T, far @ x.T, labels, 4)
    weight = 30 / (3 * np.bincount(labels)[labels])
    mean = np.average(x, axis=0, weights=weight)
    size = (weight * ((x - mean) ** 2).sum(1)).sum() / 30
    for found, penalty in zip(scores, probes.PENALTIES, strict=True):
        fitted = Ridge(alpha=penalty * size).fit(x, np.eye(4)[labels], sample_weight=weight)
        expected = fitted.predict(far) - [1 / 3, 1 / 3, 0, 1 / 3]
        np.testing.assert_allclose(found[:, [0, 1, 3]], expected[:, [0, 1, 3]], atol=1e-9)
        assert np.isinf(found[:, 2]).all()  # which nothing was learnt of


def test_the_probe_finds_the_token_that_tells() -> None:
    rng = np.random.default_rng(1)
    labels = np.tile([0, 1], 30)
    x = rng.standard_normal((60, 12, 4)).astype(np.float32)
    x[:, 7, 2] += 6 * labels
    fold = samples.Fold(np.arange(40), np.arange(40, 60), ((np.arange(20), np.arange(20, 40)),))
    told = probes.held_out(probes.Probe(x, 0), labels, [fold])
    assert (told[:40] == -1).all() and (told[40:] == labels[40:]).mean() > 0.85
    np.testing.assert_array_equal(told, probes.held_out(probes.Probe(x, 0), labels, [fold]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(4, 61), st.integers(1, 5))
def test_a_surrogate_has_the_spectra_and_correlations_of_its_series(seed: int, steps: int, parcels: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((steps, parcels)) @ rng.standard_normal((parcels, parcels)) + 7).astype(np.float32)
    other = surrogate(x, rng)
    assert other.dtype == np.float32 and np.abs(other - x).max() > 0.1
    np.testing.assert_allclose(np.abs(np.fft.rfft(other, axis=0)), np.abs(np.fft.rfft(x, axis=0)), atol=1e-3)
    np.testing.assert_allclose(np.cov(other.T), np.cov(x.T), atol=1e-3)
    x[1:3, 0] = np.nan
    np.testing.assert_array_equal(np.isnan(surrogate(x, rng)), np.isnan(x))


def test_what_a_token_says_of_its_place_is_taken_off(control: Path) -> None:
    network = load(control / "model", "cpu").network
    with torch.no_grad():
        network.temporal.mul_(30)  # after a long training a token knows its place well
    window, patch = network.config.window, network.config.patch
    rng = np.random.default_rng(0)
    noise = {str(i): rng.standard_normal((3 * window, parcel_people.PARCELS)).astype(np.float32) for i in range(8)}
    tokens = np.array([(0, 1), (window // patch - 1, window // patch)] * 64)  # at the first place, at the last
    given_ = Samples(
        np.array([str(i % 8) for i in range(128)]), np.full(128, "1"), np.arange(128) % 2, ["a", "b"], tokens * patch,
        rng.integers(0, 2 * window, 128), tokens,
    )  # fmt: skip
    place_PND = features.of_places(network, noise, 0)
    apart = []
    for taken_off in (0 * place_PND, place_PND):
        x_nPD = features.of_network(network, noise, given_, taken_off).parcels
        apart.append(np.linalg.norm(x_nPD[::2].mean(0) - x_nPD[1::2].mean(0)))
    assert apart[1] < 0.5 * apart[0], apart


def test_times_tell_where_runs_share_their_order() -> None:
    shared, drawn = made(0, 4, 2, 6), made(0, 4, 2, 6)
    shared = replace(shared, label=np.tile(shared.label[:12], 8))
    right = []
    for one in (shared, drawn):
        told = probes.held_out(
            probes.Ridge(features.of_times(one), probes.TIMES), one.label, samples.folds_of(one, "runs", 10, 0)
        )
        right.append(probes.balanced_accuracy(told, one.label))
    assert right[0] == 1.0 and right[1] < 0.7


def test_times_tell_blocks_that_alternate_in_two_runs() -> None:
    """Each run is told from one other, in which no part says anything of the times of another part."""
    first = np.tile(20 * np.arange(18), 2)
    answer, runs = np.stack([first, first + 21], axis=1), np.repeat(["a", "b"], 18)
    tokens = np.tile([0, 1], (36, 1))
    one = Samples(runs, np.full(36, "1"), np.arange(36) % 2, ["on", "off"], answer, first, tokens)
    learner = probes.Ridge(features.of_times(one), probes.TIMES)
    assert (probes.held_out(learner, one.label, samples.folds_of(one, "runs", 10, 0)) == one.label).all()


def test_times_reach_what_a_drift_tells() -> None:
    """Four people with three events each, at any time of a long run, whose condition is another in its second half."""
    right = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        first = np.sort(rng.uniform(0, 2000, (4, 3))).ravel().astype(int)
        names, late = np.repeat([str(i) for i in range(4)], 3), first > 1000
        at, answer = np.zeros_like(first), np.stack([first, first + 5], axis=1)
        one = Samples(names, names, late.astype(np.int64), ["a", "b"], answer, at, np.stack([at, at + 1], axis=1))
        folds = samples.folds_of(one, "people", 10, 0)
        told = probes.held_out(probes.Ridge(features.of_times(one), probes.TIMES), one.label, folds)
        right.append(probes.balanced_accuracy(told, one.label))
    assert np.mean(right) > 0.85, right  # .93; with the width of the shortest answer alone .55


def test_events_change_places_within_their_run() -> None:
    runs = np.array(["b", "a", "b", "b", "a", "a"])
    assert exchanged(runs, 0, 0).tolist() == [0, 1, 2, 3, 4, 5]
    moved = exchanged(runs, 0, 1)
    assert sorted(moved) == [0, 1, 2, 3, 4, 5] and (runs[moved] == runs).all()


def test_a_few_sets_that_are_alike_by_luck_show_nothing() -> None:
    """Two sets of surrogates have the same number of 12 events right, the series two more."""
    labels = np.tile([0, 1], 6)
    told = np.stack([np.where(np.arange(12) < right, labels, 1 - labels) for right in (8, 6, 6)])
    outcome = scores.Outcome({"parcels": told}, labels, ["a", "b"], [str(i) for i in range(12)])
    row = scores.table(outcome, 100, 0)[0][0]
    assert row["value"] == pytest.approx(2 / 3) and row["chance"] == 0.5
    assert 0.05 < row["p"] < 0.5 and row["chance_p"] == pytest.approx(0.5)


def test_people_of_their_own_fits_are_tested_one_by_one() -> None:
    """Surrogates of each person are all right or all wrong, as of a strictly periodic design; the series are right."""
    labels, people = np.tile([0, 1], 40), [str(i // 10) for i in range(80)]
    turned = np.random.default_rng(0).integers(0, 2, (4, 8)).repeat(10, axis=1)
    told = np.stack([labels, *(labels ^ turned)])
    p = []
    for own_fits in (True, False):
        outcome = scores.Outcome({"parcels": told}, labels, ["a", "b"], people, own_fits)
        p.append(scores.table(outcome, 100, 0)[0][0]["p"])
    assert p[0] < 0.01 < p[1]
    wrong = scores.Outcome({"parcels": np.stack([1 - labels, *(labels ^ turned)])}, labels, ["a", "b"], people, True)
    assert scores.table(wrong, 100, 0)[0][0]["p"] > 0.95


@pytest.mark.parametrize(("people", "count", "said"), [(8, 15, True), (8, 6, False), (12, 15, False), (4, 1, True)])
def test_too_few_people_for_so_many_comparisons_are_said(people: int, count: int, said: bool) -> None:
    """The least p of sign flips, corrected."""
    reached = holm([sign_flip(np.ones(people), [str(i) for i in range(people)], 0)] * count)
    assert least_p(people, count) == pytest.approx(min(1.0, reached[0]), rel=0.25, abs=0.01)
    facts = {"LeftOut": {}, "Subjects": people, "NumberOfUnits": people, "Units": "people", "Surrogates": 8,
             "Splits": ["test"], "NotTold": 0}  # fmt: skip
    assert [line for line in stage._warnings(facts, [], count) if "none of" in line] == (
        [f"only {people} people: none of {count} comparisons of methods can reach p < .05 after correction"
         f" (the least is {least_p(people, count):.2g})"] if said else []
    )  # fmt: skip


def test_the_headline_says_who_tells_more_than_chance() -> None:
    rows = [{"method": name, "label": name, "value": 0.8, "p_holm": p} for name, p in (("a", 0.01), ("b", 0.2))]
    shown = {row["method"]: row for row in rows}
    assert words._above_chance(shown) == ["More than from surrogates (corrected p < .05): a."]
    assert words._above_chance({"b": shown["b"]})[0].startswith("No method tells more")
    assert words._above_chance({"times": {"label": "times"}}) == []


def test_without_surrogates_no_method_is_better() -> None:
    labels = np.tile([0, 1], 20)
    told = {"tokens": labels[None], "parcels": 1 - labels[None]}
    outcome = scores.Outcome(told, labels, ["a", "b"], [str(i // 4) for i in range(40)])
    rows, comparisons = scores.table(outcome, 100, 0)
    assert comparisons[0]["p_holm"] < 0.05 and comparisons[0]["verdict"] == "not distinguishable"
    assert "p" not in rows[0]
    with pytest.raises(ValueError, match="at least 2, or 0"):
        stage.Config(surrogates=1)


def test_a_condition_that_is_in_one_run_of_its_person_is_left_out() -> None:
    """It could never be told, and would count as wrong."""
    one = made(0, 2, 2, 20)  # 12 events of each of two runs of two people
    label = np.tile([0, 1], 24)
    label[[0, 2, 4, 24, 26, 28]] = 2  # in the first run of both
    one = replace(one, label=label, conditions=["a", "b", "c"])
    used = samples.usable(one, "runs", 6)
    assert used.conditions == ["a", "b"] and len(used) == 42
    assert used.left_out == {"their condition, or any other, is not in two runs of their person": 6}
    label[[12, 14, 16, 36, 38, 40]] = 2
    assert len(samples.usable(replace(one, label=label), "runs", 6)) == 48


def test_an_answer_that_was_censored_is_no_sample(planted: Path, tmp_path: Path) -> None:
    """Steps that are not valid were interpolated."""
    import zarr

    home = at_home(planted, tmp_path)
    write_events(parcel_people.events_of(pd.read_parquet(planted / "recordings.parquet")["id"]), home / "events.tsv")
    (home / "store.zarr").unlink()
    shutil.copytree(planted / "store.zarr", home / "store.zarr")
    opened = open_store(home / "store.zarr")
    name = next(one for one in opened.recordings.query("split == 'test'")["id"] if one.endswith("wm"))
    zarr.open_group(home / "store.zarr", mode="r+")["valid"][opened.place(name).start + 25] = False
    methods = ["parcels"]
    run("state", home, tmp_path, **{**KEYS, "events": 1000}, methods=methods)
    content = json.loads((tmp_path / "state_json.json").read_text())
    assert content["LeftOut"] == {"their answer was not recorded throughout": 1}


def test_what_cannot_be_told_says_why(planted: Path, tmp_path: Path) -> None:
    home = at_home(planted, tmp_path)
    table = open_store(planted / "store.zarr").recordings.query("split == 'test'")
    name = next(one for one in table["id"] if one.endswith("wm"))
    write_events([Condition(name, float(t), 40.0, "ab"[t // 4 % 2]) for t in range(0, 40, 4)], home / "events.tsv")
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "of 10 events of split test each shares steps with those that it could be told from"),
        ({"validation": "runs"}, r"(none); left out: 10 (their person has no two runs)"),
        ({"validation": "people"}, r"left out: 10 (their condition, or any other, is not in two people)"),
    ]
    for keys, said in cases:
        run("state", home, tmp_path, **KEYS, fewest=2, methods=["parcels"], **keys)
        (summary,) = json.loads((tmp_path / "state_json.json").read_text())["Summary"]
        assert said in summary, summary


def test_no_method_but_times_is_left(planted: Path, tmp_path: Path) -> None:
    """Answers of nine steps have no correlations."""
    facts = run("state", planted, tmp_path, **{**KEYS, "surrogates": 0}, methods=["connectivity"])
    assert list(facts["Methods"]) == ["times"] and "(times of the events alone)" in stage.describe(facts)
    warnings = json.loads((tmp_path / "state_json.json").read_text())["Warnings"]
    assert any(line.startswith("correlations within the answer, linear: left out") for line in warnings)
    assert "without surrogates nothing shows what chance gives, and no method is said to be better" in warnings


def test_long_names_of_conditions_leave_room_for_the_figure_and_stay_different() -> None:
    names = ["face", "a_condition_with_a_long_name_by_itself"]
    names += [f"incongruent_with_{feedback}_feedback" for feedback in ("positive", "negative")]
    assert [name.replace(figure.DOTS, "~") for name in figure.shortened(names)] == [
        "face", "a_conditio~_by_itself", "~positive_feedback", "~negative_feedback",
    ]  # fmt: skip
