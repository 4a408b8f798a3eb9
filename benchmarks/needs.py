"""What one job needs: peak memory and seconds of every stage, by the size of the recording, beside what it asks for.

    python -m benchmarks.needs --json [--sizes 64,64,36,200 88,88,64,490] [--data DIR]

A size is x,y,z,volumes of a simulated recording (`brainlm-data simulate`, 212 mm across, T1w at 1 mm; DIR keeps it for
another run); every stage is a process of its own with one thread, default configuration, as a rule runs it. `asks_mb`,
`asks_min`: what brainlm_data/graph/needs.py asks of a cluster for that recording alone, first attempt; of it
`needs.SNAKEMAKE_MB` are for Snakemake, which runs twice in every job.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.recording import SHARED, STAGES, measured, program, simulate
from benchmarks.tools import one_thread, parser, show

one_thread()
ACROSS_MM = 212.0


def of_size(size: str, data: Path) -> dict[str, Any]:
    """Stage -> CPU seconds, wall seconds, peak MB, and what is requested."""
    from brainlm_data.graph.dag import Dag
    from brainlm_data.pipeline import STAGES as ALL

    x, y, z, volumes = (int(part) for part in size.split(","))
    bids = data / size.replace(",", "x")
    simulate(bids, argparse.Namespace(volumes=volumes, shape=f"{x},{y},{z}", voxel_mm=ACROSS_MM / x, tr=0.735))
    file = next(bids.glob("sub-*/func/*_bold.nii.gz"))
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for stage in (*SHARED, *STAGES):
            begun = time.monotonic()
            where = ("--bids-dir", str(bids), "--outdir", folder, "--set", "atlas.name=demo424")
            cpu, peak = measured(program("run", stage, *where))
            rows[stage] = {"cpu_s": round(cpu, 1), "s": round(time.monotonic() - begun, 1), "peak_mb": round(peak)}
            print(f"{size} {stage} {rows[stage]}", file=sys.stderr, flush=True)
        dag = Dag({"bids_dir": str(bids), "outdir": folder, "atlas": {"name": "demo424"}}, ALL)
        for stage, row in rows.items():
            job = argparse.Namespace(bundle=dag.bundles.by_level[dag[stage].stage.level][0])
            asked = dag[stage].resources
            row["asks_mb"], row["asks_min"] = asked["mem_mb"](job, attempt=1), asked["runtime"](job, attempt=1)
    t1w = next(bids.glob("sub-*/anat/*_T1w.nii.gz"))
    return {"bold_mb": round(file.stat().st_size / 1e6), "t1w_mb": round(t1w.stat().st_size / 1e6), "stages": rows}


def main() -> None:
    """One JSON object."""
    wanted = parser(__doc__)
    wanted.add_argument("--sizes", nargs="+", default=["64,64,36,200", "88,88,64,490"])
    wanted.add_argument("--data", type=Path, help="folder that keeps the simulated recordings")
    options = wanted.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder)
        data.mkdir(parents=True, exist_ok=True)
        show({size: of_size(size, data) for size in options.sizes}, options.json)


if __name__ == "__main__":
    main()
