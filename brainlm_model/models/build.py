"""A network by its config, whichever family it is of, and what the rest of the product asks of one.

Shapes: B windows, P parcels, T steps, N time patches, D width.
"""

from __future__ import annotations

from torch import Tensor

from brainlm_model.models.brainlm import BrainLM
from brainlm_model.models.config import ModelConfig
from brainlm_model.models.network import Network
from brainlm_model.models.official.config import Config as OfficialConfig


def build_network(config: ModelConfig | OfficialConfig, coordinates_P3: Tensor) -> Network:
    """A network with random weights."""
    if isinstance(config, ModelConfig):
        return BrainLM(config, coordinates_P3)
    from brainlm_model.models.official.files import build
    from brainlm_model.models.official.network import OfficialNetwork

    return OfficialNetwork(build(config), coordinates_P3)
