"""Attention between CLS and parcels: against the blocks' own output, by hand, and with parcels that are not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from brainlm_data import InputError
from brainlm_model.models.attention import between_parcels, weights
from brainlm_model.models.official.network import OfficialNetwork
from tests.model.test_model import VARIANTS, small, windows
from tests.model.test_official import BRAINLM, VITMAE, network
from tests.model.test_official_embedding import places


def official() -> OfficialNetwork:
    return OfficialNetwork(network(BRAINLM), places(5)).eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_sum_to_one_and_nothing_is_random(variant):
    network, x = small(depth=2, **VARIANTS[variant]), windows()
    found = network.attention(x)
    assert found.shape == (3, 8, 8)
    torch.testing.assert_close(found.sum(2), torch.ones(3, 8))
    assert (found > 0).all() and torch.equal(found, network.attention(x))
    torch.testing.assert_close(found[1:2], network.attention(x[1:2]))
    assert (found[0] - found[1]).abs().max() > 1e-5


@pytest.mark.parametrize("variant", [*VARIANTS, "official"])
def test_a_parcel_that_is_not_known_is_nan_and_takes_no_attention(variant):
    if variant == "official":
        model, x = official(), torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(2))
    else:
        model, x = small(**VARIANTS[variant]), windows()
    x[0, 2] = torch.nan
    x[1, 1, 3] = torch.nan  # one token alone
    found = model.attention(x)
    absent = torch.zeros(x.shape[1] + 1, dtype=torch.bool)
    absent[3] = True
    assert found[0, absent].isnan().all() and found[0, :, absent].isnan().all()
    rest = found[0][~absent][:, ~absent]
    torch.testing.assert_close(rest.sum(1), torch.ones(len(rest)))
    torch.testing.assert_close(found[1:].sum(2), torch.ones(2, x.shape[1] + 1))


def test_weights_are_those_with_which_the_module_mixes():
    module = small().encoder[0].attention
    x = torch.randn(2, 6, 16)
    value = module.key_value(x)[..., 16:].unflatten(2, (2, 8)).transpose(1, 2)
    key, query = (t.unflatten(2, (2, 8)).transpose(1, 2) for t in (module.key_value(x)[..., :16], module.query(x)))
    each = (query @ key.transpose(2, 3) / 8**0.5).softmax(-1)
    torch.testing.assert_close(module.out((each @ value).transpose(1, 2).flatten(2)), module(x, x))
    torch.testing.assert_close(weights(module, x, x), each.mean(1))


def test_sum_over_keys_and_mean_over_queries():
    found = between_parcels(torch.arange(25.0).view(5, 5), torch.tensor([0, 2, 1, 2, 2]), 3)
    assert found[0].tolist()[:3] == [0, 2, 1 + 3 + 4] and found[0, 3].isnan()
    assert found[2, 1].item() == pytest.approx((7 + 17 + 22) / 3)
    assert found[2, 2].item() == pytest.approx(sum(5 * q + k for q in (1, 3, 4) for k in (1, 3, 4)) / 3)


def test_the_order_of_the_official_encoder_is_undone():
    made, x = official(), torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found = made.attention(x)[0]
        order = torch.rand(20, generator=torch.Generator().manual_seed(0))
        every: list[torch.Tensor] = []
        made.network.forward_encoder(x.unflatten(2, (4, 3)), made.coordinates[None], order[None], 20, attentions=every)
    owner = F.pad(order.argsort() // 4 + 1, (1, 0))
    last = every[-1][0].mean(0)
    for a in range(6):
        for b in range(6):
            expected = last[owner == a][:, owner == b].sum(1).mean()
            assert found[a, b].item() == pytest.approx(expected.item(), rel=1e-4)


def test_axial_attention_is_the_mean_over_time_patches():
    made, x = small(attention="axial", depth=2), windows(batch=1)
    with torch.inference_mode():
        tokens = made._tokens(x.unflatten(2, (4, 5)), torch.zeros(1, 7, 4, dtype=torch.bool))
        grid = torch.cat([made.cls.expand(1, 1, 4, 16), tokens], dim=1)
        block = made.encoder[1]
        rows = block.norms[0](made.encoder[0](grid))[0].transpose(0, 1)
        expected = torch.stack([weights(block.across_parcels, row[None], row[None])[0] for row in rows]).mean(0)
    torch.testing.assert_close(made.attention(x)[0], expected)


def test_what_has_no_attention_between_parcels_is_refused():
    with pytest.raises(InputError, match="ViTMAE"):
        OfficialNetwork(network(VITMAE), places(18)).eval().attention(torch.randn(1, 18, 14))
    config = replace(BRAINLM, segment_means_seq_len=21, num_landmarks=7)
    with pytest.raises(InputError, match="landmarks"):
        OfficialNetwork(network(config), places(5)).eval().attention(torch.randn(1, 5, 12))
