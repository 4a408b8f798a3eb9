"""Format `cifti`: one CIFTI-2 parcel series (.ptseries.nii) per recording, at the store's rate.

A store knows the centre of a parcel, not its voxels: without a label image a parcel is the one voxel of the MNI 2 mm
grid at its centre. Values, names and times do not depend on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from brainlm_data.dataset.store import Store
from brainlm_data.errors import InputError
from brainlm_data.exports import Options, recordings, table
from brainlm_data.reading.image import load_image

GRID = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
SHAPE = (91, 109, 91)


def write(store: Store, folder: Path, options: Options) -> dict[str, Any]:
    """ID.ptseries.nii, and recordings.tsv.

    Raises
    ------
    InputError: a label image that lacks a parcel of the store, two parcels of one name, or one without a place.
    """
    names = [str(name) for name in store.parcels["name"]]
    if len(set(names)) < len(names):
        raise InputError(f"{store.path}: two parcels have one name", "CIFTI knows parcels by their names")
    parcels, warnings = _parcels(store, names, options.atlas)
    for one in recordings(store):
        axis = nib.cifti2.SeriesAxis(0, 1 / store.rate_hz, len(one.series), unit="SECOND")
        image = nib.Cifti2Image(one.series, header=(axis, parcels))
        image.nifti_header.set_intent("NIFTI_INTENT_CONNECTIVITY_PARCELLATED_SERIES")
        nib.save(image, folder / f"{one.row['id']}.ptseries.nii")
    rows = table(store)
    rows.drop(columns="start").to_csv(folder / "recordings.tsv", sep="\t", index=False, na_rep="n/a")
    return {"Recordings": len(rows), "Warnings": warnings}


def _parcels(store: Store, names: list[str], atlas: Path | None) -> tuple[Any, list[str]]:
    """The parcels' axis, and what has to be said of it."""
    if atlas is None:
        places = store.parcels[["x", "y", "z"]].to_numpy(float)
        if np.isnan(places).any():
            raise InputError(f"{store.path}: parcels without x, y, z", "give the label image: --atlas")
        cells = np.rint((places - GRID[:3, 3]) @ np.linalg.inv(GRID[:3, :3]).T).astype(int)
        if ((cells < 0) | (cells >= SHAPE)).any():
            raise InputError(
                f"{store.path}: a parcel's centre is outside the MNI grid", "give the label image: --atlas"
            )
        text = "a parcel is one voxel at its centre, as no label image was given (--atlas)"
        if len({tuple(cell) for cell in cells}) < len(cells):
            text += "; some share a voxel, which Workbench does not accept"
        return _axis(names, [cell[None] for cell in cells], GRID, SHAPE), [text]
    image = load_image(atlas, InputError, "give a NIfTI label image")
    labels = np.asarray(image.dataobj)
    labels = labels.reshape(labels.shape[:3]) if labels.shape[3:] == (1,) else labels
    voxels = [np.argwhere(labels == index) for index in store.parcels["index"]]
    if labels.ndim != 3 or not all(len(v) for v in voxels):
        raise InputError(f"{atlas}: lacks labels of the store's parcels", "give the atlas that the store was made with")
    return _axis(names, voxels, image.affine, labels.shape), []


def _axis(names: list[str], voxels: list[np.ndarray], affine: np.ndarray, shape: tuple[int, ...]) -> Any:
    return nib.cifti2.ParcelsAxis(names, voxels, [{} for _ in names], affine=affine, volume_shape=shape)
