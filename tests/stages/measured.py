"""One recording as stage qc finds it: every input in its format, made from the MNI template, with faults to choose."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import write_table
from brainlm_data.methods.operators import Recipe
from brainlm_data.methods.regression import Regression
from brainlm_data.stage import Files

T, TR, PARCELS, K = 60, 2.0, 12, 5


@cache
def anatomy() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Tissue probabilities (x, y, z, 3), brain mask and affine, 4 mm."""
    from nilearn import datasets

    grey, white, brain = (
        load(resolution=4)
        for load in (
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
            datasets.load_mni152_brain_mask,
        )
    )
    gm, wm = (np.clip(np.asarray(i.dataobj, np.float32), 0, 1) for i in (grey, white))
    mask = np.asarray(brain.dataobj) > 0
    csf = np.clip(1 - gm - wm, 0, 1) * mask
    return np.stack([gm * mask, wm * mask, csf], -1), mask, np.asarray(brain.affine)


def contrast(shift: tuple[int, int, int] = (0, 0, 0), levels: tuple[float, ...] = (900, 700, 1300)) -> NDArray[Any]:
    """An image of the tissues with a bias field, moved by whole voxels."""
    tissues, _, _ = anatomy()
    image = np.roll(tissues @ np.array(levels, np.float32), shift, (0, 1, 2))
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in image.shape), indexing="ij")
    return image * (1 + 0.2 * x - 0.3 * y)


@cache
def images(shift: tuple[int, int, int], t1w: bool) -> dict[str, bytes]:
    """The content of every image: to make and compress them takes longer than most tests."""
    rng = np.random.default_rng(1)
    tissues, mask, affine = anatomy()
    mean = contrast(shift) * mask
    maps = rng.normal(0, 1, (*mask.shape, K)).astype(np.float32) * mask[..., None]
    series = mean[..., None] + 10 * mask[..., None] * rng.normal(0, 1, (*mask.shape, T))
    slabs = 1 + np.arange(mask.shape[0]) * PARCELS // mask.shape[0]
    content = {
        "voxel_sample": series.astype(np.float32),
        "sample_mask": mask.astype(np.uint8),
        "sample_probseg": np.concatenate([tissues, tissues[..., 1:] > 0.95], -1, dtype=np.float32),
        "template_probseg": tissues,
        "template_mask": mask.astype(np.uint8),
        "template_t1w": contrast((0, 0, 0), (600, 1000, 200)).astype(np.float32),
        "boldref": mean.astype(np.float32),
        "bold_mask": mask.astype(np.uint8),
        "ica_components": maps,
        "atlas_dseg": mask * slabs[:, None, None].astype(np.int32),
    }
    if t1w:
        content["t1w_mni"] = contrast(shift, (600, 1000, 200)).astype(np.float32)
    return {name: gzip.compress(nib.Nifti1Image(x, affine).to_bytes(), 1, mtime=0) for name, x in content.items()}


def recording(folder: Path, shift: tuple[int, int, int] = (0, 0, 0), t1w: bool = True) -> Files:
    """Write the inputs of stage qc; tSNR is the image's mean, about 870, by noise of 10."""
    rng = np.random.default_rng(0)
    mask = anatomy()[1]
    names = [f"p{i}" for i in range(PARCELS)]
    paths: dict[str, Path] = {}

    def facts(name: str, **content: Any) -> None:
        write_facts(paths[name], content)

    def table(name: str, columns: list[str], values: NDArray[Any], **content: Any) -> None:
        paths[name] = folder / f"{name}.tsv"
        write_table(paths[name], columns, values)
        facts(name, **content)

    said = {
        "sample_probseg": {"Source": "T1w of the subject" if t1w else "template"},
        "template_mask": {"Space": "MNI"},
    }
    for name, content in images(shift, t1w).items():
        paths[name] = folder / f"{name}.nii.gz"
        paths[name].write_bytes(content)
        facts(name, **said.get(name, {}))
    waves = np.sin(np.arange(T)[:, None] * np.linspace(0.1, 1.5, K))
    raw = 1000 + rng.normal(0, 5, (T, PARCELS))
    native = raw - raw.mean(0)
    native[:2] = np.nan
    native[:, 3] = np.nan
    grand_mean = float(contrast(shift)[mask].mean())
    table("parcels_raw", names, raw, RepetitionTime=TR, NumberOfVolumes=T, GrandMean=grand_mean,
          BrainOverlap=0.96, Space="MNI", AtlasName="twelve", SliceTimingCorrected=False,
          Warnings=["the header's TR was wrong"])  # fmt: skip
    made_by = {"Name": "brainlm-data parcellate", "Description": "Series were scaled."}
    table("parcels_native", names, native, GeneratedBy=made_by, Dropped=2, Censored=[30])
    table("coverage", names, np.r_[0.4, np.ones(2), 0, np.ones(PARCELS - 4)][None])
    table("ica_mixing", [f"ica_{i:02d}" for i in range(K)], waves)
    table("motion_params", [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"], np.zeros((T, 6)))
    fd = np.full(T, 0.1)
    fd[0], fd[30] = np.nan, 2.0
    confounds = pd.DataFrame({"framewise_displacement": fd, "dvars": 12.0, "std_dvars": 1.1, "global_signal": 870.0})
    confounds["non_steady_state_outlier00"] = (np.arange(T) == 0).astype(int)
    paths["confounds"] = folder / "confounds.tsv"
    confounds.to_csv(paths["confounds"], sep="\t", na_rep="n/a", index=False)
    reasons = ["motion", "", "high frequency", "", ""]
    verdicts = {
        "component": [f"ica_{i:02d}" for i in range(K)],
        "variance_explained": [0.1, 0.3, 0.2, 0.1, 0.05],
        "classification": ["rejected" if r else "accepted" for r in reasons],
        "rationale": reasons,
    }
    paths["ica_metrics"] = folder / "ica_metrics.tsv"
    pd.DataFrame(verdicts).to_csv(paths["ica_metrics"], sep="\t", na_rep="n/a", index=False)
    atlas = pd.DataFrame({"index": range(1, PARCELS + 1), "name": names, "network": ["A", "B", "C"] * 4})
    paths["atlas_table"] = folder / "atlas.tsv"
    atlas.to_csv(paths["atlas_table"], sep="\t", index=False)
    paths["filter_recipe"], paths["denoise_recipe"] = folder / "filter.json", folder / "denoise.npz"
    Recipe(TR, T, dropped=2, censored=(30,), low_hz=0.01).save(paths["filter_recipe"])
    made_by = {"Name": "brainlm-data filter", "Description": "The band was chosen."}
    facts("filter_recipe", GeneratedBy=made_by)
    Regression.fit(waves[2:, [0, 2]], waves[2:, [1, 3, 4]]).save(paths["denoise_recipe"])
    meta = {"id": "sub-01_task-rest", "subject": "01", "session": None, "task": "rest", "run": None, "metadata": {}}
    return Files(paths, meta)
