"""What an encoder gives, pooled. Shapes: B windows, P parcels, N time patches, D width."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Encoded(NamedTuple):
    """States of windows: CLS (B, D), mean of the known tokens (B, D), and of each parcel's known tokens (B, P, D)."""

    cls_BD: Tensor
    mean_BD: Tensor
    parcels_BPD: Tensor


class States(NamedTuple):
    """States of windows: CLS (B, D), every token (B, P, N, D), and which of them are known (B, P, N)."""

    cls_BD: Tensor
    tokens_BPND: Tensor
    visible_BPN: Tensor


def pool(cls_BD: Tensor, tokens_BPND: Tensor, visible_BPN: Tensor) -> Encoded:
    """Means over the tokens that are visible, whatever the others hold; NaN where none is."""
    visible = visible_BPN[..., None]
    sums_BPD, count_BP1 = tokens_BPND.where(visible, 0).sum(2), visible.sum(2)
    return Encoded(cls_BD, sums_BPD.sum(1) / count_BP1.sum(1), sums_BPD / count_BP1)
