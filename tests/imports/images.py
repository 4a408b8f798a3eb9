"""Small generated images of the kinds fmriprep, hcp and ukb: six slabs, whose series are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.tables import write_table
from tests.core.test_sources import AFFINE, PARCELS, SHAPE, TR, VOLUMES, courses, labels, painted

SPACE = "MNI152NLin6Asym"
DROPPED = 2  # non-steady-state volumes


def atlas(folder: Path) -> Path:
    """The six slabs as a label image."""
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels(), AFFINE), folder / "blocks.nii.gz")
    return folder / "blocks.nii.gz"


def save(path: Path, data: NDArray[Any], affine: NDArray[Any] = AFFINE, tr: float = TR) -> Path:
    """A 4-D image with its TR in the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data.astype(np.float32), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = tr
    nib.save(image, path)
    return path


def motion(seed: int) -> NDArray[np.float64]:
    """(volume, 6): trans in mm, rot in rad."""
    rng = np.random.default_rng(1000 + seed)
    return np.cumsum(rng.normal(0, [0.02] * 3 + [0.0003] * 3, (VOLUMES, 6)), axis=0)


def prepared(
    folder: Path, number: int, entities: str = f"space-{SPACE}_res-2", old: bool = False, noise: float = 8.0
) -> Path:
    """One recording as fMRIPrep writes it: `noise` times a motion parameter is in every parcel. Returns the image."""
    func = folder / f"sub-{number:02d}" / "func"
    stem = f"sub-{number:02d}_task-rest"
    moved = motion(number)
    series = courses(number) + noise * (moved[:, :1] - moved[:, :1].mean()) / moved[:, 0].std()
    series[:DROPPED] += 200
    file = save(func / f"{stem}_{entities}_desc-preproc_bold.nii.gz", painted(series))
    beside = file.name.removesuffix(".nii.gz") + ".json"
    (func / beside).write_text(json.dumps({"RepetitionTime": TR, "StartTime": 0.4}))
    mask = nib.Nifti1Image((labels() > 0).astype(np.uint8), AFFINE)
    nib.save(mask, func / f"{stem}_{entities}_desc-brain_mask.nii.gz")
    rng = np.random.default_rng(number)
    comps = rng.standard_normal((VOLUMES, 4))
    table: dict[str, NDArray[np.float64]] = {}
    for place, name in enumerate(("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")):
        table[name] = moved[:, place]
        table[f"{name}_derivative1"] = np.concatenate([[np.nan], np.diff(moved[:, place])])
        table[f"{name}_power2"] = moved[:, place] ** 2
    names = [f"a_comp_cor_{i:02d}" for i in range(4)] if old else [
        "c_comp_cor_00", "c_comp_cor_01", "w_comp_cor_00", "w_comp_cor_01"]  # fmt: skip
    table |= dict(zip(names, comps.T, strict=True))
    step = np.abs(np.diff(moved, axis=0)) @ np.array([1, 1, 1, 50, 50, 50])
    table["framewise_displacement"] = np.concatenate([[np.nan], step])
    for volume in range(DROPPED):
        table[f"non_steady_state_outlier{volume:02d}"] = (np.arange(VOLUMES) == volume).astype(float)
    about = {name: {"Mask": ("CSF", "CSF", "WM", "WM")[place]} for place, name in enumerate(names)}
    write_table(func / f"{stem}_desc-confounds_timeseries.tsv", list(table), np.stack(list(table.values()), 1))
    (func / f"{stem}_desc-confounds_timeseries.json").write_text(json.dumps(about))
    return file


def derivatives(folder: Path, people: int = 4, **more: Any) -> Path:
    """fMRIPrep's folder."""
    for number in range(people):
        prepared(folder, number, **more)
    made_by = {"GeneratedBy": [{"Name": "fMRIPrep", "Version": "24.1.0"}]}
    (folder / "dataset_description.json").write_text(json.dumps(made_by))
    return folder


def cleaned(number: int) -> NDArray[np.float64]:
    """(volume, parcel) about 10000, as HCP and UK Biobank scale them."""
    return 20 * courses(number)


__all__ = [
    "AFFINE", "DROPPED", "PARCELS", "SHAPE", "SPACE", "TR", "VOLUMES", "atlas", "cleaned", "courses", "derivatives",
    "labels", "motion", "painted", "prepared", "save",
]  # fmt: skip
