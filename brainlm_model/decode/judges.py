"""Networks whose weights are given judge pictures, for the n-way measure and for FID.

Weights come by path, under the names that torchvision and pytorch-fid give them; nothing is fetched. Shapes are in the
names: N pictures (N, h, w) or (N, h, w, 3) with values from 0 to 1; L tokens of width D; C classes, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from brainlm_data import InputError, reads
from brainlm_model.decode.classifier import Judge
from brainlm_model.models.weights import check_finite, unpickled

Array = NDArray[np.float64]
BATCH = 16  # pictures at once
HEADS = {768: 12, 1024: 16, 1280: 16}  # of ViT-B, ViT-L, ViT-H; others have 64 channels a head
# of ImageNet, by channel
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# of Inception up to its first 64 features: layer, stride, padding
STEM = (("Conv2d_1a_3x3", 2, 0), ("Conv2d_2a_3x3", 1, 0), ("Conv2d_2b_3x3", 1, 1))
# from there to the 2,048 of its last layer: blocks of branches, which are joined; a branch is a chain of convolutions,
# `a+b` two of them side by side, `mean` and `max` what is pooled before, `/2` at half the size
INCEPTION_SIDE = 299
_A = ("branch1x1", "branch5x5_1 branch5x5_2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", "mean branch_pool")
_C = (
    "branch1x1", "branch7x7_1 branch7x7_2 branch7x7_3",
    "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5", "mean branch_pool",
)  # fmt: skip
_E = (
    "branch1x1",
    "branch3x3_1 branch3x3_2a+branch3x3_2b",
    "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a+branch3x3dbl_3b",
)
BLOCKS = {
    "Mixed_5b": _A, "Mixed_5c": _A, "Mixed_5d": _A,
    "Mixed_6a": ("branch3x3/2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3/2", "max/2"),
    "Mixed_6b": _C, "Mixed_6c": _C, "Mixed_6d": _C, "Mixed_6e": _C,
    "Mixed_7a": (
        "branch3x3_1 branch3x3_2/2", "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4/2", "max/2",
    ),
    "Mixed_7b": (*_E, "mean branch_pool"), "Mixed_7c": (*_E, "max branch_pool"),  # the last as FID's network has it
}  # fmt: skip


def vit_judge(path: Path) -> Judge:
    """A vision transformer of torchvision (vit_h_14, vit_b_16, ...) from its state dict; its size follows from it.

    Raises
    ------
    InputError: no such file, damaged, or another network.
    """
    weights = _weights(path)
    with reads(path, "give the state dict of a vision transformer of torchvision, as vit_h_14's"):
        tokens, width = weights["encoder.pos_embedding"].shape[1:]
        patch = weights["conv_proj.weight"].shape[2]
        head = weights["heads.head.weight"], weights["heads.head.bias"]
        side = round((tokens - 1) ** 0.5) * patch
        vit_features(weights, torch.zeros(1, 3, side, side))  # what is missing shows here
        name = f"{path.stem}: a vision transformer, width {width}, {len(head[1])} classes"

    def features(pictures_N: Array) -> Array:
        return _in_batches(lambda x_NCHW: vit_features(weights, x_NCHW), squared(pictures_N, side))

    def scores(pictures_N: Array) -> Array:
        return _in_batches(lambda x_NCHW: F.linear(vit_features(weights, x_NCHW), *head), squared(pictures_N, side))

    return Judge(name, scores, features)


def vit_features(weights: Mapping[str, Tensor], x_NCHW: Tensor) -> Tensor:
    """The CLS token (N, D) after the last layer, by the weights of torchvision's `VisionTransformer`."""
    width = weights["class_token"].shape[2]
    heads = HEADS.get(width, max(width // 64, 1))

    def normed(name: str, x_NLD: Tensor) -> Tensor:
        return F.layer_norm(x_NLD, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-6)

    def linear(name: str, x_NLD: Tensor) -> Tensor:
        return F.linear(x_NLD, weights[f"{name}.weight"], weights[f"{name}.bias"])

    kernel = weights["conv_proj.weight"]
    patches_NDhw = F.conv2d(x_NCHW, kernel, weights["conv_proj.bias"], stride=kernel.shape[2])
    cls = weights["class_token"].expand(len(x_NCHW), -1, -1)
    x_NLD = torch.cat([cls, patches_NDhw.flatten(2).transpose(1, 2)], dim=1) + weights["encoder.pos_embedding"]
    depth = sum(name.endswith(".ln_1.weight") for name in weights)
    for number in range(depth):
        layer = f"encoder.layers.encoder_layer_{number}"
        attention = f"{layer}.self_attention"
        joint = F.linear(
            normed(f"{layer}.ln_1", x_NLD), weights[f"{attention}.in_proj_weight"], weights[f"{attention}.in_proj_bias"]
        )
        # queries, keys and values of each head: (N, heads, L, D / heads)
        q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in joint.chunk(3, dim=2))
        mixed_NLD = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x_NLD = x_NLD + linear(f"{attention}.out_proj", mixed_NLD)
        hidden = F.gelu(linear(f"{layer}.mlp.0", normed(f"{layer}.ln_2", x_NLD)))
        x_NLD = x_NLD + linear(f"{layer}.mlp.3", hidden)
    return normed("encoder.ln", x_NLD)[:, 0]


def squared(pictures_N: Array, side: int) -> Tensor:
    """Pictures (N, 3, side, side) as such networks have them: shorter side resized, middle cut out, standardised."""
    x_NCHW = coloured(pictures_N)
    height, width = x_NCHW.shape[2:]
    shorter = min(height, width)
    size = round(height * side / shorter), round(width * side / shorter)
    x_NCHW = F.interpolate(x_NCHW, size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    middle = x_NCHW[:, :, top : top + side, left : left + side]
    return (middle - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(SD).view(3, 1, 1)


def coloured(pictures_N: Array) -> Tensor:
    """Pictures (N, 3, h, w); a grey one has three channels that are the same."""
    x = torch.from_numpy(np.ascontiguousarray(pictures_N)).float()
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x[:, None].expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class Fid:
    """Fréchet distances of two sets of pictures by features of an Inception network.

    Attributes
    ----------
    fid_64: by its first 64 features, as MinD-Vis gives it; not comparable with the FID of others.
    fid: by the 2,048 of its last layer; None where the file has the first layers alone. Others have it of thousands of
        pictures: of few it is far above what many would give.
    """

    fid_64: Callable[[Array, Array], float]
    fid: Callable[[Array, Array], float] | None


def fid_of(path: Path) -> Fid:
    """Distances by the weights of FID's Inception network.

    Raises
    ------
    InputError: no such file, damaged, or another network.
    """
    weights = _weights(path)
    whole = any(name.startswith("Mixed_") for name in weights)
    with reads(path, "give the weights of the Inception network of FID (pt_inception-2015-12-05), or torchvision's"):
        (inception if whole else inception_stem)(weights, torch.zeros(1, 3, INCEPTION_SIDE, INCEPTION_SIDE))

    def distance_by(features: Callable[[Mapping[str, Tensor], Tensor], Tensor]) -> Callable[[Array, Array], float]:
        def distance(decoded_N: Array, seen_N: Array) -> float:
            first, second = (
                _in_batches(lambda part: features(weights, stretched(part)), coloured(each))
                for each in (decoded_N, seen_N)
            )
            return frechet(first, second)

        return distance

    return Fid(distance_by(inception_stem), distance_by(inception) if whole else None)


def stretched(x_NCHW: Tensor) -> Tensor:
    """Pictures (N, 3, 299, 299) from -1 to 1, whole grey values, interpolated as by TensorFlow 1: FID's convention."""

    def linear(length: int) -> Tensor:
        """(299, length): pixel i is at i length / 299, between two neighbours."""
        place = torch.arange(INCEPTION_SIDE) * (length / INCEPTION_SIDE)
        below = place.long()
        above = (below + 1).clamp(max=length - 1)
        share = (place - below)[:, None]
        return (1 - share) * F.one_hot(below, length) + share * F.one_hot(above, length)

    whole = (x_NCHW * 255).round()
    large = linear(x_NCHW.shape[2]) @ whole @ linear(x_NCHW.shape[3]).T
    return (large - 128) / 128


def inception_stem(weights: Mapping[str, Tensor], x_NCHW: Tensor) -> Tensor:
    """The first 64 features (N, 64) of Inception v3, after its first pooling, averaged over the picture."""
    return _stem(weights, x_NCHW).mean(dim=(2, 3))


def inception(weights: Mapping[str, Tensor], x_NCHW: Tensor) -> Tensor:
    """The features (N, 2048) of the last layer of Inception v3, averaged over the picture, pooled as FID's is."""
    x_NCHW = _stem(weights, x_NCHW)
    x_NCHW = _convolved(weights, "Conv2d_3b_1x1", x_NCHW)
    x_NCHW = _convolved(weights, "Conv2d_4a_3x3", x_NCHW, padding=0)
    x_NCHW = F.max_pool2d(x_NCHW, kernel_size=3, stride=2)
    for block, branches in BLOCKS.items():
        x_NCHW = torch.cat([_branch(weights, block, branch, x_NCHW) for branch in branches], dim=1)
    return x_NCHW.mean(dim=(2, 3))


def _stem(weights: Mapping[str, Tensor], x_NCHW: Tensor) -> Tensor:
    for name, stride, padding in STEM:
        x_NCHW = _convolved(weights, name, x_NCHW, stride, padding)
    return F.max_pool2d(x_NCHW, kernel_size=3, stride=2)


def _branch(weights: Mapping[str, Tensor], block: str, branch: str, x_NCHW: Tensor) -> Tensor:
    """What a chain of BLOCKS makes of its input."""
    for step in branch.split():
        name, _, half = step.partition("/")
        if name == "mean":
            x_NCHW = F.avg_pool2d(x_NCHW, kernel_size=3, stride=1, padding=1, count_include_pad=False)
        elif name == "max":
            x_NCHW = F.max_pool2d(x_NCHW, kernel_size=3, stride=2 if half else 1, padding=0 if half else 1)
        else:
            how = (2, 0) if half else (1, None)  # stride and padding
            sides = [_convolved(weights, f"{block}.{one}", x_NCHW, *how) for one in name.split("+")]
            x_NCHW = torch.cat(sides, dim=1)
    return x_NCHW


def _convolved(
    weights: Mapping[str, Tensor], name: str, x_NCHW: Tensor, stride: int = 1, padding: int | None = None
) -> Tensor:
    """Convolution, batch norm and ReLU of a layer; padding None: what keeps the size."""
    kernel = weights[f"{name}.conv.weight"]
    around = (kernel.shape[2] // 2, kernel.shape[3] // 2) if padding is None else (padding, padding)
    x_NCHW = F.conv2d(x_NCHW, kernel, stride=stride, padding=around)
    moments = weights[f"{name}.bn.running_mean"], weights[f"{name}.bn.running_var"]
    return F.relu(F.batch_norm(x_NCHW, *moments, weights[f"{name}.bn.weight"], weights[f"{name}.bn.bias"], eps=1e-3))


def frechet(first_NF: Array, second_NF: Array) -> float:
    """|m1 - m2|^2 + trace(S1 + S2 - 2 (S1 S2)^1/2) of means m and covariances S."""
    apart = first_NF.mean(axis=0) - second_NF.mean(axis=0)
    # S = R' R with one row of R for each picture, or for each feature where there are fewer of them. The trace of the
    # root is the sum of the singular values of R1 R2', so that no covariance of 2,048 features has to be made.
    r1, r2 = _root(first_NF), _root(second_NF)
    shared = np.linalg.svd(r1 @ r2.T, compute_uv=False).sum()
    return float(apart @ apart + np.sum(r1**2) + np.sum(r2**2) - 2 * shared)


def _root(x_NF: Array) -> Array:
    """R of the covariance R' R of the columns."""
    root: Array = np.linalg.qr((x_NF - x_NF.mean(axis=0)) / np.sqrt(len(x_NF) - 1)).R
    return root


def _weights(path: Path) -> dict[str, Tensor]:
    """A state dict of tensors alone."""
    remedy = "give a state dict, .safetensors or .pth"
    if path.suffix == ".safetensors":
        with reads(path, remedy):
            weights = load_file(path)
    else:
        weights = unpickled(path, remedy, "save its tensors as .safetensors")
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{path}: not a state dict of tensors", remedy)
    with reads(path, remedy):
        check_finite(weights)
    return {name: value.float() for name, value in weights.items()}


@torch.no_grad()
def _in_batches(made_of: Callable[[Tensor], Tensor], x_NCHW: Tensor) -> Array:
    """What a network makes of pictures, few at a time."""
    made: Array = torch.cat([made_of(part) for part in x_NCHW.split(BATCH)]).double().numpy()
    return made
