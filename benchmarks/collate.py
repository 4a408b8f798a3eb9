"""What collating a cohort costs: store, tables, scaler and card of simulated recordings.

    python -m benchmarks.collate --json [--recordings 1000 10000] [--steps 490] [--threads 1]

Random series (A424's number of parcels) are made on the fly, so reading the series of stage `resample` is not part of
it (docs/stages/collate.md has what that costs); 80 % of the people are in training. Each number of recordings has a
process of its own. CPU seconds of all processes, peak memory of the largest above what it had at its start, bytes of
the store. Then ten recordings more: the new store takes over the old shards.

Keys: for each number of recordings `n<number>_{store_cpu_s, scaler_cpu_s, cpu_s, peak_mb, bytes}` (`cpu_s`: all of it)
and `n<number>_grow_{store_cpu_s, bytes}`: ten more, without the scaler, and the bytes of shards that were written;
`steps`, `parcels`, and `n76000_cpu_s`, `n76000_bytes`, `n76000_peak_mb`: on the line through the last two numbers.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tools import Cost, apart, one_thread, parser, show

one_thread()

# ruff: noqa: E402
import numpy as np
from numpy.typing import NDArray

PARCELS, RATE_HZ, COHORT, MORE = 424, 1.0, 76000, 10


@dataclass
class Series:
    """Series of a row: a piece of one random array, scaled by row, so that making it costs little."""

    steps: int

    def __post_init__(self) -> None:
        self.pool = np.random.default_rng(0).standard_normal((self.steps + 997, PARCELS)).astype(np.float32)

    def __call__(self, row: int) -> NDArray[np.float32]:
        """(time, parcel)."""
        first = row * 7919 % 997
        return self.pool[first : first + self.steps] * np.float32(1 + row % 13)


def children_cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def cost(number: int, steps: int, threads: int) -> dict[str, float]:
    """Everything for one number of recordings."""
    import pandas as pd

    from brainlm_data.dataset import fit_scaler, gather
    from brainlm_data.dataset.shards import PreviousStore

    seconds = {"scaler": 0.0}
    fit = fit_scaler.fit_scaler

    def timed(*arguments: Any) -> Any:
        begin = children_cpu()
        found = fit(*arguments)
        seconds["scaler"] = children_cpu() - begin
        return found

    fit_scaler.fit_scaler = timed
    rows = []
    for index in range(number + MORE):
        subject = f"{index // 2:06d}"
        row = gather.empty_row({"id": f"sub-{subject}_run-{index % 2 + 1}", "subject": subject, "session": None,
                                "task": "rest", "run": str(index % 2 + 1)})  # fmt: skip
        row |= {"tr_s": 0.735, "n_volumes": 490, "n_steps": steps, "band_low_hz": 0.01, "band_high_hz": 0.45}
        row |= {"mean_fd_mm": 0.1, "mean_dvars": 20.0, "median_tsnr": 60.0, "coverage_min": 0.9}
        row |= {f"metric_{k}": float(index % 97 + k) for k in range(25)}  # about as many as stage qc writes
        row |= {"status": "done", "reason": "", "rate_hz": RATE_HZ, "units": "grand mean 10000"}
        rows.append(row | {"_phenotypes": {"age": 45 + index % 35, "sex": "FM"[index % 2]}})
    parcels = pd.DataFrame({"index": range(1, PARCELS + 1), "name": [f"p{k}" for k in range(PARCELS)],
                            "hemisphere": "L", "network": "N", "x": 0.0, "y": 0.0, "z": 0.0})  # fmt: skip
    attributes = {"atlas": "A424", "atlas_sha256": "", "space": "MNI152NLin6Asym", "network_source": ""}
    marks, said = [str(index) for index in range(len(rows))], {"motion": "Motion was corrected."}
    with tempfile.TemporaryDirectory(prefix="collate-") as folder:
        names = {"store": "store.zarr", "recordings": "recordings.parquet", "scaler": "scaler.npz",
                 "card_data": "card.json", "card": "card.md", "checksums": "SHA256SUMS"}  # fmt: skip
        outputs = {name: Path(folder) / file for name, file in names.items()}
        config, aside = gather.Config(threads=threads), Path(folder) / "before"

        def collate(count: int) -> float:
            begin = children_cpu()
            before = PreviousStore(Path(folder), aside, marks[:count])
            gather.gather(
                [dict(row) for row in rows[:count]], Series(steps), [[]] * count, parcels, attributes, [said] * count,
                outputs, config, before,
            )  # fmt: skip
            return children_cpu() - begin

        with Cost() as spent:
            whole = collate(number)
        found = {"store_cpu_s": whole - seconds["scaler"], "scaler_cpu_s": seconds["scaler"], "cpu_s": whole,
                 "peak_mb": spent.mb, "bytes": size_of(outputs["store"])}  # fmt: skip
        outputs["store"].rename(aside)
        more = collate(number + MORE) - seconds["scaler"]
        return found | {"grow_store_cpu_s": more, "grow_bytes": size_of(outputs["store"], links=1)}


def size_of(store: Path, links: int | None = None) -> int:
    """Bytes of the shards' files; with `links` only those with this number of names."""
    stats = [file.stat() for file in store.glob("bold/c/*/0")]
    return sum(stat.st_size for stat in stats if links in (None, stat.st_nlink))


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--recordings", type=int, nargs="+", default=[1000, 10000])
    arguments.add_argument("--steps", type=int, default=490)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    found: dict[str, Any] = {"steps": given.steps, "parcels": PARCELS, "threads": given.threads}
    costs = {number: apart(cost, number, given.steps, given.threads) for number in sorted(given.recordings)}
    for number, one in costs.items():
        found |= {f"n{number}_{key}": value for key, value in one.items()}
    if len(costs) > 1:
        (few, low), (many, high) = list(costs.items())[-2:]
        for key in ("cpu_s", "bytes", "peak_mb"):
            slope = (high[key] - low[key]) / (many - few)
            found[f"n{COHORT}_{key}"] = high[key] + slope * (COHORT - many)
    show(found, given.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
