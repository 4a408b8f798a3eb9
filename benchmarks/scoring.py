"""What benchmarks of registration share: stages called, truth, distances, overlap."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from brainlm_data.methods import rigid
from brainlm_data.runner.call import call as run_stage
from brainlm_data.runner.call import places
from brainlm_data.stage import Facts, Files, Stage

Points = NDArray[np.float64]
NAMES = {"space": "MNI152NLin2009aSym", "seg": "demo424"}


class Displacement:
    """The true map template -> T1w: `p + d(p)`, linear between nodes, and its inverse."""

    def __init__(self, path: Path) -> None:
        image: Any = nib.load(path)
        self._field = np.asarray(image.dataobj)[:, :, :, 0, :]
        self._to_node = np.linalg.inv(image.affine)

    def __call__(self, points: Points) -> Points:
        """Template points -> T1w points."""
        nodes = (points @ self._to_node[:3, :3].T + self._to_node[:3, 3]).T
        moved = [map_coordinates(self._field[..., axis], nodes, order=1, mode="nearest") for axis in range(3)]
        return points + np.stack(moved, 1)

    def inverse(self, points: Points) -> Points:
        """T1w points -> template points, by fixed-point iteration."""
        found = points.copy()
        for _ in range(60):
            found += points - self(found)
        return found


def call(stage: Stage, inputs: Files, folder: Path, **section: Any) -> tuple[dict[str, Path], Facts, float]:
    """Run a stage into a folder. Returns the files that it wrote, its facts and CPU seconds."""
    outputs = places(stage, folder, NAMES)
    begin = time.process_time()
    facts = run_stage(stage, inputs, outputs, stage.Config(**section), NAMES, digests=dict.fromkeys(inputs, ""))
    seconds = time.process_time() - begin
    return {name: path for name, path in outputs.items() if path.exists()}, facts, seconds


def dice(labels: NDArray[np.int32], true: NDArray[np.int32]) -> float:
    """Mean Dice over parcels of the labels of points and the labels of where they truly are."""
    count = int(labels.max()) + 1
    both = np.bincount(labels[labels == true], minlength=count)
    total = np.bincount(labels, minlength=count) + np.bincount(true, minlength=count)
    return float((2 * both[1:] / np.maximum(total[1:], 1)).mean())


class Scoring:
    """Truth of one subject's first run, and the distance of a result from it."""

    def __init__(self, data: Path, subject: str, atlas_dseg: Path, motion_xfm: Path) -> None:
        truth = data / "truth" / f"sub-{subject}"
        self.warp = Displacement(next((truth / "anat").glob("*displacement.nii.gz")))
        self.placed = np.load(sorted((truth / "func").glob("*_from-T1w_to-boldref_xfm.npy"))[0])
        self.first = rigid.read_itk(motion_xfm)[0]  # boldref -> the first volume, in which truth is given
        image: Any = nib.load(atlas_dseg)
        self._labels = np.asarray(image.dataobj).astype(np.int32)
        voxels = np.argwhere(self._labels > 0)
        self.labels = self._labels[tuple(voxels.T)]
        self.points = affine(image.affine, voxels)  # template
        self.in_t1w = self.warp(self.points)
        self.in_epi = affine(self.placed, self.in_t1w)
        self._to_voxel = np.linalg.inv(image.affine)

    def distance(self, in_boldref: Points) -> NDArray[np.float64]:
        """From the true places in the EPI, mm."""
        return np.asarray(np.linalg.norm(affine(self.first, in_boldref) - self.in_epi, axis=1))

    def dice(self, in_boldref: Points) -> float:
        """Of parcels that are taken from these places."""
        back = affine(np.linalg.inv(self.placed), affine(self.first, in_boldref))
        index = np.rint(affine(self._to_voxel, self.warp.inverse(back))).astype(int)
        inside = ((index >= 0) & (index < self._labels.shape)).all(1)
        true = np.zeros(len(index), np.int32)
        true[inside] = self._labels[tuple(index[inside].T)]
        return dice(self.labels, true)

    def figures(self, rigid_part: Points, chain: Points, anat_part: Points) -> dict[str, float]:
        """What is reported of a route through the T1w: T1w -> boldref, template -> boldref, template -> T1w."""
        return {
            "epi_t1_median_mm": float(np.median(self.distance(rigid_part))),
            "epi_t1_max_mm": float(self.distance(rigid_part).max()),
            "anat_mean_mm": float(np.linalg.norm(anat_part - self.in_t1w, axis=1).mean()),
            "chain_mean_tre_mm": float(self.distance(chain).mean()),
            "chain_p95_mm": float(np.percentile(self.distance(chain), 95)),
            "parcel_dice": self.dice(chain),
        }


def affine(matrix: NDArray[Any], places: Points) -> Points:
    """Points (n, 3) through a matrix (4, 4)."""
    return np.asarray(places @ matrix[:3, :3].T + matrix[:3, 3])
