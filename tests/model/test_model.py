import pytest
import torch

from brainlm_data import ConfigError
from brainlm_model.models.blocks import attend_without_mask
from brainlm_model.models.brainlm import BrainLM
from brainlm_model.models.config import PRESETS, ModelConfig, build
from brainlm_model.models.loss import masked_mse
from brainlm_model.models.masking import future_mask, generator, random_mask

VARIANTS = {
    "full": {"attention": "full", "decoder": "full"},
    "cross": {"attention": "full", "decoder": "cross"},
    "axial": {"attention": "axial"},
    "gaussian": {"attention": "axial", "prior": "gaussian"},
    "one block": {"attention": "axial", "prior": "gaussian", "decoder_depth": 0},
}


def small(parcels: int = 7, **keys) -> BrainLM:
    torch.manual_seed(0)
    sizes = {"window": 20, "patch": 5, "width": 16, "heads": 2, "hidden": 32, "depth": 1, "decoder_depth": 1}
    network = BrainLM(ModelConfig(parcels, **{**sizes, **keys}), torch.randn(parcels, 3) * 50)
    torch.nn.init.normal_(network.head.weight, std=0.1)  # a head that starts at zero would hide mistakes
    return network.eval()


def windows(parcels: int = 7, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, parcels, 20, generator=generator(5))


@pytest.mark.parametrize("variant", VARIANTS)
def test_visible_values_are_kept_and_masked_ones_are_not_seen(variant):
    network, x, mask = small(**VARIANTS[variant]), windows(), random_mask(3, 7, 4, 0.5, generator(1))
    steps = mask.repeat_interleave(5, 2)
    found = network(x, mask)
    assert found.shape == x.shape
    assert torch.equal(found[~steps], x[~steps])
    assert (found[steps] != x[steps]).all()
    torch.testing.assert_close(network(torch.where(steps, 99.0, x), mask)[steps], found[steps])
    other = network(torch.where(steps, x, x + 1), mask)  # and what is visible matters
    assert (other[steps] - found[steps]).abs().max() > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_windows_do_not_see_each_other_whatever_their_masks(variant):
    network, x = small(**VARIANTS[variant]), windows()
    mask = torch.cat(
        [random_mask(1, 7, 4, 0.3, generator(1)), future_mask(1, 7, 4, 0.5), random_mask(1, 7, 4, 0.8, generator(2))]
    )
    together = network(x, mask)
    for i in range(3):
        torch.testing.assert_close(network(x[i : i + 1], mask[i : i + 1])[0], together[i], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_unknown_values_are_hidden_and_never_scored(variant):
    network, x, mask = small(**VARIANTS[variant]), windows(), random_mask(3, 7, 4, 0.5, generator(1))
    x[0, 2] = torch.nan  # a parcel outside the field of view
    x[1, :, 3] = torch.nan  # a step without data
    found = network(x, mask)
    assert found.isfinite().all()
    loss = masked_mse(found, x, mask)
    assert loss.isfinite()
    scored = mask.repeat_interleave(5, 2) & x.isfinite()
    torch.testing.assert_close(loss, (found - x)[scored].square().mean())
    assert network.embed(x).isfinite().all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns(variant):
    network, x, mask = small(**VARIANTS[variant]).train(), windows(), random_mask(3, 7, 4, 0.5, generator(1))
    masked_mse(network(x, mask), x, mask).backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == set()


@pytest.mark.parametrize("variant", VARIANTS)
def test_embedding_is_deterministic_and_depends_on_the_recording(variant):
    network, x = small(**VARIANTS[variant]), windows()
    one = network.embed(x)
    assert one.shape == (3, 16)
    assert torch.equal(one, network.embed(x))
    assert (one[0] - one[1]).abs().max() > 1e-4


def test_loss_is_zero_where_nothing_is_masked():
    x, nothing = windows(), torch.zeros(3, 7, 4, dtype=torch.bool)
    assert masked_mse(small()(x, nothing), x, nothing) == 0


def test_untrained_gaussian_model_is_the_gaussian():
    torch.manual_seed(0)
    network = BrainLM(build("tiny", 7, window=20, patch=5))
    x, mask = windows(), random_mask(3, 7, 4, 0.5, generator(1))
    filled, innovation, _ = network.prior(x.unflatten(2, (4, 5)), mask)
    expected = torch.where(mask[..., None], filled + innovation, filled)
    assert torch.equal(network(x, mask), expected.flatten(2))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("parcels", [5, 424])
def test_presets_are_built_for_any_number_of_parcels(preset, parcels):
    with torch.device("meta"):
        assert BrainLM(build(preset, parcels)).spatial.shape[0] == parcels


def test_paper_has_the_published_sizes():
    config = build("paper", 424)
    assert (config.parcels * config.patches, config.width, config.heads, config.depth, config.decoder_depth) == (
        4240,
        512,
        4,
        4,
        2,
    )
    assert config.attention == config.decoder == "full" and config.prior == "zero"


@pytest.mark.parametrize("keys", [{"patch": 30}, {"width": 65}, {"decoder_depth": 0, "attention": "full"}])
def test_impossible_sizes_are_refused(keys):
    with pytest.raises(ConfigError, match=r"multiple|decoder_depth 0 with full"):
        build("tiny", 10, **keys)


def test_attention_without_a_mask_is_that_with_one():
    """What a GPU takes where tokens are unknown: values and gradients, and keys that do not exist count for nothing."""
    query, key, value = (torch.randn(2, 3, 7, 8, generator=generator(n), requires_grad=True) for n in range(3))
    allowed = torch.tensor([[True] * 7, [True, True, False, True, False, False, True]])
    found = attend_without_mask(query, key, value, allowed)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed[:, None, None, :])
    torch.testing.assert_close(found, expected)
    for one, other in zip(*(torch.autograd.grad(x.square().sum(), (query, key, value)) for x in (found, expected)),
                          strict=True):  # fmt: skip
        torch.testing.assert_close(one, other)
    far = key.detach().clone()
    far[1, :, 2] = 1e3
    assert torch.equal(attend_without_mask(query, far, value, allowed), found)
    half = attend_without_mask(query.bfloat16(), key.bfloat16(), value.bfloat16(), allowed)
    torch.testing.assert_close(half.float(), expected, atol=0.03, rtol=0.03)
