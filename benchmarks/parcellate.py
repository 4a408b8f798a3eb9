"""Parcel means of a 4-D .nii.gz on the atlas grid: cost and memory beside nilearn's NiftiLabelsMasker.

    python -m benchmarks.parcellate --json [--volumes 40] [--repeats 9] [--parcels 424] [--resolution 2] [--file F]

An int16 run of brain-shaped noise in the bundled template's brain, nearest-seed parcels. Ours: `reading.image.Run`, one
volume at a time, and a bincount over the labelled voxels, as stage sample counts. nilearn: NiftiLabelsMasker with the
same label image, no resampling, no standardization, on the file, once. All others are medians of `repeats` interleaved
repetitions in one process, CPU seconds: `zlib_cpu_s` and `isal_cpu_s` decompress the file alone, `read_cpu_s` is `Run`
alone (float32 volumes), `cpu_s` parcel means. `above_isal` and `above_zlib` are the medians of cpu_s over each of
them in the same repetition, less 1, with the smallest and largest as `_range`. `error`: largest difference from float64
means, over their mean. `peak_mb` is above what was in memory before, `peak_mb_half` with half of the volumes.
--file: any .nii.gz instead, whose grid is cut into parcels of neighbouring voxels; no nilearn, no error, no half.
"""

from __future__ import annotations

import statistics
import tempfile
import zlib
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

Array = NDArray[np.float64]


def write(folder: Path, volumes: int, parcels: int, resolution: int) -> None:
    """The run (all volumes, and half of them), the label image, and exact means."""
    from nilearn.datasets import load_mni152_brain_mask
    from scipy.spatial import cKDTree

    from brainlm_data.reading.image import Writer

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


class Labels:
    """Which parcel each labelled voxel of a grid (Fortran order) is in."""

    def __init__(self, labels: NDArray[np.integer[Any]]) -> None:
        flat = labels.ravel(order="F")
        self.inside = np.flatnonzero(flat)
        self.parcel = flat[self.inside].astype(np.intp) - 1
        self.size = np.bincount(self.parcel)

    @classmethod
    def of(cls, file: Path) -> Labels:
        """Of a label image."""
        return cls(np.asarray(nib.load(file).dataobj))

    def means(self, run: Path) -> Array:
        """(volumes, parcels)"""
        from brainlm_data.reading.image import Run

        count = len(self.size)
        rows = [np.bincount(self.parcel, volume.ravel(order="F")[self.inside], count) for volume in Run(run)]
        return np.stack(rows) / self.size


def ours(folder: Path, name: str) -> tuple[float, Array]:
    """(peak MB, means)"""
    labels = Labels.of(folder / "labels.nii.gz")
    with tools.Cost() as cost:
        means = labels.means(folder / name)
    return cost.mb, means


def theirs(folder: Path) -> tuple[float, float, Array]:
    from nilearn.maskers import NiftiLabelsMasker

    with tools.Cost() as cost:
        masker = NiftiLabelsMasker(str(folder / "labels.nii.gz"), standardize=None, resampling_target=None)
        means = np.asarray(masker.fit_transform(str(folder / "run.nii.gz")))
    return cost.seconds, cost.mb, means


def decompress(file: Path, module: Any) -> None:
    with file.open("rb") as stream:
        decoder = module.decompressobj(31)
        while piece := stream.read(1 << 18):
            decoder.decompress(piece)


def read(file: Path) -> None:
    from brainlm_data.reading.image import Run

    for _ in Run(file):
        pass


def interleaved(file: Path, labels: Labels, repeats: int) -> dict[str, Any]:
    """Every side in turn, so that what else the machine does meets all of them."""
    sides = {"zlib": lambda: decompress(file, zlib), "isal": lambda: decompress(file, isal_zlib),
             "read": lambda: read(file), "ours": lambda: labels.means(file)}  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():  # first touch
        side()
    for _ in range(repeats):
        for name, side in sides.items():
            with tools.Cost() as cost:
                side()
            seconds[name].append(cost.seconds)
    found: dict[str, Any] = {"repeats": repeats, "cpu_s": statistics.median(seconds["ours"])}
    found |= {f"{name}_cpu_s": statistics.median(seconds[name]) for name in ("zlib", "isal", "read")}
    for floor in ("isal", "zlib"):
        above = [a / b - 1 for a, b in zip(seconds["ours"], seconds[floor], strict=True)]
        found |= {f"above_{floor}": statistics.median(above), f"above_{floor}_range": [min(above), max(above)]}
    return found


def simulated(arguments: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tools.apart(write, folder, arguments.volumes, arguments.parcels, arguments.resolution)
        exact = np.load(folder / "means.npy")
        labels = Labels.of(folder / "labels.nii.gz")
        costs = tools.apart(interleaved, folder / "run.nii.gz", labels, arguments.repeats)
        mine_mb, means = tools.apart(ours, folder, "run.nii.gz")
        half_mb = tools.apart(ours, folder, "half.nii.gz")[0]
        peer, peer_mb, peer_means = tools.apart(theirs, folder)
        shape = nib.load(folder / "run.nii.gz").shape

    def error(found: Array) -> float:
        return float(np.abs(found - exact).max() / exact.mean())

    return {
        "shape": list(shape), "parcels": arguments.parcels, **costs, "nilearn_cpu_s": peer,
        "ratio": peer / costs["cpu_s"], "peak_mb": mine_mb, "peak_mb_half": half_mb, "nilearn_peak_mb": peer_mb,
        "error": error(means), "nilearn_error": error(peer_means),
    }  # fmt: skip


def given(arguments: Any) -> dict[str, Any]:
    shape = nib.load(arguments.file).shape
    count = int(np.prod(shape[:3]))
    labels = 1 + np.arange(count) * arguments.parcels // count
    costs = tools.apart(interleaved, arguments.file, Labels(labels), arguments.repeats)
    return {"shape": list(shape), "parcels": arguments.parcels, **costs}


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--volumes", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--parcels", type=int, default=424)
    parser.add_argument("--resolution", type=int, default=2, help="mm")
    parser.add_argument("--file", type=Path, help="a .nii.gz run instead of the simulated one")
    arguments = parser.parse_args()
    tools.show(given(arguments) if arguments.file else simulated(arguments), arguments.json)


if __name__ == "__main__":
    main()
