"""OUTDIR/config.yaml: the configuration that a folder was made with, which later commands go on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainlm_data.config import General, parse
from brainlm_data.defaults import as_text, plain
from brainlm_data.files import sidecar
from brainlm_data.stage import Stage

NAME = "config.yaml"
HEAD = """\
# The configuration that this folder was made with, every key: `brainlm BIDS OUT` goes on with it. Each run writes it.
# Plain Snakemake: snakemake --configfile {place} --cores N
"""


def place(outdir: Path) -> Path:
    """Where it lies."""
    return outdir / NAME


def settled(raw: Mapping[str, Any], stages: Sequence[Stage]) -> General:
    """A configuration whose paths are absolute, so that it means the same from any folder."""
    return parse(_absolute(plain(parse(raw, stages), absolute=True)), stages)


def remember(config: General) -> None:
    """Write OUTDIR/config.yaml, where it says something else. `config`: as `settled` makes it."""
    path = place(config.outdir)
    text = as_text(config, HEAD.format(place=path))
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        sidecar.write_text(path, text)


def _absolute(value: Any) -> Any:
    """Texts that name a file of the current folder (`denoise.strategy: mine.yaml`) as absolute paths."""
    if isinstance(value, Mapping):
        return {key: _absolute(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    if isinstance(value, str) and ("/" in value or "." in value) and Path(value).is_file():
        return str(Path(value).absolute())
    return value
