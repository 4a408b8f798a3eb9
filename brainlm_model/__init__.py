"""brainlm_model: train, evaluate and use masked autoencoders of brain recordings. The public face."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainlm_model.baselines.readout import LogConnectivity, TraitClassifier, TraitRegressor
    from brainlm_model.trained.checkpoint import TrainedModel
    from brainlm_model.trained.embedding import Embedding
    from brainlm_model.trained.estimator import BrainLMEmbedder
    from brainlm_model.trained.finetuned import FineTuned
    from brainlm_model.trained.load import load
    from brainlm_model.windows.dataset import WindowDataset

_HOMES = {
    "BrainLMEmbedder": "brainlm_model.trained.estimator",
    "Embedding": "brainlm_model.trained.embedding",
    "FineTuned": "brainlm_model.trained.finetuned",
    "LogConnectivity": "brainlm_model.baselines.readout",
    "TraitClassifier": "brainlm_model.baselines.readout",
    "TraitRegressor": "brainlm_model.baselines.readout",
    "TrainedModel": "brainlm_model.trained.checkpoint",
    "WindowDataset": "brainlm_model.windows.dataset",
    "load": "brainlm_model.trained.load",
}
__all__ = [
    "BrainLMEmbedder",
    "Embedding",
    "FineTuned",
    "LogConnectivity",
    "TrainedModel",
    "TraitClassifier",
    "TraitRegressor",
    "WindowDataset",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import heavy parts only when they are asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
