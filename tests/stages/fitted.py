"""What stages confounds to resample need: a small head with sources whose kind is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import write_table
from brainlm_data.runner.call import call
from brainlm_data.stage import Facts, Files, Stage

T, TR, SHAPE, VOXEL = 140, 2.0, (24, 28, 22), 4.0
AFFINE = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
KINDS = ("motion", "csf", "high_frequency", "network_a", "network_b", "network_c")
NAMES = [f"p{i}" for i in range(8)]
ENDS = {
    "confounds": "confounds_timeseries.tsv", "filter_recipe": "filter_recipe.json", "ica_mixing": "mixing.tsv",
    "ica_components": "components.nii.gz", "ica_metrics": "metrics.tsv", "denoise_recipe": "denoise_recipe.npz",
    "parcels_native": "native_timeseries.tsv", "parcels": "parcels_timeseries.tsv",
}  # fmt: skip


def masks() -> dict[str, NDArray[np.bool_]]:
    """Brain, its rim, ventricles, three networks; (x, y, z)."""
    place = np.indices(SHAPE) - (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2
    brain = ((place / np.array([10.5, 12.5, 9.5]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 1
    radius = np.sqrt((place**2).sum(0))
    inner = binary_erosion(brain, iterations=2)
    x, y, z = place
    networks = {
        "network_a": inner & (x > 3) & (y > 1),
        "network_b": inner & (x < -3) & (y > 1),
        "network_c": inner & (y < -4) & (np.abs(x) > 1),
    }
    return {"brain": brain, "rim": brain & ~binary_erosion(brain), "csf": inner & (radius < 3), **networks} | {
        "stripe": inner & (z > 2) & (np.abs(x) < 3) & (y < 1)
    }


def courses(rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Unit-variance time course of each kind; motion's is what moves the head."""
    time = np.arange(T) * TR
    steps = np.zeros(T)
    for at in rng.choice(np.arange(10, T - 10), 7, replace=False):
        steps[at:] += rng.normal(0, 1)
    slow = rng.standard_normal((T + 20, 4))
    kernel = np.exp(-(np.arange(-6, 7) ** 2) / 6)
    slow = np.stack([np.convolve(c, kernel, "same")[10:-10] for c in slow.T], 1)
    fast = np.sin(2 * np.pi * 0.22 * time + np.cumsum(rng.normal(0, 0.15, T)))
    out = {"motion": steps, "csf": slow[:, 3], "high_frequency": fast}
    out |= {f"network_{name}": slow[:, i] for i, name in enumerate("abc")}
    return {name: (c - c.mean()) / c.std() for name, c in out.items()}


def recording(folder: Path, motion_mm: float = 0.5, non_steady: int = 0, noise: float = 6.0) -> tuple[Files, Facts]:
    """Write the inputs of stages confounds to parcellate; also what is true of them."""
    rng = np.random.default_rng(11)
    place, source = masks(), courses(rng)
    brain = place["brain"]
    image = 1000.0 * brain[..., None] + rng.normal(0, noise, (*SHAPE, T)) * brain[..., None]
    where = {"motion": "rim", "csf": "csf", "high_frequency": "stripe"}
    for kind in KINDS:
        weight = 14.0 * (motion_mm / 0.5 if kind == "motion" else 1)
        image[place[where.get(kind, kind)]] += weight * source[kind]
    image[brain] += 15 * np.linspace(-1, 1, T)
    image[..., :non_steady] *= 1.3
    params = rng.normal(0, 0.01, (T, 6)) * [1, 1, 1, 0.01, 0.01, 0.01]
    params[:, 1] += motion_mm * source["motion"]
    tissue = np.zeros((*SHAPE, 5), np.float32)  # GM, WM, CSF, and the last two as if an erosion left them
    tissue[brain, 0] = 1
    tissue[place["csf"]] = [0, 0, 1, 0, 1]
    tissue[place["stripe"]] = [0, 1, 0, 1, 0]
    paths: dict[str, Path] = {}
    facts: Facts = {
        "RepetitionTime": TR, "NumberOfVolumes": T, "EmptyVolumes": [], "GrandMean": 1000.0, "MissingParcels": ["p7"],
        "Space": "MNI", "AtlasName": "eight",
    }  # fmt: skip

    def put(name: str, data: NDArray[Any]) -> None:
        paths[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(data, AFFINE), paths[name])
        write_facts(paths[name], facts)

    put("voxel_sample", image.astype(np.float32))
    put("sample_mask", brain.astype(np.uint8))
    put("sample_probseg", tissue)
    series = np.stack([image[place[k]].mean(0) for k in (*KINDS[3:], "rim", "csf", "stripe", "brain")], 1)
    series = np.hstack([series, np.full((T, 1), np.nan)])
    for name, columns, values in (
        ("parcels_raw", NAMES, series),
        ("motion_params", [f"{k}_{a}" for k in ("trans", "rot") for a in "xyz"], params),
        ("coverage", NAMES, np.ones((1, 8))),
    ):
        paths[name] = folder / f"{name}.tsv"
        write_table(paths[name], columns, values)
        write_facts(paths[name], facts)
    return Files(paths, {"id": "sub-01_task-rest", "metadata": {}}), {"courses": source, "masks": place}


def run(stage: Stage, inputs: Files, **section: Any) -> tuple[Facts, Files]:
    """Run a stage; its outputs join the inputs."""
    folder = inputs["motion_params"].parent
    outputs = {name: folder / ENDS[name] for name in stage.outputs}
    facts = call(stage, inputs, outputs, stage.Config(**section))
    assert Files(outputs).facts(stage.outputs[0])["GeneratedBy"]["Description"].endswith(".")
    return facts, Files({**{n: inputs[n] for n in inputs}, **outputs}, inputs.meta)
