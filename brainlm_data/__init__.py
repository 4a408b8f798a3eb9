"""brainlm_data: from raw BIDS to a store of parcel series. The public face; `brainlm_model` uses nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainlm_data.errors import BrainLMError, ConfigError, InputError, Refused
from brainlm_data.stage import Facts, Files, Stage, StageConfig

if TYPE_CHECKING:
    from brainlm_data.prepare import prepare
    from brainlm_data.store import open_store

__all__ = [
    "BrainLMError", "ConfigError", "Facts", "Files", "InputError", "Refused", "Stage", "StageConfig",
    "open_store", "prepare",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import heavy parts only when they are asked for."""
    if name == "open_store":
        from brainlm_data.store import open_store

        return open_store
    if name == "prepare":
        from brainlm_data.prepare import prepare

        return prepare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
