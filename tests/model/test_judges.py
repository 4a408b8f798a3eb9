"""Judges of pictures whose weights are given, against torch's own layers and against written-out formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from brainlm_data import InputError
from brainlm_model.decode import judges

WIDTH, PATCH, SIDE, CLASSES, DEPTH = 128, 4, 12, 7, 2


def vit_weights() -> dict[str, Tensor]:
    """A small network under torchvision's names."""
    draws = torch.Generator().manual_seed(0)
    shapes = {
        "class_token": (1, 1, WIDTH), "conv_proj.weight": (WIDTH, 3, PATCH, PATCH), "conv_proj.bias": (WIDTH,),
        "encoder.pos_embedding": (1, 1 + (SIDE // PATCH) ** 2, WIDTH), "encoder.ln.weight": (WIDTH,),
        "encoder.ln.bias": (WIDTH,), "heads.head.weight": (CLASSES, WIDTH), "heads.head.bias": (CLASSES,),
    }  # fmt: skip
    for number in range(DEPTH):
        layer = f"encoder.layers.encoder_layer_{number}"
        shapes |= {
            f"{layer}.ln_1.weight": (WIDTH,), f"{layer}.ln_1.bias": (WIDTH,),
            f"{layer}.self_attention.in_proj_weight": (3 * WIDTH, WIDTH),
            f"{layer}.self_attention.in_proj_bias": (3 * WIDTH,),
            f"{layer}.self_attention.out_proj.weight": (WIDTH, WIDTH),
            f"{layer}.self_attention.out_proj.bias": (WIDTH,),
            f"{layer}.ln_2.weight": (WIDTH,), f"{layer}.ln_2.bias": (WIDTH,),
            f"{layer}.mlp.0.weight": (96, WIDTH), f"{layer}.mlp.0.bias": (96,),
            f"{layer}.mlp.3.weight": (WIDTH, 96), f"{layer}.mlp.3.bias": (WIDTH,),
        }  # fmt: skip
    return {name: 0.2 * torch.randn(shape, generator=draws) for name, shape in shapes.items()}


def test_vision_transformer_is_that_of_torch(tmp_path: Path) -> None:
    weights = vit_weights()
    save_file(weights, tmp_path / "vit.safetensors")
    torch.save(weights, tmp_path / "vit.pth")
    pictures = np.random.default_rng(0).random((3, SIDE, SIDE, 3))
    judge = judges.vit_judge(tmp_path / "vit.safetensors")
    x = (torch.from_numpy(pictures).float() - torch.tensor(judges.MEAN)) / torch.tensor(judges.SD)
    rename = {
        "ln_1": "norm1", "ln_2": "norm2", "self_attention": "self_attn", "mlp.0": "linear1", "mlp.3": "linear2",
    }  # fmt: skip
    with torch.no_grad():
        kernel = weights["conv_proj.weight"]
        patches = nn.functional.conv2d(x.permute(0, 3, 1, 2), kernel, weights["conv_proj.bias"], stride=PATCH)
        tokens = torch.cat([weights["class_token"].expand(3, -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        tokens = tokens + weights["encoder.pos_embedding"]
        for number in range(DEPTH):
            layer = nn.TransformerEncoderLayer(
                WIDTH, 2, 96, 0.0, nn.functional.gelu, 1e-6, batch_first=True, norm_first=True
            )
            own = {}
            for name, value in weights.items():
                below = name.removeprefix(f"encoder.layers.encoder_layer_{number}.")
                if below != name:
                    for theirs, torchs in rename.items():
                        below = below.replace(theirs, torchs)
                    own[below] = value
            layer.load_state_dict(own)
            tokens = layer.eval()(tokens)
        cls = nn.functional.layer_norm(
            tokens, (WIDTH,), weights["encoder.ln.weight"], weights["encoder.ln.bias"], 1e-6
        )[:, 0]
        scores = cls @ weights["heads.head.weight"].T + weights["heads.head.bias"]
    np.testing.assert_allclose(judge.features(pictures), cls, atol=1e-4)
    np.testing.assert_allclose(judge.scores(pictures), scores, atol=1e-4)
    pth = judges.vit_judge(tmp_path / "vit.pth")
    np.testing.assert_array_equal(pth.scores(pictures), judge.scores(pictures))
    # grey, larger, not square: the middle of it
    assert judge.scores(np.random.default_rng(1).random((2, 30, 40))).shape == (2, CLASSES)
    del weights["encoder.ln.weight"]
    save_file(weights, tmp_path / "vit.safetensors")
    with pytest.raises(InputError, match=r"vit.safetensors: damaged, or of another kind: it has no encoder.ln.weight"):
        judges.vit_judge(tmp_path / "vit.safetensors")


def test_fid_64_is_frechets_distance_of_the_first_features(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    weights, layers, before = {}, [], 3
    for name, stride, padding in judges.STEM:
        after = 64 if name.endswith("2b_3x3") else 32
        conv = nn.Conv2d(before, after, 3, stride, padding, bias=False)
        norm = nn.BatchNorm2d(after, eps=1e-3).eval()
        norm.running_mean.normal_(generator=draws)
        layers += [conv, norm, nn.ReLU()]
        for part, module in (("conv", conv), ("bn", norm)):
            weights |= {f"{name}.{part}.{key}": value.detach().float() for key, value in module.state_dict().items()}
        before = after
    save_file(weights, tmp_path / "inception.safetensors")
    stem = nn.Sequential(*layers, nn.MaxPool2d(3, 2))
    rng = np.random.default_rng(0)
    decoded, seen = rng.random((3, 10, 8, 3)), rng.random((2, 10, 8, 3))
    with torch.no_grad():
        first, second = (
            stem(judges.stretched(judges.coloured(each))).mean((2, 3)).double().numpy() for each in (decoded, seen)
        )
    distance = judges.fid_64(tmp_path / "inception.safetensors")
    assert distance(decoded, seen) == pytest.approx(judges.frechet(first, second), rel=1e-3)
    assert distance(seen, seen) == pytest.approx(0, abs=1e-3)
    with pytest.raises(InputError, match="there is no such file"):
        judges.fid_64(tmp_path / "none.pth")


def test_frechet_of_normal_distributions_along_axes() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=(200_000, 2)) * [1, 2] + [0, 3]
    second = rng.normal(size=(200_000, 2)) * [3, 1]
    # along axes: (m1 - m2)^2 + (s1 - s2)^2
    assert judges.frechet(first, second) == pytest.approx(9 + 4 + 1, rel=0.02)


def test_pictures_are_stretched_as_tensorflow_1_does_it() -> None:
    x = torch.zeros(1, 3, 2, 2)
    x[..., 1] = 1.0  # dark on the left, bright on the right
    large = judges.stretched(x)
    assert large.shape == (1, 3, 299, 299)
    row = large[0, 0, 100]
    assert row[0] == pytest.approx(-1) and row[-1] == pytest.approx(127 / 128)
    assert row[75] == pytest.approx((75 * 2 / 299 * 255 - 128) / 128, abs=1e-5)
