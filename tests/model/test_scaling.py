"""Stage `scaling`: trainings differ by what the section names alone, and every one stands beside its own baselines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainlm_data import ConfigError, InputError, section_from
from brainlm_model.eval.scaling import runs
from brainlm_model.eval.scaling.stage import STAGE, Config
from brainlm_model.training import stage as train
from tests.model.parcel_people import PARCELS, outputs, run

SMALL = {
    "models": ["tiny"],
    "training_ratios": [0.5, 0.8],
    "shares": [0.34, 1.0],
    "steps": 12,
    "mask_ratios": [0.25, 0.5],
}


@pytest.fixture(scope="module")
def finished(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    out = tmp_path_factory.mktemp("out")
    return run("scaling", planted, out, **SMALL), out


def read(out: Path) -> tuple[dict, pd.DataFrame]:
    content = json.loads((out / "scaling_json.json").read_text())
    return content, pd.read_csv(out / "scaling_csv.csv", keep_default_na=False, na_values=[""])


def test_shared_networks_are_filled_in_and_more_data_help(finished: tuple[dict, Path]) -> None:
    facts, out = finished
    content, table = read(out)
    assert facts["Splits"] == ["test"] and facts["TrainingSubjects"] == {"0.34": 2, "1": 6}
    flat = table[(table["metric"] == "r2_flat") & (table["mask_ratio"] == 0.5)]
    trained = flat[flat["method"] == "trained"]
    assert set(table["split"]) == {"test"}
    assert len(trained) == 4 and set(trained["training_ratio"]) == {0.5, 0.8} and set(trained["steps"]) == {12}
    assert trained["low"].min() > 0.2  # parcels of a network share its course
    gaussian = flat[flat["method"] == "gaussian"]
    assert sorted(gaussian["training_subjects"]) == [2, 6]  # fitted on the same people
    kinds = {(row["kind"], row["method"], row["against"]) for row in content["Comparisons"]}
    assert ("data", "tiny_ratio-0.5_share-1_seed-0", "tiny_ratio-0.5_share-0.34_seed-0") in kinds
    assert ("training ratio", "tiny_ratio-0.8_share-1_seed-0", "tiny_ratio-0.5_share-1_seed-0") in kinds
    assert ("baseline", "tiny_ratio-0.5_share-0.34_seed-0", "gaussian@0.34@0") in kinds
    assert ("baseline", "tiny_ratio-0.5_share-1_seed-0", "gaussian") in kinds
    assert not any(row["comparable"] for row in content["Published"])
    with np.load(out / "scaling_arrays.npz") as arrays:
        assert arrays["r2_model"].shape == (PARCELS,) and np.isfinite(arrays["r2_gaussian"]).all()


def test_nothing_is_filled_in_where_parcels_share_nothing(control: Path, tmp_path: Path) -> None:
    run("scaling", control, tmp_path, **{**SMALL, "shares": [1.0], "training_ratios": [0.5]})
    _, table = read(tmp_path)
    flat = table[(table["metric"] == "r2_flat") & (table["mask_ratio"] == 0.5)].set_index("method")["value"]
    # a patch has five steps, of which its neighbours in time tell the first and last a little: nothing more is there
    assert flat["gaussian"] < 0.05 and flat["trained"] < 0.15


def test_a_killed_run_goes_on_and_gives_the_same(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {**SMALL, "shares": [1.0]}
    run("scaling", planted, tmp_path / "whole", **keys)
    real, calls = runs.Bench.trained, []

    def breaking(self, one, folder):  # type: ignore[no-untyped-def]
        calls.append(one.ratio)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, one, folder)

    monkeypatch.setattr(runs.Bench, "trained", breaking)
    with pytest.raises(KeyboardInterrupt):
        run("scaling", planted, tmp_path / "again", tmp_path / "work", **keys)
    run("scaling", planted, tmp_path / "again", tmp_path / "work", **keys)
    assert calls == [0.5, 0.8, 0.8]
    first, second = (tmp_path / name / "scaling_csv.csv" for name in ("whole", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_which_trainings_are_compared() -> None:
    config = Config(models=["tiny", "small"], training_ratios=[0.75, [0.2, 0.9]], shares=[1.0, 0.1], seeds=[0, 1])
    found = runs.grid(config)
    assert len(found) == len({one.name for one in found}) == 16
    base = runs.Run("tiny", 0.75, 0.1, 0)
    assert runs.Run("tiny", 0.75, 1.0, 0).step_from(base, config) == "data"
    assert runs.Run("small", 0.75, 0.1, 0).step_from(base, config) == "model"
    assert runs.Run("tiny", (0.2, 0.9), 0.1, 0).step_from(base, config) == "training ratio"
    assert base.step_from(runs.Run("tiny", 0.75, 1.0, 0), config) is None
    assert runs.Run("small", 0.75, 1.0, 0).step_from(base, config) is None
    assert runs.Run("tiny", 0.75, 1.0, 1).step_from(base, config) is None


@pytest.mark.parametrize("keys", [{"shares": [0]}, {"training_ratios": [[]]}, {"models": ["huge"]}, {"seeds": []}])
def test_a_bad_section(keys: dict) -> None:
    with pytest.raises(ConfigError, match="scaling"):
        section_from(keys, STAGE)


def test_no_one_to_score(planted: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recording in split external"):
        run("scaling", planted, tmp_path, **{**SMALL, "splits": ["external"]})


def test_golden(finished: tuple[dict, Path], golden: Callable[..., None]) -> None:
    golden(STAGE, outputs("scaling", finished[1]), after=[train.STAGE], rtol=0.05, ignore=("CpuMinutes",))
