"""States of a task from windows, by the user's commands: simulated people, and categories of Haxby et al. (2001).

    python -m benchmarks.states WORK [--control] --json
    python -m benchmarks.states WORK --haxby FOLDER --json

8 people are simulated in two runs of a task: blocks of 20 s drive two networks, the pauses between them are the other
condition. With `--control` nothing is planted. Each run is told from the other one of its person.

FOLDER has `bold.nii.gz`, `mask.nii.gz` and `attributes_literal.txt` (condition and run of each volume). The voxels of
the mask are imported as parcels, without each run's trend, with the blocks as events. It is one person, of whose twelve
runs each is told from the others; the model has seen all of them, without their categories.

`tiny` is trained for a moment; `brainlm-model paper STORE MODEL --tasks state` gives `balanced_accuracy` by method with
95 % intervals over people (or runs), what each tells `from_surrogates` that know nothing of the events, `p`, and
`even`, one over the number of conditions.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from scipy.signal import detrend

from brainlm_data.cli import main as data
from brainlm_model.cli import main as model

TR_S = 2.5
REST = "rest"


def prepare(folder: Path, work: Path) -> None:
    """Write `series/` (a file per run) and `events.tsv` into a new folder."""
    image: Any = nib.load(folder / "bold.nii.gz")
    mask: Any = nib.load(folder / "mask.nii.gz")
    volumes = np.asarray(image.dataobj)[np.asarray(mask.dataobj) > 0].T.astype(np.float32)
    lines = [line.split() for line in (folder / "attributes_literal.txt").read_text(encoding="utf-8").splitlines()]
    condition, run = np.array([line[0] for line in lines]), np.array([int(line[1]) for line in lines])
    (work / "series").mkdir(parents=True)
    rows = ["recording\tonset\tduration\ttrial_type"]
    for number in np.unique(run):
        name = f"sub-1_task-objects_run-{number + 1}"
        own, shown = volumes[run == number], condition[run == number]
        np.save(work / "series" / f"{name}_timeseries.npy", detrend(own, axis=0) + own.mean(0))
        edges = np.flatnonzero(np.r_[True, shown[1:] != shown[:-1], True])  # where a block begins, and the end
        for first, end in pairwise(edges):
            if shown[first] != REST:
                rows.append(f"{name}\t{TR_S * first:g}\t{TR_S * (end - first):g}\t{shown[first]}")
    (work / "events.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def haxby(folder: Path, work: Path, steps: int) -> dict[str, Any]:
    """The results of one person, as JSON values."""
    prepare(folder, work)
    store = work / "store"
    shares = ["--validation", "0", "--test", "0"]
    events = ["--events", str(work / "events.tsv")]
    _call(data, "import", "arrays", str(work / "series"), str(store), "--tr", str(TR_S), *shares, *events)
    return told(store, work, steps, "state.splits=[train]")


def simulated(work: Path, steps: int, control: bool) -> dict[str, Any]:
    """The results of simulated people, as JSON values."""
    nothing = ["--control"] if control else []
    people = ["--subjects", "8", "--tasks", "wm", "--runs", "2", "--volumes", "200"]
    _call(data, "simulate", "--out", str(work / "store"), *people, "--parcels-only", "--quiet", *nothing)
    return told(work / "store", work, steps, "state.baseline_s=10", "state.splits=[train,validation,test]")


def told(store: Path, work: Path, steps: int, *keys: str) -> dict[str, Any]:
    """Train on a store and tell its states; the results, as JSON values."""
    trained, out = work / "model", work / "states"
    training = [f"train.steps={steps}", "train.threads=1", "train.model=tiny"]
    _call(model, "train", str(store / "store.zarr"), "--out", str(trained), "--set", *training)
    where = ["paper", str(store / "store.zarr"), str(trained), "--tasks", "state", "--out", str(out)]
    _call(model, *where, "--set", "state.threads=1", *keys)
    content = json.loads((out / "state.json").read_text(encoding="utf-8"))
    rows = [row for row in content["Results"] if row["metric"] == "balanced_accuracy"]
    return {
        "balanced_accuracy": {row["method"]: [row["value"], row["low"], row["high"]] for row in rows},
        "from_surrogates": {row["method"]: row.get("chance") for row in rows},
        "p": {row["method"]: row.get("p_holm") for row in rows},
        "comparisons": content["Comparisons"],
        "even": 1 / len(content["Conditions"]),
        "events": content["Events"],
        "runs": content["Recordings"],
        "summary": content["Summary"],
        "warnings": content["Warnings"],
    }


def _call(command: Any, *words: str) -> None:
    if status := command(list(words)):
        raise SystemExit(status)


def main() -> None:
    options = tools.parser(__doc__)
    options.add_argument("work", type=Path, help="new folder for what is made on the way")
    options.add_argument(
        "--haxby", type=Path, metavar="FOLDER", help="bold.nii.gz, mask.nii.gz, attributes_literal.txt"
    )
    options.add_argument("--control", action="store_true", help="simulated people without a task in their series")
    options.add_argument("--steps", type=int, default=50, help="of training (50)")
    given = options.parse_args()
    if given.haxby is not None:
        found = haxby(given.haxby, given.work, given.steps)
    else:
        found = simulated(given.work, given.steps, given.control)
    tools.show(found, given.json)


if __name__ == "__main__":
    main()
