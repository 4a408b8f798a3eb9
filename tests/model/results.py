"""A small finished run for the tests of evaluation, figures and report: a real store, a barely trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainlm_data import Files
from brainlm_data.dataset.store import write_store
from brainlm_data.paths import artifacts_of
from brainlm_data.runner.call import call
from brainlm_model import figures
from brainlm_model.eval.masked import stage as evaluate
from brainlm_model.stages import ALL_STAGES
from brainlm_model.training import stage as train

NETWORKS = ("Visual", "Somatomotor", "Default", "Control")
PARCELS, STEPS = 32, 260
ARTIFACTS = artifacts_of(ALL_STAGES)
SPLITS = ["train"] * 10 + ["validation"] * 2 + ["test"] * 6


def artifact(outdir: Path, name: str) -> Path:
    return ARTIFACTS[name].path(outdir, names={"model": "tiny", "space": "tpl", "seg": "atlas"})


def files(outdir: Path, names: tuple[str, ...], meta: dict[str, Any] | None = None) -> Files:
    found = {name: artifact(outdir, name) for name in names}
    for path in found.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    return Files(found, {"outdir": str(outdir), **(meta or {})})


def simulate(outdir: Path, seed: int = 0) -> None:
    """Store, tables, scaler and card: slow network signals, one parcel outside one test subject's field of view."""
    rng = np.random.default_rng(seed)
    outdir.mkdir(parents=True, exist_ok=True)
    names = [NETWORKS[i % 4] for i in range(PARCELS)]
    atlas = pd.DataFrame({"index": range(1, PARCELS + 1), "name": [f"p{i:02d}" for i in range(PARCELS)],
                          "hemisphere": "L", "network": names})  # fmt: skip
    atlas[["x", "y", "z"]] = rng.uniform(-60, 60, (PARCELS, 3)).round()
    series, rows = [], []
    for number, split in enumerate(SPLITS):
        smooth = np.apply_along_axis(lambda s: np.convolve(s, np.ones(6) / 6, "same"), 0, rng.normal(size=(STEPS, 4)))
        x = 2 * smooth[:, np.arange(PARCELS) % 4] + 0.4 * rng.normal(size=(STEPS, PARCELS))
        series.append((10 * x + 100).astype(np.float32))
        rows.append({"id": f"sub-{number:02d}_task-rest", "subject": f"{number:02d}", "session": None, "task": "rest",
                     "tr_s": 1.0, "n_volumes": STEPS, "n_steps": STEPS, "split": split, "band_low_hz": 0.01,
                     "band_high_hz": 0.45, "mean_fd_mm": rng.gamma(2, 0.08), "median_tsnr": rng.normal(60, 6),
                     "coverage_min": 0.0 if number == 17 else 1.0, "status": "done", "reason": ""})  # fmt: skip
    series[17][:, 5] = np.nan
    recordings = pd.DataFrame(rows)
    recordings["start"] = write_store(
        outdir / "store.zarr", series, recordings, atlas, {"rate_hz": 1.0, "units": "arbitrary"}
    )
    train_rows = np.concatenate([x - np.nanmean(x, 0) for x, s in zip(series, SPLITS, strict=True) if s == "train"])
    low, median, high = np.nanpercentile(train_rows, [25, 50, 75], axis=0).astype(np.float32)
    np.savez(outdir / "scaler.npz", median=median, iqr=high - low)
    (outdir / "card.md").write_text("# Data\n\nSimulated **network** signals.\n\n- rate: `1 Hz`\n- units: a & b <i>\n")
    others = [
        {"id": "sub-90_task-rest", "subject": "90", "status": "refused", "reason": "too short: 12 volumes"},
        {"id": "sub-91_task-rest", "subject": "91", "status": "excluded", "reason": "mean FD 0.91 mm > 0.5",
         "mean_fd_mm": 0.91, "median_tsnr": 31.0, "coverage_min": 0.4},
    ]  # fmt: skip
    pd.concat([recordings, pd.DataFrame(others)], ignore_index=True).to_parquet(outdir / "recordings.parquet")


def run_all(outdir: Path, **keys: Any) -> Path:
    """Simulate, train a very small network, evaluate, draw."""
    simulate(outdir)
    small = {"width": 16, "heads": 2, "hidden": 32, "depth": 1, "decoder_depth": 1, "steps": 4, "eval_every": 2}
    for stage, section in (
        (train.STAGE, train.Config(**{**small, "batch_size": 4, "threads": 1, "device": "cpu", **keys})),
        (evaluate.STAGE, evaluate.Config(threads=1, device="cpu", bootstrap=200)),
        (figures.STAGE, figures.Config(dpi=60)),
    ):
        facts = call(stage, files(outdir, stage.inputs), files(outdir, stage.outputs), section)
        assert stage.describe(facts)
    return outdir
