"""`brainlm demo`: a simulated cohort, and the whole pipeline on it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from brainlm_data.commandline import Parser

COHORT = (  # how it is processed: config/demo.yaml
    "--subjects 10 --volumes 110 --tr 2 --shape 40,48,34 --voxel-mm 4.5 --t1w-mm 2 --tasks rest --workers 2 --seed 7"
)


def demo(words: Sequence[str]) -> int:
    """Simulate below OUT, where it is not there yet, and run; the exit status."""
    from brainlm.run import run
    from brainlm_data.cli import main as data

    arguments = _parser().parse_args(words)
    bids = Path(f"{arguments.out}-bids")
    if not (bids / "dataset_description.json").is_file():
        print(f"simulating 10 people with known truth into {bids}", flush=True)
        status = data(["simulate", "--out", str(bids), *COHORT.split(), "--quiet"], prog="brainlm data")
        if status:
            return status
    if arguments.data_only:
        return 0
    words = [str(bids), str(arguments.out), "group", "--config", "demo", "--cores", str(arguments.cores)]
    return run([*words, *(["--dry-run"] if arguments.dry_run else [])])


def _parser() -> argparse.ArgumentParser:
    made = Parser(prog="brainlm demo", description="Simulate 10 people with known truth and run the whole pipeline.")
    made.add_argument("out", nargs="?", type=Path, default=Path("results/demo"), help="results (default %(default)s)")
    made.add_argument("--data-only", action="store_true", help="simulate, and nothing more")
    made.add_argument("--cores", type=int, default=os.cpu_count() or 1, metavar="N", help="(default %(default)s)")
    made.add_argument("-n", "--dry-run", action="store_true", help="simulate, and say what would be done")
    return made
