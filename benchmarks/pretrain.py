"""Do more data and a larger model help, and does either beat a covariance? (The paper's Table 1, on a store.)

    brainlm-data import abide abide_cc200.npz results/abide --external site=KKI,PITT,SBL
    python -m benchmarks.pretrain results/abide/store.zarr --out results/pretrain --json
        [--models tiny small] [--shares .05 .25 1] [--seeds 0 1 2] [--steps 150] [--set lr=0.002]

Trains every model size on every share of the training subjects with every seed, for the same number of steps on one
thread, and keeps what is best on validation subjects (`brainlm-model train`; the models stay in `--out`). All are
scored on the same windows and masks of the splits `test` (unseen people) and `external` (unseen sites) at mask ratios
.2, .5, .75 and .9, random and future, beside themselves untrained and beside baselines that are fitted on the same
training subjects, with subject-bootstrap intervals and paired comparisons. One JSON file per share and seed in `--out`;
what is there is not repeated. `results.csv` gathers them; `--json` prints means over seeds.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
import torch

from brainlm_data import open_store
from brainlm_model.cli import main as brainlm_model
from brainlm_model.eval.masked import scoring
from brainlm_model.trained.checkpoint import TrainedModel
from brainlm_model.trained.load import load
from brainlm_model.windows.dataset import WindowDataset

RATIOS, DRAWS, PATCH = (0.2, 0.5, 0.75, 0.9), 1000, 20
BASELINES = ("spacetime", "gaussian", "pca", "mean")
CONDITIONS = [scoring.Condition(masking, ratio) for masking in ("random", "future") for ratio in RATIOS]


def windows(store: Any, split: str, share: float = 1.0, seed: int = 0) -> WindowDataset:
    return WindowDataset(store, split, 200, seed, fill=float(np.nan), share=share)


def trained(path: Path, folder: Path, settings: list[str]) -> TrainedModel:
    """The model of `folder`, trained as users train; one that is there is loaded."""
    if not folder.exists():
        keys = [f"train.{setting}" for setting in settings]
        if brainlm_model(["train", str(path), "--out", str(folder), "--set", *keys]):
            raise SystemExit(f"no model in {folder}: see above")
    return load(folder)


def log_of(folder: Path) -> list[list[float]]:
    """Steps, and validation R2 where it was measured."""
    with (folder / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [[int(row["step"]), float(row["validation_r2"])] for row in rows if row["validation_r2"]]


def one_cell(path: Path, out: Path, models: list[str], share: float, seed: int, settings: list[str]) -> dict[str, Any]:
    """Train the models on a share of the subjects, fit the baselines on it, score all on the same windows."""
    torch.set_num_threads(1)
    store = open_store(path)
    train = windows(store, "train", share, seed)
    methods: dict[str, Any] = scoring.fit_baselines(BASELINES, train, windows(store, "validation"), PATCH, RATIOS, 1)
    about = {}
    for model in models:
        folder = out / f"{model}_share-{round(100 * share)}_seed-{seed}"
        begin = time.process_time()
        fitted = trained(path, folder, [f"model={model}", f"share={share}", f"seed={seed}", *settings])
        minutes = round((time.process_time() - begin) / 60, 2)
        if model == models[0]:  # the closed form that all start from
            methods["untrained"] = scoring.untrained(fitted)
        methods[model] = scoring.ModelPredictor(fitted.network)
        facts = json.loads((folder / "config.json").read_text())["training"]
        about[model] = {
            "parameters": facts["Parameters"], "steps": facts["Steps"], "cpu_minutes": minutes, "facts": facts,
            "validation": log_of(folder),
        }  # fmt: skip
    rows, comparisons = [], []
    for split in ("test", "external"):
        if not (store.recordings["split"] == split).any():
            continue
        held_out = scoring.recordings(windows(store, split), 1)
        scores = scoring.score(held_out, methods, CONDITIONS, PATCH, 0)
        rows += [{"split": split, **row} for row in scoring.table(scores, DRAWS, 0)]
        for model in models:
            comparisons += [{"split": split, **row} for row in scoring.comparisons(scores, DRAWS, 0, model)]
    subjects = len(set(train.subjects))
    return {"share": share, "seed": seed, "training_subjects": subjects, "models": about, "results": rows,
            "comparisons": comparisons}  # fmt: skip


def flat(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a share, seed, split, method, ratio and metric."""
    rows = []
    for cell in cells:
        shared = {key: cell[key] for key in ("share", "seed", "training_subjects")}
        for row in cell["results"]:
            about = cell["models"].get(row["method"], {})
            rows.append(
                {**shared, **{key: about.get(key, "") for key in ("parameters", "steps", "cpu_minutes")},
                 **{key: row[key] for key in ("split", "method", "masking", "mask_ratio", "metric", "n_subjects")},
                 **{key: round(row[key], 5) for key in ("value", "low", "high")}}
            )  # fmt: skip
    return rows


def differences(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a share, seed, split, ratio, model and what it is compared with: difference of flat R2, paired."""
    keys = (
        "split",
        "method",
        "against",
        "masking",
        "mask_ratio",
        "difference",
        "low",
        "high",
        "verdict",
        "subjects_ahead",
    )
    return [
        {"share": cell["share"], "seed": cell["seed"], **{key: row[key] for key in keys}}
        for cell in cells
        for row in cell["comparisons"]
    ]


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean flat R2 over seeds, by split, share, method and ratio."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["metric"] == "r2_flat":
            name = f"{row['split']} share {row['share']:g} {row['method']} {row['masking']} {row['mask_ratio']:g}"
            found.setdefault(name, []).append(row["value"])
    return {name: round(statistics.mean(values), 4) for name, values in sorted(found.items())}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """A CSV."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    options = tools.parser(__doc__)
    options.add_argument("store", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--models", nargs="+", default=["tiny", "small"])
    options.add_argument("--shares", nargs="+", type=float, default=[0.05, 0.25, 1.0])
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--steps", type=int, default=150)
    options.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of the recipe, all runs")
    given = options.parse_args()
    settings = [f"steps={given.steps}", "threads=1", "device=cpu", "eval_every=50", *given.set]
    given.out.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:
        for share in given.shares:
            file = given.out / f"share-{share:g}_seed-{seed}.json"
            if not file.exists():
                print(f"pretrain: {file.stem}", file=sys.stderr, flush=True)
                found = tools.apart(one_cell, given.store, given.out, given.models, share, seed, settings)
                file.write_text(json.dumps(found) + "\n")
    cells = [json.loads(file.read_text()) for file in sorted(given.out.glob("share-*_seed-*.json"))]
    rows = flat(cells)
    write(given.out / "results.csv", rows)
    write(given.out / "differences.csv", differences(cells))
    tools.show(means(rows), given.json)


if __name__ == "__main__":
    main()
