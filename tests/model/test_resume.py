"""A training that was stopped and is asked to go on with other settings: what it accepts, says and keeps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from brainlm_data import InputError
from brainlm_model.cli import main
from brainlm_model.trained.load import load
from brainlm_model.training import state
from brainlm_model.training.loop import Trainer
from brainlm_model.training.same_run import Change
from brainlm_model.training.stage import describe
from brainlm_model.training.worker import launch
from tests.model.cohort import make
from tests.model.small_training import SMALL, losses, trainer

KEYS: dict[str, Any] = {"steps": 4, "batch_size": 3, "eval_every": 2, "prior": "zero", "lr": 1e-3}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def stopped(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work folder of a training of four steps that was killed after two."""
    monkeypatch.setattr("brainlm_model.training.loop.SAVE_SECONDS", -1)
    killed = trainer(store, **KEYS)
    step = killed._step

    def kill(number: int) -> dict[str, Any]:
        if number == 2:
            raise KeyboardInterrupt
        return step(number)

    monkeypatch.setattr(killed, "_step", kill)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(tmp_path / "work")
    return tmp_path / "work"


def begun_at(monkeypatch: pytest.MonkeyPatch, one: Trainer, folder: Path) -> int:
    """The first step that a training takes."""
    steps: list[int] = []
    step = one._step
    monkeypatch.setattr(one, "_step", lambda number: steps.append(number) or step(number))
    one.fit(folder)
    return steps[0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"micro_batch": 1}, "micro_batch null -> 1"),
        ({"threads": 2, "processes": 3}, "threads 1 -> 2, processes 1 -> 3"),
        ({"eval_every": 1, "patience": 9, "select": "last"}, "eval_every 2 -> 1, patience null -> 9"),
        ({"precision": "bfloat16"}, 'precision "float32" -> "bfloat16"'),
        ({"steps": 6}, "steps 4 -> 6"),
        ({"epochs": 4}, "steps 4 -> 8"),
        ({"name": "another", "tensorboard": False}, ""),
        ({"precision": "float32", "device": "auto"}, ""),  # what it was on this machine
    ],
)
def test_what_does_not_change_the_run_goes_on_and_is_said(
    store: Any, stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, changed: dict[str, Any], said: str
) -> None:
    threads = torch.get_num_threads()
    again = trainer(store, **{**KEYS, **changed})
    assert begun_at(monkeypatch, again, stopped) == 2
    torch.set_num_threads(threads)
    line = next(line for line in capsys.readouterr().err.splitlines() if "goes on" in line)
    assert line == f"train: goes on from step 2; {line.partition('; ')[2]}".rstrip("; ") and said in line
    assert len(again.past) == bool(said) and said in " ".join(again.past)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lr": 0.002}, "lr 0.001 -> 0.002"),
        ({"seed": 1}, "seed 0 -> 1"),
        ({"width": 32, "hidden": 64}, "width 16 -> 32; hidden 32 -> 64"),
        ({"mask_ratio": 0.5}, "mask_ratio [0.2, 0.5, 0.75, 0.9] -> 0.5"),
        ({"steps": 3}, "steps 4 -> 3"),
        ({"steps": 1}, "steps 4 -> 1"),
        ({"share": 0.5}, "share 1.0 -> 0.5"),
        ({"batch_size": 2, "micro_batch": 1}, "batch_size 3 -> 2"),
    ],
)
def test_what_changes_the_run_stops_with_both_values_and_keeps_the_checkpoint(
    store: Any, stopped: Path, changed: dict[str, Any], said: str
) -> None:
    before = {file.name: file.read_bytes() for file in stopped.iterdir()}
    with pytest.raises(InputError) as error:
        trainer(store, **{**KEYS, **changed}).fit(stopped)
    assert said in error.value.message and "after 2 steps" in error.value.message and "\n" not in str(error.value)
    assert "micro_batch" not in error.value.message  # only what matters
    assert "--restart" in error.value.remedy and str(stopped) in error.value.message
    assert {file.name: file.read_bytes() for file in stopped.iterdir()} == before


def test_other_data_or_another_release_is_another_run_but_a_moved_store_is_not(
    store: Any, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make(tmp_path / "other", change=("train",))
    with pytest.raises(InputError, match=r"data \[\[5, "):
        trainer(other, **KEYS).fit(stopped)
    newer = trainer(store, **KEYS)
    newer.version += 1
    with pytest.raises(InputError, match=r"version of train \d+ -> \d+"):
        newer.fit(stopped)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in (store.path.name, "recordings.parquet", "scaler.npz", "card.json"):
        source = store.path.parent / name
        copy = shutil.copytree if source.is_dir() else shutil.copy  # with other times of change
        copy(source, moved / name)
    from brainlm_data import open_store

    assert begun_at(monkeypatch, trainer(open_store(moved / store.path.name), **KEYS), stopped) == 2


def test_a_finished_run_goes_on_where_it_is_made_longer(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {**KEYS, "schedule": "constant", "warmup": 0}
    whole = trainer(store, **{**keys, "steps": 6})
    log = whole.fit(None)
    trainer(store, **keys).fit(tmp_path)
    longer = trainer(store, **{**keys, "steps": 6})
    assert begun_at(monkeypatch, longer, tmp_path) == 4
    last = state.load(tmp_path)
    assert last is not None and last.steps == 6 and last.log[-1]["loss"] == ""
    assert losses(last.log) == losses(log)  # to the digit: the rate is constant
    assert longer.past == ["after 4 steps: steps 4 -> 6"]


def test_what_stopped_early_goes_on_with_more_patience(store: Any, tmp_path: Path) -> None:
    keys = {**KEYS, "steps": 20, "patience": 1, "lr": 0.5, "warmup": 0, "clip": 1e3}
    early = trainer(store, **keys).fit(tmp_path)
    assert len(early) < 21
    assert trainer(store, **keys).fit(tmp_path) == early
    assert len(trainer(store, **{**keys, "patience": None}).fit(tmp_path)) == 21


def test_a_run_whose_model_is_written_gives_way_to_another(store: Any, tmp_path: Path, capsys: Any) -> None:
    trainer(store, **KEYS).fit(tmp_path)
    other = {**KEYS, "seed": 1}
    with pytest.raises(InputError, match="seed 0 -> 1"):
        trainer(store, **other).fit(tmp_path)
    (tmp_path / state.WRITTEN).touch()  # as stage train leaves it
    expected = trainer(store, **other).fit(None)
    assert losses(trainer(store, **other).fit(tmp_path)) == losses(expected)
    assert "begins anew, other than the run before: seed 0 -> 1" in capsys.readouterr().err
    assert not (tmp_path / state.WRITTEN).exists()


def test_killed_and_on_with_other_processes_and_parts_the_result_is_that_of_one_process(
    store: Any, tmp_path: Path
) -> None:
    """Stated tolerance: 2e-6 in the losses."""
    keys = {**KEYS, "schedule": "constant", "warmup": 0, "lr": 1e-4}
    expected = trainer(store, **{**keys, "steps": 6}).fit(None)
    from brainlm_model.training.stage import STAGE, Config

    launch(store.path, Config(**{**SMALL, **keys, "processes": 2, "micro_batch": 1}), STAGE.version, tmp_path)
    found = trainer(store, **{**keys, "steps": 6, "micro_batch": 2}).fit(tmp_path)
    assert losses(found) == pytest.approx(losses(expected), abs=2e-6)
    assert found[-1]["validation_r2"] == pytest.approx(expected[-1]["validation_r2"], abs=1e-4)


def test_the_command_stops_restarts_and_tells_the_card(store: Any, stopped: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "mine"
    work = tmp_path / ".mine.training"
    shutil.copytree(stopped, work)
    small = {**SMALL, **KEYS}
    call = ["train", str(store.path), "--out", str(out), "--set", *(f"train.{k}={v}" for k, v in small.items())]
    assert main([*call, "train.lr=0.01"]) == 2
    assert "lr 0.001 -> 0.01" in capsys.readouterr().err and (work / state.NAME).exists() and not out.exists()
    assert main([*call, "train.micro_batch=1"]) == 0
    card = (out / "card.md").read_text()
    assert "Settings were changed while training: after 2 steps: micro_batch null -> 1." in card
    shutil.copytree(stopped, work)
    assert main([*call, "train.lr=0.01", "--force"]) == 0  # replaces the model, and the other run on its way
    assert "begins anew, other than the run before: lr 0.001 -> 0.01" in capsys.readouterr().err
    shutil.copytree(stopped, work)
    assert main([*call, "train.lr=0.01", "--restart", "--force"]) == 0
    assert "Settings were changed" not in (out / "card.md").read_text() and load(out).training["LearningRate"] == 0.01


def test_words_of_a_change() -> None:
    long = Change("mask_ratio", None, list(range(50)))
    assert len(long.words()) < 90 and long.words().startswith("mask_ratio null -> [0, 1")
    assert not long.is_harmless and Change("steps", 4, 5).is_harmless and not Change("steps", 5, 4).is_harmless


def test_the_sentence_without_changes_is_as_before() -> None:
    facts: dict[str, Any] = {
        "MaskRatios": [0.5], "Optimizer": "Adam", "Prior": "zero", "Model": "tiny", "Parameters": 1, "Window": 20,
        "Patch": 5, "TrainingRecordings": 2, "TrainingSubjects": 2, "Masking": "random", "Steps": 3, "BatchSize": 2,
        "LearningRate": 0.1,
    }  # fmt: skip
    assert describe(facts).endswith("learning rate 0.1).")


@pytest.mark.parametrize("is_over", [True, False])
def test_a_checkpoint_of_an_earlier_release(store: Any, tmp_path: Path, is_over: bool) -> None:
    """Where its training was over, its model is written and it is in nobody's way; else it is not thrown away."""
    trainer(store, **KEYS).fit(tmp_path)
    last = state.load(tmp_path)
    assert last is not None
    log = last.log if is_over else last.log[:-2]
    save_file(last.tensors, tmp_path / state.NAME, metadata={"key": "digest", "log": json.dumps(log)})
    if is_over:
        assert len(trainer(store, **KEYS).fit(tmp_path)) == 5
    else:
        with pytest.raises(InputError, match="an earlier release wrote it -> end it with that release, or delete"):
            trainer(store, **KEYS).fit(tmp_path)
        assert "key" in safe_open(tmp_path / state.NAME, "pt").metadata()
