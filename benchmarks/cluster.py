"""The same run without SLURM and through it: the same bytes? and how much longer?

    python -m benchmarks.cluster BIDS --json [--configfile config/demo.yaml] [--folder F] [--cores 2] [--partition P]

`make demo-slurm` gives it the demo. The dataset is processed to the report twice, each time into a fresh folder: by
`snakemake --cores N`, and by the same command with `--profile profiles/slurm`, whose settings are used as they are.
Then every file outside work/ is compared, but for `TIMED`. Exit status 1 where one differs or is missing. It needs a
SLURM to submit to, and room for two outdirs.

Keys: `local_s`, `slurm_s` (wall), `ratio`; `n_jobs` submitted, `more_s_per_job`: (slurm_s - local_s) / n_jobs;
`n_files` compared, `n_bytes`, `differing`: their names.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.tools import ROOT, parser, show, snakemake_call

TIMED = {"log.csv", ".store.zarr.flat.json"}  # how long each step took; a cache's key, which has the store's mtime


def digests(outdir: Path) -> dict[str, str]:
    """Every file that a run is to make (not work/, not `TIMED`) -> sha256 of its bytes."""
    files = [p for p in outdir.rglob("*") if p.is_file() and p.name not in TIMED]
    kept = [p for p in files if p.relative_to(outdir).parts[0] not in ("work", "config.yaml")]  # which names the outdir
    return {str(p.relative_to(outdir)): sha256(p.read_bytes()).hexdigest() for p in kept}


def snakemake(folder: Path, given: Any, name: str, *more: str) -> tuple[float, int]:
    """Run everything into `<folder>/<name>`: wall seconds and number of jobs. What it printed is in `<name>.txt`."""
    call = [
        *snakemake_call(folder, given.cores, given.configfile.resolve()), *more,
        "--config", f"bids_dir={given.bids.resolve()}", f"outdir={folder / name}",
    ]  # fmt: skip
    said = folder / f"{name}.txt"
    begin = time.monotonic()
    with said.open("w") as stream:
        status = subprocess.run(call, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    seconds = time.monotonic() - begin
    if status:
        raise SystemExit(f"{said}: snakemake ended with {status}\n{said.read_text()[-4000:]}")
    total = re.search(r"^total\s+(\d+)$", said.read_text(), flags=re.MULTILINE)
    return seconds, int(total.group(1)) - 1 if total else 0  # without rule all, which runs nothing


def measure(folder: Path, given: Any) -> dict[str, Any]:
    """Both runs, below `folder`, and what differs."""
    extra = ["--default-resources", f"slurm_partition={given.partition}"] if given.partition else []
    local_s, _ = snakemake(folder, given, "local")
    slurm_s, n_jobs = snakemake(folder, given, "slurm", "--profile", str(ROOT / "profiles/slurm"), *extra)
    here, there = digests(folder / "local"), digests(folder / "slurm")
    return {
        "local_s": local_s, "slurm_s": slurm_s, "ratio": slurm_s / local_s, "n_jobs": n_jobs,
        "more_s_per_job": (slurm_s - local_s) / n_jobs, "n_files": len(here),
        "n_bytes": sum((folder / "local" / name).stat().st_size for name in here),
        "differing": sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name)),
    }  # fmt: skip


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("bids", type=Path, help="a BIDS dataset, best a small one")
    arguments.add_argument("--configfile", type=Path, default=ROOT / "config/demo.yaml")
    arguments.add_argument("--folder", type=Path, help="where to run, and to leave both outdirs (default: temporary)")
    arguments.add_argument("--cores", type=int, default=2, help="of this machine, for the run without SLURM")
    arguments.add_argument("--partition", help="SLURM partition, where the default one will not do")
    given = arguments.parse_args()
    if given.folder:
        given.folder.mkdir(parents=True)
        found = measure(given.folder.resolve(), given)
    else:
        with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
            found = measure(Path(folder), given)
    show(found, given.json)
    return 1 if found["differing"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
