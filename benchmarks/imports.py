"""What `brainlm-data import` costs: each kind on generated people, and ABIDE's own file where it is given.

    python -m benchmarks.imports --json [--people 200] [--abide abide_cc200.npz]

Series of 196 volumes and 200 parcels at TR 2 s (ABIDE's middling size), written as each kind wants them (int16 in one
.npz; .1D text; .npy; .tsv), then imported to 1 Hz by a process of its own, one thread, default options, imports of
modules included. CPU seconds and peak memory above what the process had at its start.

Keys: for each kind `cpu_s`, `peak_mb`, `recordings`, `recordings_per_cpu_s`.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.tools import Cost, apart, one_thread, parser, show

one_thread()

# ruff: noqa: E402
import numpy as np

VOLUMES, PARCELS, TR_S = 196, 200, 2.0


def write(folder: Path, people: int) -> dict[str, tuple[str, Path]]:
    """Name -> (kind, path) of the generated data."""
    rng = np.random.default_rng(0)
    for name in ("abide", "pcp", "npy", "tsv"):
        (folder / name).mkdir()
    names = [f"A_{number:07d}" for number in range(people)]
    values = np.cumsum(rng.standard_normal((people, VOLUMES, PARCELS)), axis=1)
    scale = np.abs(values).max(axis=(1, 2)) / 32000
    data = np.round(values / scale[:, None, None]).astype(np.int16).reshape(-1, PARCELS)
    offset = np.arange(people + 1) * VOLUMES
    np.savez_compressed(folder / "abide" / "made.npz", data=data, offset=offset, scale=scale, file_id=np.array(names))
    table = "\n".join(["participant_id\trepetition_time_s", *(f"{name}\t{TR_S}" for name in names)])
    (folder / "abide" / "made.tsv").write_text(table + "\n")
    head = "\t".join(f"#{i}" for i in range(1, PARCELS + 1))
    for name, series in zip(names, values, strict=True):
        np.savetxt(
            folder / "pcp" / f"{name}_rois_cc200.1D", series, fmt="%.6f", delimiter="\t", header=head, comments=""
        )
        np.savetxt(folder / "tsv" / f"{name}.tsv", series, fmt="%.6f", delimiter="\t")
        np.save(folder / "npy" / f"{name}.npy", series.astype(np.float32))
    return {
        "abide": ("abide", folder / "abide" / "made.npz"), "pcp": ("pcp", folder / "pcp"),
        "arrays_npy": ("arrays", folder / "npy"), "arrays_tsv": ("arrays", folder / "tsv"),
    }  # fmt: skip


def cost(kind: str, path: str, outdir: str, words: list[str]) -> dict[str, float]:
    """One import."""
    with Cost() as spent:
        import pandas as pd

        from brainlm_data.cli import main

        with contextlib.redirect_stdout(sys.stderr):
            if main(["import", kind, path, outdir, *words]):
                raise SystemExit("the import failed")
    done = int((pd.read_parquet(Path(outdir) / "recordings.parquet")["status"] == "done").sum())
    return {
        "cpu_s": spent.seconds,
        "peak_mb": spent.mb,
        "recordings": done,
        "recordings_per_cpu_s": done / spent.seconds,
    }


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--people", type=int, default=200)
    arguments.add_argument("--abide", type=Path, help="abide_cc200.npz, with its .tsv beside it")
    given = arguments.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        sources = write(Path(name), given.people)
        if given.abide:
            sources["abide_real"] = ("abide", given.abide)
        for key, (kind, path) in sources.items():
            words = ["--tr", str(TR_S)] if kind != "abide" else []
            found[key] = apart(cost, kind, str(path), str(Path(name) / f"out-{key}"), words)
    show(found, given.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
