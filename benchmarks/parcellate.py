"""Parcel means of a 4-D .nii.gz on the atlas grid: cost and memory beside nilearn's NiftiLabelsMasker.

    python -m benchmarks.parcellate --json [--volumes 20] [--parcels 424] [--resolution 2]

An int16 run of brain-shaped noise in the bundled template's brain, nearest-seed parcels. Ours: `volumes.Run`, one
volume at a time, and a bincount over the labelled voxels, as stage sample counts. nilearn: NiftiLabelsMasker with the
same label image, no resampling, no standardization, on the file. `decompress_cpu_s`: zlib alone on the same file, the
floor; `above_decompression` is what ours costs on top of that, as a share of it. `error`: largest difference from
float64 means, over their mean. `peak_mb` is above what was in memory before, `peak_mb_half` with half of the volumes.
"""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def write(folder: Path, volumes: int, parcels: int, resolution: int) -> None:
    """The run (all volumes, and half of them), the label image, and exact means."""
    from nilearn.datasets import load_mni152_brain_mask
    from scipy.spatial import cKDTree

    from brainlm_data.methods.volumes import Writer

    rng = np.random.default_rng(0)
    image = load_mni152_brain_mask(resolution=resolution)
    mask = np.asarray(image.dataobj) > 0
    place = np.argwhere(mask)
    seeds = place[rng.choice(len(place), parcels, replace=False)]
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = 1 + cKDTree(seeds).query(place)[1]
    nib.save(nib.Nifti1Image(labels, image.affine), folder / "labels.nii.gz")
    level = (8000 + 1000 * np.sin(place / 9).sum(1)).astype(np.float32)
    flat, size = labels[mask] - 1, np.bincount(labels[mask] - 1, minlength=parcels)
    means = np.empty((volumes, parcels))
    half = max(volumes // 2, 1)
    with (
        Writer(folder / "run.nii.gz", (*mask.shape, volumes), image.affine, np.int16, 2.0) as whole,
        Writer(folder / "half.nii.gz", (*mask.shape, half), image.affine, np.int16, 2.0) as part,
    ):
        volume = np.zeros(mask.shape, np.int16)
        for t in range(volumes):
            values = np.rint(level * (1 + 0.01 * rng.standard_normal(len(level), np.float32))).astype(np.int16)
            means[t] = np.bincount(flat, values.astype(np.float64), parcels) / size
            volume[mask] = values
            whole.add(volume)
            if t < half:
                part.add(volume)
    np.save(folder / "means.npy", means)


def ours(folder: Path, name: str) -> tuple[float, float, Array]:
    from brainlm_data.methods.volumes import Run

    labels = np.asarray(nib.load(folder / "labels.nii.gz").dataobj).ravel(order="F")
    inside = np.flatnonzero(labels)
    parcel = labels[inside] - 1
    size = np.bincount(parcel)
    with tools.Cost() as cost:
        means = np.stack(
            [np.bincount(parcel, volume.ravel(order="F")[inside], len(size)) / size for volume in Run(folder / name)]
        )
    return cost.seconds, cost.mb, means


def theirs(folder: Path) -> tuple[float, float, Array]:
    from nilearn.maskers import NiftiLabelsMasker

    with tools.Cost() as cost:
        masker = NiftiLabelsMasker(str(folder / "labels.nii.gz"), standardize=None, resampling_target=None)
        means = np.asarray(masker.fit_transform(str(folder / "run.nii.gz")))
    return cost.seconds, cost.mb, means


def decompress(folder: Path) -> float:
    with tools.Cost() as cost, (folder / "run.nii.gz").open("rb") as stream:
        decoder = zlib.decompressobj(31)
        while piece := stream.read(1 << 20):
            decoder.decompress(piece)
    return cost.seconds


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--volumes", type=int, default=20)
    parser.add_argument("--parcels", type=int, default=424)
    parser.add_argument("--resolution", type=int, default=2, help="mm")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, arguments.volumes, arguments.parcels, arguments.resolution)
        exact = np.load(folder / "means.npy")
        floor = tools.apart(decompress, folder)
        mine, mine_mb, means = tools.apart(ours, folder, "run.nii.gz")
        half_mb = tools.apart(ours, folder, "half.nii.gz")[1]
        peer, peer_mb, peer_means = tools.apart(theirs, folder)
        shape = nib.load(folder / "run.nii.gz").shape

    def error(found: Array) -> float:
        return float(np.abs(found - exact).max() / exact.mean())

    result: dict[str, Any] = {
        "shape": list(shape), "parcels": arguments.parcels, "cpu_s": mine, "nilearn_cpu_s": peer, "ratio": peer / mine,
        "decompress_cpu_s": floor, "above_decompression": mine / floor - 1, "peak_mb": mine_mb,
        "peak_mb_half": half_mb, "nilearn_peak_mb": peer_mb, "error": error(means), "nilearn_error": error(peer_means),
    }  # fmt: skip
    tools.show(result, arguments.json)


if __name__ == "__main__":
    main()
