"""Training from the store itself (`train.cache: false`) on many recordings: windows per second, memory, disk.

    python -m benchmarks.stream --json [--recordings 10000] [--distinct 256] [--batch 64] [--windows 4096]
        [--steps 490] [--parcels 424] [--make-cache]

A store of noise, by default of the size of UK Biobank's runs. Its shards are hard links to those of
`distinct` recordings, so that 10,000 recordings need the disk of 256: every one of them is opened and decompressed, but
the disk itself is not measured (files are in the page cache). One process. Keys:

* `index_cpu_s`: the first start, which reads all recordings once; `start_cpu_s`: a start on that index;
* `windows_per_s`, `windows_per_cpu_s`: batches in the order of an epoch, the first `windows` of it;
* `random_per_cpu_s`: the same store by plain random order, a recording read for each window;
* `cache_per_cpu_s`: windows of the flat cache (`train.cache: true`), on the `distinct` recordings;
* `peak_mb`: memory of the streaming process above its start; `train_peak_mb`: of four steps of `tiny` without a prior;
* `cache_gb`: the disk that a cache of all recordings would take; `index_mb`: what is kept instead.

With `--make-cache` the disk for it must be there. Two processes start at once on a store without a cache, and each then
trains four steps of `tiny` without a prior: `two_cpu_s`, what making or waiting for the cache took each of them, and
`two_peak_mb`, of their own memory: what is mapped from the file does not count, as the system can drop it.
`cache_files`: their sizes, GB.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
import pandas as pd
import torch

from brainlm_data import BLANK, Scaler, seal
from brainlm_data.dataset.store import SEAL, SHARD_CHUNKS, write_store
from brainlm_model import WindowDataset
from brainlm_model.training.recipe import Config
from brainlm_model.training.worker import make_trainer

CHUNK, WINDOW = 256, 200


def tables(folder: Path, count: int, steps: int, parcels: int) -> pd.DataFrame:
    """The tables beside a store of so many recordings."""
    ids = [f"sub-{number:05d}_task-rest" for number in range(count)]
    subjects = [f"{number:05d}" for number in range(count)]
    table = pd.DataFrame({"id": ids, "subject": subjects, "split": "train", "n_steps": steps, "status": "done"})
    table.to_parquet(folder / "recordings.parquet")
    Scaler(np.zeros(parcels, np.float32), np.ones(parcels, np.float32)).save(folder / "scaler.npz")
    return table


def small_store(folder: Path, distinct: int, steps: int, parcels: int) -> None:
    """A store of noise, `distinct` recordings."""
    folder.mkdir()
    table = tables(folder, distinct, steps, parcels)
    atlas = pd.DataFrame({"index": range(1, parcels + 1), "name": [f"p{i}" for i in range(parcels)]})
    atlas[["x", "y", "z"]] = 0.0

    def series(row: int) -> np.ndarray:
        return np.random.default_rng(row).standard_normal((steps, parcels), dtype=np.float32)

    write_store(
        folder / "store.zarr",
        series,
        table[["id", "n_steps"]],
        atlas,
        {"rate_hz": 1.0},
        [[] for _ in table["id"]],
        CHUNK,
    )


def large_store(small: Path, folder: Path, count: int, steps: int, parcels: int) -> None:
    """The same store with its shards over and over, until it has `count` recordings."""
    folder.mkdir()
    table = tables(folder, count, steps, parcels)
    chunks = -(-steps // CHUNK)
    shards, rows = -(-count * chunks // SHARD_CHUNKS), count * chunks * CHUNK
    source, target = small / "store.zarr", folder / "store.zarr"
    there = len(list((source / "bold" / "c").iterdir()))
    for number in range(shards):
        for name in (f"bold/c/{number % there}/0", f"valid/c/{number % there}"):
            file = target / name.replace(f"c/{number % there}", f"c/{number}")
            file.parent.mkdir(parents=True, exist_ok=True)
            os.link(source / name, file)
    about = json.loads((source / "zarr.json").read_text())
    metadata = about["consolidated_metadata"]["metadata"]
    for name in ("bold", "valid"):
        metadata[name]["shape"][0] = rows
        (target / name / "zarr.json").write_text(json.dumps(metadata[name]))
    for name in ("x", "y", "z"):
        os.symlink(source / name, target / name)
    starts = [number * chunks * CHUNK for number in range(count)]
    about["attributes"]["recordings"] = {"id": table["id"].tolist(), "n_steps": [steps] * count, "start": starts}
    about["attributes"][SEAL] = BLANK
    (target / "zarr.json").write_text(json.dumps(about))
    seal(target / "zarr.json")


def cpu_s(call: Any) -> float:
    """CPU seconds of a call, all threads."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def start(store: Path) -> WindowDataset:
    """Windows straight from a store."""
    return WindowDataset(store, "train", WINDOW, fill=np.nan, cache=False)


def first_start(store: Path) -> float:
    """CPU seconds of the first start, which makes the index."""
    return cpu_s(lambda: start(store))


def stream(store: Path, batch: int, windows: int) -> dict[str, float]:
    """An epoch's first windows."""
    with tools.Cost() as cost:
        begin = time.process_time()
        data = start(store)
        found = {"start_cpu_s": time.process_time() - begin}
        order = data.order(torch.Generator().manual_seed(0))[:windows]
        begin, clock = time.process_time(), time.perf_counter()
        for first in range(0, windows, batch):
            data.windows(order[first : first + batch])
        found["windows_per_s"] = windows / (time.perf_counter() - clock)
        found["windows_per_cpu_s"] = windows / (time.process_time() - begin)
    return found | {"peak_mb": cost.mb}


def at_random(store: Path, windows: int) -> float:
    """Windows per CPU second, a recording read for each."""
    data = start(store)
    order = np.random.default_rng(0).permutation(len(data))[: windows // 8]
    return len(order) / cpu_s(lambda: [data.series(int(index))[:WINDOW] for index in order])


def cached(store: Path, batch: int) -> float:
    """Windows per CPU second from the flat cache."""
    data = WindowDataset(store, "train", WINDOW, fill=np.nan)
    rng = np.random.default_rng(0)
    batches = [rng.permutation(len(data))[:batch].tolist() for _ in range(50)]
    data.windows(range(len(data)))  # compared once
    return 50 * batch / cpu_s(lambda: [data.windows(chosen) for chosen in batches])


def train_peak(store: Path) -> float:
    """MB of four steps of `tiny` without its prior."""
    with tools.Cost() as cost:
        recipe = Config(prior="zero", cache=False, steps=4, threads=1, device="cpu", eval_every=4)
        make_trainer(store, recipe, 0).fit(None)
    return cost.mb


def own_memory_mb() -> float:
    """Memory of this process without what is mapped from files, MB."""
    anonymous = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(anonymous[1]) / 1024 if anonymous else float("nan")


def start_and_train(store: Path) -> tuple[float, float]:
    """CPU seconds until the cache is there, and the peak of this process's own memory with four steps after it, MB."""
    before, most, ended = own_memory_mb(), [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], own_memory_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds = cpu_s(lambda: WindowDataset(store, "train", WINDOW, fill=np.nan))
    make_trainer(store, Config(prior="zero", steps=4, threads=1, device="cpu", eval_every=4), 0).fit(None)
    ended.set()
    watcher.join()
    return seconds, most[0] - before


def made_by_two(store: Path) -> dict[str, Any]:
    """Two processes that start at once on a store without a cache."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        both = pool.map(start_and_train, [store, store], chunksize=1)
    caches = [file for file in store.parent.iterdir() if ".flat." in file.name and file.suffix == ".npy"]
    return {
        "two_cpu_s": [seconds for seconds, _ in both],
        "two_peak_mb": [mb for _, mb in both],
        "cache_files": {file.name: file.stat().st_size / 1e9 for file in caches},
    }


def main() -> None:
    options = tools.parser(__doc__)
    for name, default in (
        ("recordings", 10_000),
        ("distinct", 256),
        ("batch", 64),
        ("windows", 4096),
        ("steps", 490),
        ("parcels", 424),
    ):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument(
        "--make-cache", action="store_true", help="train on a cache as well, which is made by one of two"
    )
    given = options.parse_args()
    size = given.steps, given.parcels
    torch.set_num_threads(1)
    windows = min(given.windows, given.recordings)
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name, "small"), Path(name, "large")
        tools.apart(small_store, small, given.distinct, *size)
        large_store(small, large, given.recordings, *size)
        result: dict[str, Any] = {"index_cpu_s": tools.apart(first_start, large / "store.zarr")}
        result |= tools.apart(stream, large / "store.zarr", given.batch, windows)
        result["random_per_cpu_s"] = tools.apart(at_random, large / "store.zarr", windows)
        result["cache_per_cpu_s"] = tools.apart(cached, small / "store.zarr", given.batch)
        result["train_peak_mb"] = tools.apart(train_peak, large / "store.zarr")
        result["index_mb"] = (large / ".store.zarr.stream.npz").stat().st_size / 1e6
        if given.make_cache:
            result |= made_by_two(large / "store.zarr")
    result["cache_gb"] = given.recordings * given.steps * given.parcels * 4 / 1e9
    tools.show({**result, "conditions": {k: v for k, v in vars(given).items() if k != "json"}}, given.json)


if __name__ == "__main__":
    main()
