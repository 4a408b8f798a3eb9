"""The step checkpoint: all that a run needs to go on, in one file, which is whole or absent. Nothing is pickled.

The one before it is kept, for where the last one is damaged: each has its own checksum.

Random numbers are not in it: they follow from the seed and the step.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from brainlm_data import BLANK, InputError, check_seal, reads, seal
from brainlm_model.training.journal import Row
from brainlm_model.training.same_run import Run

NAME, BEFORE, DAMAGED = "step.safetensors", "step-before.safetensors", "step-damaged"
WRITTEN = "model-written"  # beside a checkpoint whose model is written: another run may take its place
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A step checkpoint.

    Attributes
    ----------
    run: what the run depends on (`same_run.describe`). log: its rows so far. past: what changed on the way, in words.
    tensors: of network, optimiser and the best weights so far.
    """

    run: Run
    log: list[Row]
    past: list[str]
    tensors: Weights

    @property
    def steps(self) -> int:
        """Optimiser steps that were done: the last row of a log that is over is a validation alone."""
        return len(self.log) - int(bool(self.log) and self.log[-1]["loss"] == "")

    def put(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
        """Put network and optimiser where the run was; returns its best weights."""
        network.load_state_dict(_below(self.tensors, "network/"))
        state: dict[int, Weights] = {}
        for name, value in _below(self.tensors, "optimizer/").items():
            place, field = name.split("/")
            state.setdefault(int(place), {})[field] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return _below(self.tensors, "best/")


def snapshot(
    run: Run, network: nn.Module, optimizer: torch.optim.Optimizer, best: Weights, log: list[Row], past: list[str]
) -> Checkpoint:
    """The state as it is now, copied into memory: training may go on while it is written."""
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
    # clones: safetensors refuses tensors that share memory, as the best and the last weights may
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    return Checkpoint(run, [dict(row) for row in log], list(past), plain)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, and keep the one before it."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{NAME}"  # one name: the next checkpoint takes the place of one that a kill left half
    words = {"run": checkpoint.run, "log": checkpoint.log, "past": checkpoint.past}
    metadata = {name: json.dumps(value) for name, value in words.items()}
    save_file(checkpoint.tensors, temporary, metadata={**metadata, "checksum": BLANK})
    seal(temporary)
    if (folder / WRITTEN).exists():  # the checkpoints that are there may be of another run, which is over
        (folder / BEFORE).unlink(missing_ok=True)
    elif (folder / NAME).exists():
        os.replace(folder / NAME, folder / BEFORE)
    os.replace(temporary, folder / NAME)
    (folder / WRITTEN).unlink(missing_ok=True)


def load(folder: Path) -> Checkpoint | None:
    """The last step checkpoint; None where there is none.

    Where it is damaged, the one before it is used, and that is said.

    Raises
    ------
    InputError: both are damaged, or the last one is and there is no other; or an earlier release wrote it.
    """
    problem: InputError | None = None
    for file in (folder / NAME, folder / BEFORE):
        if not file.exists():
            continue
        try:
            checkpoint = _read(file)
        except InputError as error:
            problem = problem or error
            continue
        if problem:
            print(f"train: {problem.message}; the checkpoint before it is used", file=sys.stderr, flush=True)
            with contextlib.suppress(OSError):  # several processes come here; it must not take the place of this one
                os.replace(folder / NAME, folder / DAMAGED)
        return checkpoint
    if problem:
        raise problem
    return None


def _read(file: Path) -> Checkpoint | None:
    """A checkpoint from its file; None where it is of no use."""
    remedy = f"delete {file.parent} and run the same command again: the training starts from the beginning"
    with reads(file, remedy):
        check_seal(file, remedy)
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
            log = json.loads(metadata["log"])
            if "run" not in metadata:  # of a release before; where it is over, its model is written
                if log and log[-1]["loss"] == "":
                    return None
                raise InputError(f"{file}: an earlier release wrote it", f"end it with that release, or {remedy}")
            run, past = json.loads(metadata["run"]), json.loads(metadata["past"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return Checkpoint(run, log, past, tensors)


def _below(tensors: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
