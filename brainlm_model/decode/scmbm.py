"""Sparse-coded masked brain modelling (SC-MBM, Chen et al., CVPR 2023): a masked autoencoder of voxel patterns.

Shapes are in the names: B patterns, V voxels (padded to whole patches), T patches, K visible patches, S voxels a patch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from brainlm_data import ConfigError
from brainlm_model.models.blocks import Block
from brainlm_model.models.config import ModelConfig


@dataclass(frozen=True)
class Size:
    """What decides the shape of the network, but for the number of voxels.

    Attributes
    ----------
    patch: voxels of a token. width, depth, heads: of the encoder; `decoder_*`: of the decoder.
    mlp_ratio: width of the feed-forward layers over that of the tokens. The published configuration says 1 (151 million
        weights in the encoder's blocks), the published table 303 million, which is 4: a checkpoint brings its own.
    """

    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    mlp_ratio: float = 1.0
    patch: int = 16

    def __post_init__(self) -> None:
        for name, width, heads in (
            ("width", self.width, self.heads),
            ("decoder_width", self.decoder_width, self.decoder_heads),
        ):
            if width % heads or width % 2:
                raise ConfigError(
                    f"scmbm: {name} {width} is not an even multiple of {heads} heads", "for example width 64, heads 4"
                )


SIZES: dict[str, Size] = {
    "scmbm-tiny": Size(32, 1, 2, 32, 1, 2),
    "scmbm-small": Size(256, 6, 8, 128, 2, 8),
    "scmbm-1024": Size(1024, 24, 16, 512, 8, 16),  # as published
}


def sized(name: str, **changes: Any) -> Size:
    """A size by name, with the `changes` that are not None. Raises ConfigError for an unknown name."""
    if name not in SIZES:
        raise ConfigError(f"scmbm: no size {name!r}", f"one of {', '.join(SIZES)}")
    return replace(SIZES[name], **{key: value for key, value in changes.items() if value is not None})


def padded_length(voxels: int, patch: int, compat: bool = False) -> int:
    """Voxels after padding to whole patches. `compat`: the public code adds a patch where they are whole already."""
    missing = patch - voxels % patch
    return voxels + (missing if compat or missing < patch else 0)


def wrapped(patterns_NV: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Patterns (N, length): where a subject's voxels end, they begin again, as padding and for shorter subjects."""
    return patterns_NV[:, np.arange(length) % patterns_NV.shape[1]]


def sparsified(patterns_BV: Tensor, share: float, generator: Generator) -> Tensor:
    """Patterns in which this share of the voxels, drawn anew for each pattern, is 0.

    The public code draws along the axis of length one, so that there nothing is ever changed.
    """
    drawn = torch.rand(patterns_BV.shape, generator=generator).to(patterns_BV.device)
    count = int(patterns_BV.shape[1] * share)
    return patterns_BV.scatter(1, drawn.argsort(dim=1)[:, :count], 0.0)


def drawn_visible(batch: int, patches: int, mask_ratio: float, generator: Generator) -> Tensor:
    """Places (B, K) of the patches that stay visible, K = int(T (1 - mask_ratio)), drawn for each pattern."""
    noise_BT = torch.rand(batch, patches, generator=generator)
    return noise_BT.argsort(dim=1)[:, : int(patches * (1 - mask_ratio))]


def sine_cosine(length: int, width: int) -> Tensor:
    """Fixed embedding (length, width) of a place: all sines, then all cosines, as masked autoencoders have them."""
    # angle of place t and channel i: t / 10000^(2 i / width)
    rate = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1).float()


def with_cls(places_TD: Tensor) -> Tensor:
    """Embeddings (1, T + 1, D): that of the CLS token, which is zero, before those of the patches."""
    return F.pad(places_TD, (0, 0, 1, 0))[None]


class Masked(NamedTuple):
    """What a masked pass gives: loss, prediction (B, T, S) of every patch, and which patches (B, T) were hidden."""

    loss: Tensor
    predicted_BTS: Tensor
    hidden_BT: Tensor


class SCMBM(nn.Module):
    """The masked autoencoder of patterns of `tokens` patches.

    `encode` is what the diffusion model is conditioned on: it sees all patches and, as the public code, no CLS token.
    """

    def __init__(self, size: Size, tokens: int) -> None:
        super().__init__()
        self.size, self.tokens, self.width = size, tokens, size.width
        self.embed = nn.Conv1d(1, size.width, kernel_size=size.patch, stride=size.patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, size.width))
        self.blocks = _blocks(size.width, size.depth, size.heads, size.mlp_ratio)
        self.norm = nn.LayerNorm(size.width)
        self.decoder_embed = nn.Linear(size.width, size.decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, size.decoder_width))
        self.decoder_blocks = _blocks(size.decoder_width, size.decoder_depth, size.decoder_heads, size.mlp_ratio)
        self.decoder_norm = nn.LayerNorm(size.decoder_width)
        self.predict = nn.Linear(size.decoder_width, size.patch)
        self.register_buffer("places", with_cls(sine_cosine(tokens, size.width)))
        self.register_buffer("decoder_places", with_cls(sine_cosine(tokens, size.decoder_width)))
        self.places: Tensor
        self.decoder_places: Tensor
        self._start()

    def _start(self) -> None:
        """First weights as in the public code."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv1d):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # it has one
        nn.init.normal_(self.cls, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)

    def embedded(self, x_BV: Tensor) -> Tensor:
        """Tokens (B, T, D) with their places."""
        tokens_BTD: Tensor = self.embed(x_BV[:, None]).transpose(1, 2)
        return tokens_BTD + self.places[:, 1:]

    def encode(self, x_BV: Tensor) -> Tensor:
        """Tokens (B, T, D) of whole patterns."""
        tokens_BTD = self.embedded(x_BV)
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD)
        normed: Tensor = self.norm(tokens_BTD)
        return normed

    def forward(self, x_BV: Tensor, visible_BK: Tensor) -> Masked:
        """Predict all patches from the visible ones; the loss is the mean squared error of the hidden ones."""
        x_BKD = _taken(self.embedded(x_BV), visible_BK)
        cls = (self.cls + self.places[:, :1]).expand(len(x_BV), -1, -1)
        x_BKD = torch.cat([cls, x_BKD], dim=1)
        for block in self.blocks:
            x_BKD = block(x_BKD)
        x_BKD = self.decoder_embed(self.norm(x_BKD))

        # visible tokens go back to their places, mask tokens are everywhere else
        y_BTD = self.mask_token.expand(len(x_BV), self.tokens, -1)
        y_BTD = y_BTD.scatter(1, _along(visible_BK, y_BTD.shape[2]), x_BKD[:, 1:])
        y_BTD = torch.cat([x_BKD[:, :1], y_BTD], dim=1) + self.decoder_places
        for block in self.decoder_blocks:
            y_BTD = block(y_BTD)
        predicted_BTS = self.predict(self.decoder_norm(y_BTD))[:, 1:]

        hidden_BT = torch.ones(len(x_BV), self.tokens, dtype=torch.bool, device=x_BV.device)
        hidden_BT = hidden_BT.scatter(1, visible_BK, value=False)
        error_BT = (predicted_BTS - x_BV.unflatten(1, (self.tokens, -1))).square().mean(dim=2)
        return Masked((error_BT * hidden_BT).sum() / hidden_BT.sum().clamp(min=1), predicted_BTS, hidden_BT)


def _blocks(width: int, depth: int, heads: int, mlp_ratio: float) -> nn.ModuleList:
    """Pre-norm transformer blocks, those of the other models."""
    config = ModelConfig(parcels=1, width=width, heads=heads, hidden=int(width * mlp_ratio))
    return nn.ModuleList(Block(config) for _ in range(depth))


def _along(places_BK: Tensor, width: int) -> Tensor:
    """Places (B, K, D) for `gather` and `scatter` along the tokens."""
    return places_BK[:, :, None].expand(-1, -1, width)


def _taken(x_BTD: Tensor, places_BK: Tensor) -> Tensor:
    """Tokens (B, K, D) at these places."""
    return x_BTD.gather(1, _along(places_BK, x_BTD.shape[2]))
