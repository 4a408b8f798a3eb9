"""What the rest of the product asks of a network, whichever family it is of.

Shapes: B windows, P parcels, T steps, N time patches, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from brainlm_model.models.config import ModelConfig
from brainlm_model.models.encoded import Encoded, States
from brainlm_model.models.layout import Layout


def described(network: Any, name: str) -> str:
    """A network on one line: its parcels, window, sizes and number of parameters."""
    c = network.config
    count = sum(weights.numel() for weights in network.parameters())
    return (
        f"{name}({c.parcels} parcels x {c.window} steps in patches of {c.patch}, width {c.width}, "
        f"{c.depth} + {c.decoder_depth} blocks, {count:,} parameters)"
    )


class Network(Protocol):
    """`BrainLM` and `OfficialNetwork` are of this form.

    Attributes
    ----------
    config: its architecture, or what corresponds to it. coordinates: (P, 3) of the parcels, as the network uses them.
    training: whether what is random in training is on.
    """

    config: ModelConfig
    coordinates: Tensor
    training: bool

    @property
    def cls(self) -> Tensor:
        """The CLS token: says on which device the network is."""

    @property
    def mask_shape(self) -> tuple[int, int]:
        """Rows and columns of a mask."""

    def steps(self, mask_BPN: Tensor) -> Tensor:
        """The steps (B, P, T) that a mask hides."""

    def __call__(self, x_BPT: Tensor, mask_BPN: Tensor, layout: Layout | None = None, expected: Any = None) -> Tensor:
        """Reconstruction (B, P, T): predictions where a token is masked or unknown, the input elsewhere.

        `layout` and `expected`: what the two methods below give, for a caller that must not wait for a GPU.
        """

    def layout(self, x_BPT: Tensor, mask_BPN: Tensor) -> Layout:
        """How many tokens of these windows are visible."""

    def expect(self, x_BPT: Tensor, mask_BPN: Tensor, layout: Layout | None = None) -> Any:
        """What the network's prior says of windows; None without one."""

    def embed(self, x_BPT: Tensor) -> Tensor:
        """CLS embedding (B, D) of whole windows."""

    def encode(self, x_BPT: Tensor) -> Encoded:
        """CLS state and means of the tokens that are known, of whole windows."""

    def states(self, x_BPT: Tensor) -> States:
        """CLS and every token after the encoder, of whole windows; N of them a parcel, one after another in time."""

    def attention(self, x_BPT: Tensor) -> Tensor:
        """Attention (B, 1 + P, 1 + P) between CLS and parcels; InputError where the network has none."""

    def fresh(self) -> Any:
        """The same architecture with random weights, and the same buffers: what is not trained."""

    def architecture(self) -> dict[str, Any]:
        """What config.json says of it: `{"model": ...}`, or `{"official": ...}`."""

    def state_dict(self) -> dict[str, Tensor]:
        """Weights and buffers by name, as of `torch.nn.Module`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Weights, as of `torch.nn.Module`."""

    def eval(self) -> Any:
        """Turn off what is random in training."""

    def train(self, mode: bool = True) -> Any:
        """Turn on or off what is random in training."""

    def to(self, device: Any) -> Any:
        """Move to a device."""
