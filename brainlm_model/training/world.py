"""The processes that train together: one, or those that torchrun started, each with its share of every batch."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from brainlm_data import ConfigError


def check_gpus(device: str, processes: int, section: str = "train") -> None:
    """Raises ConfigError where so many processes on this machine do not each have a GPU, and are to have one.

    `section`: of the configuration, whose keys the error names.
    """
    there = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()) or processes <= there:
        return
    count = "no GPU is" if there == 0 else f"{there} GPU{'s are' if there > 1 else ' is'}"
    several = f", {section}.processes: {processes}" if section == "train" else ""
    on_cpus = f"{section}.device: cpu"
    raise ConfigError(
        f"{section}.device: {device}{several}: {count} on this machine",
        on_cpus if there == 0 else f"{section}.processes: {there} at most; or {on_cpus}",
    )


@dataclass(frozen=True)
class World:
    """This process among all of them. `rank` 0 writes and validates."""

    rank: int = 0
    size: int = 1
    local: int = 0  # rank on this machine: which GPU

    @classmethod
    def join(cls, device: str) -> World:
        """Meet the other processes: gloo on CPUs, nccl on GPUs. Outside of torchrun: alone."""
        if "RANK" not in os.environ:
            return cls()
        world = cls(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
        dist.init_process_group("nccl" if world.device(device).type == "cuda" else "gloo")
        return world

    def device(self, wanted: str) -> torch.device:
        """Where this process computes. Raises ConfigError for a GPU that is not there."""
        if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
            return torch.device("cpu")
        check_gpus(wanted, self.local + 1)
        return torch.device("cuda", self.local)

    def share(self, batch: list[int]) -> list[int]:
        """Places in a batch that are this process's: neighbours in the store, so that it reads few of its files."""
        places = np.argsort(batch, kind="stable")
        return sorted(np.array_split(places, self.size)[self.rank].tolist())

    def sum(self, value: Tensor) -> Tensor:
        """Sum over all processes."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: object, device: torch.device) -> bool:
        """Whether any process says so."""
        return bool(flag) if self.size == 1 else bool(self.sum(torch.tensor(float(bool(flag)), device=device)) > 0)
