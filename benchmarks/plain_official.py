"""The official BrainLM written plainly: attention matrices and convolution are made as the official layer makes them.

Same constructor, weights and calls as `OfficialBrainLM` (`brainlm_model/models/official`); what speed and memory are
measured against. `python -m benchmarks.fixtures PREFIX --plain` holds it to the official outputs.
"""

from __future__ import annotations

from torch import Tensor

from brainlm_model.models.official.brainlm import Layer, OfficialBrainLM
from brainlm_model.models.official.config import BrainLMConfig


class PlainLayer(Layer):
    """Scores, their softmax and its product with the values, one after another; autograd keeps all of them.

    The convolution is torch's own, with its wrong gradient on a CPU (docs/official.md).
    """

    def attend(self, query: Tensor, key: Tensor, value: Tensor, attentions: list[Tensor] | None) -> Tensor:
        """See `Layer.attend`."""
        if self.landmarks != self.segment:
            return super().attend(query, key, value, attentions)
        scores_BHLL = query @ key.transpose(-1, -2)
        weights_BHLL = scores_BHLL.softmax(-1)
        if attentions is not None:
            attentions.append(weights_BHLL)
        return weights_BHLL @ value

    def convolve(self, value: Tensor) -> Tensor:
        """See `Layer.convolve`."""
        return self.attention["self"]["conv"](value)


class PlainBrainLM(OfficialBrainLM):
    """The official model of plain layers."""

    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__(config)
        for layers in (self.vit["encoder"]["layer"], self.decoder.decoder_layers):
            for layer in layers:
                layer.__class__ = PlainLayer
