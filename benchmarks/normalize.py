"""Normalization against known truth: EPI -> T1w, the chain EPI -> T1w -> template, and its cost; beside plain ANTs.

    python -m benchmarks.normalize --json [--subjects 2] [--distortion-mm 4] [--shape 64,64,36 --voxel-mm 3.5]
        [--grid-mm 2] [--coreg-mm 2.5] [--coreg '{"bias_iterations": 0}'] [--peers 2] [--data DIR]

Subjects are simulated (`brainlm-data simulate`): their anatomy is the template's under a random affine and a random
smooth warp, with contrast, bias field, skull and noise of their own, so that tissue borders exist that registration can
find; nothing of its code is shared. The stages run as they are: template, atlas, anat, motion, coreg, once through the
T1w and once without it. Truth is the simulated warp, head position and motion; figures are over the grey matter of the
embedded atlas, in mm, means over subjects:

* epi_t1_median_mm: distance between found and true place, in the EPI, of points of the T1w (median over points).
* chain_mean_tre_mm: the same for template points through T1w and EPI (mean). anat_mean_mm: template -> T1w alone.
* parcel_dice: mean over parcels of the overlap between where a parcel is taken from and where it is.
* cpu_s: anat + coreg, each with the imports that a process of its own pays.
* boundary_median_mm: epi_t1_median_mm if the boundary cost (Greve and Fischl, 2009) is minimised from coreg's result,
  with FSL's slope and with a fifth of it; coreg does not.
* direct_*: the route without a T1w.

The peer is the plain way with antspyx's defaults, on the same files: N4 on the T1w's own grid, Rigid for the EPI, SyN
for the T1w. `ratios`: the peer's figure over ours.

With `--distortion-mm` all is measured twice, on EPI without and with distortion (`with_distortion`). Truth is not
distorted: what is added is what distortion costs. The T1w is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.tools import one_thread

one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring import Scoring, affine, call
from brainlm_data.methods import rigid
from brainlm_data.quality.alignment import resampled
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import anat, atlas, coreg, motion, template

COMMON = ("epi_t1_median_mm", "chain_mean_tre_mm", "parcel_dice", "cpu_s")


def import_seconds() -> float:
    """CPU s that a process spends on the imports of anat and coreg."""
    before = os.times()
    code = "import brainlm_data.methods.registration, brainlm_data.methods.boundary"
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def ours(folder: Path, space: dict[str, Path], anatomy: dict[str, Path], moved: dict[str, Path], score: Scoring,
         section: dict[str, Any], alone: bool) -> dict[str, Any]:  # fmt: skip
    """Figures of coreg after anat, and of coreg without a T1w where `alone`."""
    from brainlm_data.methods.boundary import Boundary
    from brainlm_data.methods.registration import map_points, template_to_boldref
    from brainlm_data.methods.rigidfit import Volume, fit

    meta = {"id": "x", "metadata": {}}
    through, facts, seconds = call(coreg.STAGE, Files({**space, **anatomy, **moved}, meta), folder / "coreg",
                                   **section)  # fmt: skip
    chain = template_to_boldref(score.points, bold_to_t1w=through["bold_to_t1w"], t1w_to_mni=anatomy["t1w_to_mni"])
    found = score.figures(map_points(score.in_t1w, [through["bold_to_t1w"]]), chain,
                          map_points(score.points, [anatomy["t1w_to_mni"]]))  # fmt: skip
    start = rigid.read_itk(through["bold_to_t1w"])[0]
    image = {n: nib.load(p) for n, p in {**anatomy, **moved}.items() if n in {"t1w_wm", "t1w_gm", "boldref"}}
    white, grey, bold = (Volume(np.asarray(image[n].dataobj, np.float32), np.asarray(image[n].affine))  # type: ignore[attr-defined]
                         for n in ("t1w_wm", "t1w_gm", "boldref"))  # fmt: skip
    by_boundary = []
    for slope in (0.5, 0.1):
        matrix = fit(Boundary(white, grey, bold, slope), start, score.in_t1w.mean(0), 1.5, 0.02)
        by_boundary.append(float(np.median(score.distance(affine(matrix, score.in_t1w)))))
    found |= {"coreg_cpu_s": seconds, "boundary_median_mm": by_boundary,
              "facts": {k: v for k, v in facts.items() if isinstance(v, float)},
              "warnings": facts["Warnings"]}  # fmt: skip
    if alone:
        straight, _, direct_s = call(coreg.STAGE, Files({**space, **moved}, meta), folder / "direct", **section)
        direct = template_to_boldref(score.points, bold_to_mni=straight["bold_to_mni"])
        found |= {"direct_mean_mm": float(score.distance(direct).mean()), "direct_dice": score.dice(direct),
                  "direct_cpu_s": direct_s}  # fmt: skip
    return found


class Peer:
    """Plain ANTs: N4 on the T1w's own grid and SyN once per subject, Rigid for each EPI; defaults throughout."""

    def __init__(self, t1w: Path, template: Path) -> None:
        import ants

        begin = time.process_time()
        self.t1w = ants.n4_bias_field_correction(ants.image_read(str(t1w)))
        self.n4_s = time.process_time() - begin
        found = ants.registration(ants.image_read(str(template)), self.t1w, "SyN", random_seed=1)
        self.to_t1w = [Path(name) for name in found["fwdtransforms"]]
        self.anat_s = time.process_time() - begin

    def figures(self, boldref: Path, score: Scoring) -> dict[str, float]:
        """The same scoring of EPI -> T1w and the chain."""
        import ants

        from brainlm_data.methods.registration import map_points

        begin = time.process_time()
        found = ants.registration(self.t1w, ants.image_read(str(boldref)), "Rigid", random_seed=1)
        seconds = time.process_time() - begin
        to_bold = [Path(name) for name in found["fwdtransforms"]]
        anat_part = map_points(score.points, self.to_t1w)
        return {**score.figures(map_points(score.in_t1w, to_bold), map_points(anat_part, to_bold), anat_part),
                "cpu_s": self.anat_s + seconds, "n4_cpu_s": self.n4_s, "coreg_cpu_s": seconds}  # fmt: skip


def anatomical(data: Path, subject: str, files: dict[str, Path], facts: Facts, seconds: float) -> dict[str, Any]:
    """Figures of anat alone: mask and tissues, brought onto the grid of the truth."""
    truth = data / "truth" / f"sub-{subject}" / "anat"

    def values(path: Path) -> NDArray[Any]:
        image: Any = nib.load(path)
        return np.asarray(image.dataobj)

    def overlap(a: NDArray[Any], b: NDArray[Any]) -> float:
        return float(2 * (a & b).sum() / (a.sum() + b.sum()))

    labels = next(truth.glob("*_dseg.nii.gz"))
    grid: Any = nib.load(labels)
    shares = np.stack([resampled(files[name], grid.affine, grid.shape) for name in anat.TISSUES])
    mask = shares.sum(0) > 0.5
    segmented, true = np.where(mask, np.argmax(shares, 0) + 1, 0), values(labels)
    return {
        "mask_dice": overlap(mask, values(next(truth.glob("*desc-brain_mask.nii.gz"))) > 0),
        "tissue_dice_gm_wm_csf": [overlap(segmented == k, true == k) for k in (1, 2, 3)],
        "wm_share": float((segmented == 2).sum() / np.isin(segmented, (1, 2)).sum()),
        "true_wm_share": float((true == 2).sum() / np.isin(true, (1, 2)).sum()),
        "anat_cpu_s": seconds,
        "anat_facts": {k: v for k, v in facts.items() if isinstance(v, float)},
    }


def evaluate(sets: dict[float, Path], subject: str, space: dict[str, Path], folder: Path, options: argparse.Namespace,
             peers: bool, import_s: float) -> dict[str, Any]:  # fmt: skip
    """Figures of one subject's first run, in every dataset (key: its distortion), ours and the peer's."""
    meta = {"id": "x", "metadata": {"RepetitionTime": 2.0}}
    plain = next(iter(sets.values()))
    t1w = plain / f"sub-{subject}" / "anat" / f"sub-{subject}_T1w.nii.gz"
    anatomy, facts, seconds = call(anat.STAGE, Files({**space, "t1w": t1w}, meta), folder / "anat",
                                   grid_mm=options.grid_mm)  # fmt: skip
    peer = Peer(t1w, space["template_t1w"]) if peers else None
    row: dict[str, Any] = {"subject": subject, **anatomical(plain, subject, anatomy, facts, seconds), "runs": {}}
    for size, data in sets.items():
        bold = sorted((data / f"sub-{subject}" / "func").glob("*_bold.nii.gz"))[0]
        part = folder / f"{size:g}"
        moved, _, _ = call(motion.STAGE, Files({"bold": bold}, meta), part / "motion", min_volumes=1)
        score = Scoring(data, subject, space["atlas_dseg"], moved["motion_xfm"])
        found = ours(
            part, space, anatomy, moved, score, {**options.coreg, "grid_mm": options.coreg_mm}, alone=size == 0
        )
        found["cpu_s"] = seconds + found["coreg_cpu_s"] + 2 * import_s
        if peer:
            found["peer"] = peer.figures(moved["boldref"], score)
        row["runs"][size] = found
        print(f"sub-{subject} distortion {size:g} mm: { ({k: round(found[k], 3) for k in COMMON}) }", file=sys.stderr)
    return row


def summary(rows: list[dict[str, Any]], size: float) -> dict[str, Any]:
    """Means over subjects; the peer's over those that have one, and the ratios over the same."""
    runs = [row["runs"][size] for row in rows]
    numbers = [k for k, v in runs[0].items() if isinstance(v, float)]
    out: dict[str, Any] = {k: float(np.mean([run[k] for run in runs])) for k in numbers}
    out["boundary_median_mm"] = np.mean([run["boundary_median_mm"] for run in runs], 0).tolist()
    both = [run for run in runs if "peer" in run]
    if both:
        out["peer"] = {k: float(np.mean([run["peer"][k] for run in both])) for k in both[0]["peer"]}
        out["peer"]["subjects"] = len(both)
        out["ratios"] = {k: out["peer"][k] / float(np.mean([run[k] for run in both])) for k in COMMON}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=2)
    parser.add_argument("--peers", type=int, help="subjects on which the peer runs, too; default: all")
    parser.add_argument("--grid-mm", type=float, default=2.0, help="anat.grid_mm")
    parser.add_argument("--coreg-mm", type=float, default=2.5, help="coreg.grid_mm")
    parser.add_argument("--coreg", type=json.loads, default={}, help="further keys of coreg, as JSON")
    parser.add_argument("--shape", type=lambda text: tuple(int(n) for n in text.split(",")), default=(64, 64, 36))
    parser.add_argument("--voxel-mm", type=float, default=3.5)
    parser.add_argument("--volumes", type=int, default=3)
    parser.add_argument("--distortion-mm", type=float, default=0.0, help="largest; 0: only without")
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument("--data", type=Path, help="for the simulated datasets, kept; used if they are there")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    import_s = import_seconds()
    import brainlm_data.methods.registration  # noqa: F401  # counted there

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {}
        for size in sorted({0.0, options.distortion_mm}):
            sets[size] = (options.data or folder) / f"distortion-{size:g}"
            if not sets[size].exists():
                from brainlm_data.simulate.cohort import simulate
                from brainlm_data.simulate.plan import Plan

                simulate(Plan(out=sets[size], subjects=options.subjects, volumes=options.volumes, tr_s=2.0,
                              shape=options.shape, voxel_mm=options.voxel_mm, seed=options.seed,
                              distortion_mm=size), quiet=True)  # fmt: skip
        space, _, _ = call(template.STAGE, Files({}), folder / "template")
        parcels, _, _ = call(atlas.STAGE, Files(space), folder / "atlas", name="demo424")
        number = options.subjects if options.peers is None else options.peers
        subjects = [path.name.removeprefix("sub-") for path in sorted(sets[0.0].glob("sub-*"))[: options.subjects]]
        rows = [evaluate(sets, subject, {**space, **parcels}, folder / subject, options, index < number, import_s)
                for index, subject in enumerate(subjects)]  # fmt: skip
    own = {k: float(np.mean([row[k] for row in rows])) for k in ("anat_cpu_s", "mask_dice")}
    settings = {k: v for k, v in vars(options).items() if k not in {"json", "data"}}
    result = {**summary(rows, 0.0), **own, "import_cpu_s": import_s, "settings": settings, "subjects": rows}
    if options.distortion_mm:
        result["with_distortion"] = {"distortion_mm": options.distortion_mm, **summary(rows, options.distortion_mm)}
    if options.json:
        print(json.dumps(result))
    else:
        print(json.dumps({k: v for k, v in result.items() if k != "subjects"}, indent=1))


if __name__ == "__main__":
    main()
