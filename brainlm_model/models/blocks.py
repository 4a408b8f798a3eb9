"""What BrainLM is stacked from: softmax attention, transformer blocks over all tokens or along axes, and a sinusoid.

Shapes are in the names: B windows, P parcels, N time patches, L queries, K keys, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_model.models.config import ModelConfig

SHORT = 32  # keys: fewer are mixed by plain products on a GPU
CHANNELS = 8  # flash attention wants the width of a head to be a multiple of it
FAR = 1e4  # below any score: exp(-FAR) is zero


class Attention(nn.Module):
    """Multi-head softmax attention of queries (B, L, D) over a context (B, K, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor, context_BKD: Tensor, allowed_BK: Tensor | None = None) -> Tensor:
        """`allowed_BK`: which tokens of the context exist; None: all."""
        query = self._split(self.query(x_BLD))
        key, value = self.key_value(context_BKD).chunk(2, dim=-1)
        key, value = self._split(key), self._split(value)
        if query.is_cuda and key.shape[2] <= SHORT and allowed_BK is None:
            # fused kernels work in blocks of 64 and more tokens, and refuse so many short rows
            mixed = (query * query.shape[3] ** -0.5 @ key.mT).softmax(-1) @ value
        elif query.is_cuda and allowed_BK is not None:
            mixed = attend_without_mask(query, key, value, allowed_BK)
        else:
            # the same for all heads and queries
            allowed = None if allowed_BK is None else allowed_BK[:, None, None, :]
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x_BLD: Tensor) -> Tensor:
        """Heads (B, heads, L, D / heads)."""
        return x_BLD.unflatten(2, (self.heads, -1)).transpose(1, 2)


def attend_without_mask(query_BHLE: Tensor, key_BHKE: Tensor, value_BHKE: Tensor, allowed_BK: Tensor) -> Tensor:
    """Softmax attention (B, heads, L, E) over the keys that exist. Flash attention takes no mask, but it takes this.

    One more channel, 1 in every query and -FAR sqrt(E) in the keys that do not exist, lowers the scores of those by
    FAR, so that their weight is zero to the last digit.
    """
    width = query_BHLE.shape[3]
    absent_BHK1 = (~allowed_BK)[:, None, :, None].expand(-1, key_BHKE.shape[1], -1, -1).to(key_BHKE.dtype)
    query = F.pad(query_BHLE, (0, CHANNELS))
    query[..., width] = 1
    key = torch.cat([key_BHKE, F.pad(absent_BHK1 * -FAR * width**0.5, (0, CHANNELS - 1))], dim=3)
    value = F.pad(value_BHKE, (0, CHANNELS))
    return F.scaled_dot_product_attention(query, key, value, scale=width**-0.5)[..., :width]


def sinusoid(length: int, width: int) -> Tensor:
    """Fixed embedding (length, width) of a place: sine and cosine in turn (Vaswani et al., 2017)."""
    # sin and cos of place / 10000^(2 i / width): wavelengths from 2 pi places to 10000 times as many
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
    angle = torch.arange(length)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def feed_forward(width: int, hidden: int) -> nn.Sequential:
    """Two linear layers with a GELU between them."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Block(nn.Module):
    """Pre-norm transformer block; with a context it is cross-attention, without one self-attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads)
        self.norm_mlp = nn.LayerNorm(config.width)
        self.mlp = feed_forward(config.width, config.hidden)

    def forward(self, x_BLD: Tensor, context_BKD: Tensor | None = None, allowed_BK: Tensor | None = None) -> Tensor:
        """`allowed_BK`: which tokens of the context (or of `x_BLD` itself) exist; None: all."""
        normed = self.norm_attention(x_BLD)
        if context_BKD is None:
            context_BKD = normed
        x_BLD = x_BLD + self.attention(normed, context_BKD, allowed_BK)
        return x_BLD + self.mlp(self.norm_mlp(x_BLD))


class AxialBlock(nn.Module):
    """Attention over the parcels of each time patch, then over the time patches of each parcel, then feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(3))
        self.across_parcels = Attention(config.width, config.heads)
        self.across_time = Attention(config.width, config.heads)
        self.mlp = feed_forward(config.width, config.hidden)

    def forward(self, x_BPND: Tensor) -> Tensor:
        """Every token is mixed with those of its time patch, then with those of its parcel."""
        parcels, patches = x_BPND.shape[1:3]
        # (B N, P, D): each time patch is a sequence of parcels
        rows = self.norms[0](x_BPND).transpose(1, 2).flatten(0, 1)
        x_BPND = x_BPND + self.across_parcels(rows, rows).unflatten(0, (-1, patches)).transpose(1, 2)
        # (B P, N, D): each parcel is a sequence of time patches
        columns = self.norms[1](x_BPND).flatten(0, 1)
        x_BPND = x_BPND + self.across_time(columns, columns).unflatten(0, (-1, parcels))
        return x_BPND + self.mlp(self.norms[2](x_BPND))
