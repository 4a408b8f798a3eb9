"""config.yaml, written from the stages' own models: every key with its default and a comment."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from brainlm_data.config import model_of
from brainlm_data.stage import Stage

HEAD = """\
# Every key with its default. One section per stage; docs/stages/<stage>.md explains each.
# Override on the command line:  --config bids_dir=/data/ds outdir=/data/out 'filter={high_hz: 0.09}'   (docs/config.md)
# Made by `brainlm-model defaults > config.yaml`; a test checks that it is current.
"""
WIDTH = 118


def defaults(stages: Sequence[Stage]) -> str:
    """The text of config.yaml."""
    return as_text(model_of(stages)(), HEAD)


def as_text(config: BaseModel, head: str) -> str:
    """A configuration as YAML, each key with the comment that explains it."""
    parts = [head]
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            heading = _comment(f"{name}: {field.description}", "")
            parts.append(f"\n{heading}{name}:\n" + _section(value, "  "))
        else:
            parts.append(_line(name, value, field, ""))
    return "".join(parts)


def plain(value: Any, absolute: bool = False) -> Any:
    """A configuration, or a part of one, in the types that YAML has; `absolute`: with absolute paths."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name), absolute) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {key: plain(item, absolute) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, absolute) for item in value]
    if isinstance(value, Path):
        return str(value.absolute() if absolute else value)
    return value


def _section(values: BaseModel, indent: str) -> str:
    lines = []
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        if isinstance(value, BaseModel):
            lines.append(
                _comment(field.description or "", indent) + f"{indent}{name}:\n" + _section(value, indent + "  ")
            )
        else:
            lines.append(_line(name, value, field, indent))
    return "".join(lines) or f"{indent}{{}}\n"


def _line(name: str, value: Any, field: FieldInfo, indent: str) -> str:
    """`key: value  # comment`, or the comment above where that is too long."""
    text = f"{indent}{name}: {_in_one_line(plain(value))}"
    comment = field.description or ""
    if len(text) + len(comment) + 4 <= WIDTH:
        return f"{text}  # {comment}\n" if comment else f"{text}\n"
    return _comment(comment, indent) + f"{text}\n"


def _in_one_line(value: Any) -> str:
    """A value as YAML on one line; JSON, which is YAML as well, where a text has line breaks."""
    lines = yaml.safe_dump(value, default_flow_style=True, width=float("inf")).splitlines()
    return lines[0] if lines[1:] in ([], ["..."]) else json.dumps(value)


def _comment(text: str, indent: str) -> str:
    prefix = f"{indent}# "
    return textwrap.fill(text, WIDTH, initial_indent=prefix, subsequent_indent=prefix) + "\n"
