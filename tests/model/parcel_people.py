"""A small cohort whose parcels belong to networks, at rest and in a task that drives one of them; and its control."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainlm_data import Files
from brainlm_data.reading.events import Condition, write_events
from brainlm_data.runner.call import call
from brainlm_model.stages import PAPER_TASKS
from tests.model.people import trained
from tests.model.written import write

NETWORKS, EACH, STEPS = ("Default", "Limbic", "Somatomotor", "Visual"), 5, 85
PARCELS = EACH * len(NETWORKS)
SPLITS = ["train"] * 6 + ["test"] * 16
BESIDE = {"recordings": "recordings.parquet", "scaler": "scaler.npz", "card_data": "card.json", "events": "events.tsv"}
MODEL = {"model": "model.safetensors", "model_config": "config.json", "model_scaler": "scaler.npz"}


def make(folder: Path, planted: bool = True) -> Any:
    """The open store. Planted: parcels follow the course of their network, and in task `wm` the Visual ones are driven.

    Control: every parcel has a course of its own in both tasks. Coordinates say nothing of the network in either.
    """
    rng = np.random.default_rng(4)
    member = np.arange(PARCELS) % len(NETWORKS)
    data, rows = [], []
    for number, split in enumerate(SPLITS):
        for task in ("rest", "wm"):
            smooth = np.apply_along_axis(
                lambda s: np.convolve(s, np.ones(4) / 2, "same"), 0, rng.standard_normal((STEPS, PARCELS + 4))
            )
            x = smooth[:, :PARCELS]
            if planted:
                x = 0.5 * x + smooth[:, PARCELS:][:, member]
                x[:, member == 3] += 4 * (task == "wm") * (np.arange(STEPS) // 10 % 2)[:, None]
            data.append((10 * x + 100).astype(np.float32))
            rows.append({"id": f"sub-{number:02d}_task-{task}", "subject": f"{number:02d}", "task": task,
                         "split": split, "n_steps": STEPS, "status": "done", "group": float(1 + number % 2),
                         "site": "AB"[number % 4 // 2], "mean_fd_mm": 0.1})  # fmt: skip
    data[14][:, 2] = np.nan  # a parcel outside the field of view of the second test subject
    rows.append({"id": "sub-99_task-rest", "subject": "99", "task": "rest", "split": "test", "n_steps": 30,
                 "status": "done", "group": 1.0, "site": "A", "mean_fd_mm": 0.1})  # fmt: skip
    data.append(data[0][:30])  # shorter than a window
    table = pd.DataFrame(rows)
    atlas = pd.DataFrame({"index": range(1, PARCELS + 1), "name": [f"p{i:02d}" for i in range(PARCELS)]})
    atlas["network"] = [NETWORKS[m] for m in member]
    atlas[["x", "y", "z"]] = rng.uniform(-50, 50, (PARCELS, 3))
    store = write(folder, data, table, atlas)
    write_events(events_of(table["id"]), folder / "events.tsv")
    return store


def events_of(recordings: Iterable[str]) -> list[Condition]:
    """When the Visual parcels are driven in task `wm` ("on"), and when they are not ("off"): ten steps each."""
    found = []
    for name in recordings:
        for onset in range(0, STEPS - 9, 10) if name.endswith("wm") else ():
            found.append(Condition(name, float(onset), 8.0, ("off", "on")[onset // 10 % 2]))
    return found


def cohort(folder: Path, planted: bool = True, steps: int = 60) -> Path:
    """A folder with the store and, in `model`, a model that was trained on it for a moment."""
    trained(make(folder, planted), folder / "model", prior="zero", steps=steps)
    return folder


def outputs(task: str, out: Path) -> dict[str, Path]:
    """Where `run` puts what a task writes."""
    names = PAPER_TASKS[task].outputs
    return {name: out / f"{name}.{name.split('_')[1].replace('arrays', 'npz')}" for name in names}


def run(task: str, home: Path, out: Path, workdir: Path | None = None, **keys: Any) -> dict[str, Any]:
    """Run a task of the paper; its facts."""
    stage = PAPER_TASKS[task]
    beside = {k: home / v for k, v in BESIDE.items() if k != "events" or (home / v).exists()}
    inputs = {"store": home / "store.zarr", **beside}
    inputs |= {k: home / "model" / v for k, v in MODEL.items()}
    out.mkdir(parents=True, exist_ok=True)
    meta = {} if workdir is None else {"workdir": str(workdir)}
    config = stage.Config(threads=1, device="cpu", bootstrap=200, **keys)
    facts = call(stage, Files(inputs, meta), outputs(task, out), config)
    assert stage.describe(facts)
    return facts
