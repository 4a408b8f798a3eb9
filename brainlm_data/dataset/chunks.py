"""The store's files as zarr reads them, with one difference: a chunk that is not there is an error.

Zarr takes a missing chunk for one of fill values, so that a deleted file would read as "no data". We write every chunk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zarr.storage import LocalStore


class ChunkStore(LocalStore):
    """A folder in which every chunk has its file."""

    async def get(self, key: str, *arguments: Any, **more: Any) -> Any:
        """The bytes of a key. Raises FileNotFoundError for a chunk that is not there."""
        found = await super().get(key, *arguments, **more)
        if found is None:
            self._miss(key)
        return found

    def get_sync(self, key: str, *arguments: Any, **more: Any) -> Any:
        """The same, which zarr calls for small files."""
        found = super().get_sync(key, *arguments, **more)
        if found is None:
            self._miss(key)
        return found

    def _miss(self, key: str) -> None:
        if "/c/" in key:
            raise ChunkMissing(f"{Path(self.root).name}/{key} is gone")


class ChunkMissing(Exception):
    """Not a FileNotFoundError, which zarr takes for fill values again."""
