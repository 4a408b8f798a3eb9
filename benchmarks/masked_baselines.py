"""Masked R2 of the baselines on real people: the linear bar that a model has to clear (docs/metrics.md).

    python benchmarks/masked_baselines.py --abide FOLDER

Resting-state parcel series of ABIDE (640 people, 12 sites, 200 parcels of CC200): demeaned, cubic splines to 1 Hz,
robust-scaled with 480 people's median and IQR; 40 of these choose the ridge; one 200-step window of each of 160 others
is scored, patches of 20, random masks. About 20 s on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from brainlm_data.imports import Options, read
from brainlm_model.baselines import gaussian, interpolation, mean
from brainlm_model.eval.masked.scoring import Condition, HeldOutRecording, draw_mask, score, table

WINDOW, PATCH, RATIOS = 200, 20, (0.2, 0.5, 0.75, 0.9)


def read_abide(folder: Path, people: int, rng: np.random.Generator) -> tuple[list[str], list[NDArray[np.float32]]]:
    """Ids and demeaned series (parcel, time) at 1 Hz of the first `people` people of a shuffle."""
    source = read("abide", folder / "abide_cc200.npz", Options())
    ids, series = [], []
    for number in rng.permutation(len(source.series))[:people]:
        one = source.series[number]
        x, _ = one.load()
        seconds = np.arange(len(x)) * one.tr_s
        at_1hz = CubicSpline(seconds, x - x.mean(axis=0))(np.arange(int(seconds[-1]) + 1))
        ids.append(one.id)
        series.append(at_1hz.T.astype(np.float32))
    return ids, series


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--abide", type=Path, required=True, help="folder of abide_cc200.npz")
    parser.add_argument("--people", type=int, default=640, help="use the first N of the shuffled people")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    arguments = parser.parse_args()
    if not (arguments.abide / "abide_cc200.npz").is_file():
        print(f"skipped: no {arguments.abide}/abide_cc200.npz; give the folder with --abide")
        return 0

    started = time.monotonic()
    rng = np.random.default_rng(arguments.seed)
    ids, series = read_abide(arguments.abide, arguments.people, rng)
    train, test = np.split(np.arange(len(ids)), [len(ids) * 3 // 4])
    pooled = np.concatenate([series[i] for i in train], axis=1)
    low, median, high = np.percentile(pooled, [25, 50, 75], axis=1)
    scaled = [((x - median[:, None]) / (high - low)[:, None]).astype(np.float32) for x in series]

    windows = {}
    for i in range(len(ids)):
        if scaled[i].shape[1] >= WINDOW:
            start = rng.integers(scaled[i].shape[1] - WINDOW + 1)
            windows[i] = HeldOutRecording(ids[i], ids[i], scaled[i][None, :, start : start + WINDOW])
    conditions = [Condition("random", ratio) for ratio in RATIOS]
    fitting, tuning = np.split(train, [len(train) - len(train) // 12])
    pairs = [(windows[i].x_BPT, draw_mask(windows[i], c, PATCH, 1)) for i in tuning if i in windows for c in conditions]
    methods = {
        "gaussian": gaussian.fit_tuned((scaled[i] for i in fitting), pairs),
        "mean": mean.fit([]),
        "interpolation": interpolation.fit([]),
    }
    held_out = [windows[i] for i in test if i in windows]
    rows = table(score(held_out, methods, conditions, PATCH, arguments.seed), 1000, arguments.seed)

    print(f"{len(fitting)} people for training, {len(tuning)} for the ridge ({methods['gaussian'].ridge:g}), ", end="")
    print(f"{len(held_out)} for test; {time.monotonic() - started:.0f} s")
    for metric in ("r2_flat", "r2_recording", "r2_parcel"):
        print(f"\n{metric:<14}" + "".join(f"{ratio:>22}" for ratio in RATIOS))
        for method in methods:
            cells = [r for r in rows if r["method"] == method and r["metric"] == metric]
            print(f"{method:<14}" + "".join(f"  {r['value']:6.3f} [{r['low']:.2f}, {r['high']:.2f}]" for r in cells))
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
