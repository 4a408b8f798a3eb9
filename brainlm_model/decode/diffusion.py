"""The double-conditioned latent diffusion model (MinD-Vis): what a pattern says reaches the UNet by two ways.

The UNet is that of diffusers. Cross-attention looks at a sequence made of the encoder's tokens, and one vector of it is
added to the embedding of the time step. Shapes are in the names: B patterns, T tokens, D their width, L = 77 tokens and
C channels of the context.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from brainlm_data import reads
from brainlm_model.decode.extra import needed
from brainlm_model.decode.pca import PCA
from brainlm_model.decode.scmbm import SCMBM
from brainlm_model.models.weights import check_finite

LENGTH = 77  # of the context, as of the texts for which such UNets were made
TINY_UNET = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 16,
    "cross_attention_dim": 64,
}  # fmt: skip
PREDICTIONS = ("epsilon", "v_prediction", "sample")
SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
SCHEDULE_KEYS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type")


class Conditioning(nn.Module):
    """From the encoder's tokens (B, T, D) to the context (B, 77, C), and from that to one vector (B, C).

    `settle` takes from each token what it is in every pattern (its place, mostly), which else hides what differs
    between patterns from a small network that learns for minutes. Without it tokens are as they are, as published.
    """

    def __init__(self, tokens: int, width: int, channels: int) -> None:
        super().__init__()
        half = max(tokens // 2, 1)
        self.over_tokens = nn.Sequential(nn.Conv1d(tokens, half, 1), nn.Conv1d(half, LENGTH, 1))
        self.to_channels = nn.Linear(width, channels)
        self.to_vector = nn.Sequential(nn.Conv1d(LENGTH, LENGTH // 2, 1), nn.Conv1d(LENGTH // 2, 1, 1))
        self.register_buffer("centre", torch.zeros(tokens, width))
        self.register_buffer("spread", torch.ones(tokens, width))
        self.centre: Tensor
        self.spread: Tensor

    def settle(self, tokens_BTD: Tensor) -> None:
        """Take mean and SD of training patterns' tokens as what is common to all."""
        self.centre.copy_(tokens_BTD.mean(dim=0))
        self.spread.copy_(tokens_BTD.std(dim=0) + 1e-6)

    def forward(self, tokens_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Context (B, 77, C) and vector (B, C)."""
        tokens_BTD = (tokens_BTD - self.centre) / self.spread
        context_BLC = self.to_channels(self.over_tokens(tokens_BTD))
        return context_BLC, self.to_vector(context_BLC)[:, 0]


def tiny_unet(latent: tuple[int, ...]) -> Any:
    """An untrained UNet for latents (c, h, w); it takes a vector beside the context (`class_embed_type`)."""
    channels, height, width = latent
    return needed("diffusers").UNet2DConditionModel(
        sample_size=(height, width), in_channels=channels, out_channels=channels, class_embed_type="projection",
        projection_class_embeddings_input_dim=TINY_UNET["cross_attention_dim"], **TINY_UNET,
    )  # fmt: skip


def given_unet(folder: Path, latent: tuple[int, ...]) -> Any:
    """The UNet of a diffusers folder, with an embedding of a vector where it has none, which is then to be learnt.

    Raises
    ------
    InputError: no such folder, damaged, no safetensors, a UNet without cross-attention, or for latents of other
        channels than these (c, h, w) of the autoencoder.
    """
    kind = needed("diffusers").UNet2DConditionModel
    with reads(folder / "config.json", "give a folder of diffusers with unet/ and vae/ (or vqvae/) in it"):
        config = dict(kind.load_config(folder, local_files_only=True))
        if not isinstance(config.get("cross_attention_dim"), int):
            raise ValueError("its UNet has no cross-attention")
        if config.get("in_channels") != latent[0]:
            raise ValueError(f"it takes {config.get('in_channels')} channels, the autoencoder gives {latent[0]}")
        config |= {
            "class_embed_type": "projection", "projection_class_embeddings_input_dim": config["cross_attention_dim"],
        }  # fmt: skip
        unet = kind.from_config(config)
    file = folder / "diffusion_pytorch_model.safetensors"
    with reads(file, "give a folder of diffusers whose weights are saved as safetensors"):
        weights = load_file(file)
        check_finite(weights)
        missing, extra = unet.load_state_dict(weights, strict=False)
        own = [name for name in missing if not name.startswith("class_embedding.")]
        if own or extra:
            raise ValueError(f"weights of another UNet: {', '.join([*own, *extra][:3])}")
    return unet


class Painter(nn.Module):
    """Encoder, conditioning and UNet: everything that learns in the second stage, and what stays frozen in the UNet.

    `straight` guesses the latents (c, h, w) from the vector alone, for `guess_loss`; nothing else uses it.
    """

    def __init__(self, encoder: SCMBM | PCA, unet: Any, scheduler: Any, latent: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder, self.unet, self.scheduler, self.latent = encoder, unet, scheduler, latent
        channels = unet.config.cross_attention_dim
        self.conditioning = Conditioning(encoder.tokens, encoder.width, channels)
        self.straight = nn.Linear(channels, math.prod(latent))

    def conditions(self, x_BV: Tensor) -> tuple[Tensor, Tensor]:
        """What patterns say, for both ways: context (B, 77, C) and vector (B, C)."""
        context_BLC, vector_BC = self.conditioning(self.encoder.encode(x_BV))
        return context_BLC, vector_BC

    def forward(self, noisy: Tensor, time_B: Tensor, context_BLC: Tensor, vector_BC: Tensor) -> Tensor:
        """What the UNet predicts of noisy latents (B, c, h, w)."""
        predicted: Tensor = self.unet(noisy, time_B, encoder_hidden_states=context_BLC, class_labels=vector_BC).sample
        return predicted

    def none(self, batch: int) -> tuple[Tensor, Tensor]:
        """No condition: zeros for both ways."""
        channels = self.unet.config.cross_attention_dim
        return torch.zeros(batch, LENGTH, channels), torch.zeros(batch, channels)

    def loss(self, z_BCHW: Tensor, context_BLC: Tensor, vector_BC: Tensor, draws: Generator) -> Tensor:
        """Mean squared error of a denoising step at random times."""
        noise = torch.randn(z_BCHW.shape, generator=draws)
        steps = self.scheduler.config.num_train_timesteps
        time_B = torch.randint(steps, (len(z_BCHW),), generator=draws)
        noisy = self.scheduler.add_noise(z_BCHW, noise, time_B)
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            target = self.scheduler.get_velocity(z_BCHW, noise, time_B)
        else:
            target = noise if kind == "epsilon" else z_BCHW
        return F.mse_loss(self(noisy, time_B, context_BLC, vector_BC), target)

    def guess_loss(self, z_BCHW: Tensor, vector_BC: Tensor) -> Tensor:
        """Mean squared error of a straight guess of the latents: tells a small encoder early what is to be told."""
        return F.mse_loss(self.straight(vector_BC), z_BCHW.flatten(1))

    def learns(self, everything: bool) -> None:
        """Choose what asks for gradients: all, or as published encoder, projectors, cross-attention, its norms."""
        self.requires_grad_(True)
        if not everything:
            self.unet.requires_grad_(False)
            for parameter in conditioned(self.unet):
                parameter.requires_grad_(True)
        used_to_encode = {"embed", "blocks", "norm"}
        for name, parameter in self.encoder.named_parameters():
            if name.split(".")[0] not in used_to_encode:
                parameter.requires_grad_(False)  # the decoder of the pretraining has no part in this

    @torch.no_grad()
    def sample(
        self,
        x_BV: Tensor,
        scheduler: Any,
        steps: int,
        draws: Generator,
        start: Tensor | None = None,
        strength: float = 1.0,
        guidance: float = 1.0,
    ) -> Tensor:
        """One sample of latents (B, c, h, w) for each pattern, by a scheduler of diffusers (DDIM, PNDM).

        start: latents (B, c, h, w) that are noised, and denoised by the last `strength` of the steps; None: from pure
        noise by all of them. guidance: how far a step goes from what is predicted without a condition to what is with
        it, and beyond (Ho & Salimans, 2022); 1: with it alone, none.
        """
        conditions, without = self.conditions(x_BV), self.none(len(x_BV))
        scheduler.set_timesteps(steps)
        times = scheduler.timesteps
        z = torch.randn((len(x_BV), *self.latent), generator=draws)
        if start is None:
            z = z * scheduler.init_noise_sigma
        else:
            times = last(times, strength)
            z = scheduler.add_noise(start, z, times[:1].expand(len(z)))
        for time in times:
            scaled, times_B = scheduler.scale_model_input(z, time), time.expand(len(z))
            predicted = self(scaled, times_B, *conditions)
            if guidance != 1:
                plain = self(scaled, times_B, *without)
                predicted = plain + guidance * (predicted - plain)
            z = scheduler.step(predicted, time, z).prev_sample
        return z


def last(times: Tensor, share: float) -> Tensor:
    """The last share of a sampler's times, one at least. PNDM makes its second step twice, wherever it begins."""
    each = times.unique().flip(0)
    kept = each[-max(round(share * len(each)), 1) :]
    return torch.cat([kept[:2], kept[1:]]) if len(times) > len(each) else kept


def conditioned(unet: Any) -> Iterator[nn.Parameter]:
    """The weights of a UNet through which conditions come: cross-attention and its norms, embedding of the vector."""
    for name, parameter in unet.named_parameters():
        in_attention = "transformer_blocks" in name and (".attn2." in name or ".norm2." in name)
        if in_attention or name.startswith("class_embedding."):
            yield parameter


def noise_schedule(base: Path | None = None) -> Any:
    """The steps by which noise is added in training: cosine and velocity, or those of a diffusers folder.

    Raises
    ------
    InputError: the folder has no `scheduler/`: what its UNet learnt to predict, of which noise, is not known then.
    """
    kind = needed("diffusers").DDPMScheduler
    if base is None:
        return kind(**SCHEDULE)
    file = base / "scheduler" / "scheduler_config.json"
    with reads(file, "give a folder of diffusers with scheduler/ beside unet/ and vae/ (or vqvae/)"):
        given = json.loads(file.read_text(encoding="utf-8"))
        known = {key: given[key] for key in SCHEDULE_KEYS if key in given}
        schedule = kind(**known)
        predicted = schedule.config.prediction_type
        if predicted not in PREDICTIONS:
            raise ValueError(f"prediction_type {predicted!r} is not one of {', '.join(PREDICTIONS)}")
    return schedule


def sampler(kind: str, schedule: Any) -> Any:
    """A sampler of diffusers, `ddim` or `pndm`, for a UNet that learnt with this schedule."""
    diffusers = needed("diffusers")
    known = {key: schedule.config[key] for key in SCHEDULE_KEYS}
    if kind == "ddim":
        return diffusers.DDIMScheduler(**known, clip_sample=False)
    return diffusers.PNDMScheduler(**known, skip_prk_steps=True)
