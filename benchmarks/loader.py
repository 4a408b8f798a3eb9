"""Windows a CPU second: `WindowDataset` beside plain Zarr and an Arrow table, same windows, one thread.

    python -m benchmarks.loader --json [--recordings 300] [--parcels 424] [--steps 490] [--window 200] [--batch 64]

Noise of the size of UK Biobank's runs is written once as each side wants it: our store (Zarr, with the flat cache
beside it that training uses); a Zarr array of one chunk a recording; an Arrow file with a recording a row, mapped and
read without a copy; and, where the package `datasets` is installed, a HF dataset of 2-D arrays. Each side makes random
batches as a float32 tensor (batch, parcel, window), all in the layout of our trainer (time first in memory); ours also
made contiguous. Files are in the page cache: what is measured is the processor. Passes alternate; medians.

`write_cpu_s` and `read_cpu_s`: the store, all recordings once; `cache_cpu_s`: the flat cache from it; `start_cpu_s`: a
dataset on a cache that is there; `first_cpu_s` and `again_cpu_s`: a window of every recording, which compares each with
its checksum the first time.

Keys: those, `windows_per_cpu_s` (ours, as in training), `contiguous_per_cpu_s`, `zarr_per_cpu_s`, `arrow_per_cpu_s`,
`hf_per_cpu_s` (null without the package), ratios, and `equal`: whether all sides gave the same values.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tools import apart, one_thread, parser, show

one_thread()

# ruff: noqa: E402
import numpy as np
import pandas as pd
import torch

from brainlm_data import Scaler, open_store
from brainlm_data.dataset.store import write_store
from brainlm_model import WindowDataset

Batch = Callable[[Sequence[int], np.ndarray], torch.Tensor]


def prepare(folder: Path, recordings: int, steps: int, parcels: int) -> float:
    """Write the store, the Zarr array, the Arrow file and the dataset; CPU seconds of the store."""
    import pyarrow as pa
    import zarr

    rng = np.random.default_rng(0)
    values = rng.standard_normal((recordings, steps, parcels), dtype=np.float32)
    values -= values.mean(1, keepdims=True)
    ids = [f"sub-{i:05d}_task-rest" for i in range(recordings)]
    subjects = [name.split("_")[0].removeprefix("sub-") for name in ids]
    table = pd.DataFrame({"id": ids, "subject": subjects, "split": "train", "n_steps": steps, "status": "done"})
    atlas = pd.DataFrame({"index": range(1, parcels + 1), "name": [f"p{i}" for i in range(parcels)]})
    atlas[["x", "y", "z"]] = 0.0
    begin = time.process_time()
    write_store(folder / "store.zarr", values, table[["id", "n_steps"]], atlas, {"rate_hz": 1.0}, [[] for _ in ids])
    written = time.process_time() - begin
    table.to_parquet(folder / "recordings.parquet")
    Scaler(np.zeros(parcels, np.float32), np.ones(parcels, np.float32)).save(folder / "scaler.npz")
    plain = zarr.create_array(
        folder / "plain.zarr", shape=values.shape, chunks=(1, steps, parcels), dtype="float32", compressors=None
    )
    plain[:] = values
    rows = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), steps * parcels)
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink:
        content = pa.table({"recording": rows})
        with pa.ipc.new_file(sink, content.schema) as writer:
            writer.write_table(content, max_chunksize=100)
    if has_datasets():
        import datasets

        kind = datasets.Features({"recording": datasets.Array2D((steps, parcels), "float32")})
        datasets.Dataset.from_generator(_each, features=kind, gen_kwargs={"values": values}, cache_dir=str(folder / "c")
                                        ).save_to_disk(str(folder / "hf"))  # fmt: skip
    return written


def _each(values: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    for recording in values:
        yield {"recording": recording}


def has_datasets() -> bool:
    """Whether HF's package is installed: it is not a dependency of this project."""
    return importlib.util.find_spec("datasets") is not None


def by_zarr(folder: Path, window: int) -> Batch:
    """One chunk a recording, read whole."""
    import zarr

    array: Any = zarr.open_array(folder / "plain.zarr", mode="r")

    return lambda chosen, starts: cut([np.asarray(array[i]) for i in chosen], starts, window)


def by_arrow(folder: Path, window: int, steps: int, parcels: int) -> Batch:
    """One row per recording, memory-mapped, read whole."""
    import pyarrow as pa

    column = pa.ipc.open_file(pa.memory_map(str(folder / "rows.arrow"))).read_all()["recording"]

    def batch(chosen: Sequence[int], starts: np.ndarray) -> torch.Tensor:
        rows = [np.asarray(column[i].values).reshape(steps, parcels) for i in chosen]
        return cut(rows, starts, window)

    return batch


def by_datasets(folder: Path, window: int) -> Batch:
    """A HF dataset of 2-D arrays in numpy format."""
    import datasets

    rows = datasets.load_from_disk(str(folder / "hf")).with_format("numpy")
    return lambda chosen, starts: cut([rows[i]["recording"] for i in chosen], starts, window)


def cut(rows: Sequence[np.ndarray], starts: np.ndarray, window: int) -> torch.Tensor:
    """Windows of recordings (time, parcel)."""
    spans = [row[start : start + window] for row, start in zip(rows, starts, strict=True)]
    return torch.from_numpy(np.stack(spans)).transpose(1, 2)


def rate(call: Callable[[], int], least_s: float = 0.5) -> float:
    """Windows a CPU second of a call that returns how many it made."""
    made, begin = 0, time.process_time()
    while time.process_time() - begin < least_s:
        made += call()
    return made / (time.process_time() - begin)


def measure(folder: Path, window: int, size: int, repeats: int, steps: int, parcels: int) -> dict[str, Any]:
    """Rates of all sides on the same windows."""
    torch.set_num_threads(1)
    store = open_store(folder / "store.zarr")
    costs = {"read_cpu_s": seconds(lambda: [store.series(name) for name in store.recordings["id"]])}
    costs["cache_cpu_s"] = seconds(lambda: WindowDataset(store, "train", window))
    costs["start_cpu_s"] = seconds(lambda: WindowDataset(store, "train", window))
    data = WindowDataset(store, "train", window, fill=np.nan)
    for key in ("first_cpu_s", "again_cpu_s"):
        costs[key] = seconds(lambda: [data.windows([i]) for i in range(len(data))])
    others = {"zarr": by_zarr(folder, window), "arrow": by_arrow(folder, window, steps, parcels)}
    if has_datasets():
        others["hf"] = by_datasets(folder, window)
    rng = np.random.default_rng(1)

    def draw() -> tuple[list[int], np.ndarray]:
        return rng.permutation(len(data))[:size].tolist(), rng.integers(0, steps - window + 1, size)

    def ours(contiguous: bool) -> int:
        batch = data.windows(draw()[0])
        return len(batch.contiguous() if contiguous else batch)

    sides: dict[str, Callable[[], int]] = {"windows": lambda: ours(False), "contiguous": lambda: ours(True)}
    sides |= {name: (lambda make=make: len(make(*draw()))) for name, make in others.items()}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, call in sides.items():
            found[name].append(rate(call))
    rates = {f"{name}_per_cpu_s": statistics.median(values) for name, values in found.items()}
    chosen, starts = draw()
    expected = torch.stack([data.at(i, int(s)) for i, s in zip(chosen, starts, strict=True)])
    equal = all(torch.allclose(make(chosen, starts), expected, atol=1e-5) for make in others.values())
    return costs | rates | {"equal": equal}


def seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def main() -> None:
    """Command line."""
    options = parser(__doc__)
    for name, default in (("recordings", 300), ("parcels", 424), ("steps", 490), ("window", 200), ("batch", 64)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = apart(prepare, folder, given.recordings, given.steps, given.parcels)
        sizes = min(given.batch, given.recordings)
        rates = apart(measure, folder, given.window, sizes, given.repeats, given.steps, given.parcels)
    rates["write_cpu_s"] = written
    first = rates["windows_per_cpu_s"]
    rates.setdefault("hf_per_cpu_s", None)
    ratios = {f"ratio_vs_{k}": first / r if (r := rates[f"{k}_per_cpu_s"]) else None for k in ("zarr", "arrow", "hf")}
    show({**rates, **ratios, "conditions": {k: v for k, v in vars(given).items() if k != "json"}}, given.json)


if __name__ == "__main__":
    main()
