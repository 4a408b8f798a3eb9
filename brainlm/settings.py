"""The configuration of a run: what the folder remembers, then files, then options; and what that changes."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainlm.places import names, ready_made
from brainlm_data.bids.index import Select
from brainlm_data.config import General, assign, merge, read_file, validate
from brainlm_data.defaults import as_text, plain
from brainlm_data.errors import ConfigError, did_you_mean
from brainlm_data.files import sidecar
from brainlm_data.graph.remembered import place, remember, settled
from brainlm_data.runner.manifest import changed, word
from brainlm_data.stage import Stage


@dataclass(frozen=True)
class Settings:
    """The configuration of one run.

    Attributes
    ----------
    outdir: absolute. config: as it will be remembered; paths are absolute.
    selected: of this run alone: `select` with the labels of the command line; empty where there are none.
    changes: lines on keys that differ from what is remembered; empty in a new folder.
    """

    outdir: Path
    config: General
    selected: dict[str, list[str]]
    changes: tuple[str, ...]

    @property
    def is_part(self) -> bool:
        """Whether this run is of some recordings alone, as its options name them."""
        return Select.model_validate(self.selected).is_part

    def file_of_run(self) -> Path:
        """Write what Snakemake reads: the configuration with the selection of this run. Its name is its content.

        A run that goes on in the folder reads its own file, whatever another command plans meanwhile.
        """
        raw = plain(self.config)
        raw["select"] |= self.selected
        text = as_text(type(self.config).model_validate(raw), "# One run's; see config.yaml.\n")
        path = self.outdir / "work" / f"config-{hashlib.sha256(text.encode()).hexdigest()[:12]}.yaml"
        sidecar.write_text(path, text)
        return path

    def remember(self) -> None:
        """Write OUT/config.yaml, where it says something else."""
        remember(self.config)


def settings(arguments: argparse.Namespace, stages: Sequence[Stage]) -> Settings:
    """The configuration that a command line asks for.

    Raises
    ------
    ConfigError: a file or a key is not what it must be.
    """
    outdir = arguments.out.absolute()
    before = read_file(place(outdir)) if place(outdir).is_file() else {}
    raw: dict[str, Any] = {}
    merge(raw, before)
    for name in arguments.config:
        merge(raw, read_file(_configuration(name)))
    _options(raw, arguments)
    for assignment in arguments.set:
        assign(raw, assignment)
    raw |= {"outdir": str(outdir)}
    validate(raw, stages)
    config = settled(raw, stages)
    selected = _selected(arguments)
    changes = tuple(_changes(before, plain(config))) if before else ()
    return Settings(outdir, config, selected, changes)


def _configuration(name: str) -> Path:
    """A file, or one of this package by name."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if "/" not in name and (own := ready_made("config", name)):
        return own
    known = names("config")
    raise ConfigError(
        f"--config {name}: no such file", did_you_mean(name, known) or f"a file, or one of {', '.join(known)}"
    )


def _options(raw: dict[str, Any], arguments: argparse.Namespace) -> None:
    """What positions and options say, as keys of the configuration."""
    source = str(arguments.bids.absolute())
    if arguments.input:
        merge(raw, {"input": {"kind": arguments.input}})
    if (raw.get("input") or {}).get("kind", "bids") == "bids":
        raw["bids_dir"] = source
    else:
        merge(raw, {"input": {"path": source}})
    if arguments.atlas:
        _atlas(raw, arguments.atlas)
    if arguments.atlas_labels:
        merge(raw, {"atlas": {"labels": str(arguments.atlas_labels.absolute())}})


def _atlas(raw: dict[str, Any], atlas: str) -> None:
    """`--atlas`: a name, or a label image, which takes the place of all that was said of another one."""
    imported = (raw.get("input") or {}).get("kind", "bids") != "bids"
    path = Path(atlas).expanduser()
    if imported:
        merge(raw, {"input": {"atlas": str(path.absolute()) if path.exists() else atlas}})
    elif path.suffix or "/" in atlas:
        name = re.sub(r"[^A-Za-z0-9]", "", path.name.split(".")[0])
        raw["atlas"] = {"name": name or "own", "path": str(path.absolute())}
        raw.setdefault("template", {}).pop("name", None)
    else:
        raw["atlas"] = {"name": atlas}
        raw.setdefault("template", {}).pop("name", None)


def _selected(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Section `select` as options name it."""
    named = {
        "subject": ("sub-", arguments.participant_label),
        "session": ("ses-", arguments.session_label),
        "task": ("task-", arguments.task_id),
    }
    return {key: [label.removeprefix(start) for label in labels] for key, (start, labels) in named.items() if labels}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """`filter.high_hz: null -> 0.09`, one line per key; keys that a newer release has added are no change."""
    lines = []
    for key, old, new in changed(before, after):
        if _has(before, key):
            lines.append(f"{key}: {word(old)} -> {word(new)}")
    return lines


def _has(config: Mapping[str, Any], key: str) -> bool:
    section: Any = config
    for part in key.split("."):
        if not isinstance(section, Mapping) or part not in section:
            return False
        section = section[part]
    return True
