"""How the networks learn one after the other, from training rows alone: SC-MBM, the UNet without a brain, then both."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from brainlm_model.decode.autoencoder import Autoencoder
from brainlm_model.decode.diffusion import Conditioning, Painter, sampler
from brainlm_model.decode.learn import Recipe, Row, descend, drawn_rows
from brainlm_model.decode.pca import PCA
from brainlm_model.decode.scmbm import SCMBM, Size, drawn_visible, padded_length, sparsified, wrapped
from brainlm_model.models.masking import generator

Array = NDArray[np.float64]
Kept = tuple[Path | None, Any]  # folder for checkpoints, and what the run depends on (`descend`)
NOWHERE: Kept = (None, None)


def as_input(patterns_NV: NDArray[np.float32], size: Size, compat: bool = False) -> Tensor:
    """Patterns padded to whole patches by wrapping."""
    length = padded_length(patterns_NV.shape[1], size.patch, compat)
    return torch.from_numpy(np.ascontiguousarray(wrapped(patterns_NV, length)))


def untrained(size: Size, x_NV: Tensor, seed: int) -> SCMBM:
    """The network as it begins."""
    torch.manual_seed(seed)
    return SCMBM(size, x_NV.shape[1] // size.patch).eval()


def pretrain(
    network: SCMBM, x_NV: Tensor, mask_ratio: float, sparsify: float, recipe: Recipe, seed: int, kept: Kept = NOWHERE
) -> list[Row]:
    """Masked modelling of patterns: stage A1, or A2 with those of a subject."""

    def loss_of(draws: Generator) -> Tensor:
        x_BV = x_NV[drawn_rows(len(x_NV), recipe.batch, draws)]
        visible_BK = drawn_visible(len(x_BV), network.tokens, mask_ratio, draws)
        loss: Tensor = network(sparsified(x_BV, sparsify, draws), visible_BK).loss
        return loss

    return descend("scmbm", network, loss_of, recipe, seed, *kept)


def learn_pictures(painter: Painter, z_N: Tensor, recipe: Recipe, seed: int, kept: Kept = NOWHERE) -> list[Row]:
    """The UNet alone learns what pictures look like, without any condition; then all painters start from it."""
    painter.requires_grad_(False)
    painter.unet.requires_grad_(True)

    def loss_of(draws: Generator) -> Tensor:
        z = z_N[drawn_rows(len(z_N), recipe.batch, draws)]
        return painter.loss(z, *painter.none(len(z)), draws)

    return descend("unet", painter, loss_of, recipe, seed, *kept)


def learn_to_paint(
    name: str,
    painter: Painter,
    x_NV: Tensor,
    z_N: Tensor,
    recipe: Recipe,
    seed: int,
    *,
    noise: float,
    guess: float,
    everything: bool,
    kept: Kept = NOWHERE,
) -> list[Row]:
    """The second stage: latents `z_N` from the patterns `x_NV` of the same rows.

    noise: SD of what is added to the z-scores, which keeps a network from learning few patterns by heart.
    guess: weight of the straight guess; 0 as published. everything: the whole UNet learns, not the conditions' part.
    """
    painter.learns(everything)
    with torch.no_grad():
        painter.conditioning.settle(painter.encoder.encode(x_NV))

    def loss_of(draws: Generator) -> Tensor:
        rows = drawn_rows(len(z_N), recipe.batch, draws)
        x_BV = x_NV[rows] + noise * torch.randn((len(rows), x_NV.shape[1]), generator=draws)
        context_BLC, vector_BC = painter.conditions(x_BV)
        loss = painter.loss(z_N[rows], context_BLC, vector_BC, draws)
        return loss + guess * painter.guess_loss(z_N[rows], vector_BC)

    return descend(name, painter, loss_of, recipe, seed, *kept)


def painter_from(base: Painter, encoder: SCMBM | PCA) -> Painter:
    """A painter with its own copy of an encoder and of everything else that `base` has.

    An encoder with tokens of another number or width has a conditioning of its own.
    """
    made = copy.deepcopy(base)
    made.encoder = copy.deepcopy(encoder)
    if (encoder.tokens, encoder.width) != (base.encoder.tokens, base.encoder.width):
        made.conditioning = Conditioning(encoder.tokens, encoder.width, base.unet.config.cross_attention_dim)
    return made


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn.

    Attributes
    ----------
    sampler, steps: ddim or pndm, and its steps. samples: pictures for each pattern, each from noise of its own, which
        follows from the seed and its number.
    strength: share of the steps that latents to start from go through, where there are some.
    guidance: of `Painter.sample`.
    """

    sampler: str
    steps: int
    samples: int
    seed: int
    strength: float = 1.0
    guidance: float = 1.0


def samples(
    painter: Painter, x_NV: Tensor, autoencoder: Autoencoder, how: Sampling, start_N: Array | None = None
) -> Array:
    """Pictures (samples, N, h, w[, 3]); from noise, or from latents that are noised."""
    scheduler = sampler(how.sampler, painter.scheduler)
    start = None if start_N is None else torch.from_numpy(start_N).float()
    drawn = []
    for number in range(how.samples):
        draws = generator(how.seed, number)
        z = painter.sample(x_NV, scheduler, how.steps, draws, start, how.strength, how.guidance)
        drawn.append(autoencoder.decoded(z.double().numpy()))
    return np.stack(drawn)
