"""The files that a section of the configuration names: what they hold decides what reruns, as its values do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from brainlm_data.errors import ConfigError
from brainlm_data.files import sidecar
from brainlm_data.stage import Stage, StageConfig


def watched(stage: Stage, section: StageConfig) -> dict[str, str]:
    """Key (`atlas.path`) -> digest of the content of the file that it names.

    Every key whose value is a path counts, unless its field is `Unwatched`, and what `Stage.watches` adds. Of a folder,
    names, sizes and mtimes are taken: a store has too many bytes to be read at every plan.

    Raises
    ------
    ConfigError: a file is not there, or cannot be read.
    """
    check_there([(stage, section)])
    digests: dict[str, str] = {}
    for key, path in _files(stage, section).items():
        try:
            digests[key] = _listing(path) if path.is_dir() else sidecar.digest(path)
        except OSError as error:
            raise ConfigError(f"config: {key}: {path} cannot be read ({error.strerror})", "make it readable") from error
    return digests


def check_there(sections: Iterable[tuple[Stage, StageConfig]]) -> None:
    """Raises ConfigError where a file that a section names is not there; it names all of them at once."""
    absent: dict[str, Path] = {}
    for stage, section in sections:
        absent |= {key: path for key, path in _files(stage, section).items() if not path.exists()}
    if absent:
        lacking = "; ".join(f"{key}: there is no file {path}" for key, path in absent.items())
        files = "the file" if len(absent) == 1 else "the files"
        raise ConfigError(f"config: {lacking}", f"correct {', '.join(absent)}, or bring {files} there")


def _files(stage: Stage, section: StageConfig) -> dict[str, Path]:
    """Key -> every file of a section that is watched."""
    files = dict(_paths(stage.name, section))
    if stage.watches:
        files |= {f"{stage.name}.{key}": path for key, path in stage.watches(section).items()}
    return files


def _paths(where: str, value: object) -> Iterator[tuple[str, Path]]:
    """Keys and values of all watched paths of a section, those of nested sections and lists too."""
    if isinstance(value, Path):
        yield where, value
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            if not field.exclude and "unwatched" not in field.metadata:
                yield from _paths(f"{where}.{name}", getattr(value, name))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _paths(f"{where}.{name}", item)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _paths(f"{where}[{number}]", item)


def _listing(folder: Path) -> str:
    """Digest of names, sizes and mtimes of all files of a folder."""
    hasher = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        size, mtime_ns = sidecar.stat_of(file)
        hasher.update(f"{file.relative_to(folder)}\0{size}\0{mtime_ns}\n".encode())
    return hasher.hexdigest()
