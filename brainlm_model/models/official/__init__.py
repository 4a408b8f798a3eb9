"""Official BrainLM checkpoints in and out (docs/official.md): the published architectures, their files, conversion."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from brainlm_model.models.official.config import PRESETS

if TYPE_CHECKING:
    from brainlm_model.models.official.brainlm import OfficialBrainLM
    from brainlm_model.models.official.convert import to_hf, to_model
    from brainlm_model.models.official.files import build, read_network
    from brainlm_model.models.official.network import OfficialNetwork
    from brainlm_model.models.official.vitmae import OfficialViTMAE

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

_WITH_TORCH = {  # planning asks for the sizes alone, and torch costs a plan 250 MB
    "OfficialBrainLM": "brainlm",
    "OfficialNetwork": "network",
    "OfficialViTMAE": "vitmae",
    "build": "files",
    "read_network": "files",
    "to_hf": "convert",
    "to_model": "convert",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"brainlm_model.models.official.{_WITH_TORCH[name]}"), name)
