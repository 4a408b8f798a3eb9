"""Official BrainLM checkpoints in and out (docs/official.md): the published architectures, their files, conversion."""

from brainlm_model.official.brainlm import OfficialBrainLM
from brainlm_model.official.config import PRESETS
from brainlm_model.official.convert import to_hf, to_model
from brainlm_model.official.files import build, read_network
from brainlm_model.official.network import OfficialNetwork
from brainlm_model.official.vitmae import OfficialViTMAE

__all__ = [
    "PRESETS",
    "OfficialBrainLM",
    "OfficialNetwork",
    "OfficialViTMAE",
    "build",
    "read_network",
    "to_hf",
    "to_model",
]
