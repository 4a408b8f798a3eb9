"""How fast each layer learns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

BLOCK = re.compile(r"(?:^|\.)encoder\.(?:layer\.)?(\d+)\.")  # of `BrainLM` and of the official networks
TOP = ("encoder_norm.", "decoder", "head.", "network.vit.layernorm.", "network.decoder.")
# not decayed although some are matrices: they are no weights of a product, or one of coordinates
PLACES = ("spatial", "temporal", "cls", "cls_token", "mask_token", "place.weight")


def layer_rates(names: Iterable[str], decay: float) -> dict[str, float]:
    """Factor of the learning rate of each parameter of a network: decay^(layers above it), as BEiT and MAE have it.

    The embeddings are layer 0, encoder block i is layer i + 1, and all that lies above the encoder (its last norm, a
    decoder, a head) is layer depth + 1, whose factor is 1.
    """
    layers: dict[str, int | None] = {}  # None: above the encoder, whose depth is not known yet
    depth = 0
    for name in names:
        block = BLOCK.search(name)
        if block:
            layers[name] = int(block.group(1)) + 1
            depth = max(depth, int(block.group(1)) + 1)
        elif name.startswith(TOP):
            layers[name] = None
        else:
            layers[name] = 0
    rates = {}
    for name, layer in layers.items():
        if layer is None:
            layer = depth + 1
        rates[name] = decay ** (depth + 1 - layer)  # decay^0 is 1
    return rates


def parameter_groups(
    network: nn.Module | None, head: nn.Module | None, decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for AdamW: `factor` of the learning rate by layer (the head's is 1), weight decay of matrices only.

    `network` None: it is frozen. Parameters that want no gradient are left out.
    """
    parameters: dict[str, nn.Parameter] = {}
    if network is not None:
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                parameters[name] = parameter
    rates = layer_rates(parameters, decay)
    if head is not None:
        for name, parameter in head.named_parameters():
            parameters[f"finetune.{name}"], rates[f"finetune.{name}"] = parameter, 1.0
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        own_decay = weight_decay
        if parameter.ndim <= 1 or name.endswith(PLACES):
            own_decay = 0.0
        group = {"params": [], "factor": rates[name], "weight_decay": own_decay}
        groups.setdefault((rates[name], own_decay), group)["params"].append(parameter)
    return list(groups.values())
