"""Normalization against known truth: EPI -> T1w, the chain EPI -> T1w -> template, and its cost.

    python -m benchmarks.normalize --json [--subjects 2] [--grid-mm 2] [--shape 64,64,36 --voxel-mm 3.5]
        [--distortion-mm 0] [--data DIR]

Subjects are simulated (`brainlm-data simulate`): their anatomy is the template's under a random affine and a random
smooth warp, with contrast, bias field, skull and noise of their own, so that tissue borders exist that registration can
find; nothing of its code is shared. The stages run as they are: template, atlas, anat, motion, coreg, once through the
T1w and once without it. Truth is the simulated warp, head position and motion; figures are over the grey matter of the
embedded atlas, in mm:

* epi_to_t1w_median: distance between found and true place, in the EPI, of points of the T1w.
* chain_mean: the same for template points through T1w and EPI. `anat_mean`: template -> T1w alone.
* dice: mean over parcels of the overlap between where a parcel is taken from and where it is.
* direct_*: the route without a T1w.

With `--distortion-mm` the EPI is distorted and truth is not: what is reported then is what distortion costs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[_name] = "1"  # before any of the libraries reads them

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from brainlm_data.methods import rigid
from brainlm_data.paths import ARTIFACTS
from brainlm_data.sidecar import sidecar_path, write_json
from brainlm_data.stage import Facts, Files, Stage
from brainlm_data.stages import anat, atlas, coreg, motion, template

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
    """Run a stage as the runner does: outputs and sidecars. Returns its files, facts and CPU seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    outputs = {n: folder / Path(ARTIFACTS[n].pattern.format(prefix="x", **NAMES)).name for n in stage.outputs}
    begin = time.process_time()
    facts = stage.run(inputs, Files(outputs, inputs.meta), stage.Config(**section))
    seconds = time.process_time() - begin
    written = {name: path for name, path in outputs.items() if path.exists()}
    common = {k: v for k, v in facts.items() if k not in ARTIFACTS}
    for name, path in written.items():
        write_json(sidecar_path(path), {**common, **facts.get(name, {})})
    return written, facts, seconds


def dice(labels: NDArray[np.int32], lookup: Callable[[Points], NDArray[np.int32]], points: Points) -> float:
    """Mean Dice over parcels of the labels of points and the labels of where they truly are."""
    true = lookup(points)
    count = int(labels.max()) + 1
    both = np.bincount(labels[labels == true], minlength=count)
    total = np.bincount(labels, minlength=count) + np.bincount(true, minlength=count)
    return float((2 * both[1:] / np.maximum(total[1:], 1)).mean())


def evaluate(data: Path, subject: str, space: dict[str, Path], folder: Path, grid_mm: float) -> dict[str, Any]:
    """Figures of one subject's first run."""
    from brainlm_data.methods.registration import map_points, template_to_boldref

    truth = data / "truth" / f"sub-{subject}"
    bold = sorted((data / f"sub-{subject}" / "func").glob("*_bold.nii.gz"))[0]
    stem = bold.name.removesuffix("_bold.nii.gz")
    warp = Displacement(next((truth / "anat").glob("*displacement.nii.gz")))
    placed = np.load(truth / "func" / f"{stem}_from-T1w_to-boldref_xfm.npy")
    meta = {"id": stem, "metadata": {"RepetitionTime": 2.0}}
    files = Files({**space, "t1w": data / f"sub-{subject}" / "anat" / f"sub-{subject}_T1w.nii.gz"}, meta)
    anatomy, anat_facts, anat_s = call(anat.STAGE, files, folder / "anat", grid_mm=grid_mm)
    moved, _, _ = call(motion.STAGE, Files({"bold": bold}, meta), folder / "motion", min_volumes=1)
    both = {**space, **anatomy, **moved}
    through, facts, coreg_s = call(coreg.STAGE, Files(both, meta), folder / "coreg", grid_mm=grid_mm)
    alone = {**space, **moved}
    straight, direct_facts, direct_s = call(coreg.STAGE, Files(alone, meta), folder / "direct", grid_mm=grid_mm)

    labels_image: Any = nib.load(space["atlas_dseg"])
    data_labels = np.asarray(labels_image.dataobj).astype(np.int32)
    voxels = np.argwhere(data_labels > 0)
    labels = data_labels[tuple(voxels.T)]
    points = voxels @ labels_image.affine[:3, :3].T + labels_image.affine[:3, 3]
    to_voxel = np.linalg.inv(labels_image.affine)

    def label_of(places: Points) -> NDArray[np.int32]:
        index = np.rint(places @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(int)
        inside = ((index >= 0) & (index < data_labels.shape)).all(1)
        out = np.zeros(len(places), np.int32)
        out[inside] = data_labels[tuple(index[inside].T)]
        return out

    def affine(matrix: NDArray[Any], places: Points) -> Points:
        return np.asarray(places @ matrix[:3, :3].T + matrix[:3, 3])

    first = rigid.read_itk(moved["motion_xfm"])[0]  # boldref -> the first volume, in which truth is given
    in_t1w, in_epi = warp(points), affine(placed, warp(points))
    found_t1w = map_points(points, [anatomy["t1w_to_mni"]])
    chain = affine(first, template_to_boldref(points, bold_to_t1w=through["bold_to_t1w"],
                                              t1w_to_mni=anatomy["t1w_to_mni"]))  # fmt: skip
    rigid_part = affine(first, map_points(in_t1w, [through["bold_to_t1w"]]))
    direct = affine(first, template_to_boldref(points, bold_to_mni=straight["bold_to_mni"]))

    def distance(a: Points, b: Points) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(a - b, axis=1))

    def back(places: Points) -> Points:
        return warp.inverse(affine(np.linalg.inv(placed), places))

    mask: Any = nib.load(anatomy["t1w_mask"])
    true_mask: Any = nib.load(next((truth / "anat").glob("*desc-brain_mask.nii.gz")))
    a, b = np.asarray(mask.dataobj) > 0, np.asarray(true_mask.dataobj) > 0
    segmented = np.asarray(nib.load(anatomy["t1w_dseg"]).dataobj)  # type: ignore[attr-defined]
    true_tissue = np.asarray(nib.load(next((truth / "anat").glob("*_dseg.nii.gz"))).dataobj)  # type: ignore[attr-defined]
    tissues = [float(2 * ((segmented == k) & (true_tissue == k)).sum() / ((segmented == k).sum()
                     + (true_tissue == k).sum())) for k in (1, 2, 3)]  # fmt: skip
    return {
        "subject": subject,
        "epi_to_t1w_median": float(np.median(distance(rigid_part, in_epi))),
        "epi_to_t1w_max": float(distance(rigid_part, in_epi).max()),
        "anat_mean": float(distance(found_t1w, in_t1w).mean()),
        "chain_mean": float(distance(chain, in_epi).mean()),
        "chain_p95": float(np.percentile(distance(chain, in_epi), 95)),
        "dice": dice(labels, lambda _: label_of(back(chain)), points),
        "direct_mean": float(distance(direct, in_epi).mean()),
        "direct_dice": dice(labels, lambda _: label_of(back(direct)), points),
        "mask_dice": float(2 * (a & b).sum() / (a.sum() + b.sum())),
        "tissue_dice_gm_wm_csf": tissues,
        "anat_cpu_s": anat_s, "coreg_cpu_s": coreg_s, "direct_cpu_s": direct_s,
        "facts": {"anat": {k: v for k, v in anat_facts.items() if isinstance(v, float)},
                  "coreg": {k: v for k, v in facts.items() if isinstance(v, float)},
                  "direct": {k: v for k, v in direct_facts.items() if isinstance(v, float)}},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=2)
    parser.add_argument("--grid-mm", type=float, default=2.0)
    parser.add_argument("--shape", type=lambda text: tuple(int(n) for n in text.split(",")), default=(64, 64, 36))
    parser.add_argument("--voxel-mm", type=float, default=3.5)
    parser.add_argument("--volumes", type=int, default=8)
    parser.add_argument("--distortion-mm", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument("--data", type=Path, help="a dataset that was simulated before")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = arguments.data or folder / "bids"
        if arguments.data is None:
            from brainlm_data.simulate.cohort import simulate
            from brainlm_data.simulate.plan import Plan

            simulate(Plan(out=data, subjects=arguments.subjects, volumes=arguments.volumes, tr_s=2.0,
                          shape=arguments.shape, voxel_mm=arguments.voxel_mm, seed=arguments.seed,
                          distortion_mm=arguments.distortion_mm))  # fmt: skip
        space, _, _ = call(template.STAGE, Files({}), folder / "template")
        parcels, _, _ = call(atlas.STAGE, Files(space), folder / "atlas")
        rows = []
        for path in sorted(data.glob("sub-*"))[: arguments.subjects]:
            subject = path.name.removeprefix("sub-")
            print(f"sub-{subject}", file=sys.stderr)
            rows.append(evaluate(data, subject, {**space, **parcels}, folder / subject, arguments.grid_mm))
    means = {key: float(np.mean([row[key] for row in rows])) for key, value in rows[0].items()
             if isinstance(value, float)}  # fmt: skip
    settings = {k: v for k, v in vars(arguments).items() if k not in {"json", "data"}}
    result = {"settings": settings, "mean": means, "subjects": rows}
    if arguments.json:
        print(json.dumps(result))
    else:
        for key, value in means.items():
            print(f"{key:22s} {value:.3f}   ({', '.join(f'{row[key]:.3f}' for row in rows)})")


if __name__ == "__main__":
    main()
