"""One composed interpolation at the atlas voxels: cost and accuracy beside ants.apply_transforms.

    python -m benchmarks.sampling --json [--shape 88,88,64] [--voxel-mm 2.4] [--volumes 10] [--ants-volumes 2]

A head that is a sum of Gaussians, known at every point, so that the truth needs no interpolation; it moves rigidly, and
a smooth warp (a displacement field, 4 mm at most) takes template points to it. Ours: points are mapped once, then each
volume is prefiltered and sampled at the template's brain voxels (`interp`, as stage sample does), cubic and linear.
ANTs: each volume resampled onto the whole 2 mm template grid by [warp, rigid], as there is no way to ask it for points;
its B-spline and its linear interpolator, measured on `--ants-volumes` volumes, per volume. `error`: RMS difference from
the truth over the brain's spread, where all have values. Seconds are CPU seconds per volume, with compiled code
and without reading. `points_s` is paid once per recording. `ratio` is that of the cubic interpolators.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods import rigid

Array = NDArray[np.float64]
LPS = np.array([-1.0, -1.0, 1.0])
RNG = np.random.default_rng(5)
CENTRES = RNG.uniform(-1, 1, (80, 3)) * [55, 70, 55] + [0, -18, 10]
WIDTHS, HEIGHTS = RNG.uniform(5, 12, 80), RNG.uniform(-0.6, 1.0, 80)
MIDDLE = np.array([0.0, -18.0, 10.0])


def head(points: Array) -> Array:
    """Signal at RAS points (n, 3): a soft-rimmed ellipsoid with 80 blobs in it."""
    radius = np.sqrt((((points - MIDDLE) / [72, 92, 76]) ** 2).sum(1))
    value = 1000 / (1 + np.exp(np.minimum((radius - 1) * 14, 60)))
    blobs = np.zeros(len(points))
    for centre, width, height in zip(CENTRES, WIDTHS, HEIGHTS, strict=True):
        blobs += height * np.exp(-((points - centre) ** 2).sum(1) / (2 * width**2))
    return value * (1 + blobs)


def warp(points: Array) -> Array:
    """Template point -> point of the head at rest, RAS mm; at most 4 mm."""
    x, y, z = (points / 40).T
    return points + 4 / np.sqrt(3) * np.stack([np.sin(y + z), np.cos(x - z), np.sin(x + y)], 1)


def motions(volumes: int) -> Array:
    """Rigid matrices (T, 4, 4), head at rest -> moved volume."""
    params = np.cumsum(np.random.default_rng(1).normal(0, 1, (volumes, 6)) * [0.2, 0.2, 0.3, 0.004, 0.002, 0.002], 0)
    return np.stack([rigid.about(p[3:], p[:3], MIDDLE) for p in params])


def grid(shape: tuple[int, ...], affine: Array) -> Array:
    return np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]


def write(folder: Path, shape: tuple[int, int, int], voxel: float, volumes: int) -> None:
    """Volumes, their transforms, the warp as an ITK displacement field, the brain, and the truth in it."""
    from nilearn.datasets import load_mni152_brain_mask

    template = load_mni152_brain_mask(resolution=2)
    brain = np.asarray(template.dataobj) > 0
    field = warp(grid(brain.shape, template.affine)) - grid(brain.shape, template.affine)
    vectors = (field * LPS).reshape(*brain.shape, 1, 3).astype(np.float32)
    image = nib.Nifti1Image(vectors, template.affine)
    image.header.set_intent("vector")
    nib.save(image, folder / "warp.nii.gz")
    nib.save(nib.Nifti1Image(brain.astype(np.float32), template.affine), folder / "brain.nii.gz")
    affine = np.diag([-voxel, voxel, voxel, 1.0])
    affine[:3, 3] = MIDDLE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    matrices = motions(volumes)
    rigid.write_itk(folder / "motion.txt", matrices)
    for t, matrix in enumerate(matrices):
        rigid.write_itk(folder / f"motion{t}.txt", matrix[None])
        back = np.linalg.inv(matrix)
        data = head(grid(shape, affine) @ back[:3, :3].T + back[:3, 3]).reshape(shape).astype(np.float32)
        nib.save(nib.Nifti1Image(data, affine), folder / f"volume{t}.nii")
    np.save(folder / "truth.npy", head(warp(grid(brain.shape, template.affine)[brain.ravel()])))


def ours(folder: Path, volumes: int) -> dict[str, Any]:
    from brainlm_data.methods import interp
    from brainlm_data.methods.registration import map_points

    brain: Any = nib.load(folder / "brain.nii.gz")
    inside = grid(brain.shape, brain.affine)[brain.get_fdata().ravel() > 0]
    with tools.Cost() as once:
        points = map_points(inside, [folder / "warp.nii.gz"])
    images = [nib.load(folder / f"volume{t}.nii") for t in range(volumes)]
    data = [np.asfortranarray(np.asarray(image.dataobj, np.float32)) for image in images]  # type: ignore[attr-defined]
    matrices = np.linalg.inv(images[0].affine) @ rigid.read_itk(folder / "motion.txt")  # type: ignore[attr-defined]
    result: dict[str, Any] = {"points_s": once.seconds, "points": len(points)}
    for name, cubic in (("cubic", True), ("linear", False)):
        prepare = interp.coefficients if cubic else interp.padded
        interp.sample(prepare(data[0]), points[:100], matrices[0], cubic)  # compiled code is loaded
        values = []
        with tools.Cost() as cost:
            for volume, matrix in zip(data, matrices, strict=True):
                values.append(interp.sample(prepare(volume), points, matrix, cubic))
        result[name] = {"s": cost.seconds / volumes, "mb": cost.mb, "values": np.stack(values)}
    return result


def theirs(folder: Path, volumes: int) -> dict[str, Any]:
    import ants

    brain = ants.image_read(str(folder / "brain.nii.gz"))
    inside = brain.numpy() > 0
    images = [ants.image_read(str(folder / f"volume{t}.nii")) for t in range(volumes)]
    result: dict[str, Any] = {}
    for name, kind in (("bspline", "bSpline"), ("linear", "linear")):
        values = []
        with tools.Cost() as cost:
            for t, image in enumerate(images):
                # the last transform is applied to template points first
                route = [str(folder / f"motion{t}.txt"), str(folder / "warp.nii.gz")]
                values.append(ants.apply_transforms(brain, image, route, interpolator=kind).numpy()[inside])
        result[name] = {"s": cost.seconds / volumes, "mb": cost.mb, "values": np.stack(values)}
    return result


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--shape", default="88,88,64")
    parser.add_argument("--voxel-mm", type=float, default=2.4)
    parser.add_argument("--volumes", type=int, default=10)
    parser.add_argument("--ants-volumes", type=int, default=2)
    arguments = parser.parse_args()
    shape = tuple(int(n) for n in arguments.shape.split(","))
    few = min(arguments.ants_volumes, arguments.volumes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, shape, arguments.voxel_mm, arguments.volumes)  # type: ignore[arg-type]
        mine = tools.apart(ours, folder, arguments.volumes)
        peer = tools.apart(theirs, folder, few)
        truth = np.load(folder / "truth.npy")
    valued = np.isfinite(mine["cubic"]["values"]).all(0) & (peer["linear"]["values"] != 0).all(0)

    def error(side: dict[str, Any]) -> float:
        return float(np.sqrt(((side["values"][:, valued] - truth[valued]) ** 2).mean()) / truth[valued].std())

    result = {
        "shape": list(shape), "voxel_mm": arguments.voxel_mm, "volumes": arguments.volumes, "ants_volumes": few,
        "points": mine["points"], "points_compared": int(valued.sum()), "points_s": mine["points_s"],
    }  # fmt: skip
    for side, content in (("", mine), ("ants_", peer)):
        for kind in content:
            if isinstance(content[kind], dict):
                result |= {f"{side}{kind}_s_per_vol": content[kind]["s"], f"{side}{kind}_error": error(content[kind]),
                           f"{side}{kind}_peak_mb": content[kind]["mb"]}  # fmt: skip
    result["ratio"] = peer["bspline"]["s"] / mine["cubic"]["s"]
    result["ratio_linear"] = peer["linear"]["s"] / mine["linear"]["s"]
    tools.show(result, arguments.json)


if __name__ == "__main__":
    main()
