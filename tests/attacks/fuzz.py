"""Damaged files through the product's own readers: the project's one-line error, or values; nothing else.

    python -m tests.attacks.fuzz --minutes 20 --seed 1        # JSON: what fell out, CPU minutes; Ctrl-C: so far
    python -m tests.attacks.fuzz --only nii --case 1:17       # one case again, with its traceback

Readers run in child processes. For a file they have 10 CPU seconds, and must not use 1 GB more memory than before. A
case is known by its format, seed and number.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.attacks.formats import FORMATS, Format

HANG_S = 10  # CPU seconds for a file
BLOCKED_S = 120  # seconds in which nothing happens at all, on a busy machine
ROOM = 1 << 30  # bytes of memory that a reader may use for a small file
LIMIT = 4 * ROOM  # of address space: beyond, what a header claims is refused by the system
BATCH = 200  # cases of one child process


@dataclass
class Report:
    """What became of the cases. `found`: kind of fault -> the cases, as `--case` takes them."""

    executions: int = 0
    read: int = 0
    refused: int = 0
    found: dict[str, list[str]] = field(default_factory=dict)
    by_format: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, case: str, outcome: str) -> None:
        """Count a case: `read`, `refused`, or a fault by its kind."""
        self.executions += 1
        self.by_format[name] += 1
        if outcome in ("read", "refused"):
            setattr(self, outcome, getattr(self, outcome) + 1)
        else:
            self.found.setdefault(f"{name}: {outcome}", []).append(case)

    def content(self) -> dict[str, Any]:
        """As JSON: counts, and of each fault five cases."""
        kinds = ("hang", "memory", "crash", "wrong")
        counts = {kind: sum(len(c) for k, c in self.found.items() if f": {kind}" in k) for kind in kinds}
        total = sum(len(cases) for cases in self.found.values())
        return {
            "executions": self.executions, "read": self.read, "refused": self.refused,
            "foreign": total - sum(counts.values()), **counts, "by_format": dict(self.by_format),
            "found": {kind: {"n": len(cases), "cases": cases[:5]} for kind, cases in sorted(self.found.items())},
        }  # fmt: skip


def mutated(form: Format, example: bytes, name: str, case: str) -> bytes:
    """The bytes of a case."""
    source = random.Random(f"{name} {case}")
    return source.choice(form.mutators)(example, source)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What readers print is not looked at."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def attempt(form: Format, path: Path, expected: Any) -> str:
    """Read a damaged file: `read`, `refused`, or the kind of fault."""
    before, outcome = _used(), _outcome(form, path, expected)
    return outcome if _used() < before + ROOM else f"memory over {ROOM >> 30} GB ({outcome})"


def _outcome(form: Format, path: Path, expected: Any) -> str:
    from brainlm_data.errors import BrainLMError

    try:
        with quiet():
            value = form.read(path)
    except BrainLMError as error:
        return "refused" if "\n" not in str(error) else f"two lines {_place(error)}"
    except Exception as error:
        return f"{type(error).__name__} {_place(error)}"
    return "read" if not form.whole or _same(value, expected) else "wrong values"


def _used() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _place(error: BaseException) -> str:
    """The line of the product where it came from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/brainlm_" in f.filename]
    if not frames:
        return "(outside)"
    return f"{frames[-1].filename[frames[-1].filename.index('/brainlm_') + 1 :]}:{frames[-1].lineno}"


def _same(found: Any, expected: Any) -> bool:
    if isinstance(found, np.ndarray):
        return isinstance(expected, np.ndarray) and np.array_equal(found, expected, equal_nan=True)
    if isinstance(found, (list, tuple)):
        return len(found) == len(expected) and all(map(_same, found, expected))
    return bool(repr(found) == repr(expected))


def batch(name: str, cases: Iterable[str], folder: Path) -> Iterator[tuple[str, str]]:
    """(case, outcome) of cases of one format; a child that dies or hangs is one outcome, and the rest goes on."""
    form = FORMATS[name]
    folder.mkdir(parents=True)
    path = form.write(folder)
    example = path.read_bytes()
    with quiet():
        expected = form.read(path)  # which also imports and compiles what the children then have
    path.write_bytes(example)
    waiting = list(cases)
    while waiting:
        child, pipe = _child(form, name, path, example, expected, waiting)
        for case in waiting:
            ready = _answers(child, pipe)
            line = pipe.readline() if ready else ""
            if not line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                break
            yield case, json.loads(line)
        pipe.close()
        _, status = os.waitpid(child, 0)
        done = waiting.index(case) + (1 if line else 0)
        if not line:
            yield case, f"crash signal {os.WTERMSIG(status)}" if ready else f"hang over {HANG_S} s"
            done += 1
        waiting = waiting[done:]


def _answers(child: int, pipe: Any) -> bool:
    """Wait for the next line of a child; False where it hangs."""
    start, used = time.monotonic(), _cpu_of(child)
    while time.monotonic() - start < BLOCKED_S and _cpu_of(child) - used < HANG_S:
        if select.select([pipe], [], [], 1)[0]:
            return True
    return False


def _cpu_of(process: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _child(form: Format, name: str, path: Path, example: bytes, expected: Any, cases: list[str]) -> tuple[int, Any]:
    """A process that reads case after case; its outcomes, one a line, in a pipe."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child:
        os.close(theirs)
        return child, os.fdopen(ours, "r", buffering=1)
    status = 1
    try:
        os.close(ours)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries in C complain by themselves
        warnings.simplefilter("ignore")
        for case in cases:
            path.write_bytes(mutated(form, example, name, case))
            os.write(theirs, (json.dumps(attempt(form, path, expected)) + "\n").encode())
        status = 0
    finally:
        os._exit(status)


def fuzz(
    names: Iterable[str], seed: int, rounds: Iterable[int], size: int, until: float = float("inf"),
    stopped: Sequence[int] = (),
) -> Report:  # fmt: skip
    """Cases `SEED:NUMBER` of each format, `size` of them a round, until a time of `time.process_time`-like CPU use.

    It ends with the batch in which `stopped` is no longer empty.
    """
    report = Report()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as home:
        for number in rounds:
            for name in names:
                if cpu_s() > until or stopped:
                    return report
                cases = [f"{seed}:{case}" for case in range(number * size, (number + 1) * size)]
                for case, outcome in batch(name, cases, Path(home) / f"{name}-{number}"):
                    report.add(name, case, outcome)
    return report


def cpu_s() -> float:
    """CPU seconds of this process and of its children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def again(name: str, case: str) -> None:
    """One case in this process, with whatever it raises."""
    form = FORMATS[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as home:
        path = form.write(Path(home))
        path.write_bytes(mutated(form, path.read_bytes(), name, case))
        print(form.read(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="CPU minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(FORMATS), choices=list(FORMATS), metavar="FORMAT")
    parser.add_argument("--case", help="SEED:NUMBER of one case")
    arguments = parser.parse_args()
    if arguments.case:
        again(arguments.only[0], arguments.case)
        return
    rounds, signals = iter(range(1_000_000)), list[int]()
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever stops a long run gets what it has found
        signal.signal(number, lambda number, _: signals.append(number))
    report = fuzz(arguments.only, arguments.seed, rounds, BATCH, 60 * arguments.minutes, signals)
    print(json.dumps({"cpu_minutes": round(cpu_s() / 60, 2), "seed": arguments.seed, **report.content()}, indent=2))


if __name__ == "__main__":
    sys.exit(main())
