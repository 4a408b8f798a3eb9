"""The published architectures, built by name and trained here."""

import pytest
import torch

from brainlm_model.models.build import build_network
from brainlm_model.models.loss import masked_mse
from brainlm_model.models.masking import generator
from brainlm_model.trained.load import load
from brainlm_model.training.stage import STAGE, Config
from brainlm_model.training.worker import make_trainer
from tests.model.cohort import make


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    return make(tmp_path_factory.mktemp("cohort"))


MODELS = ["paper", "small", "fast", "tiny", "official-5m", "official-13m", "vitmae-111m", "vitmae-650m"]


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

    from brainlm_model.models.official import config as official

    for model in ("official-5m", "vitmae-111m"):
        few = replace(official.PRESETS[model], num_hidden_layers=1, decoder_num_hidden_layers=1, hidden_size=48,
                      decoder_hidden_size=48, intermediate_size=32, decoder_intermediate_size=32,
                      num_attention_heads=4, decoder_num_attention_heads=4)  # fmt: skip
        monkeypatch.setitem(official.PRESETS, model, few)


@pytest.mark.parametrize("model", ["official-5m", "vitmae-111m"])
def test_published_models_train(store, model, fewer_layers):
    keys = {"model": model, "steps": 80, "lr": 3e-3, "eval_every": 80, "mask_ratio": 0.5, "window": 80}
    one = make_trainer(store.path, Config(batch_size=5, device="cpu", threads=1, **keys), STAGE.version)
    log = one.fit(None)
    # they begin far below 0 and first learn to say the mean; beyond that they need hours (docs/measurements.md)
    assert log[-1]["validation_r2"] > log[0]["validation_r2"] + 0.2


def test_a_published_model_trained_here_is_loaded_and_exported_without_the_authors_licence(
    store, tmp_path, fewer_layers
):
    from brainlm_model.models.official import read_network, to_hf
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


def test_decoding_masked_tokens_alone_has_the_gradients_of_the_whole(fewer_layers):
    random = torch.Generator().manual_seed(0)
    network = build_network(Config(model="official-5m", window=80).architecture(12), torch.randn(12, 3) * 50).eval()
    x = torch.randn(1, 12, 80, generator=random)
    mask = torch.rand(1, 12, 4, generator=random) < 0.5
    order = torch.rand(48, generator=torch.Generator().manual_seed(0))
    ratio = (mask.sum().item() - 0.5) / 48  # int() in the official code rounds down
    whole = network.network(x, network.coordinates[None], (order + mask.flatten())[None], ratio).loss
    gradients = []
    for loss in (whole, masked_mse(network(x, mask), x, mask)):
        network.zero_grad()
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-3, atol=1e-5, msg=name)
