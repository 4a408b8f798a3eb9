"""YAML that people write."""

from __future__ import annotations

from typing import Any

import yaml

from brainlm_data.errors import ConfigError


def parsed(text: str, where: str) -> Any:
    """What a text says. `where`: for the message. Raises ConfigError, in one line, for what is no YAML."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # brackets in brackets without end, too
        raise ConfigError(f"{where}: {' '.join(str(error).split())}", "write it as YAML has it") from error
