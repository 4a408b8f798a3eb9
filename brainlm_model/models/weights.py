"""Weights from a .safetensors file into a network, or one line that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from brainlm_data import reads


def load_into(module: nn.Module, path: Path, remedy: str) -> None:
    """Put the weights of a .safetensors file into a network or a head.

    Raises
    ------
    InputError: damaged, of other shapes, or with numbers that are none.
    """
    with reads(path, remedy):
        weights = load_file(path)
        check_finite(weights)
        module.load_state_dict(weights)


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError for weights that are NaN or infinite: all that they would compute is, too."""
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values")
