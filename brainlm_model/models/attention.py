"""Attention of the last encoder block between CLS and parcels: what a network looks at when nothing is masked.

Shapes: B windows, P parcels, T steps, N time patches, L tokens, D width, H heads. `R = 1 + P`: CLS first, then parcels.

Only tokens that are known count, as queries and as keys: a parcel without any has NaN in its row and its column, and
what remains of every other row sums to 1. Source: the attention analysis of Ortega Caro et al., BrainLM, ICLR 2024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_data import InputError
from brainlm_model.models.brainlm import Attention, BrainLM, gather_order
from brainlm_model.models.official.brainlm import OfficialBrainLM

if TYPE_CHECKING:
    from brainlm_model.models.official.network import OfficialNetwork


def attention(network: BrainLM | OfficialNetwork, x_BPT: Tensor) -> Tensor:
    """Attention (B, R, R) of whole windows: rows are queries, mean over heads; one window at a time, to save memory.

    Axial models: attention across parcels, mean over the time patches in which the query is known. Attention over all
    tokens: sum over the time patches of the parcel that is looked at, mean over those of the one that looks.

    Raises
    ------
    InputError: a ViTMAE (its tokens hold several parcels), or Nystrom's approximation (it has no weights of tokens).
    """
    with torch.inference_mode():
        if isinstance(network, BrainLM):
            one = _axial if network.config.attention == "axial" else _full
            return torch.stack([one(network, x[None]) for x in x_BPT])
        if not isinstance(network.network, OfficialBrainLM):
            raise InputError(
                "attention: the tokens of a ViTMAE are squares of several parcels and steps",
                "it has no attention between parcels; give a BrainLM",
            )
        return torch.stack([_official(network, x[None]) for x in x_BPT])


def between_parcels(weights_LL: Tensor, owner_L: Tensor, parcels: int) -> Tensor:
    """Attention (R, R) from that between tokens, CLS first: sum over the keys of an owner, mean over its queries.

    `owner_L`: place of each token in R, 0 for CLS.
    """
    member_LR = F.one_hot(owner_L, 1 + parcels).to(weights_LL.dtype)
    count_R = member_LR.sum(0)
    found = (member_LR.T @ weights_LL @ member_LR) / count_R[:, None]
    return _without(found, count_R == 0)


def _axial(network: BrainLM, x_1PT: Tensor) -> Tensor:
    patches = network.config.patches
    known_NR = F.pad(~_hidden(x_1PT, network.config.patch)[0].T, (1, 0), value=True)
    (x_1RND,), _ = _seen_by_last(network.encoder, lambda: network.encode(x_1PT))
    block: Any = network.encoder[-1]
    rows_NRD = block.norms[0](x_1RND[0]).transpose(0, 1)
    total = torch.zeros(known_NR.shape[1], known_NR.shape[1], device=x_1PT.device)
    for patch in range(patches):
        weights_RR = weights(block.across_parcels, rows_NRD[patch][None], rows_NRD[patch][None])[0]
        weights_RR = weights_RR * known_NR[patch]
        weights_RR = weights_RR / weights_RR.sum(1, keepdim=True)
        total += weights_RR * known_NR[patch][:, None]
    count_R = known_NR.sum(0)
    return _without(total / count_R[:, None], count_R == 0)


def _full(network: BrainLM, x_1PT: Tensor) -> Tensor:
    hidden_PN = _hidden(x_1PT, network.config.patch)[0]
    visible = int((~hidden_PN).sum())
    order_1L, _ = gather_order(~hidden_PN.flatten()[None], visible, visible)
    (x_1LD,), _ = _seen_by_last(network.encoder, lambda: network.encode(x_1PT))
    block: Any = network.encoder[-1]
    normed = block.norm_attention(x_1LD)
    owner = F.pad(order_1L[0] // network.config.patches + 1, (1, 0))
    return between_parcels(weights(block.attention, normed, normed)[0], owner, network.config.parcels)


def _official(network: OfficialNetwork, x_1PT: Tensor) -> Tensor:
    layer: Any = network.network.vit["encoder"]["layer"][-1]
    if layer.landmarks != layer.segment:
        raise InputError(
            "attention: Nystrom's approximation has weights of landmarks, not of tokens",
            "a model whose num_landmarks is its segment_means_seq_len, as all that were released",
        )
    (x_1LD, *_), ids_restore = _seen_by_last(network.network.vit["encoder"]["layer"], lambda: network.visible(x_1PT)[1])
    own = layer.attention["self"]
    owner = F.pad(ids_restore[0].argsort()[: x_1LD.shape[1] - 1] // network.config.patches + 1, (1, 0))
    found = _softmax(*(own[name](x_1LD).unflatten(2, (layer.heads, -1)).transpose(1, 2) for name in ("query", "key")))
    return between_parcels(found[0], owner, network.config.parcels)


def weights(module: Attention, x_BLD: Tensor, context_BKD: Tensor) -> Tensor:
    """Softmax weights (B, L, K) of an attention module, mean over heads."""
    width = x_BLD.shape[2]
    key = F.linear(context_BKD, module.key_value.weight[:width], module.key_value.bias[:width])
    return _softmax(*(t.unflatten(2, (module.heads, -1)).transpose(1, 2) for t in (module.query(x_BLD), key)))


def _softmax(query_BHLE: Tensor, key_BHKE: Tensor) -> Tensor:
    """Mean over heads, one head at a time: with 4,240 tokens each has 72 MB."""
    scale = query_BHLE.shape[3] ** -0.5
    heads = query_BHLE.shape[1]
    total: Any = 0
    for head in range(heads):
        total = total + (query_BHLE[:, head] * scale @ key_BHKE[:, head].transpose(1, 2)).softmax(-1) / heads
    return total


def _seen_by_last(blocks: Any, run: Any) -> tuple[tuple[Tensor, ...], Any]:
    """What the last of `blocks` is given while `run()` goes through them, and what that returns."""
    seen: list[tuple[Tensor, ...]] = []
    last: nn.Module = blocks[-1]
    hook = last.register_forward_pre_hook(lambda _, given: seen.append(given))
    try:
        result = run()
    finally:
        hook.remove()
    return seen[0], result


def _hidden(x_BPT: Tensor, patch: int) -> Tensor:
    """Which tokens (B, P, N) are not known."""
    return x_BPT.unflatten(2, (-1, patch)).isnan().any(-1)


def _without(found_RR: Tensor, absent_R: Tensor) -> Tensor:
    return found_RR.masked_fill(absent_R[:, None] | absent_R, torch.nan)
