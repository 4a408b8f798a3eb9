"""Embedding: CPU seconds per window by batch, and a 4-D image to parcel series.

    python -m benchmarks.embed --json

Random windows of 424 parcels x 200 steps through untrained networks; what batching changes in the numbers. Then a
simulated preprocessed image on the 2 mm grid of `demo424`, read, parcellated, filtered and resampled by its card.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from brainlm_data import Card, Scaler, read_series
from brainlm_data.spaces.demo424 import SPACE, embedded_atlas
from brainlm_model.models.brainlm import BrainLM
from brainlm_model.models.card import ModelCard, ModelPart
from brainlm_model.models.config import build
from brainlm_model.trained.checkpoint import TrainedModel
from brainlm_model.trained.embedding import SourceRecording, embeddings

PARCELS = 424


def networks(preset: str, windows: int, batches: list[int]) -> dict[str, Any]:
    """CPU seconds per window for each batch, and the largest difference from one window at a time."""
    from brainlm_data import ParcelSeries

    torch.manual_seed(0)
    network = BrainLM(build(preset, PARCELS)).eval()
    scaler = Scaler(np.zeros(PARCELS, np.float32), np.ones(PARCELS, np.float32))
    model = TrainedModel(network, network.config, scaler, {}, ModelCard(model=ModelPart(name="x", title="x")))
    rng = np.random.default_rng(0)
    data = [rng.standard_normal((200, PARCELS)).astype(np.float32) for _ in range(windows)]
    recordings = [SourceRecording(str(i), lambda x=x: ParcelSeries(x)) for i, x in enumerate(data)]
    list(embeddings(model.network, model.scaler, recordings[:1], 1))  # what is prepared once
    found: dict[int, Any] = {}
    seconds = {}
    for batch in batches:
        begun = time.process_time()
        found[batch] = [e for _, e in embeddings(model.network, model.scaler, recordings, batch)]
        seconds[str(batch)] = round((time.process_time() - begun) / windows, 4)
    first = batches[0]
    apart = max(
        float(np.abs(getattr(a, kind) - getattr(b, kind)).max())
        for batch in batches[1:]
        for a, b in zip(found[first], found[batch], strict=True)
        for kind in ("cls", "mean", "parcels")
    )
    return {"cpu_s_a_window_by_batch": seconds, "largest_difference": apart, "windows": windows}


def image(volumes: int) -> dict[str, Any]:
    """CPU seconds per volume from a .nii.gz to series at 1 Hz."""
    atlas, _ = embedded_atlas()
    labels = np.asarray(atlas.dataobj)
    sha = hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()
    tr, low, high = ({"low": value, "high": value} for value in (2.0, 0.01, 0.25))
    card = Card.model_validate({
        "made_by": "a benchmark", "recordings": 1, "subjects": 1, "stages": [], "atlas": "demo424",
        "atlas_sha256": sha, "space": SPACE, "parcels": PARCELS, "rate_hz": 1, "tr_s": tr, "band_low_hz": low,
        "band_high_hz": high, "units": "grand mean 10000",
    })  # fmt: skip
    rng = np.random.default_rng(0)
    data = np.zeros((*labels.shape, volumes), np.int16)
    data[labels > 0] = rng.normal(1000, 10, ((labels > 0).sum(), volumes)).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sub-01_space-{SPACE}_bold.nii.gz"
        made = nib.Nifti1Image(data, atlas.affine)
        made.header.set_xyzt_units("mm", "sec")
        made.header["pixdim"][4] = 2.0
        nib.save(made, path)
        read_series(path, card)  # compiles
        begun = time.process_time()
        found = read_series(path, card)
        seconds = time.process_time() - begun
    return {"shape": list(data.shape), "cpu_s": round(seconds, 2), "cpu_s_a_volume": round(seconds / volumes, 4),
            "steps": len(found.values)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--presets", nargs="*", default=["tiny"], help="architectures by name")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4, 8])
    parser.add_argument("--volumes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    result: dict[str, Any] = {name: networks(name, given.windows, given.batches) for name in given.presets}
    result |= {"image": image(given.volumes), "threads": given.threads}
    print(json.dumps(result) if given.json else json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
