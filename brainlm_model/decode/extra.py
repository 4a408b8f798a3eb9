"""What the extra `decode` brings is imported when it is needed; where it is not installed, one line says so."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from brainlm_data import ConfigError


def needed(module: str) -> Any:
    """The module. Raises ConfigError where its package is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise ConfigError(f"decode: {package} is not installed", "pip install 'brainlm-pipeline[decode]'") from error
