"""What a trainer is chosen for: several processes, parts of a batch, several stores, early stop, logs, all models."""

import json
import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from brainlm_data import BrainLMError, ConfigError, InputError
from brainlm_model.checkpoint import load
from brainlm_model.data import WindowDataset
from brainlm_model.masking import generator, random_mask
from brainlm_model.mixture import Mixture
from brainlm_model.model import masked_mse
from brainlm_model.networks import build_network
from brainlm_model.train import STAGE, Config
from brainlm_model.training.optim import learning_rate, make_optimizer
from brainlm_model.training.worker import launch, make_trainer
from tests.model.cohort import PARCELS, make

SMALL = {"width": 16, "heads": 2, "hidden": 32, "depth": 1, "batch_size": 4, "threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    return make(tmp_path_factory.mktemp("cohort"))


def trainer(store, **keys):
    return make_trainer(store.path, Config(**{**SMALL, **keys}), STAGE.version)


def losses(log) -> list[float]:
    return [row["loss"] for row in log if row["loss"] != ""]


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


def test_a_process_that_fails_is_an_error_and_not_a_model(store, tmp_path, capfd):
    config = Config(**{**SMALL, "steps": 5, "lr": 1e30, "warmup": 0, "clip": 1e30, "prior": "zero", "processes": 2})
    with pytest.raises(BrainLMError, match="training processes failed"):
        launch(store.path, config, STAGE.version, tmp_path)
    assert "lower train.lr" in capfd.readouterr().err


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
        "log.jsonl", "step.safetensors"
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
    assert any("10/10, loss " in line and "windows/s, about 0.0 min left" in line for line in lines)
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


MODELS = ["paper", "small", "tiny", "official-5m", "official-13m", "vitmae-111m", "vitmae-650m"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("parcels", [200, 424])
def test_every_model_is_built_by_name_for_any_atlas(model, parcels):
    with torch.device("meta"):
        network = build_network(Config(model=model).architecture(parcels), torch.zeros(parcels, 3))
    assert network.config.parcels == parcels and network.config.window == 200


@pytest.fixture
def fewer_layers(monkeypatch):
    """The published models with one narrow layer: the whole ones would take minutes."""
    from dataclasses import replace

    from brainlm_model.official import config as official

    for model in ("official-5m", "vitmae-111m"):
        few = replace(official.PRESETS[model], num_hidden_layers=1, decoder_num_hidden_layers=1, hidden_size=48,
                      decoder_hidden_size=48, intermediate_size=32, decoder_intermediate_size=32,
                      num_attention_heads=4, decoder_num_attention_heads=4)  # fmt: skip
        monkeypatch.setitem(official.PRESETS, model, few)


@pytest.mark.parametrize(("model", "least"), [("official-5m", 0.05), ("vitmae-111m", 0.02)])
def test_published_models_train(store, model, least, fewer_layers):
    keys = {"model": model, "steps": 80, "lr": 3e-3, "eval_every": 80, "mask_ratio": 0.5, "window": 80}
    one = make_trainer(store.path, Config(batch_size=5, device="cpu", threads=1, **keys), STAGE.version)
    log = one.fit(None)
    assert log[-1]["validation_r2"] > max(log[0]["validation_r2"], 0) + least


def test_a_published_model_trained_here_is_loaded_and_exported_without_the_authors_licence(
    store, tmp_path, fewer_layers
):
    from brainlm_model.official import read_network, to_hf
    from tests.model.test_train import run

    keys = {"model": "official-5m", "width": None, "heads": None, "hidden": None, "depth": None, "steps": 2}
    _, written = run(store, tmp_path / "ours", **keys)
    model = load(tmp_path / "ours")
    assert model.embed(store.series("sub-00_task-rest")).shape == (48,)
    said = to_hf(tmp_path / "ours", tmp_path / "hf")
    assert not any("CC BY-NC-ND" in line for line in said)
    assert "cc-by-nc" not in (tmp_path / "hf" / "README.md").read_text().lower()
    exported = read_network(tmp_path / "hf").state_dict()
    for name, value in model.network.network.state_dict().items():
        assert torch.equal(value, exported[name]), name
    assert written["model_card"].read_text().count("official-5m") >= 1


def test_a_square_of_a_vitmae_hides_the_parcels_that_lie_in_it():
    place = torch.zeros(24, 3)
    place[:, 1] = torch.arange(24).flip(0)  # the last parcel comes first in the image
    with torch.no_grad():
        network = build_network(Config(model="vitmae-111m", window=24).architecture(24), place).eval()
        mask = torch.zeros(1, *network.mask_shape, dtype=torch.bool)
        mask[0, 0, 0] = True  # of 32 x 32 pixels with a margin of 4: parcels 23..12, steps 0..11
        steps = network.steps(mask)
        assert network.mask_shape == (2, 2) and steps[0, 12:, :12].all() and int(steps.sum()) == 144
        x = torch.randn(1, 24, 24, generator=generator(0))
        found = network(x, mask)
        torch.testing.assert_close(network(torch.where(steps, 9.0, x), mask)[steps], found[steps])
    assert torch.equal(found[~steps], x[~steps]) and (found[steps] != x[steps]).all()


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


def test_short_recordings_are_padded_with_what_is_not_known(store):
    skip, pad = (WindowDataset(store, "train", 200, short=kind, fill=np.nan) for kind in ("skip", "pad"))
    assert "sub-05_task-rest" in skip.skipped and "sub-05_task-rest" in pad.ids and not pad.skipped
    window = pad[pad.ids.index("sub-05_task-rest")]
    assert window.shape == (PARCELS, 200) and window[:, :150].isfinite().all() and window[:, 150:].isnan().all()
    common = skip.ids[0]
    torch.testing.assert_close(pad[pad.ids.index(common)], skip[0], equal_nan=True)
    assert not WindowDataset(store, "train", 260, short="pad").skipped.keys() - {"sub-02_task-rest"}
    log = trainer(store, steps=3, short="pad").fit(None)
    assert all(np.isfinite(losses(log)))


def test_several_stores_are_mixed_by_weight(store, tmp_path):
    other = make(tmp_path, change=("train",))
    parts = [WindowDataset(s, "train", 200, fill=np.nan) for s in (store, other)]
    mixed = Mixture(parts, [1, 3])
    order = [index for epoch in range(400) for index in mixed.order(generator(epoch))]
    share = np.mean([index >= len(parts[0]) for index in order])
    assert share == pytest.approx(0.75, abs=0.03) and len(order) == 400 * len(mixed)
    counts = np.bincount(order, minlength=len(mixed))
    assert counts[: len(parts[0])].std() < 0.1 * counts[0]  # every recording of a store as often as any other
    mixed.set_epoch(3)
    parts[1].set_epoch(3)
    chosen = [7, 0, 9, 1, 7]
    for index, window in zip(chosen, mixed.windows(chosen), strict=True):
        part = parts[index >= len(parts[0])]
        expected = part.windows([index - len(parts[0]) * (index >= len(parts[0]))])[0]
        torch.testing.assert_close(window, expected, equal_nan=True)
    np.testing.assert_array_equal(mixed.series(len(parts[0])), parts[1].series(0))
    one = trainer(store, steps=3, stores=[{"path": str(other.path), "weight": 3}])
    assert len(one.train) == 2 * len(parts[0]) and np.isfinite(losses(one.fit(None))).all()


def test_stores_of_other_atlases_are_not_mixed(store, tmp_path):
    from brainlm_data import open_store

    folder = tmp_path / "other"
    shutil.copytree(store.path.parent, folder)
    metadata = json.loads((folder / "store.zarr" / "zarr.json").read_text())
    metadata["attributes"]["atlas_sha256"] = "b" * 64
    (folder / "store.zarr" / "zarr.json").write_text(json.dumps(metadata))
    one = WindowDataset(store, "train")
    other = WindowDataset(open_store(folder / "store.zarr"), "train")
    one.store.attrs["atlas_sha256"] = "a" * 64
    try:
        with pytest.raises(InputError, match="same atlas"):
            Mixture([one, other], [1, 1])
    finally:
        del one.store.attrs["atlas_sha256"]


def test_a_missing_further_store_is_one_line(store, tmp_path):
    with pytest.raises(InputError, match=r"nowhere.zarr"):
        trainer(store, stores=[{"path": str(tmp_path / "nowhere.zarr")}])


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.slow
def test_compiled_it_trains_the_same(store):
    plain, compiled = (trainer(store, steps=2, compile=on, prior="zero") for on in (False, True))
    assert losses(compiled.fit(None)) == pytest.approx(losses(plain.fit(None)), abs=1e-4)
