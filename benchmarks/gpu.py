"""What the trainer does with a GPU: step time, use of the card, memory, and how long it waits for the host.

    python -m benchmarks.gpu --json [--models official-13m paper vitmae-111m small tiny] [--minutes 7]
    python -m benchmarks.gpu --toy --json     # a few parcels and steps, on a CPU too: that it works, not how fast

One command for a card without a network. It needs torch, numpy, pandas, pydantic, pyarrow, safetensors and this
repository; neither zarr nor nibabel. Windows come from a memory-mapped file of random series, and the trainer is the
product's own (`brainlm_model.training.loop.Trainer`), in bfloat16, plain and compiled. Keys of each model:

* `step_s`: median of a training step of `batch` windows, batches included: windows, masks, copies, forward, backward,
  optimiser. `windows_per_s`: of it. `compiled_step_s`, `compile_s`: the same with `train.compile`, and what the first
  compiled step costs more.
* `mfu`: floating-point operations of the network's matrix products (counted by torch; three passes, the prior's not
  included), per second of `step_s` (or of `compiled_step_s`, where that is less), over the card's own rate of a square
  product in bfloat16, measured first. `prior_s`: seconds of the step that the prior takes.
* `host_wait`: share of a step in which no kernel runs. `loader_windows_per_s`: batches alone, as the thread makes them.
* `peak_mb`: at `batch` (on a CPU, of the process); `largest_batch`: the largest power of two whose step fits.
* `loss_difference`: |loss here - loss on the CPU| / loss, both float32, of the same weights, windows and masks;
  `loss_difference_bfloat16`: of bfloat16 here.
* `kernels`: the ten dearest kernels, share of the time in which kernels run.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from brainlm_data import Scaler
from brainlm_model import WindowDataset
from brainlm_model.models.loss import squared_error
from brainlm_model.training.loop import Trainer
from brainlm_model.training.recipe import Config

BATCH = {"official-13m": 64, "paper": 64, "vitmae-111m": 128, "small": 128, "tiny": 128}
LOSS_TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}  # relative, of a loss here against the CPU's


def memory_store(folder: Path, recordings: int, steps: int, parcels: int) -> Any:
    """What `open_store` returns, as far as windows need it, of random series: a card's machine may have no zarr."""
    rng = np.random.default_rng(0)
    ids = [f"sub-{number:05d}_task-rest" for number in range(recordings)]
    subjects = [f"{number:05d}" for number in range(recordings)]
    table = pd.DataFrame({"id": ids, "subject": subjects, "split": "train", "n_steps": steps, "status": "done"})
    atlas = pd.DataFrame(rng.uniform(-60, 60, (parcels, 3)), columns=["x", "y", "z"])
    mixing = rng.standard_normal((20, parcels)).astype(np.float32)

    def series(name: str) -> np.ndarray:
        own = np.random.default_rng(int(name[4:9]))
        shared = own.standard_normal((steps, 20), dtype=np.float32) @ mixing
        values = np.cumsum(shared + 2 * own.standard_normal((steps, parcels), dtype=np.float32), axis=0)
        return values[:, :] - np.linspace(0, 1, steps, dtype=np.float32)[:, None] * values[-1]

    (folder / "store.zarr").mkdir()
    table.to_parquet(folder / "recordings.parquet")
    scaler = Scaler(np.zeros(parcels, np.float32), np.full(parcels, 50, np.float32))
    scaler.save(folder / "scaler.npz")
    return SimpleNamespace(
        path=folder / "store.zarr", recordings=table, parcels=atlas, scaler=scaler, attrs={}, series=series,
        valid=lambda name: np.ones(steps, dtype=bool),
    )  # fmt: skip


class Bench:
    """One model on one device."""

    def __init__(self, model: str, store: Any, options: argparse.Namespace, device: torch.device) -> None:
        self.model, self.store, self.device, self.toy = model, store, device, options.toy
        self.repeats = 2 if options.toy else 12
        self.batch = 4 if options.toy else BATCH[model]

    def trainer(self, batch: int, compile_it: bool = False, device: str = "auto", precision: str = "auto") -> Trainer:
        """A trainer of this model; recordings repeat within an epoch where the batch is larger than the store."""
        window = 40 if self.toy else 200
        sizes: dict[str, Any] = {"patch": 20 if not self.toy else 10, "window": window, "batch_size": batch}
        config = Config.model_validate({
            "model": self.model, **sizes, "steps": 10**6, "threads": torch.get_num_threads(), "compile": compile_it,
            "device": device, "precision": precision, "mask_ratio": 0.75,
        })  # fmt: skip
        windows = Repeated(self.store, window)
        trainer = Trainer(config, windows)
        windows.times = -(-batch // len(windows))  # not before: the prior's covariance reads every recording
        trainer.batch, trainer.per_epoch = batch, 1
        return trainer

    def step_seconds(self, trainer: Trainer, first: int = 0) -> tuple[float, float]:
        """Median of a step, and what the first one costs beyond it."""
        seconds = []
        for step in range(first, first + self.repeats + 3):
            begin = time.perf_counter()
            trainer._step(step)
            self.wait()
            seconds.append(time.perf_counter() - begin)
        usual = statistics.median(seconds[3:])
        return usual, seconds[0] - usual

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def run(self, rate: float, compile_it: bool) -> dict[str, Any]:
        """All keys of this model."""
        result: dict[str, Any] = {"batch": self.batch, **self.losses()}
        trainer = self.trainer(self.batch)
        self.reset_peak()
        result["step_s"], _ = self.step_seconds(trainer)
        result["peak_mb"] = self.peak_mb()
        result["parameters"] = sum(parameter.numel() for parameter in trainer.network.parameters())
        result |= self.parts(trainer)
        operations = self.batch * self.operations(trainer)
        result["gflop_per_window"] = operations / self.batch / 1e9
        fastest = result["step_s"]
        result["mfu"] = operations / fastest / rate
        print(f"{self.model}, plain: {json.dumps(result)}", file=sys.stderr, flush=True)
        del trainer
        if compile_it:
            try:
                compiled = self.trainer(self.batch, compile_it=True)
                result["compiled_step_s"], result["compile_s"] = self.step_seconds(compiled)
                fastest = min(fastest, result["compiled_step_s"])
                del compiled
            except Exception:  # the plain figures hold all the same
                result["compile_error"] = traceback.format_exc()[-2500:]
        result["mfu"] = operations / fastest / rate
        result["windows_per_s"] = self.batch / fastest
        result["largest_batch"] = self.largest_batch()
        return result

    def losses(self) -> dict[str, float]:
        """The loss of two windows here against the CPU's, relative."""
        losses = {}
        for device, precision in (("cpu", "float32"), (self.device.type, "float32"), (self.device.type, "bfloat16")):
            trainer = self.trainer(2, device=device)
            network = trainer.network.eval()
            x_BPT, mask, layout = trainer._make(0)
            x_BPT, mask = x_BPT.to(device), mask.to(device)
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                reconstruction = network(x_BPT, mask, layout)
            scored = network.steps(mask)
            losses[device, precision] = float((reconstruction.float() - x_BPT)[scored].square().mean())
        reference = losses["cpu", "float32"]
        return {
            "loss_difference": abs(losses[self.device.type, "float32"] - reference) / reference,
            "loss_difference_bfloat16": abs(losses[self.device.type, "bfloat16"] - reference) / reference,
        }

    def parts(self, trainer: Trainer) -> dict[str, Any]:
        """Where a step's time goes: kernels, the host, the prior, the batches."""
        begin = time.perf_counter()
        for step in range(100, 104):
            trainer._make(step)
        found: dict[str, Any] = {"loader_windows_per_s": 4 * self.batch / (time.perf_counter() - begin)}
        x_BPT, mask, layout = trainer._make(200)
        x_BPT, mask = x_BPT.to(self.device), mask.to(self.device)
        found["prior_s"] = self.median(lambda: trainer.network.expect(x_BPT, mask, layout))
        if self.device.type != "cuda":
            return found | {"host_wait": 0.0, "kernels": {}}
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            begin = time.perf_counter()
            for step in range(300, 304):
                trainer._step(step)
            self.wait()
            wall = time.perf_counter() - begin
        kernels = {event.key: event.self_device_time_total / 1e6 for event in profiler.key_averages()}
        busy = sum(kernels.values())
        dearest = sorted(kernels.items(), key=lambda item: -item[1])[:10]
        shares = {name[:90]: round(seconds / busy, 4) for name, seconds in dearest}
        return found | {"host_wait": max(1 - busy / wall, 0.0), "kernels": shares}

    def median(self, call: Callable[[], Any]) -> float:
        """Median seconds of a call."""
        seconds = []
        for _ in range(5):
            self.wait()
            begin = time.perf_counter()
            call()
            self.wait()
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds)

    def operations(self, trainer: Trainer) -> float:
        """Floating-point operations of the network's matrix products for one window, forward and backward."""
        network = trainer.network.train()
        x_BPT, mask, layout = trainer._make(0)
        x_BPT, mask = x_BPT[:1].to(self.device), mask[:1].to(self.device)
        layout = network.layout(x_BPT, mask)
        expected = network.expect(x_BPT, mask, layout)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # the only one that it counts
            squared_error(network(x_BPT, mask, layout, expected), x_BPT, network.steps(mask)).backward()
        network.zero_grad(set_to_none=True)
        return float(counter.get_total_flops())

    def largest_batch(self) -> int | None:
        """The largest power of two whose step fits; None on a CPU."""
        if self.device.type != "cuda":
            return None
        batch = self.batch
        while batch < 4096:
            try:
                gc.collect()
                torch.cuda.empty_cache()
                self.trainer(2 * batch)._step(0)
                self.wait()
            except torch.OutOfMemoryError:
                break
            batch *= 2
        torch.cuda.empty_cache()
        return batch

    def reset_peak(self) -> None:
        """Forget the largest memory so far."""
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_mb(self) -> float:
        """Largest memory of tensors, MB; on a CPU of the process so far."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Repeated(WindowDataset):
    """Windows of a store whose recordings come as often as a batch asks for."""

    def __init__(self, store: Any, window: int) -> None:
        self.times = 1
        super().__init__(store, "train", window, fill=float("nan"))

    def order(self, random: torch.Generator) -> list[int]:
        """Each recording `times` times."""
        return torch.randperm(len(self), generator=random).tolist()

    def __len__(self) -> int:
        return len(self.ids) * self.times

    def windows(self, indices: Any) -> torch.Tensor:
        """Windows; an index beyond the recordings begins again."""
        return super().windows([int(index) % len(self.ids) for index in indices])

    def series(self, index: int) -> np.ndarray:
        """A recording's whole series."""
        return super().series(index % len(self.ids))


def matrix_rate(device: torch.device, size: int) -> float:
    """Floating-point operations per second of a square product in bfloat16: the rate that this card reaches."""
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    seconds = []
    for _ in range(13):
        begin = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / statistics.median(seconds[3:])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options.add_argument("--toy", action="store_true", help="small sizes, on a CPU too")
    options.add_argument("--models", nargs="+", default=list(BATCH), choices=list(BATCH))
    options.add_argument("--no-compile", action="store_true", help="plain only")
    options.add_argument("--minutes", type=float, default=7.0, help="models that are not begun by then are left out")
    given = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not given.toy:
        sys.exit("error: no GPU that torch can use\n  try: --toy, or a machine with one")
    begin = time.monotonic()
    rate = matrix_rate(device, 256 if given.toy else 8192)
    card = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    result: dict[str, Any] = {"device": card, "torch": torch.__version__, "matrix_tflops": rate / 1e12, "models": {}}
    with tempfile.TemporaryDirectory() as folder:
        store = memory_store(Path(folder), *((6, 90, 24) if given.toy else (64, 500, 424)))
        for name in given.models:
            if time.monotonic() - begin > 60 * given.minutes:
                result["models"][name] = {"left_out": f"{given.minutes:g} minutes were over"}
                continue
            bench = Bench(name, store, given, device)
            try:
                result["models"][name] = bench.run(rate, not given.no_compile and not given.toy)
            except Exception:  # the others are measured all the same
                result["models"][name] = {"error": traceback.format_exc()[-2500:]}
            print(f"{name}, {time.monotonic() - begin:.0f} s: {json.dumps(result['models'][name])}", file=sys.stderr)
            if not given.json:
                print(name, json.dumps(result["models"][name], indent=1))
    result["seconds"] = time.monotonic() - begin
    print(json.dumps(result) if given.json else f"{card}: {rate / 1e12:.0f} TFLOP/s, {result['seconds']:.0f} s in all")


if __name__ == "__main__":
    main()
