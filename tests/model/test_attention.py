"""Stage `attention`: what is planted is found, what is not is not, and nobody is compared with the wrong people."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainlm_data import ConfigError, InputError
from brainlm_model.eval.attention.groups import contrast, design
from brainlm_model.eval.attention.maps import coupling
from brainlm_model.eval.parcels import connectivity
from brainlm_model.eval.statistics.paired import holm, sign_flip
from brainlm_model.eval.statistics.subjects import bootstrap
from brainlm_model.stages import PAPER_TASKS
from brainlm_model.training import stage as train
from tests.model.parcel_people import outputs, run


@pytest.fixture(scope="module")
def driven(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    out = tmp_path_factory.mktemp("driven")
    return run("attention", planted, out, group="task", permutations=500), out


def read(out: Path) -> tuple[dict, pd.DataFrame]:
    content = json.loads((out / "attention_json.json").read_text())
    return content, pd.read_csv(out / "attention_csv.csv", keep_default_na=False, na_values=[""])


def test_a_task_that_drives_a_network_is_seen_there(driven):
    facts, out = driven
    content, table = read(out)
    assert facts["Design"] == "paired" and facts["SubjectsOfLevels"] == [16, 16]
    assert facts["Recordings"] == 32 and "sub-99" in content["Skipped"][0]
    rows = table[(table["part"] == "difference_parcel") & (table["method"] == "model")].dropna(subset=["t"])
    assert len(rows) == 19  # p02 is unknown in one subject
    driven = rows["network"] == "Visual"
    assert rows.loc[driven, "t"].abs().mean() > 2 * rows.loc[~driven, "t"].abs().mean()
    assert (rows.loc[driven, "p"] < 0.05).sum() >= 3
    assert {r["name"] for r in content["Significant"] if r["part"] == "difference_network"} >= {"Visual"}


def test_without_a_difference_none_is_found(control, tmp_path):
    run("attention", control, tmp_path, group="task", permutations=500)
    content, table = read(tmp_path)
    assert not content["Significant"]
    rows = table[table["part"] == "difference_network"]
    assert ((rows["low"] < 0) & (rows["high"] > 0)).mean() >= 0.75


def test_maps_and_coupling(planted, tmp_path):
    run("attention", planted, tmp_path)
    content, table = read(tmp_path)
    assert not content["Significant"] and set(table["part"]) == {"cls_parcel", "cls_network", "coupling"}
    for method in ("model", "untrained"):
        rows = table[(table["part"] == "cls_parcel") & (table["method"] == method)]
        assert len(rows) == 20 and (rows["low"] < rows["high"]).all()
        assert rows["value"].mean() == pytest.approx(1, abs=0.2)  # a multiple of uniform attention
    with np.load(tmp_path / "attention_arrays.npz") as arrays:
        np.testing.assert_allclose(arrays["attention_model"].sum(1), 1, atol=0.01)
        assert arrays["connectivity"][0, 4] > 0.4 > arrays["connectivity"][0, 1]
    assert {r["metric"] for r in content["Comparisons"]} == {"r", "r_distance"}
    assert not any(entry["comparable"] for entry in content["Published"])
    assert (tmp_path / "attention_png.png").stat().st_size > 10_000


def test_the_same_again_and_after_an_interruption(planted, tmp_path, monkeypatch):
    from brainlm_model.eval.attention import maps

    run("attention", planted, tmp_path / "a")
    whole, calls = maps._part, []

    def stops(store, ids, *rest):
        calls.append(ids[0])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(store, ids, *rest)

    monkeypatch.setattr(maps, "_part", stops)
    with pytest.raises(KeyboardInterrupt):
        run("attention", planted, tmp_path / "b", tmp_path / "work")
    run("attention", planted, tmp_path / "b", tmp_path / "work")
    assert len(set(calls)) == len(calls) - 1  # only the piece that was not finished was done again
    for name in ("csv.csv", "json.json", "svg.svg"):
        same = [(tmp_path / place / f"attention_{name}").read_bytes() for place in "ab"]
        assert same[0] == same[1]
    assert not any((tmp_path / "work").iterdir())


def test_bad_configurations_are_told_before_any_work(planted, tmp_path):
    for keys, error, words in (
        ({"group": "nope"}, ConfigError, "no column 'nope'"),
        ({"group": "site", "strata": "nope"}, ConfigError, "attention.strata"),
        ({"group": "subject"}, ConfigError, "name two of its values"),
        ({"group": "group", "levels": [1, 3]}, ConfigError, "1, 3; group has 1, 2"),
        ({"splits": ["external"]}, InputError, "no recording in split external"),
    ):
        with pytest.raises(error, match=words):
            run("attention", planted, tmp_path, **keys)
    with pytest.raises(ValueError, match="two different"):
        PAPER_TASKS["attention"].Config(levels=[1, 1.0])


def test_numbers_as_levels_and_strata(planted, tmp_path):
    facts = run("attention", planted, tmp_path, group="group", levels=[2, 1], strata="site", permutations=100)
    assert facts["Levels"] == ["2", "1"] and facts["Design"] == "between" and facts["SubjectsOfLevels"] == [8, 8]
    assert facts["MeanFdMmOfLevels"] == pytest.approx([0.1, 0.1])


def test_the_largest_statistic_keeps_false_findings_at_their_rate():
    rng = np.random.default_rng(0)
    found = {"between": 0, "paired": 0}
    for _ in range(100):
        maps = rng.standard_normal((24, 30)) + np.repeat(rng.standard_normal((12, 30)), 2, axis=0)
        subjects = np.repeat([f"s{i:02d}" for i in range(12)], 2).tolist()
        paired = contrast(maps, subjects, ["a", "b"] * 12, ("a", "b"), 100, 100, 0)
        between = contrast(maps, subjects, ["a"] * 12 + ["b"] * 12, ("a", "b"), 100, 100, 0)
        assert (paired.design, between.design, between.first) == ("paired", "between", 6)
        found["paired"] += bool((paired.p < 0.05).any())
        found["between"] += bool((between.p < 0.05).any())
    assert max(found.values()) <= 12  # 5 expected; more than 12 happens once in a thousand


def test_a_planted_difference_is_found_with_its_size():
    rng = np.random.default_rng(1)
    maps = 0.5 * rng.standard_normal((40, 10))
    maps[20:, 3] += 2
    seen = contrast(maps, [f"s{i:02d}" for i in range(40)], ["a"] * 20 + ["b"] * 20, ("a", "b"), 500, 200, 0)
    assert np.flatnonzero(seen.p < 0.05).tolist() == [3]
    assert seen.low[3] < 2 < seen.high[3] and seen.difference[3] == pytest.approx(2, abs=0.4)
    # a stratum that is the group leaves nothing to permute
    strata = ["x"] * 20 + ["y"] * 20
    fixed = contrast(maps, [f"s{i:02d}" for i in range(40)], strata, ("x", "y"), 100, 100, 0, strata)
    assert (fixed.p == 1).all()


def test_who_counts_in_a_comparison():
    both = design(["a", "a", *"bcdefghi"], ["x", "y", *"xxxxyyyy"], ("x", "y"))
    assert both.kind == "between" and (both.first, both.second, both.left_out) == (list("bcde"), list("fghi"), 1)
    with pytest.raises(InputError, match="two subjects each"):
        design(["a", "b", "c"], ["x", "x", "y"], ("x", "y"))


def test_coupling_by_hand():
    rng = np.random.default_rng(0)
    place = rng.uniform(-60, 60, (30, 3))
    distance = np.linalg.norm(place[:, None] - place, axis=2)
    noise = rng.standard_normal((2, 30, 30))
    near = 1 - distance / 100 + 0.05 * (noise + noise.transpose(0, 2, 1))
    same, without = coupling(near[0], near[1], place)
    assert same > 0.8 and abs(without) < 0.2  # they share distance alone
    assert np.isnan(coupling(near[0], near[1], np.full((30, 3), np.nan))[1])
    missing = connectivity(np.c_[rng.standard_normal((50, 3)), np.full(50, np.nan), np.ones(50)])
    assert np.isnan(missing[3:]).all() and np.isfinite(missing[:3, :3]).all()


def test_corrected_p_and_flips():
    assert holm([0.01, 0.04, 0.03, float("nan")])[:3] == pytest.approx([0.03, 0.06, 0.06])
    subjects = [f"s{i}" for i in range(20)]
    assert sign_flip(np.full(20, 0.1), subjects, 0) < 0.001
    assert sign_flip(np.full(20, 0.1), ["one"] * 20, 0) == 1  # one person, however many recordings
    assert sign_flip(np.tile([0.1, -0.1], 10), subjects, 0) == 1
    value, low, high = bootstrap(np.array([[1.0, np.nan], [2, 5]]), np.array([[2.0, 0], [0, 2], [1, 1]]))
    assert value.tolist() == [1.5, 5] and low[0] < 1.5 < high[0] and np.isnan(low[1])


def test_golden(driven: tuple[dict, Path], golden: Callable[..., None]) -> None:
    golden(PAPER_TASKS["attention"], outputs("attention", driven[1]), after=[train.STAGE], rtol=0.05)
