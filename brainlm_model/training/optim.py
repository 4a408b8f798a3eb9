"""Optimiser and learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

    from brainlm_model.training.recipe import Config

EMBEDDINGS = ("spatial", "temporal", "cls", "cls_token", "mask_token", "place.weight")


def make_optimizer(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter, 2019), which decays matrices alone, or plain Adam (Kingma & Ba, 2015)."""
    betas = (config.betas[0], config.betas[1])
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    fused = all(p.is_cuda for _, p in named)  # one kernel for all parameters; elsewhere the plain loop, as ever
    if config.optimizer == "adam":
        return torch.optim.Adam([p for _, p in named], lr=config.lr, betas=betas, fused=fused)
    plain = {name for name, p in named if p.ndim <= 1 or name.endswith(EMBEDDINGS)}
    groups = [
        {"params": [p for name, p in named if name not in plain], "weight_decay": config.weight_decay},
        {"params": [p for name, p in named if name in plain], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=betas, fused=fused)


def learning_rate(step: int, steps: int, config: Config) -> float:
    """Linear warm-up, then constant or a cosine to zero, `cycles` times (SGDR, Loshchilov & Hutter, 2017)."""
    warm = max(round(config.warmup * steps), 1)
    if step < warm:
        return config.lr * (step + 1) / warm
    if config.schedule == "constant":
        return config.lr
    progress = (step - warm) / max(steps - warm, 1)
    place = progress * config.cycles % 1.0 if progress < 1 else 1.0
    return config.lr * 0.5 * (1 + math.cos(math.pi * place))
