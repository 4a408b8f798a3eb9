"""SC-MBM against a plain version by the public names, and each fault of the published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from brainlm_data import ConfigError, InputError
from brainlm_model.decode import scmbm_files
from brainlm_model.decode.scmbm import SCMBM, SIZES, Size, drawn_visible, padded_length, sized, sparsified, wrapped
from brainlm_model.models.masking import generator

SMALL = Size(width=16, depth=2, heads=4, decoder_width=8, decoder_depth=1, decoder_heads=2, mlp_ratio=2.0, patch=4)
TOKENS = 6


def small_network() -> SCMBM:
    torch.manual_seed(0)
    network = SCMBM(SMALL, TOKENS)
    with torch.no_grad():
        for parameter in network.parameters():  # also biases and norms, which begin at 0 and 1
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def plain_block(x: Tensor, weights: dict[str, Tensor], name: str, heads: int) -> Tensor:
    def part(inner: str) -> tuple[Tensor, Tensor]:
        return weights[f"{name}.{inner}.weight"], weights[f"{name}.{inner}.bias"]

    width = x.shape[-1]
    qkv = F.linear(F.layer_norm(x, (width,), *part("norm1")), *part("attn.qkv"))
    mixed = []
    for head in range(heads):
        each = width // heads
        columns = slice(head * each, (head + 1) * each)
        query, key, value = (block[..., columns] for block in qkv.split(width, dim=-1))
        mixed.append((query @ key.transpose(1, 2) / each**0.5).softmax(-1) @ value)
    x = x + F.linear(torch.cat(mixed, dim=-1), *part("attn.proj"))
    hidden = F.gelu(F.linear(F.layer_norm(x, (width,), *part("norm2")), *part("mlp.fc1")))
    return x + F.linear(hidden, *part("mlp.fc2"))


def plain_loss(x: Tensor, weights: dict[str, Tensor], visible: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and prediction of each pattern alone, as the paper says it, in loops."""
    losses, predictions = [], []
    for pattern, places in zip(x, visible, strict=True):
        patches = pattern.reshape(TOKENS, SMALL.patch)
        embed = weights["patch_embed.proj.weight"][:, 0]
        tokens = patches @ embed.T + weights["patch_embed.proj.bias"] + weights["pos_embed"][0, 1:]
        y = torch.cat([weights["cls_token"][0], tokens[places]])[None]
        for number in range(SMALL.depth):
            y = plain_block(y, weights, f"blocks.{number}", SMALL.heads)
        y = F.layer_norm(y, (SMALL.width,), weights["norm.weight"], weights["norm.bias"])
        y = F.linear(y, weights["decoder_embed.weight"], weights["decoder_embed.bias"])[0]
        full = [y[0]]
        for place in range(TOKENS):
            at = (places == place).nonzero().flatten().tolist()
            full.append(y[1 + at[0]] if at else weights["mask_token"][0, 0])
        z = (torch.stack(full) + weights["decoder_pos_embed"][0])[None]
        for number in range(SMALL.decoder_depth):
            z = plain_block(z, weights, f"decoder_blocks.{number}", SMALL.decoder_heads)
        z = F.layer_norm(z, (SMALL.decoder_width,), weights["decoder_norm.weight"], weights["decoder_norm.bias"])
        predicted = F.linear(z, weights["decoder_pred.weight"], weights["decoder_pred.bias"])[0, 1:]
        hidden = [place for place in range(TOKENS) if place not in places.tolist()]
        losses.append(torch.stack([(predicted[t] - patches[t]).square().mean() for t in hidden]).mean())
        predictions.append(predicted)
    return torch.stack(losses).mean(), torch.stack(predictions)


def test_loss_and_prediction_are_those_of_a_plain_version() -> None:
    network = small_network()
    x = torch.randn(3, TOKENS * SMALL.patch)
    visible = drawn_visible(3, TOKENS, 0.5, generator(1))
    with torch.no_grad():
        ours = network(x, visible)
        loss, predicted = plain_loss(x, scmbm_files.to_public(network.state_dict()), visible)
    torch.testing.assert_close(ours.loss, loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.predicted_BTS, predicted, atol=1e-5, rtol=1e-5)
    assert ours.hidden_BT.sum(1).tolist() == [3, 3, 3]


def test_encoder_is_the_public_one_without_cls_token() -> None:
    network, x = small_network(), torch.randn(2, TOKENS * SMALL.patch)
    weights = scmbm_files.to_public(network.state_dict())
    with torch.no_grad():
        tokens = F.conv1d(x[:, None], weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=4)
        y = tokens.transpose(1, 2) + weights["pos_embed"][:, 1:]
        for number in range(SMALL.depth):
            y = plain_block(y, weights, f"blocks.{number}", SMALL.heads)
        y = F.layer_norm(y, (SMALL.width,), weights["norm.weight"], weights["norm.bias"])
        torch.testing.assert_close(network.encode(x), y, atol=1e-5, rtol=1e-5)


def test_names_go_both_ways_and_sizes_come_from_the_weights(tmp_path: Path) -> None:
    network = small_network()
    weights = network.state_dict()
    public = scmbm_files.to_public(weights)
    assert {"blocks.1.attn.qkv.weight", "decoder_blocks.0.mlp.fc2.bias", "pos_embed", "decoder_pred.bias"} <= set(
        public
    )
    again = scmbm_files.from_public(public)
    assert set(again) == set(weights)
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    torch.save({"model": public | {"nature_img_mask_token": torch.zeros(1)}}, tmp_path / "checkpoint.pth")
    read = scmbm_files.read_public(tmp_path / "checkpoint.pth", heads=4, decoder_heads=2)
    assert read.size == SMALL  # mlp_ratio 2, which no table says
    x = torch.randn(2, TOKENS * SMALL.patch)
    assert torch.equal(read.encode(x), network.encode(x))
    scmbm_files.save(network, tmp_path / "model.safetensors", tmp_path / "config.json", {"voxels": 23})
    assert torch.equal(
        scmbm_files.load(tmp_path / "model.safetensors", tmp_path / "config.json").encode(x), read.encode(x)
    )


def test_heads_of_a_checkpoint_are_those_of_the_size_with_its_widths(tmp_path: Path) -> None:
    """They leave no trace in its weights, and another number of them is another network without a word."""
    file = tmp_path / "model.safetensors"
    scmbm_files.save(small_network(), file, tmp_path / "config.json", {})
    with pytest.raises(InputError, match=r"tokens of width 16, 8 in the decoder, of which no size is"):
        scmbm_files.size_in(file, SIZES["scmbm-tiny"])
    assert scmbm_files.size_in(file, SMALL) == SMALL
    tiny = SIZES["scmbm-tiny"]
    scmbm_files.save(SCMBM(tiny, TOKENS), file, tmp_path / "config.json", {})
    assert scmbm_files.size_in(file, SIZES["scmbm-1024"]) == tiny


def test_a_checkpoint_for_another_number_of_voxels_has_its_places_interpolated() -> None:
    longer = scmbm_files.for_tokens(small_network().state_dict(), 2 * TOKENS)
    assert longer["places"].shape == (1, 2 * TOKENS + 1, SMALL.width)
    assert torch.equal(longer["places"][:, 1::2], longer["places"][:, 2::2])  # the nearest


class Sneaky:
    """What a checkpoint of the public code holds beside its tensors."""


def test_a_checkpoint_of_more_than_tensors_is_not_unpickled(tmp_path: Path) -> None:
    torch.save({"model": {}, "config": Sneaky()}, tmp_path / "checkpoint.pth")
    with pytest.raises(InputError, match="it was not loaded"):
        scmbm_files.read_public(tmp_path / "checkpoint.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"none")
    with pytest.raises(InputError, match="cannot be read"):
        scmbm_files.read_public(tmp_path / "broken.safetensors")


def test_published_sizes() -> None:
    """The configuration's mlp_ratio is 1, the table's 4; encoder blocks of 1,024 have 151 and 302 million weights."""
    counts = []
    for ratio in (1.0, 4.0):
        with torch.device("meta"):
            network = SCMBM(sized("scmbm-1024", mlp_ratio=ratio), 10)
        counts.append(sum(parameter.numel() for parameter in network.blocks.parameters()) / 1e6)
    assert np.round(counts).tolist() == [151, 302]
    assert set(SIZES) >= {"scmbm-tiny", "scmbm-1024"}
    with pytest.raises(ConfigError, match="scmbm-huge"):
        sized("scmbm-huge")
    with pytest.raises(ConfigError, match="width 31"):
        sized("scmbm-tiny", width=31)


@pytest.mark.parametrize(("voxels", "ours", "public"), [(31, 32, 32), (32, 32, 48), (33, 48, 48)])
def test_padding_wraps_and_compat_adds_a_patch(voxels: int, ours: int, public: int) -> None:
    assert padded_length(voxels, 16) == ours
    assert padded_length(voxels, 16, compat=True) == public
    patterns = np.arange(2 * voxels, dtype=np.float32).reshape(2, voxels)
    np.testing.assert_array_equal(
        wrapped(patterns, public), np.pad(patterns, ((0, 0), (0, public - voxels)), mode="wrap")
    )


def test_sparsify_changes_voxels() -> None:
    """In the public code it draws among one, and nothing is set to zero."""
    x = torch.ones(3, 100)
    sparse = sparsified(x, 0.2, generator(0))
    assert (sparse == 0).sum(1).tolist() == [20, 20, 20]
    assert not torch.equal(sparse[0], sparse[1])
    assert torch.equal(x, torch.ones(3, 100))
    assert torch.equal(sparsified(x, 0.0, generator(0)), x)


def test_as_many_patches_stay_visible_as_in_the_public_code() -> None:
    visible = drawn_visible(5, 11, 0.75, generator(3))
    assert visible.shape == (5, 2)  # int(11 x .25)
    assert all(len(set(row)) == 2 for row in visible.tolist())
