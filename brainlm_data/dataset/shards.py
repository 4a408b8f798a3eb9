"""A store that grows: shards whose recordings are still the same are taken over from the store before, as files.

Recordings that were there keep their order and new ones follow, so that a cohort to which people are added gets one new
store in which all old shards but the last are the old files (hard links, or copies where the file system has none).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import load_record, read_record, stat_of, write_record


@dataclass(frozen=True)
class PreviousStore:
    """What is known of the store that a new one replaces.

    Attributes
    ----------
    folder: has `shards.json`: what each shard was made of, and the size and mtime by which that store is known. Nothing
        is there at first.
    store: where it is, if there is one. Its own attributes say in which order its recordings are.
    marks: of each recording of the new store: another one where its series is another.
    """

    folder: Path
    store: Path
    marks: Sequence[str]

    @cached_property
    def _known(self) -> dict[str, Any]:
        return read_record(self.folder / "shards.json")

    def order(self, names: Sequence[str]) -> list[int]:
        """Places in `names`: those of before, in their order, then the others as they are."""
        places = {name: place for place, name in enumerate(self._recordings())}
        return sorted(range(len(names)), key=lambda i: (places.get(names[i], len(places)), i))

    def _recordings(self) -> list[str]:
        """The recordings of the store, in its order; none where there is no store, or one that cannot be read."""
        try:
            attributes = load_record(self.store / "zarr.json", "")["attributes"]
            return list(attributes["recordings"]["id"])
        except (InputError, KeyError):
            return []  # everything is written anew

    def take(self, path: Path, made_of: Sequence[str]) -> set[int]:
        """Link the shards that are made of the same into the new store; their numbers."""
        old = self._known.get("made_of", []) if self._whole() else []
        same = {number for number, (a, b) in enumerate(zip(made_of, old, strict=False)) if a == b}
        files = [file for number in same for file in (f"bold/c/{number}/0", f"valid/c/{number}")]
        for file in files:
            _link(self.store / file, path / file)
        if same and not self._whole():  # somebody removed it meanwhile: what is missing is then not "no data"
            for file in files:
                (path / file).unlink(missing_ok=True)
            return set()
        return same

    def _whole(self) -> bool:
        """Whether the store before is there as it was written."""
        return self.store.is_dir() and list(stat_of(self.store)) == self._known.get("stat")

    def keep(self, path: Path, made_of: Sequence[str]) -> None:
        """Note what the new store is made of, now that it is whole."""
        write_record(self.folder / "shards.json", {"made_of": list(made_of), "stat": stat_of(path)})


def made_of(first: int, pieces: Sequence[tuple[str, int, int, Sequence[int]]], layout: str) -> str:
    """Digest of all that decides a shard's bytes.

    Parameters
    ----------
    first: its first step. pieces: (mark, start, length, invalid steps) of its recordings. layout: of all shards.
    """
    content = [layout, [[mark, start - first, length, list(invalid)] for mark, start, length, invalid in pieces]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _link(old: Path, new: Path) -> None:
    if not old.exists():
        return  # nothing but fill values
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)
