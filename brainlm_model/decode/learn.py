"""One loop for every network here: AdamW, warm-up and half a cosine, clipped gradients, a checkpoint to go on from."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from brainlm_data import left
from brainlm_model.baselines.descent import gradient_step
from brainlm_model.models.masking import generator
from brainlm_model.training import state

Row = dict[str, Any]
SAVES = 10  # checkpoints of a training
TOLD = 20  # lines that a training says


@dataclass(frozen=True)
class Recipe:
    """How a network learns.

    Attributes
    ----------
    steps, batch: gradient steps, rows of each. lr: at its highest. warmup: share of the steps in which it rises.
    weight_decay: of matrices alone. clip: largest norm of a gradient. betas: of AdamW.
    """

    steps: int
    batch: int
    lr: float
    warmup: float = 0.08
    weight_decay: float = 0.05
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.95)

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0."""
        warm = max(round(self.warmup * self.steps), 1)
        if step < warm:
            return self.lr * (step + 1) / warm
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(self.steps - warm, 1)))


def descend(
    name: str,
    network: nn.Module,
    loss_of: Callable[[Generator], Tensor],
    recipe: Recipe,
    seed: int,
    workdir: Path | None = None,
    run: Any = None,
) -> list[Row]:
    """Let those weights of a network learn that ask for gradients; returns a row (step, loss, lr) for each step.

    There is no choice among checkpoints: the weights of the last step count, and no test data are looked at.

    Parameters
    ----------
    loss_of: the loss of a step, whose random numbers come from the generator alone.
    workdir: for the checkpoint that a killed run goes on from; None: nothing is kept.
    run: what the run depends on, as JSON; a checkpoint of another run is not used.
    """
    optimizer = _optimizer(network, recipe)
    described = {"network": name, "recipe": asdict(recipe) | {"betas": list(recipe.betas)}, "seed": seed, "run": run}
    folder = None if workdir is None else workdir / name
    kept = None if folder is None else state.load(folder)
    rows: list[Row] = []
    if kept is not None and kept.run == described:
        kept.put(network, optimizer)
        rows = kept.log
    network.train()
    begin, first = time.monotonic(), len(rows)
    for step in range(first, recipe.steps):
        lr = recipe.rate(step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = loss_of(generator(seed, step))
        gradient_step(loss, optimizer, recipe.clip)
        rows.append({"step": step, "loss": float(loss.detach()), "lr": lr})
        done = step + 1
        if folder is not None and (done == recipe.steps or done % max(recipe.steps // SAVES, 1) == 0):
            state.save(folder, state.snapshot(described, network, optimizer, {}, rows, []))
        if workdir is not None and done % max(recipe.steps // TOLD, 1) == 0:
            rest = left((time.monotonic() - begin) / (done - first) * (recipe.steps - done))
            print(f"{name}: {done}/{recipe.steps}, loss {rows[-1]['loss']:.4f}, {rest}", file=sys.stderr, flush=True)
    network.eval()
    return rows


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.lr, betas=recipe.betas)


def drawn_rows(count: int, batch: int, draws: Generator) -> Tensor:
    """Numbers of `batch` rows of `count`: without replacement where there are enough."""
    if batch <= count:
        return torch.randperm(count, generator=draws)[:batch]
    return torch.randint(count, (batch,), generator=draws)
