"""Judges of pictures whose weights are given, against torch's own layers and against written-out formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    made = judges.fid_of(tmp_path / "inception.safetensors")
    assert made.fid is None  # its last layers are not in the file
    assert made.fid_64(decoded, seen) == pytest.approx(judges.frechet(first, second), rel=1e-3)
    assert made.fid_64(seen, seen) == pytest.approx(0, abs=1e-3)
    with pytest.raises(InputError, match="there is no such file"):
        judges.fid_of(tmp_path / "none.pth")


class Plain(nn.Module):
    """Inception v3 from the paper's figures and FID's changes, written out block by block; 2 channels everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: dict[str, Tensor] = {}
        self.draws = torch.Generator().manual_seed(1)

    def conv(self, name: str, x: Tensor, size: tuple[int, int], stride: int = 1, padding: Any = 0) -> Tensor:
        conv = nn.Conv2d(x.shape[1], 2, size, stride, padding, bias=False)
        norm = nn.BatchNorm2d(2, eps=1e-3).eval()
        for tensor in (conv.weight, norm.running_mean, norm.weight, norm.bias):
            tensor.data.normal_(0.3, 0.5, generator=self.draws)
        for part, module in (("conv", conv), ("bn", norm)):
            for key, value in module.state_dict().items():
                self.weights[f"{name}.{part}.{key}"] = value.detach().clone().float()
        return torch.relu(norm(conv(x)))

    def forward(self, x: Tensor) -> Tensor:
        largest, mean = nn.MaxPool2d(3, 2), nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        x = self.conv("Conv2d_1a_3x3", x, (3, 3), 2)
        x = self.conv("Conv2d_2a_3x3", x, (3, 3))
        x = largest(self.conv("Conv2d_2b_3x3", x, (3, 3), padding=1))
        x = self.conv("Conv2d_3b_1x1", x, (1, 1))
        x = largest(self.conv("Conv2d_4a_3x3", x, (3, 3)))
        for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            one = self.conv(f"{block}.branch1x1", x, (1, 1))
            five = self.conv(f"{block}.branch5x5_2", self.conv(f"{block}.branch5x5_1", x, (1, 1)), (5, 5), padding=2)
            three = self.conv(f"{block}.branch3x3dbl_1", x, (1, 1))
            for number in (2, 3):
                three = self.conv(f"{block}.branch3x3dbl_{number}", three, (3, 3), padding=1)
            x = torch.cat([one, five, three, self.conv(f"{block}.branch_pool", mean(x), (1, 1))], 1)
        three = self.conv("Mixed_6a.branch3x3", x, (3, 3), 2)
        twice = self.conv("Mixed_6a.branch3x3dbl_1", x, (1, 1))
        twice = self.conv("Mixed_6a.branch3x3dbl_2", twice, (3, 3), padding=1)
        x = torch.cat([three, self.conv("Mixed_6a.branch3x3dbl_3", twice, (3, 3), 2), largest(x)], 1)
        row, column = {"size": (1, 7), "padding": (0, 3)}, {"size": (7, 1), "padding": (3, 0)}
        for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            one = self.conv(f"{block}.branch1x1", x, (1, 1))
            seven = self.conv(f"{block}.branch7x7_1", x, (1, 1))
            for number, way in ((2, row), (3, column)):
                seven = self.conv(f"{block}.branch7x7_{number}", seven, **way)
            twice = self.conv(f"{block}.branch7x7dbl_1", x, (1, 1))
            for number, way in ((2, column), (3, row), (4, column), (5, row)):
                twice = self.conv(f"{block}.branch7x7dbl_{number}", twice, **way)
            x = torch.cat([one, seven, twice, self.conv(f"{block}.branch_pool", mean(x), (1, 1))], 1)
        three = self.conv("Mixed_7a.branch3x3_2", self.conv("Mixed_7a.branch3x3_1", x, (1, 1)), (3, 3), 2)
        seven = self.conv("Mixed_7a.branch7x7x3_1", x, (1, 1))
        for number, way in ((2, row), (3, column)):
            seven = self.conv(f"Mixed_7a.branch7x7x3_{number}", seven, **way)
        x = torch.cat([three, self.conv("Mixed_7a.branch7x7x3_4", seven, (3, 3), 2), largest(x)], 1)
        for block, pool in (("Mixed_7b", mean), ("Mixed_7c", nn.MaxPool2d(3, 1, 1))):
            one = self.conv(f"{block}.branch1x1", x, (1, 1))
            parts = [one]
            three = self.conv(f"{block}.branch3x3_1", x, (1, 1))
            twice = self.conv(f"{block}.branch3x3dbl_1", x, (1, 1))
            twice = self.conv(f"{block}.branch3x3dbl_2", twice, (3, 3), padding=1)
            for name, given in (("branch3x3_2", three), ("branch3x3dbl_3", twice)):
                parts.append(self.conv(f"{block}.{name}a", given, (1, 3), padding=(0, 1)))
                parts.append(self.conv(f"{block}.{name}b", given, (3, 1), padding=(1, 0)))
            x = torch.cat([*parts, self.conv(f"{block}.branch_pool", pool(x), (1, 1))], 1)
        return x.mean((2, 3))


def test_fid_is_frechets_distance_of_the_last_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    decoded, seen = rng.random((3, 10, 8, 3)), rng.random((2, 10, 8, 3))
    plain = Plain()
    with torch.no_grad():
        both = plain(judges.stretched(judges.coloured(np.concatenate([decoded, seen])))).double().numpy()
    assert both.shape == (5, 12) and both.std(0).max() > 1e-3
    save_file(plain.weights, tmp_path / "inception.safetensors")
    made = judges.fid_of(tmp_path / "inception.safetensors")
    assert made.fid is not None
    assert made.fid(decoded, seen) == pytest.approx(judges.frechet(both[:3], both[3:]), rel=1e-3)
    assert made.fid(seen, seen) == pytest.approx(0, abs=1e-3)
    del plain.weights["Mixed_7c.branch_pool.bn.bias"]
    save_file(plain.weights, tmp_path / "inception.safetensors")
    with pytest.raises(InputError, match=r"it has no Mixed_7c.branch_pool.bn.bias"):
        judges.fid_of(tmp_path / "inception.safetensors")


def test_frechet_of_normal_distributions_along_axes() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=(200_000, 2)) * [1, 2] + [0, 3]
    second = rng.normal(size=(200_000, 2)) * [3, 1]
    # along axes: (m1 - m2)^2 + (s1 - s2)^2
    assert judges.frechet(first, second) == pytest.approx(9 + 4 + 1, rel=0.02)
    # and with fewer pictures than features, against the roots of the eigenvalues of the product of both covariances
    few, more = rng.normal(size=(4, 9)), 2 * rng.normal(size=(6, 9))
    s1, s2 = np.cov(few, rowvar=False), np.cov(more, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(s1 @ s2).real.clip(min=0)).sum()
    apart = few.mean(0) - more.mean(0)
    assert judges.frechet(few, more) == pytest.approx(apart @ apart + np.trace(s1 + s2) - 2 * root, rel=1e-4)


def test_pictures_are_stretched_as_tensorflow_1_does_it() -> None:
    x = torch.zeros(1, 3, 2, 2)
    x[..., 1] = 1.0  # dark on the left, bright on the right
    large = judges.stretched(x)
    assert large.shape == (1, 3, 299, 299)
    row = large[0, 0, 100]
    assert row[0] == pytest.approx(-1) and row[-1] == pytest.approx(127 / 128)
    assert row[75] == pytest.approx((75 * 2 / 299 * 255 - 128) / 128, abs=1e-5)
