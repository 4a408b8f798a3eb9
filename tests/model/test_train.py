import csv
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from brainlm_data import BrainLMError, Files, parent_of
from brainlm_data.runner.call import call
from brainlm_model.training import loop
from brainlm_model.training.loop import Trainer
from brainlm_model.training.optim import learning_rate
from brainlm_model.training.stage import STAGE, Config
from brainlm_model.training.worker import main
from brainlm_model.windows.dataset import WindowDataset
from tests.model.cohort import PARCELS, make

SMALL = {"width": 16, "heads": 2, "hidden": 32, "depth": 1, "batch_size": 4, "threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    return make(tmp_path_factory.mktemp("cohort"))


def trainer(store, **keys) -> Trainer:
    config = Config(**{**SMALL, **keys})
    train, validation = (
        WindowDataset(store, s, config.window, config.seed, fill=np.nan) for s in ("train", "validation")
    )
    return Trainer(config, train, validation, STAGE.version)


def run(store, folder: Path, **keys) -> tuple[dict, dict[str, Path]]:
    home = store.path.parent
    inputs = Files({"store": store.path, "recordings": home / "recordings.parquet", "scaler": home / "scaler.npz",
                    "card_data": home / "card.json"})  # fmt: skip
    names = {"model": "model.safetensors", "model_config": "config.json", "model_scaler": "scaler.npz",
             "model_card_data": "card.json", "model_card": "card.md", "train_log": "log.csv",
             "model_checksums": "SHA256SUMS"}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    written = {key: folder / name for key, name in names.items()}
    inputs.meta["workdir"] = str(folder / "state")
    facts = call(STAGE, inputs, written, Config(**{**SMALL, **keys}))
    return facts, written


def weights(t: Trainer) -> str:
    hasher = hashlib.sha256()
    for value in t.network.state_dict().values():
        hasher.update(value.numpy().tobytes())
    return hasher.hexdigest()


@pytest.mark.parametrize(
    ("keys", "least"), [({"prior": "zero", "width": 32, "steps": 300, "lr": 0.01}, 0.5), ({"steps": 10}, 0.7)]
)
def test_it_learns(store, keys, least):
    log = trainer(store, mask_ratio=0.5, eval_every=40, **keys).fit(None)
    assert log[-1]["validation_r2"] > least  # on other people; zero is what a silent model reaches
    assert log[-1]["validation_r2"] > log[0]["validation_r2"] - 0.01
    assert [row["step"] for row in log] == list(range(keys["steps"] + 1))


def test_killed_and_run_again_it_ends_with_the_same_weights(store, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)  # a checkpoint every step
    whole = trainer(store, steps=6, masking="mixed")
    log = whole.fit(tmp_path / "a")

    class Killed(Exception):
        pass

    broken = trainer(store, steps=6, masking="mixed")
    step = broken._step

    def stop(number: int) -> dict:
        if number == 4:
            raise Killed
        return step(number)

    monkeypatch.setattr(broken, "_step", stop)
    with pytest.raises(Killed):
        broken.fit(tmp_path / "b")
    again = trainer(store, steps=6, masking="mixed")
    steps: list[int] = []
    plain = again._step
    monkeypatch.setattr(again, "_step", lambda number: steps.append(number) or plain(number))
    resumed = again.fit(tmp_path / "b")
    assert steps == [4, 5]
    assert weights(again) == weights(whole)
    assert [(r["loss"], r["validation_r2"]) for r in resumed] == [(r["loss"], r["validation_r2"]) for r in log]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_asked_to_stop_it_writes_a_checkpoint_and_goes_on_later(store, tmp_path, monkeypatch, number):
    whole = trainer(store, steps=6)
    whole.fit(tmp_path / "a")
    stopped = trainer(store, steps=6)
    step = stopped._step
    monkeypatch.setattr(stopped, "_step", lambda n: (signal.raise_signal(number) if n == 3 else None) or step(n))
    before = signal.getsignal(number)
    with pytest.raises(BrainLMError, match=f"stopped by {number.name} after 4 of 6 steps.*-> run the same command"):
        stopped.fit(tmp_path / "b")
    assert signal.getsignal(number) == before
    again = trainer(store, steps=6)
    assert [row["step"] for row in again.fit(tmp_path / "b")] == list(range(7))
    assert weights(again) == weights(whole)


def test_a_loss_that_is_no_number_stops_with_its_batch(store, tmp_path):
    broken = trainer(store, steps=6, lr=1e30, warmup=0, clip=1e30, prior="zero")
    with pytest.raises(BrainLMError, match=r"the loss is (nan|inf) at step \d \(sub-.*lower train\.lr"):
        broken.fit(tmp_path)
    kept = load_file(tmp_path / "not_finite.safetensors")
    assert kept["x"].shape[1:] == (PARCELS, broken.config.window) and kept["mask"].dtype == torch.bool


def test_for_a_damaged_checkpoint_that_before_it_is_used(store, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)
    expected = weights(fitted(trainer(store, steps=2)))
    trainer(store, steps=2).fit(tmp_path)
    (tmp_path / "step.safetensors").write_bytes(b"half a file")
    again = trainer(store, steps=2)
    again.fit(tmp_path)
    assert weights(again) == expected


def fitted(t: Trainer) -> Trainer:
    t.fit(None)
    return t


def test_nothing_is_learnt_from_other_splits(store, tmp_path):
    other = make(tmp_path, change=("validation", "test"))
    one, two = (fitted(trainer(s, steps=3)) for s in (store, other))
    assert one.train.subjects == ["00", "01", "02", "03", "04"]
    assert one.validate() != two.validate()  # the data did change
    assert weights(one) == weights(two)
    assert weights(one) != weights(fitted(trainer(make(tmp_path, change=("train",)), steps=3)))


def test_stage_writes_model_config_scaler_card_and_log(store, tmp_path):
    facts, written = run(store, tmp_path, steps=3, eval_every=2)
    content = json.loads(written["model_config"].read_text())
    assert content["model"]["parcels"] == 24 and content["training"]["TrainingSubjects"] == 5
    with np.load(written["model_scaler"]) as scaler:
        np.testing.assert_array_equal(scaler["iqr"], store.scaler.iqr)
    card = written["model_card"].read_text()
    assert "simulated" in card and "sub-05_task-rest" in card and STAGE.describe(facts) in card
    with written["train_log"].open() as stream:
        rows = list(csv.DictReader(stream))
    assert [r["step"] for r in rows] == ["0", "1", "2", "3"]
    assert [bool(r["validation_r2"]) for r in rows] == [True, False, True, True]
    assert all(float(r["loss"]) > 0 and float(r["seconds"]) > 0 for r in rows[:3])


def test_same_config_same_bytes(store, tmp_path):
    one, two = (run(store, tmp_path / name, steps=2)[1] for name in "ab")
    for artifact in ("model", "model_config", "model_scaler", "model_card_data", "model_card"):
        assert one[artifact].read_bytes() == two[artifact].read_bytes()


def test_golden(store, tmp_path, golden):
    facts, written = run(store, tmp_path, steps=3, eval_every=1, prior="zero")
    golden(STAGE, written, facts, rtol=0.01, ignore=("seconds",))


def test_learning_rate_rises_then_falls_to_zero():
    config = Config(steps=100, warmup=0.1, lr=1.0)
    rates = [learning_rate(step, 100, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] == pytest.approx(0)


@pytest.mark.parametrize(
    "keys",
    [
        {"mask_ratio": 0},
        {"mask_ratio": [0.5, 1]},
        {"mask_ratio": []},
        {"name": "a/b"},
        {"model": "huge"},
        {"nonsense": 1},
    ],
)
def test_impossible_config_is_refused(keys):
    with pytest.raises(ValidationError):
        Config(**keys)


def test_config_from_the_command_line_arrives_as_text():
    config = Config.model_validate({"prior": "zero", "mask_ratio": "0.5", "width": "null", "steps": "7"})
    assert (config.prior, config.ratios, config.width, config.steps) == ("zero", [0.5], None, 7)


def test_a_store_whose_card_cannot_be_read_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda *_: pytest.fail("trained"))
    old = make(tmp_path)
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(BrainLMError, match=r"card\.json"):
        run(old, tmp_path / "m", steps=1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc who started whom")
def test_a_worker_whose_torchrun_has_ended_does_not_train(monkeypatch):
    """It imports for some seconds; who ends meanwhile is not its parent any more, another process is."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr("brainlm_model.training.worker.end_with", lambda parent: None)  # this process must go on
    monkeypatch.setenv("BRAINLM_LAUNCHER", str(os.getpid()))  # which is no parent of its own parent
    assert main(["nothing.json"]) == 3
    monkeypatch.setenv("BRAINLM_LAUNCHER", str(parent_of(os.getppid())))
    with pytest.raises(BrainLMError, match=r"nothing\.json"):
        main(["nothing.json"])


def test_a_worker_without_its_file_says_what_it_needs(capsys):
    assert main([]) == 2 and "JOB.json" in capsys.readouterr().err
