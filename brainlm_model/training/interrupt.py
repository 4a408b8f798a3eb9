"""Being asked to stop: by a scheduler that needs the node (SLURM's preemption and time limit), or by a person."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Interrupt:
    """`with Interrupt() as asked:`, then `asked.by` is the name of the signal that came, "" while none has.

    Only noted, so that a step ends as it would have. Outside of the main thread no signal can be caught: `by` stays "".
    """

    by = ""

    def __enter__(self) -> Interrupt:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.by = signal.Signals(number).name
