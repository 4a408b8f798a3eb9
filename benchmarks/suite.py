"""CPU seconds of the test suite, per test file and folder: user and system time, child processes included.

    python -m benchmarks.suite --json [--checkout PATH] [--not-slow] [tests/model tests/stages/test_qc.py ...]

Each folder runs in a process of its own (a test file that is named, too), one after the other. `--checkout` measures
another copy of the code, for a table before/after; `--not-slow` leaves out what `-m "not slow"` does. A fixture counts
for the file that asks for it first. The row `(start)` of a folder is the rest of its process: imports, collection, and
processes that outlive the test which started them.

Keys: one per file and per folder (`tests/model`), with `_tests` the number of tests of a folder; `total`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


class Clock:
    """A plugin of pytest: the CPU seconds of the tests of each file."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.tests = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Set-up, call and tear-down of one test."""
        begin = sum(os.times()[:4])
        result = yield
        self.seconds[item.path.name] += sum(os.times()[:4]) - begin
        self.tests += 1
        return result


def inside(arguments: list[str], answer: Path) -> int:
    """Be `pytest ARGUMENTS` in this process and write what it cost."""
    clock = Clock()
    status = pytest.main(arguments, plugins=[clock])
    answer.write_text(json.dumps({"seconds": clock.seconds, "tests": clock.tests}))
    return int(status)


def measured(checkout: Path, place: str, *options: str) -> dict[str, Any]:
    """CPU seconds of the files of one folder, and of all that its process and the descendants of this did."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        call = [sys.executable, __file__, "--inside", str(answer), "-q", "--no-header", *options, place]
        before = _children()
        with (Path(folder) / "output").open("w+") as output:
            status = subprocess.run(call, cwd=checkout, env=environment, stdout=output, stderr=output, check=False)
            with contextlib.suppress(ChildProcessError):  # what the tests left behind is ours now: wait for its end
                while True:
                    os.wait()
            if status.returncode:  # figures of tests that failed are figures all the same: say so, and go on
                output.seek(0)
                print(output.read()[-3000:], file=sys.stderr)
            if not answer.exists():
                raise SystemExit(f"{place}: pytest ended with {status.returncode} before its last test")
        spent = _children() - before
        found: dict[str, Any] = json.loads(answer.read_text())
    return {**found, "all": spent}


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    from benchmarks.tools import parser, show

    arguments = parser(__doc__)
    arguments.add_argument("places", nargs="*", help="folders or files of tests; without any: all folders")
    arguments.add_argument("--checkout", type=Path, default=ROOT, help="the copy of the code whose tests run")
    arguments.add_argument("--not-slow", action="store_true", help='as `pytest -m "not slow"`')
    given = arguments.parse_args()
    checkout = given.checkout.resolve()
    if sys.platform == "linux":  # orphans come to this process, which can then count them
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folders = sorted({f"tests/{file.parent.name}" for file in checkout.glob("tests/*/test_*.py")})
    result: dict[str, float] = {}
    total = 0.0
    for place in given.places or folders:
        found = measured(checkout, place, *(["-m", "not slow"] if given.not_slow else []))
        rows = {f"{place}/{file}": seconds for file, seconds in Counter(found["seconds"]).most_common()}
        rows[f"{place} (start)"] = found["all"] - sum(rows.values())
        rows |= {place: found["all"], f"{place}_tests": found["tests"]}
        total += found["all"]
        if not given.json:
            show({name: round(value, 1) for name, value in rows.items()}, as_json=False)
            sys.stdout.flush()
        result |= rows
    show({"total": total} if not given.json else {**result, "total": total}, given.json)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        sys.path[0] = os.getcwd()  # the checkout that is measured, not this folder
        raise SystemExit(inside(sys.argv[3:], Path(sys.argv[2])))
    raise SystemExit(main())
