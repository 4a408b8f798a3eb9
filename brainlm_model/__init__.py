"""brainlm_model: train, evaluate and use masked autoencoders of brain recordings. The public face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainlm_model.trained.checkpoint import TrainedModel, load
    from brainlm_model.windows.dataset import WindowDataset

__all__ = ["TrainedModel", "WindowDataset", "load"]


def __getattr__(name: str) -> Any:
    """Import heavy parts only when they are asked for."""
    if name in ("TrainedModel", "load"):
        from brainlm_model.trained import checkpoint

        return getattr(checkpoint, name)
    if name == "WindowDataset":
        from brainlm_model.windows.dataset import WindowDataset

        return WindowDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
