"""What benchmarks share: one thread, a process of its own for each side, CPU seconds and memory above the start."""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brainlm_data.cli import limit_threads

ROOT = Path(__file__).resolve().parents[1]


def one_thread() -> None:
    """To be called before any of the numerical libraries is imported, because they read their number once."""
    limit_threads(1)


def snakemake_call(folder: Path, cores: int, *configfiles: Path) -> list[str]:
    """`snakemake` on the product's Snakefile in `folder`, config.yaml under these files; targets and options follow."""
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
        "--workflow-profile", str(ROOT / "profiles/default"), "--cores", str(cores),
        "--configfile", str(ROOT / "config.yaml"), *map(str, configfiles),
    ]  # fmt: skip


class Cost:
    """`with Cost() as cost:` then `cost.seconds` (CPU) and `cost.mb` (peak memory above that at the start)."""

    def __enter__(self) -> Cost:
        with contextlib.suppress(OSError):  # forget the peak of what was imported and made before
            Path("/proc/self/clear_refs").write_text("5")
        self._memory, self._begin = memory_mb("VmRSS"), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self._begin
        self.mb = max(memory_mb("VmHWM") - self._memory, 0.0)


def memory_mb(key: str = "VmHWM") -> float:
    """Peak memory of this process; /proc has it without the parent's, which ru_maxrss keeps across exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key)) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def median_cost(function: Callable[[], Any], repeats: int = 5) -> tuple[float, float]:
    """(CPU seconds, MB) of a call: the median, because the first touch of fresh memory costs more than the rest."""
    costs = []
    for _ in range(repeats):
        with Cost() as cost:
            function()
        costs.append(cost)
    return statistics.median(c.seconds for c in costs), max(c.mb for c in costs)


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in a process of its own, so that neither side's memory or caches help the other."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def parser(text: str | None) -> argparse.ArgumentParser:
    """A parser with `--json`, and the module's text as its description."""
    found = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return found


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print the result."""
    if as_json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:28s} {value}")
