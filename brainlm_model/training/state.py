"""The step checkpoint: all that a run needs to go on, in one file, which is whole or absent. Nothing is pickled.

Random numbers are not in it: they follow from the seed and the step.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from brainlm_model.training.journal import Row

NAME = "step.safetensors"
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
    save_file(plain, temporary, metadata={"key": key, "log": json.dumps(log)})
    os.replace(temporary, folder / NAME)


def load(folder: Path, key: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Weights, list[Row]]:
    """Put network and optimiser where this run was; returns its best weights and its log, empty where there is none."""
    try:
        with safe_open(folder / NAME, "pt") as file:
            metadata = file.metadata()
            if metadata["key"] != key:
                return {}, []
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (FileNotFoundError, SafetensorError):
        return {}, []
    network.load_state_dict(_below(tensors, "network/"))
    state: dict[int, Weights] = {}
    for name, value in _below(tensors, "optimizer/").items():
        number, field = name.split("/")
        state.setdefault(int(number), {})[field] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return _below(tensors, "best/"), json.loads(metadata["log"])


def _below(tensors: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
