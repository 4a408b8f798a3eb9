"""Finished parts of a long run, so that one that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainlm_data import Files, atomic, reads_arrays


class Pieces:
    """Finished parts of a long run, in a work folder (None: nothing is kept).

    `key` holds everything that the parts depend on: with another key, old parts are not used.
    """

    def __init__(self, workdir: str | None, key: Any) -> None:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
        self.folder = None if workdir is None else Path(workdir) / digest[:16]

    def get(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The arrays of a part: read where it is finished, else made and kept."""
        if self.folder is None:
            return {key: np.asarray(value) for key, value in make().items()}
        path = self.folder / f"{name}.npz"
        if not path.exists():
            arrays = make()
            with atomic(path) as temporary:  # a run that is killed here leaves no half of a file
                np.savez(temporary, **arrays)
        with reads_arrays(path, "delete it: it is computed again") as kept:
            return dict(kept)

    def clear(self) -> None:
        """Remove the parts: the result is written."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def source_key(inputs: Files, name: str, version: int, config: Any) -> list[Any]:
    """What a stage's parts depend on: its version and section, and the files of store and model."""
    names = ("recordings", "scaler", "model", "model_config", "model_scaler", "events")
    files = [inputs[key] for key in names if key in inputs]
    states = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return [name, version, config.model_dump(mode="json"), str(inputs["store"].absolute()), states]
