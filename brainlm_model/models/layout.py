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
    each: of every window.
    """

    fewest: int
    most: int
    visible_most: int
    hidden_most: int
    each: tuple[int, ...]

    @classmethod
    def of(cls, hidden_BPN: Tensor) -> Layout:
        """Count them; where the mask is on a GPU this waits for it, once."""
        visible_BN = (~hidden_BPN).sum(1)
        visible_B = visible_BN.sum(1)
        hidden_BN = torch.where(visible_BN > 0, hidden_BPN.shape[1] - visible_BN, 0)
        # one after another, so that all numbers travel from the GPU together
        *each, visible_most, hidden_most = torch.cat(
            [visible_B, visible_BN.max()[None], hidden_BN.max()[None]]
        ).tolist()
        return cls(min(each), max(each), visible_most, hidden_most, tuple(each))

    @property
    def equal(self) -> bool:
        """Whether all windows have as many: then they are a rectangle, and attention needs no mask."""
        return self.fewest == self.most

    def groups(self) -> dict[int, list[int]]:
        """Number of visible tokens -> windows that have as many, in order."""
        return {count: [row for row, own in enumerate(self.each) if own == count] for count in sorted(set(self.each))}


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
