"""Processes that end with the process that made them.

A pool's workers outlive a parent that is killed: they wait for work for ever, and keep its locks, which they inherit.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that a process gets when its parent ends
LIBC = ctypes.CDLL(None)


def processes(count: int) -> ProcessPoolExecutor:
    """A pool of so many worker processes."""
    return ProcessPoolExecutor(count, initializer=end_with, initargs=(os.getpid(),))


def parent_of(pid: int) -> int | None:
    """The process that started another one, or has adopted it; None where that is not known (not on Linux)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])  # the name before it may hold anything


def end_with(parent: int) -> None:
    """In a process that `parent` started: be killed when that ends, however it ends."""
    if not sys.platform.startswith("linux"):
        return
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)
