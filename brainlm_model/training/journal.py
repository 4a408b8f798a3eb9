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
        self._told, self._first, self._started = 0, len(rows), time.monotonic()
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
        """Progress on stderr: after a validation, and every tenth step."""
        done = row["step"] + 1
        told = done == self.steps or row["validation_r2"] != "" or done % 10 == 0
        if not told or not isinstance(row["loss"], float):
            return
        seconds = (time.monotonic() - self._started) / (done - self._first)
        score = f", validation R2 {row['validation_r2']:.3f}" if row["validation_r2"] != "" else ""
        rest = f", {left(seconds * (self.steps - done))}" if done < self.steps else ""
        print(
            f"train: {done}/{self.steps}, loss {row['loss']:.4f}{score}, {batch / seconds:.1f} windows/s{rest}",
            file=sys.stderr,
            flush=True,
        )


def _board(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("train.tensorboard: TensorBoard is not installed", "pip install tensorboard") from error
    return SummaryWriter(str(folder), purge_step=first)
