"""What networks share in computing the attention of their last encoder block between CLS and parcels.

Shapes: B windows, P parcels, T steps, N time patches, L tokens, D width, H heads. `R = 1 + P`: CLS first, then parcels.

Only tokens that are known count, as queries and as keys: a parcel without any has NaN in its row and its column, and
what remains of every other row sums to 1. Source: the attention analysis of Ortega Caro et al., BrainLM, ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def one_by_one(attention: Callable[[Tensor], Tensor], x_BPT: Tensor) -> Tensor:
    """Attention (B, R, R) of whole windows, one window (1, P, T) at a time: that of all tokens takes much memory."""
    with torch.inference_mode():
        return torch.stack([attention(x_PT[None]) for x_PT in x_BPT])


def over_patches(weights_NRR: Tensor, known_NR: Tensor) -> Tensor:
    """Attention (R, R) from that within each time patch: the mean over the patches in which the query is known.

    Keys that are not known in a patch are left out there, and the rest of the row is scaled up to 1.
    """
    total_RR = torch.zeros_like(weights_NRR[0])
    for weights_RR, known_R in zip(weights_NRR, known_NR, strict=True):
        among_known = weights_RR * known_R  # columns: what is looked at
        among_known = among_known / among_known.sum(1, keepdim=True)
        total_RR += among_known * known_R[:, None]  # rows: what looks
    count_R = known_NR.sum(0)
    return _nan_where(count_R == 0, total_RR / count_R[:, None])


def between_parcels(weights_LL: Tensor, owner_L: Tensor, parcels: int) -> Tensor:
    """Attention (R, R) from that between tokens, CLS first: sum over the keys of an owner, mean over its queries.

    `owner_L`: place of each token in R, 0 for CLS.
    """
    # With M (L, R), 1 where a token is of an owner: M' W M sums over the tokens of both sides; / count: mean over rows.
    member_LR = F.one_hot(owner_L, 1 + parcels).to(weights_LL.dtype)
    count_R = member_LR.sum(0)
    sums_RR = member_LR.T @ weights_LL @ member_LR
    return _nan_where(count_R == 0, sums_RR / count_R[:, None])


def owners(order_L: Tensor, patches: int) -> Tensor:
    """Place in R of CLS and of tokens that follow it, by their places in the grid of parcels x time patches."""
    return F.pad(order_L // patches + 1, (1, 0))


def weights(module: Any, x_BLD: Tensor, context_BKD: Tensor) -> Tensor:
    """Softmax weights (B, L, K), mean over heads, of a `blocks.Attention`."""
    width = x_BLD.shape[2]
    # `key_value` is one layer for both: its first half gives the keys
    key = F.linear(context_BKD, module.key_value.weight[:width], module.key_value.bias[:width])
    return softmax_weights(module.query(x_BLD), key, module.heads)


def softmax_weights(query_BLD: Tensor, key_BKD: Tensor, heads: int) -> Tensor:
    """Softmax weights (B, L, K), mean over heads, one head at a time: with 4,240 tokens each has 72 MB."""
    query_BHLE = query_BLD.unflatten(2, (heads, -1)).transpose(1, 2)
    key_BHKE = key_BKD.unflatten(2, (heads, -1)).transpose(1, 2)
    scale = query_BHLE.shape[3] ** -0.5  # 1 / sqrt(width of a head): products of E terms have a spread of sqrt(E)
    total: Any = 0
    for head in range(heads):
        scores_BLK = query_BHLE[:, head] * scale @ key_BHKE[:, head].transpose(1, 2)
        total = total + scores_BLK.softmax(-1) / heads
    return total


def input_of_last(blocks: Any, run: Callable[[], Any]) -> tuple[Tensor, Any]:
    """The tokens that the last of `blocks` is given while `run()` goes through them, and what `run()` returns."""
    inputs: list[Tensor] = []
    last: nn.Module = blocks[-1]
    hook = last.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        result = run()
    finally:
        hook.remove()
    return inputs[0], result


def hidden_tokens(x_BPT: Tensor, patch: int) -> Tensor:
    """Which tokens (B, P, N) are not known."""
    return x_BPT.unflatten(2, (-1, patch)).isnan().any(-1)


def _nan_where(absent_R: Tensor, weights_RR: Tensor) -> Tensor:
    return weights_RR.masked_fill(absent_R[:, None] | absent_R, torch.nan)
