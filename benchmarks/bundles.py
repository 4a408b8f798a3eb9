"""What a change redoes in a cohort that runs in bundles: Snakemake on generated series, and counts.

    python -m benchmarks.bundles --json [--recordings 1000] [--bundle 100] [--cores 2]

Parcel series (`input.kind: arrays`, 60 volumes of 24 parcels), one of them cut short, go to the store. Then, one after
the other: nothing changes; a key of collate; a key of imported; ten more recordings; the cut one is fixed; an output
is deleted; the run is killed halfway (SIGKILL to all) and the same command is given again.

Keys: `steps` (name -> `jobs` by rule, `redone`: recordings whose receipt is new, `status` and `reasons` in the table of
recordings, `s`: wall seconds; of the last one `kept`: what was done at the kill), `n_recordings`, `bundle_size`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tools import parser, show, snakemake_call

CUT = "sub-00002_task-rest"


def make(folder: Path, numbers: range) -> None:
    """Series of 60 volumes, 24 parcels."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        rng = np.random.default_rng(number)
        series = 100 + np.cumsum(rng.normal(size=(60, 24)), axis=0)
        np.save(folder / f"sub-{number:05d}_task-rest.npy", series.astype(np.float32))


class Cohort:
    """A folder with series, its run, and what of it was done when."""

    def __init__(self, folder: Path, bundle: int, cores: int) -> None:
        self.folder, self.cores = folder, cores
        self.out = folder / "out"
        self.config: dict[str, Any] = {
            "outdir": str(self.out), "bundle_size": bundle,
            "input": {"kind": "arrays", "path": str(folder / "in"), "tr_s": 2.0},
        }  # fmt: skip
        self.seen: dict[str, int] = {}

    def receipts(self) -> dict[str, int]:
        """Recording -> when it was done."""
        return {p.stem: p.stat().st_mtime_ns for p in (self.out / "work/receipts/imported").glob("sub-*.json")}

    def new(self) -> int:
        """How many were done since `seen`."""
        return sum(self.seen.get(name) != mtime for name, mtime in self.receipts().items())

    def start(self) -> subprocess.Popen[str]:
        """`snakemake dataset`."""
        (self.folder / "config.json").write_text(json.dumps(self.config))
        call = snakemake_call(self.folder, self.cores, self.folder / "config.json")
        return subprocess.Popen(
            [*call, "--", "dataset"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self) -> dict[str, Any]:
        """To the end: jobs by rule, recordings redone, and what became of all."""
        import pandas as pd

        begin = time.monotonic()
        process = self.start()
        output = process.communicate()[0]
        if process.returncode:
            raise SystemExit(output[-4000:])
        seconds = time.monotonic() - begin
        rules = re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", output)
        redone = self.new()
        self.seen = self.receipts()
        table = pd.read_parquet(self.out / "recordings.parquet")
        counts = {str(k): int(v) for k, v in table["status"].value_counts().items()}
        reasons = table.loc[table["status"] == "refused", "reason"].tolist()
        return {"jobs": {rule: rules.count(rule) for rule in sorted(set(rules))}, "redone": redone, "status": counts,
                "reasons": reasons, "s": seconds}  # fmt: skip


def measure(folder: Path, recordings: int, bundle: int, cores: int) -> dict[str, Any]:
    """Every step, one after the other."""
    cohort = Cohort(folder, bundle, cores)
    make(folder / "in", range(1, recordings + 1))
    cut = folder / f"in/{CUT}.npy"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:200])
    steps = {"all": cohort.run(), "nothing": cohort.run()}
    cohort.config["collate"] = {"seed": 9}
    steps["collate.seed"] = cohort.run()
    cohort.config["imported"] = {"hz": 0.5}
    steps["imported.hz"] = cohort.run()
    make(folder / "in", range(recordings + 1, recordings + 11))
    steps["ten more"] = cohort.run()
    cut.write_bytes(whole)
    steps["the cut one fixed"] = cohort.run()
    next((folder / "out/derivatives/sub-00005/func").glob("*_timeseries.tsv")).unlink()
    steps["an output deleted"] = cohort.run()
    cohort.config["imported"] = {"hz": 1.0}
    process = cohort.start()
    while process.poll() is None and cohort.new() < recordings // 2:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept, cohort.seen = cohort.new(), cohort.receipts()
    steps["killed, and again"] = {**cohort.run(), "kept": kept}
    return {"n_recordings": recordings, "bundle_size": bundle, "steps": steps}


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--recordings", type=int, default=1000)
    arguments.add_argument("--bundle", type=int, default=100)
    arguments.add_argument("--cores", type=int, default=2)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="bundles-") as folder:
        show(measure(Path(folder), given.recordings, given.bundle, given.cores), given.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
