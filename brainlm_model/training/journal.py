"""What a run says: rows of its log, as JSON lines while it goes on, for TensorBoard if wished, and progress."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from brainlm_data import ConfigError, left

COLUMNS = ("step", "epoch", "loss", "lr", "seconds", "validation_r2")
Row = dict[str, Any]


class Journal:
    """Rows of a run's log.

    Parameters
    ----------
    folder: `log.jsonl` is written there; None: nothing is written.
    steps: of the whole run, for the time that is left.
    tensorboard: write event files into `folder`/tensorboard, too.

    Raises
    ------
    ConfigError: tensorboard is not installed.
    """

    def __init__(self, folder: Path | None, steps: int, rows: list[Row], tensorboard: bool = False) -> None:
        self.rows, self.steps = rows, steps
        self._told = 0
        self._first = 0  # steps that were done when the first one of this process had ended
        self._started: float | None = None  # when that was
        self._file = folder / "log.jsonl" if folder else None
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "log.jsonl").write_text("", encoding="utf-8")
        self._board = _board(folder / "tensorboard", len(rows)) if folder and tensorboard else None
        self.settle()

    def settle(self) -> None:
        """Write the rows that are new; their losses are numbers by now."""
        fresh, self._told = self.rows[self._told :], len(self.rows)
        if self._file:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in fresh)
        if self._board:
            for row in fresh:
                for name in ("loss", "lr", "validation_r2"):
                    if row[name] != "":
                        self._board.add_scalar(name, row[name], row["step"])

    def tell(self, row: Row, batch: int) -> None:
        """Progress on stderr: after a validation, and every tenth step.

        The first step, which waits for caches and libraries, counts in no rate.
        """
        done = row["step"] + 1
        if self._started is None:
            self._first, self._started = done, time.monotonic()
        told = done == self.steps or row["validation_r2"] != "" or done % 10 == 0
        if not told or not isinstance(row["loss"], float):
            return
        words = [f"train: {done}/{self.steps}", f"loss {row['loss']:.4f}"]
        if row["validation_r2"] != "":
            words.append(f"validation R2 {row['validation_r2']:.3f}")
        if steps := done - self._first:
            seconds = (time.monotonic() - self._started) / steps
            words.append(f"{batch / seconds:.1f} windows/s")
            if done < self.steps:
                words.append(left(seconds * (self.steps - done)))
        print(", ".join(words), file=sys.stderr, flush=True)


def _board(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("train.tensorboard: TensorBoard is not installed", "pip install tensorboard") from error
    return SummaryWriter(str(folder), purge_step=first)
