"""What comes after the encoder of a fine-tuned model. Shapes: B windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

DROPOUT = 0.1  # of the mlp head


class PredictionHead(nn.Module):
    """Outputs (B, outputs) from features (B, width): one linear layer, or an MLP of three with GELU between them.

    Parameters
    ----------
    start: (outputs,) what it gives before training, nearly: the mean label, or the classes' log frequencies.
    """

    def __init__(
        self, kind: Literal["linear", "mlp"], width: int, outputs: int, start: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        hidden: list[nn.Module] = []
        if kind == "mlp":
            for _ in range(2):
                hidden += [nn.Linear(width, width), nn.GELU(), nn.Dropout(DROPOUT)]
        self.hidden = nn.Sequential(*hidden)
        self.last = nn.Linear(width, outputs)
        nn.init.normal_(self.last.weight, std=0.01)
        with torch.no_grad():
            self.last.bias.copy_(torch.tensor(start if start is not None else [0.0] * outputs))

    def forward(self, features_BD: Tensor) -> Tensor:
        """Outputs (B, outputs)."""
        return self.last(self.hidden(features_BD))
