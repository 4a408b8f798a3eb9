"""Stage `perturbation`: a driven network is found, without one nothing is, and responses follow what is planted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from brainlm_data import ConfigError, open_store
from brainlm_model.eval.perturbation import move, response, windows
from brainlm_model.eval.perturbation.shift import smallest
from brainlm_model.stages import PAPER_TASKS
from brainlm_model.training import stage as train
from tests.model.parcel_people import outputs, run

KEYS = {"subjects": 12, "recordings": 10, "seeds": 6, "steps": 30}


@pytest.fixture(scope="module")
def finished(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    run("perturbation", planted, out, **KEYS)
    return out


def table(out: Path) -> pd.DataFrame:
    rows = pd.read_csv(out / "perturbation_csv.csv", keep_default_na=False, na_values=[""])
    rows[["network", "name"]] = rows[["network", "name"]].fillna("")
    return rows.set_index(["part", "method", "network", "metric", "name"]).sort_index()


class Knows(torch.nn.Module):
    """A network whose CLS says how strongly each parcel follows the blocks of task `wm`."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.cls = torch.nn.Parameter(torch.zeros(1))
        self.blocks = (torch.arange(window) // 10 % 2) - 0.5

    def embed(self, x_BPT: torch.Tensor) -> torch.Tensor:
        return torch.tanh((x_BPT * self.blocks).mean(-1))


def test_the_network_that_the_task_drives_is_found_by_a_cls_that_knows_of_it(planted):
    """Not by one that does not: its smallest change lies where its CLS is sensitive, to whatever it is moved."""
    from brainlm_model.eval.perturbation import tables
    from brainlm_model.eval.perturbation.stage import Config
    from brainlm_model.eval.pieces import Pieces
    from brainlm_model.trained.load import load

    model, store = load(planted / "model"), open_store(planted / "store.zarr")
    rows = store.recordings[store.recordings["split"] == "test"]
    who = windows.people(rows, "task", ("rest", "wm"), True, 12, 0)
    networks = dict.fromkeys(("model", "untrained"), Knows(model.config.window))
    who, arrays, _ = move.move(store, model, networks, who, None, 0.9, 200, Pieces(None, ""))
    members = {str(n): np.arange(20) % 4 == n for n in range(4)}
    found = pd.DataFrame(tables.moved(arrays, [p.subject for p in who], ["p"] * 20, members, Config()))
    change = found[(found["metric"] == "share_difference") & (found["method"] == "model")].set_index("network")
    assert change.loc["3", "value"] > 0.5 and change.loc["3", "p_holm"] < 0.05
    assert (change.drop("3")["value"] < 0).all()


def test_the_network_that_the_task_drives_is_found(finished):
    rows = table(finished)
    change = rows.loc["moved_network", "sd"].xs("share_difference", level="metric")
    visual = change.loc[("Visual", "Visual")]
    assert visual["value"] > 0.5 and visual["low"] > 0 and visual["p_holm"] < 0.05
    assert change["value"].idxmax() == ("Visual", "Visual")
    reached = rows.loc["moved_distance"].xs("reached", level="metric")["value"]
    assert len(reached) == 4 and (reached > 0.85).all()


def test_the_tables_say_what_was_done(finished):
    content = json.loads((finished / "perturbation_json.json").read_text())
    assert content["Levels"] == ["rest", "wm"] and content["Subjects"] == 12 and content["PartOne"] == "done"
    assert any("null: 12 subjects have one recording at rest" in line for line in content["Warnings"])
    assert len(content["Summary"]) == 2 and not any(entry["comparable"] for entry in content["Published"])
    against = {(c["against"], c["target"]) for c in content["Comparisons"]}
    assert against == {(m, t) for m in ("untrained", "visible") for t in ("own", "group")} | {("group", "own")}
    with np.load(finished / "perturbation_arrays.npz") as arrays:
        assert arrays["moved/model/task"].shape == (12, 20) and arrays["map/model"].shape == (6, 20)
    assert (finished / "perturbation_png.png").stat().st_size > 10_000


def test_where_no_network_is_driven_none_is_found(control, tmp_path):
    run("perturbation", control, tmp_path / "out", **KEYS)
    rows = table(tmp_path / "out")
    for method in ("model", "sd", "untrained"):
        change = rows.loc["moved_network", method].xs("share_difference", level="metric")
        assert (change["p_holm"] > 0.05).all()
    # and where nothing is connected, connectivity of one half says nothing of the other
    told = rows.loc[("response", "visible", "", "r", "own")]
    assert abs(told["value"]) < 0.25


def test_the_mean_of_training_subjects_can_be_the_target(planted, tmp_path):
    facts = run("perturbation", planted, tmp_path, target="training", **{**KEYS, "seeds": 1, "recordings": 2})
    assert facts["Target"] == "training" and facts["Subjects"] == 11  # of twelve one has no window
    assert len(facts["Skipped"]) == 1 and "sub-99" in facts["Skipped"][0]
    change = table(tmp_path).loc["moved_network", "sd"].xs("share_difference", level="metric")
    assert change["value"].idxmax() == ("Visual", "Visual")


def test_a_gaussian_prior_answers_with_the_covariance_and_rest_alone_is_enough(tmp_path):
    from tests.model.parcel_people import make
    from tests.model.people import trained

    store = make(tmp_path)
    table_ = pd.read_parquet(tmp_path / "recordings.parquet")
    table_[table_["task"] == "rest"].to_parquet(tmp_path / "recordings.parquet")
    trained(store, tmp_path / "model", prior="gaussian")
    run("perturbation", tmp_path, tmp_path / "out", **KEYS)
    content = json.loads((tmp_path / "out/perturbation_json.json").read_text())
    assert content["PartOne"].startswith("part one left out: column task has rest only")
    rows = table(tmp_path / "out")
    prior = rows.loc[("response", "untrained", "", "r", "own")]
    assert prior["low"] > 0.5 and prior["label"].startswith("its prior alone")
    assert ("response", "network", "", "r", "own") in rows.index
    size = rows.loc["response_size"]["value"].droplevel([1, 2, 3])
    assert 0 < size["network"] < size["untrained"]  # after twenty steps the network adds little to its prior


def test_finished_parts_are_kept_and_give_the_same_table(planted, finished, tmp_path, monkeypatch):
    calls, made = [], response.recording

    def counted(*given):
        calls.append(given[1])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return made(*given)

    from brainlm_model.eval.perturbation import stage

    monkeypatch.setattr(stage, "recording", counted)
    monkeypatch.setattr(move, "_part", _once(move._part))
    with pytest.raises(KeyboardInterrupt):
        run("perturbation", planted, tmp_path / "out", tmp_path / "work", **KEYS)
    run("perturbation", planted, tmp_path / "out", tmp_path / "work", **KEYS)
    assert len(calls) == 11 and calls[2] == calls[3]
    for name in ("csv.csv", "json.json"):
        same = [(place / f"perturbation_{name}").read_bytes() for place in (finished, tmp_path / "out")]
        assert same[0] == same[1]


def _once(make):
    seen = []

    def part(model, networks, group, *rest):
        names = [p.rest for p in group]
        assert names not in seen  # the second run reads the first one's
        seen.append(names)
        return make(model, networks, group, *rest)

    return part


def test_the_change_is_close_to_the_smallest_on_a_linear_map():
    torch.manual_seed(0)
    map_ = torch.randn(6, 20) * torch.logspace(0, -1, 6)[:, None]
    goal = torch.randn(3, 6)
    found = smallest(lambda x: x.flatten(1) @ map_.T, torch.zeros(3, 4, 5), goal, 0.9, 500)
    assert (found.after_B <= 0.1 * found.before_B).all()
    for delta, target, left in zip(found.delta_BPT, goal, found.after_B, strict=True):
        smallest_of_all = _ridge(map_, target, float(left))
        assert smallest_of_all * 0.999 <= delta.norm() <= 1.15 * smallest_of_all


def _ridge(map_: torch.Tensor, target: torch.Tensor, left: float) -> float:
    """Norm of the smallest change that leaves this distance: the ridge solution, its penalty found by bisection."""
    low, high = 1e-8, 1e6
    for _ in range(200):
        penalty = (low * high) ** 0.5
        change = map_.T @ torch.linalg.solve(map_ @ map_.T + penalty * torch.eye(len(map_)), target)
        low, high = (low, penalty) if (map_ @ change - target).norm() > left else (penalty, high)
    return float(change.norm())


def test_gradients_pass_a_gaussian_prior():
    from brainlm_model.models.brainlm import BrainLM
    from brainlm_model.models.config import build

    torch.manual_seed(0)
    network = BrainLM(build("tiny", parcels=6, window=40, patch=10)).eval()
    x = torch.randn(1, 6, 40)
    x[0, 2, :15] = float("nan")
    x.requires_grad_()
    network.embed(x)[0, 0].backward()
    assert x.grad is not None and torch.isfinite(x.grad).all() and (x.grad[0, 2, :15] == 0).all()
    assert x.grad[0, 2, 20:].abs().sum() > 0
    step = torch.zeros_like(x)
    step[0, 4, 7] = 1e-2
    with torch.no_grad():
        change = network.embed(x + step)[0, 0] - network.embed(x - step)[0, 0]
    assert float(change / 2e-2) == pytest.approx(float(x.grad[0, 4, 7]), rel=0.05, abs=1e-5)


def test_only_the_seed_is_seen_and_never_itself(planted):
    from brainlm_model.trained.load import load

    model, store = load(planted / "model"), open_store(planted / "store.zarr")
    x = windows.scaled(store, "sub-06_task-rest", model)[: model.config.window].T
    found = response.responses(model.network, x, np.array([3, 7]), 1.0)
    assert np.isnan(found[[0, 1], [3, 7]]).all() and np.isfinite(found).sum() == 2 * 19
    late = x.copy()
    late[np.arange(20) != 3, model.config.window // 2 :] = 99.0  # what is masked does not count
    assert np.allclose(response.responses(model.network, late, np.array([3]), 1.0)[0], found[0], equal_nan=True)


def test_seeds_are_of_all_networks_in_turn():
    networks = ["a"] * 8 + ["b"] * 2 + ["unassigned"] * 4
    chosen = [networks[i] for i in response.seeds_of(networks, 4, 0)]
    assert sorted(chosen) == ["a", "a", "b", "b"] and len(response.seeds_of(networks, 99, 0)) == 14


def test_levels_that_are_not_there_are_refused():
    rows = pd.DataFrame({"task": ["rest", "wm"], "subject": ["1", "1"], "id": ["a", "b"]})
    with pytest.raises(ConfigError, match="levels"):
        windows.levels_of(rows, "task", ["rest", "motor"])
    with pytest.raises(ConfigError, match="column"):
        windows.levels_of(rows, "state", [])
    assert windows.levels_of(rows.drop(columns="task"), "task", []).startswith("part one left out")
    assert windows.levels_of(rows, "task", []) == ("rest", "wm")


def test_golden(finished: Path, golden: Callable[..., None]) -> None:
    golden(PAPER_TASKS["perturbation"], outputs("perturbation", finished), after=[train.STAGE], rtol=0.05)
