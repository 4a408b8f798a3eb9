"""Weights from files into a network, or one line that says why not; nothing is unpickled but tensors."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from brainlm_data import InputError, reads


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


def unpickled(path: Path, remedy: str, trusted: str) -> Any:
    """What a file of PyTorch holds, with torch's list of harmless types only.

    Raises
    ------
    InputError: it is damaged (`remedy`), or holds more than these, whatever that would run (`trusted`: what to do
        where it is trusted).
    """
    with reads(path, remedy):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise InputError(
                f"{path}: damaged, or a pickle of more than tensors, which could run any code; it was not loaded",
                trusted,
            ) from error
