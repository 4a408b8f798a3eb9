"""Does CLS attention find the networks that a simulated task drives, and nothing where nothing was planted?

    python -m benchmarks.attention_task --json

A simulated cohort (rest and a task that drives VentralAttention and Visual; 424 parcels), a model trained on its
training people for a moment, then stage `attention`: task against rest (paired), and men against women (planted: no
difference) over the same held-out people.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from brainlm_data.cli import main as data
from brainlm_data.spaces.demo424 import STAND_IN
from brainlm_model.cli import main as command

DRIVEN = tuple(f"{name} ({STAND_IN})" for name in ("VentralAttention", "Visual"))


def call(program: Any, *words: object) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        if program([str(word) for word in words]):
            raise SystemExit(f"{words[0]}: failed")


def counts(out: Path) -> dict[str, Any]:
    """Significant parcels by method, in networks that are driven and in the others; signs; networks."""
    table = pd.read_csv(out / "attention.csv", keep_default_na=False, na_values=[""])
    found: dict[str, Any] = {}
    for method in ("model", "untrained"):
        rows = table[(table["method"] == method) & (table["part"] == "difference_parcel")]
        significant = rows["significant"].astype(str) == "True"
        driven = rows["network"].isin(DRIVEN)
        networks = table[(table["method"] == method) & (table["part"] == "difference_network")]
        found[method] = {
            "driven_significant": int((driven & significant).sum()), "driven": int(driven.sum()),
            "driven_raised": int((driven & significant & (rows["value"] > 0)).sum()),
            "others_significant": int((~driven & significant).sum()), "others": int((~driven).sum()),
            "networks": {
                row["name"]: {key: round(float(row[key]), 4) for key in ("value", "low", "high", "t", "p")}
                for _, row in networks.iterrows()
            },
        }  # fmt: skip
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=100)
    parser.add_argument("--steps", type=int, default=60, help="of training")
    parser.add_argument("--prior", choices=("gaussian", "zero"), default="gaussian")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    given = parser.parse_args()
    begun = time.process_time()
    result: dict[str, Any] = {key: getattr(given, key) for key in ("subjects", "steps", "prior", "seed")}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        call(data, "simulate", "--out", home / "sim", "--subjects", given.subjects, "--volumes", 150, "--tr", 2,
             "--shape", "40,48,34", "--voxel-mm", 4.5, "--tasks", "rest,wm", "--seed", given.seed, "--parcels-only",
             "--quiet")  # fmt: skip
        store = home / "sim" / "store.zarr"
        call(command, "train", store, "--out", home / "model", "--set", f"train.steps={given.steps}",
             f"train.eval_every={given.steps}", "train.threads=1", f"train.prior={given.prior}")  # fmt: skip
        for group in ("task", "sex"):
            out = home / group
            call(command, "paper", store, home / "model", "--tasks", "attention", "--out", out, "--set",
                 f"attention.group={group}", "attention.splits=[test, validation]", "attention.threads=1")  # fmt: skip
            content = json.loads((out / "attention.json").read_text())
            kept = ("Design", "SubjectsOfLevels", "Levels", "Recordings")
            result[group] = {**{key: content[key] for key in kept}, **counts(out)}
            coupling = [r for r in content["Results"] if r["part"] == "coupling"]
            result["coupling"] = {f"{r['method']} {r['metric']}": round(r["value"], 3) for r in coupling}
    result["cpu_s"] = round(time.process_time() - begun, 1)
    print(json.dumps(result) if given.json else json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
