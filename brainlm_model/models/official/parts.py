"""What both official architectures share: their output, and masking by noise (He et al., 2022).

Shapes: B windows, P parcels, T steps, N time patches, S steps per patch, L tokens, V visible ones, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_model.models.official.config import TransformerConfig

BLOCK = 32  # tokens that one matrix product of `convolve` gives


@dataclass
class Output:
    """What the official model returns.

    Attributes
    ----------
    loss: scalar; NaN where nothing is masked.
    logits: predictions (B, P, N, S); of a ViTMAE (B, P, T).
    latent: encoder's output after its norm (B, 1 + V, D), CLS first, then visible tokens in shuffled order.
    mask: 1 where masked (B, P, N); of a ViTMAE (B, P, T).
    ids_restore: place (B, L) of each token in the shuffled order.
    hidden_states: tokens and then each encoder layer's output (B, 1 + V, D), before the last norm, where asked for.
    attentions: weights of each encoder layer (B, H, 1 + V, 1 + V or landmarks), where asked for.
    """

    loss: Tensor
    logits: Tensor
    latent: Tensor
    mask: Tensor
    ids_restore: Tensor
    hidden_states: list[Tensor] = field(default_factory=list)
    attentions: list[Tensor] = field(default_factory=list)

    @property
    def cls(self) -> Tensor:
        """CLS embedding (B, D)."""
        return self.latent[:, 0]


def activation(name: str) -> nn.Module:
    """A layer's non-linearity by its name in config.json."""
    return {"gelu": nn.GELU(), "gelu_new": nn.GELU("tanh"), "relu": nn.ReLU(), "silu": nn.SiLU()}[name]


def random_masking(x_BLD: Tensor, noise_BL: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `keep` tokens of least noise, in order of their noise; mask (B, L), 1 where masked; ids_restore (B, L)."""
    # not a stable sort: where noise is equal the official order depends on torch, and so does ours
    ids_shuffle = noise_BL.argsort(dim=1)
    ids_restore = ids_shuffle.argsort(dim=1)
    visible = x_BLD.gather(1, ids_shuffle[:, :keep, None].expand(-1, -1, x_BLD.shape[2]))
    return visible, (ids_restore >= keep).to(x_BLD.dtype), ids_restore


def unshuffle(visible_BVD: Tensor, mask_token: Tensor, ids_restore: Tensor) -> Tensor:
    """Tokens (B, L, D) in their places, the mask token (1, 1, D) where there is no visible one."""
    batch, visible, width = visible_BVD.shape
    masked = mask_token.expand(batch, ids_restore.shape[1] - visible, width)
    return torch.cat([visible_BVD, masked], dim=1).gather(1, ids_restore[..., None].expand(-1, -1, width))


def encoder_layers(layer: Callable[..., nn.Module], config: TransformerConfig) -> nn.ModuleList:
    """The layers of an encoder; `layer`: the class of one."""
    return nn.ModuleList(
        layer(config.hidden_size, config.num_attention_heads, config.intermediate_size, config)
        for _ in range(config.num_hidden_layers)
    )


def decoder_layers(layer: Callable[..., nn.Module], config: TransformerConfig) -> nn.ModuleList:
    """The layers of a decoder."""
    return nn.ModuleList(
        layer(config.decoder_hidden_size, config.decoder_num_attention_heads, config.decoder_intermediate_size, config)
        for _ in range(config.decoder_num_hidden_layers)
    )


def convolve(x_BHLD: Tensor, weight_HIKI: Tensor) -> Tensor:
    """Depthwise convolution along L, zeros beyond its ends, with a kernel (H, 1, K, 1) of odd length.

    What `conv2d(x, weight, padding=(K // 2, 0), groups=H)` gives, as one product of a Toeplitz matrix (BLOCK, BLOCK + K
    - 1) with each block of tokens and its neighbours. Not conv2d itself: on a CPU, torch 2.13 computes the gradient of
    such a kernel wrongly where L >= K (docs/official.md), and this is faster.
    """
    length, kernel = x_BHLD.shape[2], weight_HIKI.shape[2]
    blocks, wide = -(-length // BLOCK), BLOCK + kernel - 1
    # y[t] = sum_k w[k] x[t + k - K // 2]. For BLOCK outputs this is T x with T[i, j] = w[j - i]: row i is the kernel
    # moved by i places. A vector of kernel and BLOCK zeros, repeated and cut into rows one shorter than itself, is T:
    #     w0 w1 w2 0 0 | w0 w1 w2 0 0 ...   ->   w0 w1 w2 0  |  0 w0 w1 w2 | ...       (K = 3, BLOCK = 2)
    rows = F.pad(weight_HIKI[:, 0, :, 0], (0, BLOCK)).repeat(1, BLOCK)
    toeplitz = rows[:, : BLOCK * wide].unflatten(1, (BLOCK, wide))
    # windows (B, H, blocks, wide, D): each block of tokens with K // 2 neighbours on either side
    padded = F.pad(x_BHLD, (0, 0, kernel // 2, blocks * BLOCK - length + kernel // 2))
    windows = padded.unfold(2, wide, BLOCK).transpose(-1, -2)
    return (toeplitz[:, None] @ windows).flatten(2, 3)[:, :, :length]


def backbone(layers: nn.ModuleList, embeddings: nn.Module, config: TransformerConfig) -> nn.ModuleDict:
    """Embeddings, encoder layers and the last norm, under the official keys (`vit.*`)."""
    norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
    return nn.ModuleDict({"embeddings": embeddings, "encoder": nn.ModuleDict({"layer": layers}), "layernorm": norm})


def encode_visible(
    vit: Any,
    tokens_BLD: Tensor,
    cls_B1D: Tensor,
    noise_BL: Tensor,
    keep: int,
    hidden: list[Tensor] | None = None,
    attentions: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Latent (B, 1 + keep, D) of CLS and the visible tokens, mask (B, L), ids_restore (B, L): see `random_masking`.

    `hidden`, `attentions`: lists to which states and weights are appended, see `Output`.
    """
    visible_BVD, mask, ids_restore = random_masking(tokens_BLD, noise_BL, keep)
    x_BLD = torch.cat([cls_B1D, visible_BVD], dim=1)
    for layer in vit["encoder"]["layer"]:
        if hidden is not None:
            hidden.append(x_BLD)
        x_BLD = layer(x_BLD, attentions)
    if hidden is not None:
        hidden.append(x_BLD)
    return vit["layernorm"](x_BLD), mask, ids_restore
