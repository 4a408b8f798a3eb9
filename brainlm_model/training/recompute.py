"""Less memory for more time: blocks keep what goes into them, and compute the rest again in the backward pass.

Source: Chen et al., Training deep nets with sublinear memory cost, arXiv 1604.06174.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint

from brainlm_model.models.blocks import AxialBlock, Block
from brainlm_model.models.official import brainlm, vitmae

BLOCKS = (Block, AxialBlock, brainlm.Layer, vitmae.Layer)


def recompute_blocks(network: Any) -> None:
    """From now on every block of a network does so; values, gradients and names of weights stay as they are."""
    for module in network.modules():
        if isinstance(module, BLOCKS):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore[method-assign]
