"""One run at a time in an outdir, with a lock that dies with its process.

Snakemake's own lock files outlive a killed run and then stop the next one until `--unlock`; profiles/default switches
them off, and this takes their place.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from brainlm_data.errors import InputError

LOCK = Path("work") / "lock"  # below the folder that is locked


def hold(outdir: Path) -> TextIO:
    """Lock `outdir` until the returned file is closed or this process ends, however it ends.

    Raises `InputError` where another run holds it.
    """
    file = outdir / LOCK
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = file.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise InputError(f"another run is writing to {outdir}", "wait for it, or choose another outdir") from None
    except OSError:  # a file system without locks: two runs at once waste work, but all writes are atomic
        pass
    return handle


def is_held(outdir: Path) -> bool:
    """True where another run holds the lock of `outdir`; nothing is written to find out."""
    try:
        with (outdir / LOCK).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # nobody ever locked it, or a file system without locks
        return False
    return False


@contextmanager
def beside(outdir: Path, doing: str) -> Iterator[Path]:
    """A locked, empty folder `.OUTDIR.DOING` beside `outdir`, removed at the end; what a killed run left goes, too.

    It is on the same file system, so that what was written there can be moved into place at once.
    """
    place = outdir.resolve()  # where it really is
    folder = place.parent / f".{place.name}.{doing}"
    with hold(folder):
        for old in folder.iterdir():
            if old.name != "work":  # the lock
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
