"""Progress on stderr, with the time that is left: at most one line every few seconds, and one at the end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY_S = 5.0
FIRST_SHARE = 0.01  # of an amount, until the time that is left is said
ALIVE_S = 60.0  # between two signs of life of something that has nothing to count yet


def duration(seconds: float) -> str:
    """A time in words: `8 s`, `12 min`, `3 h 20 min`."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 24 * 60 else f"{minutes // 60} h"


def left(seconds: float) -> str:
    """The time that is left, in words: `about 12 min left`."""
    return f"about {duration(seconds)} left"


def left_after(seconds: float, done: float, total: float) -> str:
    """The same where `done` of `total` took so long; empty where nothing was measured yet, or nothing is left."""
    return left(seconds / done * (total - done)) if 0 < done < total - 1e-6 else ""


class Progress:
    """`step()` prints `NAME: done/total, about 3 min left`; silent where there is one thing to do, or none.

    Parameters
    ----------
    name: what is done. total: how many things there are, or how much of `unit` (" MB").
    quiet: print nothing.

    Several threads may share one.
    """

    def __init__(self, name: str, total: float, unit: str = "", quiet: bool = False) -> None:
        self.name, self.total, self.unit = name, total, unit
        self._silent = quiet or total < 2
        self._done = 0.0
        self._lock = threading.Lock()
        self._started = self._printed = time.monotonic()

    def step(self, done: float | None = None, more: str = "") -> None:
        """So much is done (None: one more); `more` is appended, for example a loss."""
        with self._lock:
            self._done = self._done + 1 if done is None else done
            self._print(more)

    def add(self, amount: float) -> None:
        """So much more is done."""
        with self._lock:
            self._done += amount
            self._print()

    @contextmanager
    def alive(self) -> Iterator[None]:
        """For a block whose first step may take minutes: a line now and then, while no step says anything."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(ALIVE_S):
                with self._lock:
                    now = time.monotonic()
                    if not self._silent and now - self._printed >= ALIVE_S:
                        self._printed = now
                        so_far = f"{self._done:.0f}/{self.total:.0f}{self.unit}, {duration(now - self._started)} so far"
                        print(f"{self.name}: {so_far}", file=sys.stderr, flush=True)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def _print(self, more: str = "") -> None:
        now = time.monotonic()
        if self._silent or (self._done < self.total - 1e-6 and now - self._printed < EVERY_S):
            return
        self._printed = now
        text = f"{self.name}: {self._done:.0f}/{self.total:.0f}{self.unit}"
        # a part of the first thing is no measure: libraries are loaded and files opened while it is done
        is_measured = self._done + 1e-6 >= (FIRST_SHARE * self.total if self.unit else 1)
        rest = left_after(now - self._started, self._done, self.total) if is_measured else ""
        print(", ".join(word for word in (text, rest, more) if word), file=sys.stderr, flush=True)
