"""The autoencoder between pictures and the latents in which the diffusion runs: a tiny one, or a given one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from brainlm_data import reads
from brainlm_model.decode.extra import needed
from brainlm_model.decode.learn import Recipe, Row, descend, drawn_rows

Array = NDArray[np.float64]
MULTIPLE = 16  # pixels: the latents of the tiny one have an even number of rows, which the UNet halves
SQUARE = 2
KINDS = ("AutoencoderKL", "VQModel")  # of diffusers
KL_WEIGHT = 1e-4  # keeps latents near a normal distribution; too little to blur what they say
TINY = {
    "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (16, 32, 32), "layers_per_block": 1, "latent_channels": 8, "norm_num_groups": 8,
    "mid_block_add_attention": False,
}  # fmt: skip


class Autoencoder:
    """A diffusers autoencoder (`AutoencoderKL` or `VQModel`), frozen, with arrays of pictures on its outside.

    Pictures (N, h, w) or (N, h, w, 3) with values from 0 to 1 become latents (N, c, h', w') of mean 0 and SD 1.

    Parameters
    ----------
    network: the diffusers model, which is frozen here.
    shape: (h, w) or (h, w, 3) of the pictures. Inside they are padded to a multiple of `multiple` pixels.
    square: side of the squares of pixels that are channels inside: 2 for the tiny one, which is quick so; else 1.
    shift, scale: latents are (z - shift) * scale.
    """

    def __init__(
        self, network: nn.Module, shape: tuple[int, ...], multiple: int = MULTIPLE, square: int = SQUARE,
        shift: float = 0.0, scale: float = 1.0,
    ) -> None:  # fmt: skip
        self.network: Any = network.eval().requires_grad_(False)
        self.shape, self.multiple, self.square = tuple(shape), multiple, square
        self.shift, self.scale = shift, scale

    def encoded(self, pictures_N: Array) -> Array:
        """Latents of pictures."""
        latents: Array = self.latents(inside(pictures_N, self.multiple, self.square)).double().numpy()
        return latents

    @torch.no_grad()
    def latents(self, x_NCHW: Tensor) -> Tensor:
        """Latents of pictures as the network has them, from -1 to 1."""
        code = self.network.encode(x_NCHW)
        z = code.latent_dist.mode() if hasattr(code, "latent_dist") else code.latents
        scaled: Tensor = (z - self.shift) * self.scale
        return scaled

    @torch.no_grad()
    def decoded(self, latents: Array) -> Array:
        """Pictures of latents, without the padding, from 0 to 1."""
        z = torch.from_numpy(latents).float() / self.scale + self.shift
        x_NCHW = F.pixel_shuffle(self.network.decode(z).sample, self.square)
        height, width = self.shape[:2]
        pictures = ((x_NCHW[:, :, :height, :width] + 1) / 2).clamp(0, 1).double().numpy()
        outside: Array = pictures[:, 0] if len(self.shape) == 2 else pictures.transpose(0, 2, 3, 1)
        return outside


def inside(pictures_N: Array, multiple: int = MULTIPLE, square: int = SQUARE) -> Tensor:
    """Pictures (N, channels, H, W) from -1 to 1: edges repeated up to a multiple; squares as channels."""
    x_NCHW = torch.from_numpy(np.asarray(pictures_N)).float()
    x_NCHW = x_NCHW[:, None] if x_NCHW.ndim == 3 else x_NCHW.permute(0, 3, 1, 2)
    height, width = (math.ceil(side / multiple) * multiple for side in x_NCHW.shape[2:])
    padding = (0, width - x_NCHW.shape[3], 0, height - x_NCHW.shape[2])
    return F.pixel_unshuffle(F.pad(x_NCHW, padding, mode="replicate") * 2 - 1, square)


def tiny(shape: tuple[int, ...]) -> Any:
    """An untrained `AutoencoderKL` for pictures of this shape: latents have an eighth of their height and width."""
    channels = (1 if len(shape) == 2 else shape[2]) * SQUARE**2
    return needed("diffusers").AutoencoderKL(in_channels=channels, out_channels=channels, **TINY)


def learnt(pictures_N: Array, recipe: Recipe, seed: int, **more: Any) -> tuple[Autoencoder, list[Row]]:
    """The tiny autoencoder, trained on these pictures alone. `more`: `workdir` and `run` of `descend`."""
    torch.manual_seed(seed)
    network = tiny(pictures_N.shape[1:])
    x_NCHW = inside(pictures_N)

    def loss_of(draws: Generator) -> Tensor:
        x = x_NCHW[drawn_rows(len(x_NCHW), recipe.batch, draws)]
        code = network.encode(x).latent_dist
        z = code.mean + code.std * torch.randn(code.mean.shape, generator=draws)
        error: Tensor = F.mse_loss(network.decode(z).sample, x) + KL_WEIGHT * code.kl().mean()
        return error

    rows = descend("autoencoder", network, loss_of, recipe, seed, **more)
    z = Autoencoder(network, pictures_N.shape[1:]).latents(x_NCHW)
    made = Autoencoder(network, pictures_N.shape[1:], shift=float(z.mean()), scale=float(1 / z.std()))
    return made, rows


def given(folder: Path, pictures_N: Array) -> Autoencoder:
    """The autoencoder of a diffusers folder (`vae/` or `vqvae/`), with the scale of latents that it says.

    Raises
    ------
    InputError: neither is there, it is damaged, or it takes pictures of other channels.
    """
    below = next((folder / name for name in ("vae", "vqvae") if (folder / name).is_dir()), folder / "vae")
    with reads(below / "config.json", "give a folder of diffusers with unet/ and vae/ (or vqvae/) in it"):
        kind = json.loads((below / "config.json").read_text(encoding="utf-8"))["_class_name"]
        if kind not in KINDS:
            raise ValueError(f"it is a {kind}, not one of {', '.join(KINDS)}")
        maker = getattr(needed("diffusers"), kind)
        network = maker.from_pretrained(below, local_files_only=True, use_safetensors=True)
        channels = 1 if pictures_N.ndim == 3 else pictures_N.shape[3]
        if network.config.in_channels != channels:
            raise ValueError(f"it takes {network.config.in_channels} channels, the pictures have {channels}")
        multiple = 2 ** len(network.config.block_out_channels)
    # as the UNet beside it knows them
    shift, scale = network.config.get("shift_factor") or 0.0, network.config.scaling_factor
    return Autoencoder(network, pictures_N.shape[1:], multiple, 1, float(shift), float(scale))
