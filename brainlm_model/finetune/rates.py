"""How fast each layer learns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

BLOCK = re.compile(r"(?:^|\.)encoder\.(?:layer\.)?(\d+)\.")  # of `BrainLM` and of the official networks
TOP = ("encoder_norm.", "decoder", "head.", "network.vit.layernorm.", "network.decoder.")
# not decayed although some are matrices: they are no weights of a product, or one of coordinates
PLACES = ("spatial", "temporal", "cls", "cls_token", "mask_token", "place.weight")


def layer_rates(names: Iterable[str], decay: float) -> dict[str, float]:
    """Factor of the learning rate of each parameter of a network: decay^(layers above it), as BEiT and MAE have it.

    The embeddings are layer 0, encoder block i is layer i + 1, and all that lies above the encoder (its last norm, a
    decoder, a head) is layer depth + 1, whose factor is 1.
    """
    names = list(names)
    matches = {name: BLOCK.search(name) for name in names}
    depth = max((int(match.group(1)) + 1 for match in matches.values() if match), default=0)
    layers = {
        name: int(match.group(1)) + 1 if match else depth + 1 if name.startswith(TOP) else 0
        for name, match in matches.items()
    }
    return {name: decay ** (depth + 1 - layer) for name, layer in layers.items()}


def parameter_groups(
    network: nn.Module | None, head: nn.Module | None, decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for AdamW: `factor` of the learning rate by layer (the head's is 1), weight decay of matrices only.

    `network` None: it is frozen. Parameters that want no gradient are left out.
    """
    named = [(n, p) for n, p in network.named_parameters() if p.requires_grad] if network is not None else []
    rates = layer_rates((name for name, _ in named), decay)
    own = [(f"finetune.{name}", p) for name, p in head.named_parameters()] if head is not None else []
    rates |= {name: 1.0 for name, _ in own}
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in [*named, *own]:
        kept = parameter.ndim <= 1 or name.endswith(PLACES)
        groups.setdefault((rates[name], 0.0 if kept else weight_decay), []).append(parameter)
    return [{"params": params, "factor": f, "weight_decay": d} for (f, d), params in groups.items()]
