"""Which tokens of a batch are visible: how many, which decides the shapes inside a network, and where they are.

They are counted where the batch is made, on the host, so that a GPU is never waited for in the forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Numbers of visible tokens.

    Attributes
    ----------
    fewest, most: of the windows.
    visible_most: of one time patch: the most visible parcels.
    hidden_most: of one time patch: the most hidden parcels; patches in which nothing is visible do not count.
    """

    fewest: int
    most: int
    visible_most: int
    hidden_most: int

    @classmethod
    def of(cls, hidden_BPN: Tensor) -> Layout:
        """Count them; where the mask is on a GPU this waits for it, once."""
        visible_BN = (~hidden_BPN).sum(1)
        visible_B = visible_BN.sum(1)
        hidden_BN = torch.where(visible_BN > 0, hidden_BPN.shape[1] - visible_BN, 0)
        # stacked, so that the four numbers travel from the GPU together
        return cls(*torch.stack([visible_B.min(), visible_B.max(), visible_BN.max(), hidden_BN.max()]).tolist())

    @property
    def equal(self) -> bool:
        """Whether all windows have as many: then they are a rectangle, and attention needs no mask."""
        return self.fewest == self.most


def gather_order(wanted_BL: Tensor, fewest: int, most: int) -> tuple[Tensor, Tensor | None]:
    """Places of the wanted tokens, in order, as a rectangle; and which entries are real where rows differ in number.

    `fewest`, `most`: wanted tokens of a row.
    """
    # a stable sort of 0 (wanted) and 1: the wanted places come first, in their order
    order = (~wanted_BL).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    if fewest == most:
        return order, None
    return order, torch.arange(most, device=wanted_BL.device) < wanted_BL.sum(1)[:, None]


def take(x_BLD: Tensor, order_BM: Tensor) -> Tensor:
    """Rows of `x_BLD` by place."""
    return x_BLD.gather(1, order_BM[..., None].expand(-1, -1, x_BLD.shape[-1]))
