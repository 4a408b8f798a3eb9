"""config.yaml, written from the stages' own models: every key with its default and a comment."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
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
    parts = [HEAD]
    for name, field in model_of(stages).model_fields.items():
        value = field.get_default(call_default_factory=True)
        if isinstance(value, BaseModel):
            heading = _comment(f"{name}: {field.description}", "")
            parts.append(f"\n{heading}{name}:\n" + _section(value, "  "))
        else:
            parts.append(_line(name, value, field, ""))
    return "".join(parts)


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
    plain = value if isinstance(value, (bool, int, float, str, list, dict, type(None))) else str(value)
    text = f"{indent}{name}: {yaml.safe_dump(plain, default_flow_style=True, width=1000).splitlines()[0]}"
    comment = field.description or ""
    if len(text) + len(comment) + 4 <= WIDTH:
        return f"{text}  # {comment}\n" if comment else f"{text}\n"
    return _comment(comment, indent) + f"{text}\n"


def _comment(text: str, indent: str) -> str:
    prefix = f"{indent}# "
    return textwrap.fill(text, WIDTH, initial_indent=prefix, subsequent_indent=prefix) + "\n"
