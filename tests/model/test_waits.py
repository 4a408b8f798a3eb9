"""What would make a GPU wait for the host, or break a compiled graph, in a training step of every architecture.

On a CPU: operations that hand a number to Python, or whose shape depends on values, are counted as they are called.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from brainlm_model.models.brainlm import BrainLM
from brainlm_model.models.build import build_network
from brainlm_model.models.config import PRESETS, build
from brainlm_model.models.loss import squared_error
from brainlm_model.models.masking import generator, make_mask
from brainlm_model.models.official.config import sized

PARCELS, WINDOW, PATCH = 24, 40, 10
SMALL = {"width": 16, "heads": 2, "hidden": 16}
OFFICIAL = {"hidden_size": 48, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 2,
            "decoder_hidden_size": 48, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16,
            "decoder_num_hidden_layers": 2}  # fmt: skip
WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "masked_select", "repeat_interleave.Tensor")
NAMES = [*PRESETS, "official-13m", "vitmae-111m"]
# operations of a forward pass of a batch: the prior alone once took 2,314 for each window; of `tiny` most are twenty
# steps of conjugate gradients, of all windows at once
MOST = {"paper": 300, "fast": 1000, "small": 1150, "tiny": 2800, "official-13m": 400, "vitmae-111m": 270}


class Counted(TorchDispatchMode):
    """Names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[function.__name__] += 1
        return function(*args, **(kwargs or {}))

    def waits(self) -> list[str]:
        """Those that wait."""
        return [name for name in self.names if name.startswith(WAITS)]


def network_of(name: str) -> Any:
    """An architecture by name, narrow, for few parcels."""
    torch.manual_seed(0)
    place = torch.randn(PARCELS, 3, generator=generator(0)) * 50
    if name in PRESETS:
        return build_network(build(name, PARCELS, window=WINDOW, patch=PATCH, **SMALL), place)
    from dataclasses import replace

    return build_network(replace(sized(name, PARCELS, WINDOW, PATCH), **OFFICIAL), place)


def batch_of(network: Any, unknown: bool) -> tuple[Any, ...]:
    """Windows, masks and their layout, as the trainer's thread makes them."""
    x_BPT = torch.randn(3, PARCELS, WINDOW, generator=generator(1))
    if unknown:
        x_BPT[1, 4] = torch.nan
    mask = make_mask("random", 3, *network.mask_shape, 0.5, generator(2))
    return x_BPT, mask, network.layout(x_BPT, mask)


def expect(network: Any, *batch: Any) -> Any:
    """What the prior says, by the way that a GPU takes: all windows at once."""
    x_BPT, mask, layout = batch
    if isinstance(network, BrainLM) and network.prior is not None:
        return network.prior._together(*network._hide(x_BPT, mask), layout)
    return network.expect(x_BPT, mask, layout)


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_never_waits_for_the_host(name: str, unknown: bool) -> None:
    network = network_of(name).train()
    x_BPT, mask, layout = batch_of(network, unknown)
    with Counted() as forward:
        expected = expect(network, x_BPT, mask, layout)
        reconstruction = network(x_BPT, mask, layout, expected)
    with Counted() as backward:
        squared_error(reconstruction, x_BPT, network.steps(mask) & ~x_BPT.isnan()).backward()
    assert forward.waits() == backward.waits() == []
    groups = len(layout.groups()) if name.startswith("official") else 1  # which are computed one after another
    assert sum(forward.names.values()) <= groups * MOST[name]


@pytest.mark.slow
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_no_graph_breaks(name: str, unknown: bool) -> None:
    network = network_of(name).train()
    x_BPT, mask, layout = batch_of(network, unknown)
    expected = expect(network, x_BPT, mask, layout)
    torch._dynamo.reset()
    found = torch._dynamo.explain(network)(x_BPT, mask, layout, expected)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons
