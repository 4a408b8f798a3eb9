"""What each job of a cluster pays before it works: the DAG read once more, as a planner and as a job.

    python -m benchmarks.reading --json [--recordings 2000] [--bundle-size 100]

The dataset is a tree of empty files, one recording per subject with its JSON and a T1w. `first`: the index is made;
`again`: it is kept, and every file is looked at; `job`: as a job of a cluster, which does not look. Seconds of CPU and
of the clock, files in the page cache; a cluster's file system is slower. `imports`: of what the Snakefile imports.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.tools import parser, show

IMPORTS = (
    "import resource, time; import brainlm_data.graph.dag, brainlm_model.stages;"
    "print(time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
)


def tree(root: Path, recordings: int) -> None:
    """A dataset of empty images."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "empty", "BIDSVersion": "1.9.0"}')
    for number in range(recordings):
        subject = root / f"sub-{number:05d}"
        for place, name, text in (
            ("func", "task-rest_bold.nii.gz", ""),
            ("func", "task-rest_bold.json", json.dumps({"RepetitionTime": 2.0, "TaskName": "rest"})),
            ("anat", "T1w.nii.gz", ""),
        ):
            (subject / place).mkdir(parents=True, exist_ok=True)
            (subject / place / f"{subject.name}_{name}").write_text(text)


def main() -> None:
    """One JSON object."""
    wanted = parser(__doc__)
    wanted.add_argument("--recordings", type=int, default=2000)
    wanted.add_argument("--bundle-size", type=int, default=100)
    options = wanted.parse_args()
    from brainlm_data.graph.dag import Dag
    from brainlm_model.stages import ALL_STAGES

    result: dict[str, Any] = {"recordings": options.recordings, "bundle_size": options.bundle_size}
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    result["imports"] = dict(zip(("cpu_s", "peak_mb"), map(float, done.stdout.split()), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        tree(Path(folder) / "bids", options.recordings)
        raw = {"bids_dir": f"{folder}/bids", "outdir": f"{folder}/out", "bundle_size": options.bundle_size}
        for name, planning in (("first", True), ("again", True), ("job", False)):
            cpu, clock = time.process_time(), time.monotonic()
            Dag(raw, ALL_STAGES, planning=planning)
            result[name] = {
                "cpu_s": round(time.process_time() - cpu, 3), "s": round(time.monotonic() - clock, 3)
            }  # fmt: skip
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    show(result, options.json)


if __name__ == "__main__":
    main()
