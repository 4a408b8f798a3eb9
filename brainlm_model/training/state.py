"""The step checkpoint: all that a run needs to go on, in one file, which is whole or absent. Nothing is pickled.

The one before it is kept, for where the last one is damaged: each has its own checksum.

Random numbers are not in it: they follow from the seed and the step.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from brainlm_data import BLANK, InputError, check_seal, reads, seal
from brainlm_model.training.journal import Row

NAME, BEFORE, DAMAGED = "step.safetensors", "step-before.safetensors", "step-damaged"
Weights = dict[str, Tensor]


def save(
    folder: Path, key: str, network: nn.Module, optimizer: torch.optim.Optimizer, best: Weights, log: list[Row]
) -> None:
    """Write network, optimiser, the best weights so far and the log; `key` says of which run they are."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
    # clones: safetensors refuses tensors that share memory, as the best and the last weights may
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    temporary = folder / f".{NAME}"  # one name: the next checkpoint takes the place of one that a kill left half
    save_file(plain, temporary, metadata={"key": key, "log": json.dumps(log), "checksum": BLANK})
    seal(temporary)
    if (folder / NAME).exists():
        os.replace(folder / NAME, folder / BEFORE)
    os.replace(temporary, folder / NAME)


def load(folder: Path, key: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Weights, list[Row]]:
    """Put network and optimiser where this run was; returns its best weights and its log, empty where there is none.

    Where the last checkpoint is damaged, the one before it is used, and that is said.

    Raises
    ------
    InputError: both are damaged, or the last one is and there is no other.
    """
    problem: InputError | None = None
    for file in (folder / NAME, folder / BEFORE):
        if not file.exists():
            continue
        try:
            metadata, tensors = _read(file)
        except InputError as error:
            problem = problem or error
            continue
        if metadata["key"] != key:
            break
        if problem:
            print(f"train: {problem.message}; the checkpoint before it is used", file=sys.stderr, flush=True)
            with contextlib.suppress(OSError):  # several processes come here; it must not take the place of this one
                os.replace(folder / NAME, folder / DAMAGED)
        network.load_state_dict(_below(tensors, "network/"))
        state: dict[int, Weights] = {}
        for name, value in _below(tensors, "optimizer/").items():
            place, field = name.split("/")
            state.setdefault(int(place), {})[field] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return _below(tensors, "best/"), json.loads(metadata["log"])
    if problem:
        raise problem
    return {}, []


def _read(file: Path) -> tuple[dict[str, str], Weights]:
    """Metadata and tensors of a checkpoint."""
    remedy = f"delete {file.parent} and run the same command again: the training starts from the beginning"
    with reads(file, remedy):
        check_seal(file, remedy)
        with safe_open(file, "pt") as opened:
            return opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def _below(tensors: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
