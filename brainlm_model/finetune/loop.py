"""The loop of every fine-tuning: AdamW, cosine with warm-up, early stopping on validation subjects."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from brainlm_data import BrainLMError, Progress
from brainlm_model.baselines.descent import BestWeights, gradient_step
from brainlm_model.finetune.settings import Settings
from brainlm_model.models.masking import generator

FIRST_WEIGHTS, ORDER, DRAW = range(3)  # streams of random numbers
CLIP = 1.0  # largest norm of a gradient


class Task(Protocol):
    """What is learnt: `trained` are the modules whose weights change, by name."""

    @property
    def trained(self) -> nn.ModuleDict:
        """Modules whose weights are kept where the validation loss is least."""

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups with their `factor` of the learning rate."""

    def __len__(self) -> int:
        """Training recordings."""

    def loss(self, chosen: Sequence[int], epoch: int) -> Tensor:
        """Training loss of a batch of recordings."""

    def validate(self) -> float:
        """Loss on validation subjects, the same windows every time."""

    def train(self, on: bool) -> None:
        """Turn what is random in training on or off."""


def fit(task: Task, settings: Settings) -> list[dict[str, Any]]:
    """Train until the validation loss has not fallen for `patience` epochs; the best weights are in place at the end.

    Everything random follows from the seed. Returns the rows of the log; row 0 is the state before training.

    Raises
    ------
    BrainLMError: a loss that is no number.
    """
    torch.manual_seed(int(generator(settings.seed, FIRST_WEIGHTS, 1).initial_seed()))  # dropout
    optimizer = torch.optim.AdamW(task.groups, lr=settings.lr, betas=(0.9, 0.95))
    batch = min(settings.batch_size, len(task))
    per_epoch = math.ceil(len(task) / batch)
    progress = Progress("finetune", settings.epochs)
    task.train(False)
    best = BestWeights(task.trained, task.validate())
    log = [{"epoch": 0, "loss": "", "validation_loss": best.loss, "lr": "", "seconds": "", "best": True}]
    for epoch in range(1, settings.epochs + 1):
        begun, total = time.monotonic(), 0.0
        order = torch.randperm(len(task), generator=generator(settings.seed, ORDER, epoch)).tolist()
        task.train(True)
        for place in range(per_epoch):
            lr = settings.lr * schedule((epoch - 1) * per_epoch + place, settings.epochs * per_epoch, settings.warmup)
            for group in optimizer.param_groups:
                group["lr"] = lr * group["factor"]
            chosen = order[place * batch : (place + 1) * batch]
            loss = task.loss(chosen, epoch)
            gradient_step(loss, optimizer, CLIP)
            total += float(loss.detach()) * len(chosen)
        task.train(False)
        score = task.validate()
        if not (math.isfinite(total) and math.isfinite(score)):
            raise BrainLMError(f"the loss is {total / len(task)}, validation {score}, in epoch {epoch}", "lower --lr")
        log.append({"epoch": epoch, "loss": total / len(task), "validation_loss": score, "lr": lr,
                    "seconds": round(time.monotonic() - begun, 3), "best": best.update(score)})  # fmt: skip
        progress.step(epoch, f"loss {total / len(task):.4f}, validation {score:.4f} (best {best.loss:.4f})")
        if best.waited >= settings.patience:
            break
    best.restore()
    return log


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine to zero."""
    warm = max(round(warmup * steps), 1)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))
