"""What the loops that train networks share: one step of an optimiser, and the weights of the best epoch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def gradient_step(loss: Tensor, optimizer: torch.optim.Optimizer, clip: float = math.inf) -> None:
    """One step down the gradient of a loss, whose norm over all parameters is at most `clip`."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip < math.inf:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()


class BestWeights:
    """The weights of a module at its lowest validation loss.

    Attributes
    ----------
    loss: the lowest one so far. waited: epochs since then.
    """

    def __init__(self, module: nn.Module, loss: float = math.inf) -> None:
        self.module, self.loss, self.waited = module, loss, 0
        self._state = self._copy()

    def update(self, loss: float) -> bool:
        """Count one epoch, which ended with this loss; true where it is the lowest so far."""
        better = loss < self.loss
        self.waited += 1
        if better:
            self.loss, self.waited, self._state = loss, 0, self._copy()
        return better

    def restore(self) -> None:
        """Put the best weights in place."""
        self.module.load_state_dict(self._state)

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.module.state_dict().items()}
