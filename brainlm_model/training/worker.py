"""One process of several that train together.

    torchrun --nproc-per-node 8 -m brainlm_model.training.worker results/work/train/cohort.state/job.json

`train.processes` starts it on one machine; on several, start it on each (docs/hpc.md), then run the stage: it finds the
finished step checkpoint and writes the model.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TextIO

from brainlm_data import BrainLMError, end_with, in_words, parent_of, reads
from brainlm_model.training.interrupt import Interrupt
from brainlm_model.training.loop import Trainer
from brainlm_model.training.machine import use_threads
from brainlm_model.training.recipe import Config
from brainlm_model.training.world import World, check_gpus

if TYPE_CHECKING:
    from brainlm_model.windows.dataset import WindowDataset
    from brainlm_model.windows.mixture import Mixture

LAUNCHER = "BRAINLM_LAUNCHER"  # in a worker's environment: the process that started torchrun
OUTPUT = "processes.log"  # in the work folder: all that several processes printed
SAYS = "error: train: "  # begins the line in which a worker says why it stopped
JOIN_S = 10.0  # until the last of it is written
STOPPED = 3  # exit status of a worker that says itself why it stopped


def make_trainer(store: Path, config: Config, version: int, world: World | None = None) -> Trainer:
    """The trainer of a store, and of the further ones that the recipe names."""
    return Trainer(config, *windows_of(store, config), version, world)


def windows_of(store: Path, config: Config) -> tuple[WindowDataset | Mixture, WindowDataset | None]:
    """Windows of training and of validation; caches that are missing are made."""
    import numpy as np

    from brainlm_data import open_store
    from brainlm_model.windows.dataset import WindowDataset
    from brainlm_model.windows.mixture import Mixture

    def windows(path: Path, split: str) -> WindowDataset:
        opened = open_store(path)
        return WindowDataset(
            opened, split, config.window, config.seed, config.short, config.max_invalid, float(np.nan),
            config.share if split == "train" else 1.0, config.cache,
        )  # fmt: skip

    parts = [windows(path, "train") for path in (store, *(more.path for more in config.stores))]
    train = Mixture(parts, [1.0, *(more.weight for more in config.stores)]) if config.stores else parts[0]
    splits = open_store(store).recordings["split"]
    validation = windows(store, "validation") if bool((splits == "validation").any()) else None
    return train, validation


def launch(store: Path, config: Config, version: int, workdir: Path | None) -> None:
    """Train with `config.processes` processes on this machine, to the last step.

    Raises
    ------
    BrainLMError: a process failed, or they were asked to stop (they write a step checkpoint first).
    """
    if workdir is None:
        raise BrainLMError("train.processes: several processes need a work folder", "train.processes: 1")
    check_gpus(config.device, config.processes)
    windows_of(store, config)  # one process makes the cache, and finds what is wrong, for all
    workdir.mkdir(parents=True, exist_ok=True)
    job = workdir / "job.json"
    content = {"store": str(Path(store).resolve()), "version": version, "config": config.model_dump(mode="json")}
    job.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(config.processes), "--standalone"]
    environment = {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "OMP_NUM_THREADS": str(config.threads),
        LAUNCHER: str(os.getpid()),
    }
    with Interrupt() as asked, (workdir / OUTPUT).open("w", encoding="utf-8") as kept:
        process = subprocess.Popen(
            [*command, "-m", "brainlm_model.training.worker", str(job)], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            preexec_fn=partial(end_with, os.getpid()),  # else it would train on, beside the next run
        )  # fmt: skip
        listener = Thread(target=_listen, args=(process.stdout, kept), daemon=True)
        listener.start()
        while process.poll() is None:
            if asked.by:
                process.send_signal(signal.SIGTERM)  # torchrun passes it on, and waits
                process.wait()
                raise BrainLMError(f"stopped by {asked.by}; its checkpoint is written", "run the same command again")
            time.sleep(0.2)
        listener.join(JOIN_S)
    if process.returncode:
        raise _failure(config.processes, workdir / OUTPUT)


def _listen(output: Any, kept: TextIO) -> None:
    """Keep all that the processes and torchrun print; what the workers say of their progress is shown as it comes."""
    for line in output:
        kept.write(line)
        if line.startswith("train: "):
            print(line, end="", file=sys.stderr, flush=True)


def _failure(processes: int, output: Path) -> BrainLMError:
    """The error that a worker ended with: torchrun says where in forty lines, and not why."""
    lines = [line.strip() for line in output.read_text(encoding="utf-8").splitlines() if line.strip()]
    of_workers = [line.removeprefix(SAYS) for line in lines if line.startswith(SAYS)]
    message, _, remedy = (of_workers or ["killed, for its memory as a rule"])[0].partition(" -> ")
    more = f"all that they printed: {output}"
    return BrainLMError(
        f"one of {processes} training processes failed: {message}", f"{remedy}; {more}" if remedy else more
    )


def main(argv: list[str]) -> int:
    """A worker: `job.json`, which `launch` wrote, is its argument."""
    import torch

    if len(argv) != 1:
        print("usage: python -m brainlm_model.training.worker JOB.json, which stage train writes", file=sys.stderr)
        return 2
    if "RANK" in os.environ:
        end_with(os.getppid())  # torchrun, which gives each worker a session of its own
        launcher = os.environ.get(LAUNCHER)
        if launcher and parent_of(os.getppid()) not in (int(launcher), None):
            return STOPPED  # torchrun ended while this one was still importing, and another process has adopted it
    job = Path(argv[0])
    with reads(job, "stage train writes it: run that again"):
        content = json.loads(job.read_text(encoding="utf-8"))
        config = Config.model_validate(content["config"])
    use_threads(config.threads)
    try:
        world = World.join(config.device)
        make_trainer(Path(content["store"]), config, content["version"], world).fit(job.parent)
    except Exception as error:
        print(f"{SAYS}{in_words(error, job.parent)}", file=sys.stderr)
        return STOPPED
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
