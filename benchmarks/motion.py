"""Head-motion estimation: accuracy against known truth, and speed beside ants.motion_correction.

    python -m benchmarks.motion --json [--size A|B] [--volumes 40] [--ants-volumes 5]

The settings below are frozen. The generator does not use the estimator's interpolation: a 1 mm head (the MNI152 T1w
with its contrast inverted, blurred to the voxel size) is moved by quintic splines, sampled on the BOLD grid, and given
slow fluctuations of regions, white noise and a low-frequency gain. CPU seconds, one thread. The stage runs in a process
of its own, whose peak memory is reported, after a first run on a small image that loads compiled code; its time
(`stage_s_per_vol`) has reading, reference and mask in it. `ours_s_per_vol` is the estimator alone, on volumes in memory
and with the first of them as the reference: the task that ants.motion_correction is timed on, and what
`ratio_vs_ants` compares. Errors are those of the stage.

Errors: the reference position is arbitrary, so the mean offset between found and true motion is removed; then the
displacement of the head's centre (mm) and the rotation vector (degrees) of what is left, per axis.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.tools import apart, memory_mb, one_thread, parser, show

one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.scoring import NAMES, call
from brainlm_data.files.tables import read_table
from brainlm_data.methods import rigid
from brainlm_data.runner.call import places
from brainlm_data.stage import Files
from brainlm_data.stages import motion

SIZES = {"A": ((64, 64, 36), 3.5), "B": ((88, 88, 64), 2.4)}
TSNR, FLUCTUATION, GAIN_DRIFT = 80.0, 0.01, 0.01
STEP = np.array([0.04, 0.04, 0.06, 0.0006, 0.0004, 0.0004])  # mm, rad; of the random walk
JUMPS = 0.05  # share of volumes with a step ten times as large
CENTRE = np.array([0.0, -18.0, 12.0])
SEED = 20240


def truth(volumes: int, rng: np.random.Generator) -> NDArray[Any]:
    """Motion matrices (T, 4, 4)."""
    steps = rng.normal(size=(volumes, 6)) * STEP
    steps[rng.random(volumes) < JUMPS] *= 10
    walk = np.cumsum(steps, 0)
    return np.stack([rigid.about(p[3:], p[:3], CENTRE) for p in walk - walk.mean(0)])


def simulate(path: Path, size: str, volumes: int) -> NDArray[Any]:
    """Write a moving head as int16 and return its true motion."""
    from nilearn.datasets import load_mni152_template

    rng = np.random.default_rng(SEED)
    shape, voxel = SIZES[size]
    template = load_mni152_template(resolution=1)
    data = template.get_fdata()
    data /= np.percentile(data, 99.5)
    head = np.where(data > 0.05, np.clip(1.25 - data, 0.1, None), 0)
    spline = ndimage.spline_filter(ndimage.gaussian_filter(head, 0.8 * voxel / 2.355), 5)
    fields = [ndimage.spline_filter(ndimage.gaussian_filter(rng.normal(size=[n // 4 for n in head.shape]), 3), 3)
              for _ in range(3)]  # fmt: skip
    affine = np.diag([-voxel, voxel, voxel, 1.0])
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(template.affine)
    matrices = truth(volumes, rng)
    out = np.empty((*shape, volumes), np.int16)
    slow = ndimage.gaussian_filter1d(rng.normal(size=(volumes, 4)), 4, axis=0, mode="wrap")
    slow /= slow.std(0) + 1e-9
    for t, matrix in enumerate(matrices):
        back = inverse @ np.linalg.inv(matrix)
        places = (grid @ back[:3, :3].T + back[:3, 3]).T
        value = ndimage.map_coordinates(spline, places, order=5, prefilter=False)
        change = sum(
            slow[t, i] * ndimage.map_coordinates(f, places / 4, order=3, prefilter=False) / f.std()
            for i, f in enumerate(fields)
        )
        value *= 1 + FLUCTUATION / np.sqrt(3) * change + GAIN_DRIFT * slow[t, 3]
        level = value[value > 0.2].mean()
        value += rng.normal(0, level / TSNR, value.shape)
        out[..., t] = np.clip(8000 * value, 0, 32000).reshape(shape)
    image = nib.Nifti1Image(out, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    nib.save(image, path)
    return matrices


def stage(bold: Path, folder: Path) -> dict[str, Any]:
    """Run stage motion, then the estimator alone; CPU seconds per volume and the stage's peak memory."""
    from brainlm_data.methods.realign import Realigner
    from brainlm_data.reading.image import Run

    small = nib.load(bold)
    warm = np.asarray(small.dataobj[::3, ::3, ::3, :3])
    nib.save(nib.Nifti1Image(warm, small.affine @ np.diag([3, 3, 3, 1])), folder / "warm.nii.gz")
    meta = {"id": "benchmark", "metadata": {"RepetitionTime": 2.0}}
    call(motion.STAGE, Files({"bold": folder / "warm.nii.gz"}, meta), folder, min_volumes=1)
    _, _, seconds = call(motion.STAGE, Files({"bold": bold}, meta), folder, min_volumes=1)
    peak = memory_mb()
    run = Run(bold)
    volumes = list(run)
    begin = time.process_time()
    realigner = Realigner(volumes[0], run.affine)
    for volume in volumes:
        realigner.fit(volume)
    fit = time.process_time() - begin
    return {"stage_s": seconds / len(volumes), "fit_s": fit / len(volumes), "peak_mb": peak}


def ants_run(bold: Path, volumes: int) -> tuple[float, NDArray[Any]]:
    """CPU seconds per volume of ants.motion_correction on the first volumes, and its matrices."""
    import ants

    image: Any = nib.load(bold)
    with tempfile.TemporaryDirectory() as folder:
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj[..., :volumes]), image.affine), f"{folder}/moving.nii")
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj[..., 0]), image.affine), f"{folder}/fixed.nii")
        moving, fixed = ants.image_read(f"{folder}/moving.nii"), ants.image_read(f"{folder}/fixed.nii")
        begin = time.process_time()
        result = ants.motion_correction(moving, fixed=fixed, type_of_transform="BOLDRigid", outprefix=f"{folder}/m")
        seconds = time.process_time() - begin
        matrices = np.stack([motion._ants_matrix(Path(f[0])) for f in result["motion_parameters"]])
    return seconds / volumes, matrices


def errors(found: NDArray[Any], true: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Per-axis errors (T, 3) in mm and degrees, mean offset removed."""
    offset = np.linalg.inv(found) @ true  # the same matrix for every volume, were there no error
    mean = np.eye(4)
    mean[:3, :3] = Rotation.from_matrix(offset[:, :3, :3]).mean().as_matrix()
    centres = offset @ np.append(CENTRE, 1.0)
    mean[:3, 3] = centres.mean(0)[:3] - mean[:3, :3] @ CENTRE
    left = np.linalg.inv(mean) @ offset
    return (left @ np.append(CENTRE, 1.0))[:, :3] - CENTRE, Rotation.from_matrix(left[:, :3, :3]).as_rotvec(True)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--size", choices=sorted(SIZES), default="A")
    options.add_argument("--volumes", type=int, default=40)
    options.add_argument("--ants-volumes", type=int, default=5)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bold = folder / "b.nii.gz"
        print("simulating", file=sys.stderr)
        true = simulate(bold, arguments.size, arguments.volumes)
        ours = apart(stage, bold, folder)
        wrote = places(motion.STAGE, folder, NAMES)
        found = rigid.read_itk(wrote["motion_xfm"])
        image: Any = nib.load(bold)
        shape, affine = tuple(image.shape[:3]), image.affine
        fd = rigid.displacement(read_table(wrote["motion_params"])[1])[1:]
        head, inside = (nib.load(wrote[name]).get_fdata() for name in ("boldref", "bold_mask"))
        weights = np.where(inside > 0, head, 0)
        centre = affine[:3, :3] @ ndimage.center_of_mass(weights) + affine[:3, 3]  # as the stage takes it
        fd_true = rigid.displacement(rigid.parameters(true, affine, shape, centre))[1:]  # type: ignore[arg-type]
        print("ants.motion_correction", file=sys.stderr)
        ants_s, ants_found = ants_run(bold, min(arguments.ants_volumes, arguments.volumes))
    mm, degrees = errors(found, true)
    ants_mm, ants_degrees = errors(ants_found, true[: len(ants_found)])
    result = {
        "size": arguments.size, "shape": list(shape), "volumes": arguments.volumes, "tsnr": TSNR,
        "ours_s_per_vol": ours["fit_s"], "stage_s_per_vol": ours["stage_s"], "ants_s_per_vol": ants_s,
        "ants_volumes": len(ants_found), "ratio_vs_ants": ants_s / ours["fit_s"],
        "rms_err_mm": float(np.sqrt((mm**2).mean())), "rms_err_deg": float(np.sqrt((degrees**2).mean())),
        "p95_err_mm": float(np.percentile(abs(mm), 95)), "p95_err_deg": float(np.percentile(abs(degrees), 95)),
        "max_err_mm": float(abs(mm).max()), "max_err_deg": float(abs(degrees).max()),
        "fd_rmse_mm": float(np.sqrt(((fd - fd_true) ** 2).mean())), "mean_fd_mm": float(fd_true.mean()),
        "ants_rms_err_mm": float(np.sqrt((ants_mm**2).mean())),
        "ants_rms_err_deg": float(np.sqrt((ants_degrees**2).mean())), "peak_mb": ours["peak_mb"],
    }  # fmt: skip
    show(result, arguments.json)


if __name__ == "__main__":
    main()
