"""One whole recording: raw BOLD + T1w -> parcel series, beside ANTs + nilearn doing the same steps.

    python -m benchmarks.recording --json [--volumes 490] [--shape 88,88,64 --voxel-mm 2.4 --tr 0.735]
        [--peer-volumes 20 | --no-peer] [--data DIR]

The recording is simulated (`brainlm-data simulate`; DIR keeps it for another run) and goes through every stage by the
command line, default configuration, one process per stage, one thread: CPU seconds and peak memory are those of the
processes, imports, reading and writing included. `template` and `atlas` run once per cohort and are not counted.
`cpu_s_further`: a second run of the same subject, which needs no anat. `--no-peer`: our side alone.

The peer does what a script with antspyx and nilearn does, one thread, each library's defaults: N4, SyN (T1w ->
template) and Atropos; ants.motion_correction; rigid EPI -> T1w; apply_transforms of each volume to the 2 mm template;
Butterworth and confounds by nilearn.signal.clean on brain voxels; scikit-learn's FastICA and signal.clean again;
NiftiLabelsMasker. Steps that are linear in volumes run on the first `--peer-volumes`, those linear in voxels on one
voxel in eight, and are scaled: `scaled` names them. Nothing is written between steps, which is in the peer's favour.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.tools import memory_mb, one_thread, parser, show

one_thread()  # here, and in the processes that are started

SHARED = ("template", "atlas")
STAGES = (
    "anat", "motion", "slicetiming", "coreg", "distortion", "sample", "confounds", "filter", "denoise",
    "parcellate", "resample", "qc",
)  # fmt: skip
EIGHTH = 8


def measured(call: list[str]) -> tuple[float, float]:
    """Run a command; its CPU seconds and peak memory, MB."""
    child = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(call)}: {said[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def program(*arguments: str) -> list[str]:
    """brainlm-data of this environment."""
    return [sys.executable, "-c", "import sys; from brainlm_data.cli import main; sys.exit(main())", *arguments]


def simulate(folder: Path, options: argparse.Namespace) -> None:
    """The recording and its T1w, once a folder."""
    if (folder / "dataset_description.json").exists():
        return
    measured(
        program(
            "simulate", "--out", str(folder), "--subjects", "1", "--volumes", str(options.volumes),
            "--shape", options.shape, "--voxel-mm", str(options.voxel_mm), "--tr", str(options.tr), "--quiet",
        )
    )  # fmt: skip


def ours(bids: Path, outdir: Path) -> dict[str, Any]:
    """CPU seconds and peak memory of every stage."""
    seconds, peaks = {}, {}
    for stage in (*SHARED, *STAGES):
        where = ("--bids-dir", str(bids), "--outdir", str(outdir), "--set", "atlas.name=demo424")
        seconds[stage], peaks[stage] = measured(program("run", stage, *where))
    counted = {stage: seconds[stage] for stage in STAGES if stage != "qc"}
    return {
        "cpu_s": sum(counted.values()),
        "cpu_s_further": sum(counted.values()) - counted["anat"],
        "peak_mb": max(peaks[stage] for stage in STAGES),
        "cpu_s_by_stage": seconds,
        "peak_mb_by_stage": peaks,
    }


def peer(bids: Path, outdir: Path, volumes: int) -> dict[str, Any]:
    """The same steps by antspyx, nilearn and scikit-learn; CPU seconds by step."""
    import ants
    import nibabel as nib
    import numpy as np
    from nilearn.maskers import NiftiLabelsMasker
    from nilearn.signal import clean
    from sklearn.decomposition import FastICA

    raw = nib.load(next(bids.glob("sub-*/func/*_bold.nii.gz")))
    total, tr = raw.shape[3], float(raw.header.get_zooms()[3])
    few = min(volumes, total)
    first = nib.Nifti1Image(np.asarray(raw.dataobj[..., :few], np.float32), raw.affine, raw.header)
    nib.save(first, outdir / "first.nii")
    bold = ants.image_read(str(outdir / "first.nii"))
    t1w = ants.image_read(str(next(bids.glob("sub-*/anat/*_T1w.nii.gz"))))
    template_file = next(outdir.glob("derivatives/tpl-*/*_T1w.nii.gz"))
    template = ants.resample_image(ants.image_read(str(template_file)), (2, 2, 2))
    labels = nib.load(next(outdir.glob("derivatives/atlas/*/*_dseg.nii.gz")))
    seconds: dict[str, float] = {}

    def step(name: str, factor: float, call: Callable[[], Any]) -> Any:
        begin = time.process_time()
        result = call()
        seconds[name] = factor * (time.process_time() - begin)
        print(f"peer: {name} {seconds[name]:.0f} s", file=sys.stderr, flush=True)
        return result

    by_volume, rng = total / few, np.random.default_rng(0)
    t1w = step("n4", 1, lambda: ants.n4_bias_field_correction(t1w))
    found = step("syn", 1, lambda: ants.registration(template, t1w, "SyN", random_seed=1))
    step("atropos", 1, lambda: ants.atropos(a=t1w, x=ants.get_mask(t1w), i="kmeans[3]", m="[0.2,1x1x1]", c="[3,0]"))
    moved = step("motion", by_volume, lambda: ants.motion_correction(bold))
    mean = ants.get_average_of_timeseries(moved["motion_corrected"])
    rigid = step("coregistration", 1, lambda: ants.registration(t1w, mean, "Rigid", random_seed=1))
    chain = [*found["fwdtransforms"], *rigid["fwdtransforms"]]
    parts = ants.ndimage_to_list(bold)
    warped = step(
        "apply", by_volume,
        lambda: [ants.apply_transforms(template, v, chain + m, interpolator="lanczosWindowedSinc")
                 for v, m in zip(parts, moved["motion_parameters"], strict=True)],
    )  # fmt: skip
    brain = int((np.asarray(labels.dataobj) > 0).sum()) // EIGHTH
    voxels = rng.normal(size=(total, brain)).astype(np.float32).cumsum(0)
    confounds = rng.normal(size=(total, 24))
    settings: dict[str, Any] = {"t_r": tr, "high_pass": 0.01, "standardize": None, "detrend": False}
    step("filter", EIGHTH, lambda: clean(voxels, filter="butterworth", confounds=confounds, **settings))
    ica = FastICA(n_components=min(40, total // 4), max_iter=200, random_state=0, whiten="unit-variance")
    step("ica", EIGHTH, lambda: ica.fit_transform(voxels.T))
    step("regression", EIGHTH, lambda: clean(voxels, confounds=ica.mixing_[:, ::2], standardize=None, detrend=False))
    ants.image_write(template, str(outdir / "grid.nii"))
    stack = np.stack([image.numpy() for image in warped], axis=-1)
    series = nib.Nifti1Image(stack, nib.load(outdir / "grid.nii").affine)
    step("parcellate", by_volume, lambda: NiftiLabelsMasker(labels, standardize=None).fit_transform(series))
    return {
        "cpu_s": sum(seconds.values()),
        "cpu_s_by_step": seconds,
        "peak_mb": memory_mb(),
        "scaled": {"by volumes": ["motion", "apply", "parcellate"], "by voxels": ["filter", "ica", "regression"]},
        "volumes": few,
    }


def main() -> None:
    """Both sides, one JSON object."""
    wanted = parser(__doc__)
    wanted.add_argument("--volumes", type=int, default=490)
    wanted.add_argument("--shape", default="88,88,64")
    wanted.add_argument("--voxel-mm", type=float, default=2.4)
    wanted.add_argument("--tr", type=float, default=0.735)
    wanted.add_argument("--peer-volumes", type=int, default=20)
    wanted.add_argument("--no-peer", action="store_true", help="measure our side alone, in a minute instead of an hour")
    wanted.add_argument("--data", type=Path, help="where the simulated recording is or goes")
    options = wanted.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bids = options.data or Path(folder) / "bids"
        simulate(bids, options)
        us = ours(bids, Path(folder) / "out")
        them = {} if options.no_peer else peer(bids, Path(folder) / "out", options.peer_volumes)
    result = {
        **us,
        **({"ratio_vs_ants_nilearn": them["cpu_s"] / us["cpu_s"], "peer": them} if them else {}),
        "conditions": {"volumes": options.volumes, "shape": options.shape, "threads": 1},
    }
    show(result, options.json)


if __name__ == "__main__":
    main()
