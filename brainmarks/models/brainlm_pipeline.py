"""The plug-in of Brainmarks (https://github.com/MedARC-AI/Brainmarks): docs/embeddings.md, "In Brainmarks"."""

from __future__ import annotations

import os

from brainmarks.models.base import Embeddings
from brainmarks.models.registry import register_model
from torch import Tensor

from brainlm_model import load
from brainlm_model.trained.brainmarks import Transform, Wrapper


class ModelWrapper(Wrapper):
    """The same, with the names that Brainmarks has for its three kinds of embeddings."""

    def forward(self, batch: dict[str, Tensor]) -> Embeddings:
        """CLS (B, 1, D), connectivity (B, 1, F), parcels (B, P, D)."""
        return Embeddings(*super().forward(batch))


@register_model
def brainlm_pipeline(model: str | None = None) -> tuple[Transform, ModelWrapper]:
    """A model by its folder, or its name on the Hugging Face Hub; without one, that of BRAINLM_MODEL."""
    name = model or os.environ.get("BRAINLM_MODEL")
    if not name:
        raise ValueError("brainlm_pipeline: which model? `--overrides model_kwargs.model=FOLDER`, or BRAINLM_MODEL")
    trained = load(name)
    return Transform(trained), ModelWrapper(trained)
