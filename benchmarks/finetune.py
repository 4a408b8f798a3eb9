"""Fine-tuning on real people (ABIDE: age, sex, the next 20 steps), beside a ridge on correlations and simple guesses.

    python -m benchmarks.finetune --abide FOLDER --json

A store of resting-state series (CC200, splined to 1 Hz, split by subject 70/15/15), model `tiny` trained on its
training people for a few steps, then fine-tuned with the encoder frozen and in full, scored on test people. A check
of the machinery and an honest comparison at a small size, not what a large pretrained model would reach.
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

import numpy as np
import pandas as pd

from benchmarks.masked_baselines import read_abide
from brainlm_data import Card, Files, open_store
from brainlm_data.dataset.fit_scaler import fit_scaler
from brainlm_data.dataset.store import write_store
from brainlm_data.runner.call import call
from brainlm_model.cli import main as command
from brainlm_model.training.stage import STAGE, Config

ATLAS_SIZE = 200  # parcels of CC200


def make_store(folder: Path, abide: Path, people: int, seed: int) -> Path:
    """A store of ABIDE's people with age and sex."""
    ids, series = read_abide(abide, people, np.random.default_rng(seed))
    rows = pd.read_csv(abide / "abide_cc200.tsv", sep="\t").set_index("participant_id").loc[ids]
    place = np.arange(len(ids)) / len(ids)
    table = pd.DataFrame({"id": ids, "subject": ids, "n_steps": [x.shape[1] for x in series], "status": "done"})
    table["split"] = np.where(place < 0.7, "train", np.where(place < 0.85, "validation", "test"))
    table["age"] = rows["age"].to_numpy()
    table["sex"] = np.where(rows["sex_1m_2f"] == 1, "M", "F")
    atlas = pd.DataFrame({"index": range(1, ATLAS_SIZE + 1), "name": [f"cc{i}" for i in range(ATLAS_SIZE)]})
    atlas[["x", "y", "z"]] = 0.0
    attributes = {"rate_hz": 1.0, "units": "standard deviations", "atlas": "CC200", "n_parcels": ATLAS_SIZE}
    write_store(folder / "store.zarr", [x.T for x in series], table[["id", "n_steps"]], atlas, attributes)
    known = table.assign(tr_s=np.nan, band_low_hz=np.nan, band_high_hz=np.nan)
    Card.describe(known, attributes).save(folder / "card.json", folder / "card.md")
    table.to_parquet(folder / "recordings.parquet")
    train = table.loc[table["split"] == "train", "id"].tolist()
    fit_scaler(open_store(folder / "store.zarr"), train).save(folder / "scaler.npz")
    return folder / "store.zarr"


def pretrain(store: Path, folder: Path, steps: int, threads: int) -> None:
    """Model `tiny` in `folder`."""
    names = {"model": "model.safetensors", "model_config": "config.json", "model_scaler": "scaler.npz",
             "model_card_data": "card.json", "model_card": "card.md", "train_log": "log.csv"}  # fmt: skip
    folder.mkdir()
    beside = {key: store.parent / name for key, name in
              (("recordings", "recordings.parquet"), ("scaler", "scaler.npz"), ("card_data", "card.json"))}  # fmt: skip
    config = Config(steps=steps, batch_size=8, eval_every=steps, threads=threads, device="cpu")
    call(STAGE, Files({"store": store, **beside}), {k: folder / v for k, v in names.items()}, config)


def tune(home: Path, name: str, arguments: str, threads: int) -> dict[str, Any]:
    """Scores of one fine-tuning."""
    begun, cpu = time.monotonic(), time.process_time()
    given = [str(home / "model"), str(home / "store.zarr"), "--out", str(home / name), "--threads", str(threads)]
    with contextlib.redirect_stdout(io.StringIO()):
        if command(["finetune", *given, *arguments.split()]):
            raise SystemExit(f"{name}: failed")
    scores = json.loads((home / name / "scores.json").read_text())
    epochs = len(pd.read_csv(home / name / "log.csv")) - 1
    kept = {key: scores[key] for key in ("methods", "transformed", "model_against", "n_subjects") if key in scores}
    return {**kept, "arguments": arguments, "epochs": epochs, "cpu_s": round(time.process_time() - cpu, 1),
            "seconds": round(time.monotonic() - begun, 1)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--abide", type=Path, required=True, help="folder of abide_cc200.npz")
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--steps", type=int, default=60, help="of pretraining")
    parser.add_argument("--epochs", type=int, default=10, help="of full fine-tuning; four times as many when frozen")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    given = parser.parse_args()
    if not (given.abide / "abide_cc200.npz").is_file():
        print(f"skipped: no {given.abide}/abide_cc200.npz; give the folder with --abide", file=sys.stderr)
        print(json.dumps({"skipped": "no ABIDE series"}))
        return 0
    frozen, full = (f"--epochs {n} --seed {given.seed}" for n in (4 * given.epochs, given.epochs))
    runs = {
        "age_frozen_linear": f"--column age --train frozen --head linear {frozen}",
        "age_frozen_mlp": f"--column age --train frozen --head mlp {frozen}",
        "age_full_mlp": f"--column age --train full --head mlp --batch-size 8 {full}",
        "sex_frozen_mlp": f"--column sex --task classification --train frozen {frozen}",
        "future_20": f"--future 20 --batch-size 8 --windows 2 {full}",
    }
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        pretrain(make_store(home, given.abide, given.people, given.seed), home / "model", given.steps, given.threads)
        found = {name: tune(home, name, arguments, given.threads) for name, arguments in runs.items()}
    result = {"people": given.people, "pretraining_steps": given.steps, "threads": given.threads, "runs": found}
    if given.json:
        print(json.dumps(result))
        return 0
    for name, scores in found.items():
        print(f"{name} ({scores['epochs']} epochs, {scores['cpu_s']} CPU s)")
        for method, values in scores["methods"].items():
            print(f"  {method}: " + ", ".join(f"{k} {v['value']}" for k, v in values.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
