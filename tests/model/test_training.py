"""What a trainer is chosen for: several processes, parts of a batch, several stores, early stop, logs, all models."""

import json
import re
import shutil
import time

import pytest
import torch
from pydantic import ValidationError

from brainlm_data import BrainLMError, ConfigError
from brainlm_model.models.build import build_network
from brainlm_model.models.loss import masked_mse
from brainlm_model.models.masking import generator, random_mask
from brainlm_model.models.prior import RIDGES
from brainlm_model.training.optim import learning_rate, make_optimizer
from brainlm_model.training.stage import STAGE, Config
from brainlm_model.training.worker import launch, make_trainer
from brainlm_model.training.world import check_gpus
from tests.model.cohort import PARCELS, make
from tests.model.small_training import SMALL, losses, trainer


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    return make(tmp_path_factory.mktemp("cohort"))


def same(one, two, **tolerance) -> None:
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name, **tolerance)


@pytest.mark.parametrize("keys", [{}, {"attention": "full", "decoder": "cross", "prior": "zero"}])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(store, keys):
    whole, parts = (trainer(store, steps=3, micro_batch=size, **keys) for size in (None, 1))
    assert losses(whole.fit(None)) == pytest.approx(losses(parts.fit(None)), abs=2e-6)
    same(whole.network, parts.network, atol=2e-4, rtol=1e-3)  # Adam's first steps divide by small gradients


def test_two_processes_train_as_one(store, tmp_path):
    # five recordings in steps of three: the shares of the processes differ, and so do their numbers of known values
    keys = {"steps": 5, "batch_size": 3, "eval_every": 2, "prior": "zero", "micro_batch": 1, "lr": 1e-4}
    alone = trainer(store, **keys)
    log = alone.fit(None)
    config = Config(**{**SMALL, **keys, "processes": 2})
    launch(store.path, config, STAGE.version, tmp_path)
    together = make_trainer(store.path, config, STAGE.version)
    found = together.fit(tmp_path)  # its step checkpoint is the last one: no step is left
    assert [row["step"] for row in found] == [row["step"] for row in log]
    assert losses(found) == pytest.approx(losses(log), abs=2e-6)
    assert found[-1]["validation_r2"] == pytest.approx(log[-1]["validation_r2"], abs=1e-4)
    same(alone.network, together.network, atol=1e-4, rtol=1e-3)


def test_the_ridge_is_chosen_on_validation_people(store, tmp_path):
    fixed = {ridge: trainer(store, ridge=ridge) for ridge in RIDGES}
    scores = {ridge: one.validate() for ridge, one in fixed.items()}
    best = max(scores, key=scores.get)
    assert scores[best] > min(scores.values()) + 1e-4
    chosen = trainer(store, ridge="auto", steps=2)
    log = chosen.fit(tmp_path)
    assert log[0]["validation_r2"] == pytest.approx(scores[best], abs=1e-5)
    torch.testing.assert_close(chosen.network.prior.covariance, fixed[best].network.prior.covariance)
    again = trainer(store, ridge="auto", steps=2)
    assert again.fit(tmp_path)[0] == log[0]  # what was done stays
    torch.testing.assert_close(again.network.prior.covariance, chosen.network.prior.covariance)
    assert trainer(store, ridge="auto", prior="zero", steps=1).fit(None)[0]["step"] == 0
    with pytest.raises(ValidationError):
        Config(ridge=-1.0)


def test_a_process_that_fails_is_an_error_and_not_a_model(store, tmp_path, capfd):
    config = Config(**{**SMALL, "steps": 5, "lr": 1e30, "warmup": 0, "clip": 1e30, "prior": "zero", "processes": 2})
    with pytest.raises(BrainLMError, match=r"one of 2 training processes failed: .*lower train.lr") as caught:
        launch(store.path, config, STAGE.version, tmp_path)
    assert "ChildFailedError" not in capfd.readouterr().err  # torchrun's forty lines: in the file that is named
    assert caught.value.remedy.endswith(f"all that they printed: {tmp_path / 'processes.log'}")
    assert "ChildFailedError" in (tmp_path / "processes.log").read_text()


def test_more_processes_than_gpus_are_known_before_any_starts(store, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = Config(**{**SMALL, "device": "cuda", "processes": 8})
    with pytest.raises(ConfigError, match=r"train.processes: 8: no GPU is on this machine -> train.device: cpu"):
        launch(store.path, config, STAGE.version, tmp_path)
    assert not list(tmp_path.iterdir())
    check_gpus("auto", 8)  # on processors
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"2 GPUs are on this machine -> train.processes: 2 at most"):
        check_gpus("auto", 8)
    check_gpus("cuda", 2)


def test_it_can_learn_one_batch_by_heart():
    """A network without a prior, on noise that nothing but memory can predict."""
    torch.manual_seed(0)
    keys = {"window": 20, "patch": 5, "width": 64, "heads": 2, "hidden": 128, "prior": "zero", "attention": "full"}
    config = Config(**{**SMALL, **keys, "lr": 3e-3, "weight_decay": 0})
    network = build_network(config.architecture(7), torch.zeros(7, 3)).train()
    x, mask = torch.randn(2, 7, 20, generator=generator(0)), random_mask(2, 7, 4, 0.5, generator(1))
    optimizer = make_optimizer(network, config)
    for _ in range(300):
        loss = masked_mse(network(x, mask), x, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.02  # the variance is 1


def test_early_stop_keeps_the_best_weights(store, tmp_path):
    keys = {"steps": 40, "eval_every": 2, "patience": 3, "prior": "zero", "lr": 0.5, "warmup": 0, "clip": 1e3}
    stopped = trainer(store, **keys)
    log = stopped.fit(tmp_path)
    scores = [row["validation_r2"] for row in log if row["validation_r2"] != ""]
    assert len(log) < 40 and log[-1]["loss"] == "" and scores.index(max(scores)) == len(scores) - 4
    assert stopped.validate() == pytest.approx(max(scores), abs=1e-5)
    last = trainer(store, select="last", **keys)
    assert last.fit(None)[-1]["validation_r2"] == scores[-1] and last.validate() == pytest.approx(scores[-1], abs=1e-5)
    again = trainer(store, **keys)
    assert again.fit(tmp_path) == log  # what has stopped early does not go on
    same(again.network, stopped.network, atol=0, rtol=0)


def test_the_log_is_there_while_it_trains_and_once_after_a_resume(store, tmp_path, monkeypatch):
    monkeypatch.setattr("brainlm_model.training.loop.SAVE_SECONDS", -1)
    broken = trainer(store, steps=4)
    step = broken._step
    monkeypatch.setattr(broken, "_step", lambda n: step(n) if n < 2 else (_ for _ in ()).throw(RuntimeError("killed")))
    with pytest.raises(RuntimeError):
        broken.fit(tmp_path)
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [0, 1]
    log = trainer(store, steps=4).fit(tmp_path)
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == log
    assert not list(tmp_path.glob("*.tmp")) and sorted(p.name for p in tmp_path.iterdir()) == [
        "log.jsonl", "step-before.safetensors", "step.safetensors"
    ]  # fmt: skip


def test_tensorboard_is_written_or_asked_for(store, tmp_path):
    one = trainer(store, steps=2, tensorboard=True)
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install tensorboard"):
            one.fit(tmp_path)
    else:
        one.fit(tmp_path)
        assert list((tmp_path / "tensorboard").glob("events*"))


def test_progress_says_what_is_left(store, capfd):
    trainer(store, steps=10, eval_every=5).fit(None)
    lines = capfd.readouterr().err.splitlines()
    assert any("10/10, loss " in line and line.endswith("windows/s") for line in lines)
    assert any(re.search(r"6/10, loss .* windows/s, about \d+ s left", line) for line in lines)
    assert any("validation R2" in line for line in lines)


def test_bfloat16_learns_too(store):
    half, full = (trainer(store, steps=6, precision=kind) for kind in ("bfloat16", "float32"))
    a, b = losses(half.fit(None)), losses(full.fit(None))
    assert a != b and a == pytest.approx(b, abs=0.02)


def test_adam_decays_nothing_and_adamw_matrices_alone():
    config = Config(**SMALL)
    network = build_network(config.architecture(PARCELS), torch.zeros(PARCELS, 3))
    decayed, rest = make_optimizer(network, config).param_groups
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.05, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"])
    names = {id(p): name for name, p in network.named_parameters()}
    assert {"spatial", "temporal", "cls", "mask_token"} <= {names[id(p)] for p in rest["params"]}
    adam = make_optimizer(network, Config(**SMALL, optimizer="adam", betas=[0.9, 0.999]))
    assert type(adam) is torch.optim.Adam and adam.param_groups[0]["weight_decay"] == 0


def test_cosine_starts_again_and_constant_stays():
    config = Config(lr=1.0, warmup=0.1, cycles=2)
    rates = [learning_rate(step, 100, config) for step in range(101)]
    assert rates[55] == pytest.approx(1.0) and rates[54] < 0.01 and rates[100] == pytest.approx(0)
    assert learning_rate(90, 100, Config(lr=0.3, schedule="constant")) == 0.3


def test_epochs_instead_of_steps(store):
    one = trainer(store, epochs=3, steps=99)
    assert one.per_epoch == 2 and len(one.fit(None)) == 3 * 2 + 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"model": "official-5m", "width": 64}, "official-5m is what was published; width: null"),
        ({"model": "vitmae-111m", "masking": "future"}, "masking: random"),
        ({"model": "official-5m", "window": 90}, "not a multiple of patch"),
        ({"stores": [{"path": "x.zarr", "weight": 0}]}, "greater than 0"),
    ],
)
def test_recipes_that_cannot_be_are_refused(keys, said):
    with pytest.raises((ValidationError, ConfigError), match=said):
        Config(**keys)


@pytest.mark.parametrize("spatial", ["learned", "coordinates", "both"])
@pytest.mark.parametrize("temporal", ["learned", "sinusoid"])
def test_embeddings_of_place_and_time(spatial, temporal):
    config = Config(**SMALL, spatial=spatial, temporal=temporal, prior="zero")
    place = torch.randn(5, 3, generator=generator(0)) * 50
    network = build_network(config.architecture(5), place)
    names = {name for name, _ in network.named_parameters()}
    assert ("spatial" in names) == (spatial != "coordinates") and ("place.weight" in names) == (spatial != "learned")
    assert ("temporal" in names) == (temporal == "learned")
    assert (network._position()[0, 0] != network._position()[0, 1]).any()
    assert (network._position()[0, 0] != network._position()[1, 0]).any()


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.slow
def test_compiled_it_trains_the_same(store):
    plain, compiled = (trainer(store, steps=2, compile=on, prior="zero") for on in (False, True))
    assert losses(compiled.fit(None)) == pytest.approx(losses(plain.fit(None)), abs=1e-4)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"eval_every": 2, "prior": "gaussian", "ridge": 0.05}, [0.296824, 0.109768, 0.116689]),
        (
            {"attention": "full", "decoder": "cross", "decoder_depth": 1, "prior": "zero", "micro_batch": 2},
            [1.115979, 0.893311, 1.010916],
        ),
        ({"model": "paper", "decoder_depth": 1}, [1.303448, 1.068676, 1.135777]),
    ],
)
def test_losses_are_what_they_were(store, keys, expected):
    """Stored before batches were shared and validated by all processes: what should change no loss changes none."""
    assert losses(trainer(store, steps=3, **keys).fit(None)) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("keys", [{}, {"model": "official-5m", "width": None, "heads": None, "hidden": None,
                                       "depth": None, "batch_size": 2, "window": 40, "patch": 20}])  # fmt: skip
def test_blocks_that_are_computed_again_give_the_same_losses(store, keys):
    kept, again = (trainer(store, **{"steps": 2, "recompute": on, **keys}).fit(None) for on in (False, True))
    assert losses(kept) == losses(again)


def test_validation_in_batches_gives_each_window_its_own_masks(store):
    one, many = (trainer(store, micro_batch=size, masking="mixed") for size in (1, None))
    assert one.validate() == pytest.approx(many.validate(), abs=1e-6)
    assert trainer(store, validation_windows=1).validate() != one.validate()


def test_a_checkpoint_that_cannot_be_written_stops_the_training(store, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("brainlm_model.training.state.save", full)
    with pytest.raises(OSError, match="No space left"):
        trainer(store, steps=2).fit(tmp_path)


def test_checkpoints_that_take_long_are_rarer_and_training_goes_on_meanwhile(store, tmp_path, monkeypatch):
    monkeypatch.setattr("brainlm_model.training.loop.SAVE_SECONDS", 1e-9)
    one, written = trainer(store, steps=5), []

    def slow(_, copy):
        written.append(copy.steps)
        time.sleep(0.2)

    monkeypatch.setattr("brainlm_model.training.state.save", slow)
    monkeypatch.setattr("brainlm_model.training.loop.LONG_S", 1e-12)  # 0.2 s are long, then
    one.fit(tmp_path)
    assert written == [1, 5]
