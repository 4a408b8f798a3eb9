"""Denoising strategies: what is regressed out, in one YAML each (columns, prose, citations), to be joined by `+`.

A name means a file of this folder; a path ends in .yaml and is read when the configuration is validated, so that its
content, not its name, is what decides a rerun.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainlm_data.errors import ConfigError, Refused
from brainlm_data.files.yaml import parsed

FOLDER = Path(__file__).parent
ENDINGS = (".yaml", ".yml")
# Families of columns of which a good recording may have none; any other pattern must match something.
MAY_BE_ABSENT = ("motion_outlier", "non_steady_state_outlier", "cosine")


class Strategy(BaseModel):
    """What one YAML file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="by which it is chosen")
    summary: str = Field("", description="in a few words, for the docs")
    ica: bool = Field(False, description="remove the noise components of ICA")
    columns: tuple[str, ...] = Field((), description="columns of the confounds table; * ? [0-4] match")
    censor_fd_mm: float | None = Field(None, gt=0, description="filter.censor_fd_mm must be this or less")
    text: str = Field(pattern=r"\.\s*$", description="sentence of the methods text, with its sources")
    citations: tuple[str, ...] = Field((), description="each source with its DOI")

    def lacks_censoring(self, limit_mm: float | None) -> bool:
        """Whether it needs volumes to be censored that a threshold of `limit_mm` (FD; None: no threshold) leaves in."""
        return self.censor_fd_mm is not None and (limit_mm is None or limit_mm > self.censor_fd_mm)


def names() -> list[str]:
    """Every strategy of this package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def shipped(name: str) -> Strategy:
    """A strategy of this package."""
    return read(FOLDER / f"{name}.yaml")


def read(path: Path) -> Strategy:
    """A strategy from a file. Raises ValueError, in one line, where it is none."""
    try:
        return _checked(parsed(path.read_text(encoding="utf-8"), str(path)), str(path))
    except ConfigError as error:
        raise ValueError(error.message) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable ({' '.join(str(error).split())})") from error


def _checked(content: Any, where: str) -> Strategy:
    try:
        return Strategy.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {place}: {first['msg']}; keys: {', '.join(Strategy.model_fields)}") from error


def parse(value: Any) -> str | list[str | Strategy] | None:
    """What a config says (`ica+24P`, a list of names, paths and mappings, null) in its checked form.

    Raises
    ------
    ValueError: an unknown name, a bad file; in one line that lists what is allowed.
    """
    requested: list[Any] = [value]
    if value is None or isinstance(value, str):
        requested = [part.strip() for part in (value or "none").split("+")]
    elif isinstance(value, Sequence):
        requested = list(value)
    strategies: list[str | Strategy] = []
    for item in requested:
        if isinstance(item, str) and item.endswith(ENDINGS):
            strategies.append(read(Path(item)))
        elif isinstance(item, (Strategy, dict)):
            strategies.append(_checked(item, "strategy"))
        elif isinstance(item, str) and item in names():
            strategies.append(item)
        else:
            raise ValueError(f"unknown strategy {item!r}: {', '.join(names())}, joined by +, or a .yaml file")
    if "none" in strategies:
        if len(strategies) > 1:
            raise ValueError("none goes with no other strategy")
        return None
    shipped_names = [item for item in strategies if isinstance(item, str)]
    if len(shipped_names) < len(strategies):
        return strategies
    return "+".join(shipped_names)


def resolve(value: str | Iterable[str | Strategy] | None) -> list[Strategy]:
    """The strategies that `parse` let through, each once; `none` where there is nothing."""
    if value is None or isinstance(value, str):
        value = (value or "none").split("+")
    by_name: dict[str, Strategy] = {}
    for item in value:
        strategy = shipped(item) if isinstance(item, str) else item
        by_name[strategy.name] = strategy
    return list(by_name.values())


def select(patterns: Iterable[str], columns: Sequence[str], where: Path) -> list[str]:
    """Columns that match, each once, in the order of the patterns. Raises Refused where one matches nothing."""
    chosen: dict[str, None] = {}
    for pattern in patterns:
        matches = [name for name in columns if fnmatchcase(name, pattern)]
        if not matches and not pattern.startswith(MAY_BE_ABSENT):
            raise Refused(f"{where}: no column {pattern}", f"it has {', '.join(columns[:12])}, ...")
        chosen |= dict.fromkeys(matches)
    return list(chosen)
