"""A command that cannot run leaves a new outdir as it was: no derivatives/, work/ or logs/ of nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from brainlm_data.errors import BrainLMError
from brainlm_data.files.lock import LOCK
from brainlm_data.paths import left_aside_path


@contextmanager
def nothing_left(outdir: Path) -> Iterator[None]:
    """Where a block ends in an error before any job, a folder that was not there, or was empty, is so again."""
    new = [folder for folder in (outdir, *outdir.parents) if not folder.exists()]
    was_empty = bool(new) or (outdir.is_dir() and not any(outdir.iterdir()))
    try:
        yield
    except BrainLMError:
        if was_empty and not (outdir / LOCK).exists():  # else a run has begun in it
            for name in ("work", "logs", "derivatives"):
                shutil.rmtree(outdir / name, ignore_errors=True)
            with suppress(OSError):  # it was never made
                left_aside_path(outdir).unlink()
            for folder in new:
                with suppress(OSError):  # it was never made, or others use it by now
                    folder.rmdir()
        raise
