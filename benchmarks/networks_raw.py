"""What decides how well k-NN on raw series tells a parcel's network: steps, noise, k, standardising, the data.

    python -m benchmarks.networks_raw STORE --json [--series TSV ...]

The paper's protocol (80 / 20 % of the parcels of a recording), k-NN, on the first window of test recordings of a store
with networks; the first row is what stage `networks` does. `--series`: further recordings, one `_timeseries.tsv` each,
of the A424 atlas.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

import brainlm_data
from brainlm_data import open_store, prepare
from brainlm_model.eval.networks import classify
from brainlm_model.eval.networks.scores import accuracy
from brainlm_model.eval.networks.stage import networks_of
from brainlm_model.eval.statistics.subjects import bootstrap, subject_draws
from brainlm_model.eval.task import chosen

WINDOW = 200
CONDITIONS: dict[str, dict[str, Any]] = {
    "raw, 200 steps, k chosen": {},
    "k = 1": {"k": 1},
    "k = 5": {"k": 5},
    "k = 25": {"k": 25},
    "20 steps": {"steps": 20},
    "50 steps": {"steps": 50},
    "100 steps": {"steps": 100},
    "white noise of the series' SD added": {"noise": 1},
    "white noise of twice the SD": {"noise": 2},
    "white noise of 4 times the SD": {"noise": 4},
    "each series standardised": {"standard": True},
    "mean of all parcels removed": {"global": True},
    "half of the parcels": {"parcels": 0.5},
}


def features(x_RPT: np.ndarray, keys: dict[str, Any], seed: int) -> np.ndarray:
    x = x_RPT[..., : keys.get("steps", WINDOW)].copy()
    if keys.get("global"):
        x -= x.mean(1, keepdims=True)
    if "noise" in keys:
        spread = x.std(2, keepdims=True) * keys["noise"]
        x += spread * np.random.default_rng(seed).standard_normal(x.shape).astype(np.float32)
    if keys.get("standard"):
        x = (x - x.mean(2, keepdims=True)) / np.maximum(x.std(2, keepdims=True), 1e-6)
    return x


def score(x_RPT: np.ndarray, ids: list[str], labels: np.ndarray, keys: dict[str, Any], seed: int) -> np.ndarray:
    known = np.isfinite(x_RPT).all(2)
    if "parcels" in keys:
        labels = np.where(np.random.default_rng(seed).random(len(labels)) < keys["parcels"], labels, -1)
    neighbours = (keys["k"],) if "k" in keys else classify.NEIGHBOURS
    with (
        mock.patch.object(classify, "NEIGHBOURS", neighbours),
        mock.patch.object(classify._votes, "__defaults__", (neighbours,)),
    ):
        found = features(np.nan_to_num(x_RPT), keys, seed)
        return classify.within(found, known, ids, labels, "knn", seed, shuffle=False).confusion


def a424(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """One window (1, P, T) of a series of A424, each parcel over its spread, and the parcels' networks as numbers."""
    of = pd.read_csv(Path(brainlm_data.__file__).parent / "data/A424_networks.tsv", sep="\t", comment="#")["network"]
    names = sorted(set(of) - {"Unassigned"})
    series = pd.read_csv(file, sep="\t", na_values="n/a").to_numpy(dtype=np.float32)[:WINDOW]
    series = series - series.mean(0)
    quarter = np.subtract(*np.nanpercentile(series, [75, 25], axis=0))
    return (series / quarter).T[None], np.array([names.index(n) if n in names else -1 for n in of])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--series", type=Path, nargs="*", default=[], help="_timeseries.tsv of A424")
    parser.add_argument("--recordings", type=int, default=78)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    given = parser.parse_args()
    store = open_store(given.store)
    _, labels, _ = networks_of(store)
    table = chosen(store, ["test"], given.recordings, given.seed)
    windows = [prepare(store.series(name), store.scaler)[:WINDOW].T for name in table["id"]]
    rows = []
    for name, keys in CONDITIONS.items():
        each = accuracy(score(np.stack(windows), table["id"].tolist(), labels, keys, given.seed))
        value, low, high = bootstrap(each[:, None], subject_draws(table["subject"].tolist(), 1000, given.seed))
        rows.append({"condition": name, "accuracy": value[0], "low": low[0], "high": high[0], "recordings": len(each)})
    for file in given.series:
        x, networks = a424(file)
        draws = [accuracy(score(x, [f"draw {i}"], networks, {}, given.seed))[0] for i in range(50)]
        rows.append({"condition": f"A424, {file.name}", "accuracy": float(np.mean(draws)), "low": None, "high": None,
                     "recordings": 1})  # fmt: skip
    if given.json:
        print(json.dumps({"store": given.store.name, "rows": rows}))
    else:
        print(pd.DataFrame(rows).round(3).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
