"""Official BrainLM checkpoints in and out (docs/official.md): the published architectures, their files, conversion.

Loaded when asked for: most of it needs torch, and whoever only reads a configuration should not wait for that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainlm_model.official.brainlm import OfficialBrainLM
    from brainlm_model.official.config import PRESETS
    from brainlm_model.official.convert import to_hf, to_model
    from brainlm_model.official.files import build, read_network
    from brainlm_model.official.network import OfficialNetwork
    from brainlm_model.official.vitmae import OfficialViTMAE

MODULES = {
    "PRESETS": "config",
    "OfficialBrainLM": "brainlm",
    "OfficialNetwork": "network",
    "OfficialViTMAE": "vitmae",
    "build": "files",
    "read_network": "files",
    "to_hf": "convert",
    "to_model": "convert",
}

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


def __getattr__(name: str) -> Any:
    """Import a part only when it is asked for."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
