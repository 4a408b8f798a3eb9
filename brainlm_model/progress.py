"""Progress on stderr, with the time that is left: at most one line every few seconds, and one at the end."""

from __future__ import annotations

import sys
import time

EVERY_S = 5.0


class Progress:
    """`step(done)` prints `NAME: done/total, about M min left`; silent where there is one thing to do, or none."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total = name, total
        self._started = time.monotonic()
        self._told = self._started

    def step(self, done: int, more: str = "") -> None:
        """Say how far it is; `more` is appended, for example a loss."""
        now = time.monotonic()
        if self.total < 2 or (done < self.total and now - self._told < EVERY_S):
            return
        self._told = now
        left = (now - self._started) / max(done, 1) * (self.total - done) / 60
        text = f"{self.name}: {done}/{self.total}, about {left:.1f} min left"
        print(f"{text}, {more}" if more else text, file=sys.stderr, flush=True)
