"""Is a failed registration noticed? Good and deliberately broken inputs: detection and false-alarm rate.

    python -m benchmarks.broken --json [--subjects 12] [--broken 8] [--distortion-mm 4] [--bids DIR] [--data DIR]

Simulated subjects, each with an EPI without and one with distortion, through anat, motion and coreg. Kinds of input:

* good, good_distorted: as they are.
* other_t1w: the T1w of another subject. flipped: left and right of the EPI's header exchanged.
* half, third: the EPI's upper or lower slices only. turned, shifted: its header by 20 to 90 deg, or by 30 to 70 mm.
* good_t1w, turned_t1w: the T1w's header as it is, or turned by 20 to 90 deg; what anat makes of it and says.
* off_6mm, off_10mm, off_10deg, off_20deg: a right transform, moved: registration has ended there.

Broken inputs are made of the distorted EPIs. A case is right if its median error is below 3 mm, whatever its input was:
registration rescues many. Outcomes: `rescued` (right, no warning), `false_alarm` (right, warning), `detected`
(wrong, warning), `missed` (wrong, no warning). `measures`: what each finds by itself, with its limit: the share of
wrong cases that it finds, of right ones that it accuses, the worst value among right and the best among wrong cases.

With `--bids`, the first subject with T1w and BOLD there is added: its good case (without truth: only whether there is a
warning), its EPI with simulated subjects' T1w and the reverse, flipped, cut, turned, shifted and moved. An error is
then the distance from what registration made of the good case.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.tools import one_thread

one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.breaking import Case, brain_points, broken_epi, turn
from benchmarks.scoring import Displacement, affine, call
from brainlm_data.errors import Refused
from brainlm_data.methods import rigid
from brainlm_data.quality.alignment import Alignment
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import anat, coreg, motion, template

Array = NDArray[np.float64]
RIGHT_MM = 3.0
LIMITS = {  # of each measure by itself: (where it warns, -1 below or 1 above)
    "SimilarityGain": (coreg.LEAST_GAIN, -1),
    "MirrorGain": (coreg.LEAST_MIRROR_GAIN, -1),
    "BoundaryCost": (coreg.MOST_BOUNDARY_COST, 1),
    "BrainOverlap": (0.8, -1),
    "TemplateCorrelation": (anat.FAILED, -1),
    "alignment_r2": (0.2, -1),  # the QC's, with its limits
    "alignment_offset_mm": (4.0, 1),
}


def alignment(files: dict[str, Path], bold: coreg.Image, matrix: Array) -> Alignment:
    """The QC's check, of the EPI on the subject's tissues, on a 4 mm grid of the T1w's space."""
    from brainlm_data.methods import registration as reg
    from brainlm_data.methods.rigidfit import Volume

    grid = reg.working_mask(*coreg.image(files["t1w_mask"]), 4.0)
    shape, to_mm = grid.shape, reg.affine_of(grid)
    places = affine(to_mm, np.argwhere(np.ones(shape, bool)))
    epi = Volume(*bold).at(affine(matrix, places)).reshape(shape)
    tissues = [Volume(*coreg.image(files[n])).smoothed(4.0).at(places).reshape(shape) for n in anat.TISSUES]
    mask = (grid.numpy() > 0) & np.isfinite(epi)
    return Alignment(np.nan_to_num(epi), np.nan_to_num(np.stack(tissues, -1)), mask, to_mm)


def judge(case: Case, config: coreg.Config) -> dict[str, Any]:
    """Register (or take the transform that is given), check, and compare with truth."""
    inputs = Files(case.files, {"id": case.name, "metadata": {}})
    begin = time.process_time()
    bold, mask, head = coreg.even(inputs, config), coreg.image(inputs["bold_mask"]), coreg.Head.read(inputs)
    matrix = coreg.to_t1w(head, config, bold, mask) if case.moved is None else case.moved
    facts: Facts = coreg.checks(head, bold, mask, matrix)
    seconds = time.process_time() - begin
    error = float("nan")
    if case.truth is not None:
        points = brain_points(case.files["t1w_mask"])
        error = float(np.median(np.linalg.norm(affine(matrix, points) - affine(case.truth, points), axis=1)))
    found = alignment(case.files, bold, matrix)
    outcome = judged(error, coreg.doubts(facts))
    values = {k: float(v) for k, v in facts.items()}
    row = {"kind": case.kind, "name": case.name, "error_mm": error, "outcome": outcome, "cpu_s": seconds, **values,
           "alignment_r2": found.r2, "alignment_offset_mm": found.offset_mm}  # fmt: skip
    print(f"{case.kind:14s} {case.name} {outcome} {error:.1f} mm", file=sys.stderr, flush=True)
    return row


def turned_t1w(case: Case, warp: Displacement, number: int, folder: Path) -> Iterator[dict[str, Any]]:
    """What anat makes of a subject's T1w, and of the same with a turned header; errors over the template's brain."""
    from brainlm_data.methods.registration import map_points

    points = brain_points(case.files["template_mask"])[::5]
    centre = brain_points(case.files["t1w_mask"]).mean(0)
    rng = np.random.default_rng(number)
    image: Any = nib.load(case.files["t1w"])
    space = {name: path for name, path in case.files.items() if name.startswith("template")}
    for kind, change in (("good_t1w", np.eye(4)), ("turned_t1w", turn(rng, rng.uniform(20, 90), 0, centre))):
        files, warnings = case.files, []
        try:
            if kind == "turned_t1w":
                folder.mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(np.asarray(image.dataobj), change @ image.affine), folder / "t1w.nii.gz")
                files = prepared(folder / "t1w.nii.gz", {}, space, folder)[""]
            facts = Files(files).facts("t1w_mni")
            found, warnings = map_points(points, [files["t1w_to_mni"]]), facts["Warnings"]
            error = float(np.median(np.linalg.norm(found - affine(change, warp(points)), axis=1)))
            r = float(facts["TemplateCorrelation"])
        except Refused as reason:
            error, r, warnings = float("inf"), float("nan"), [str(reason)]
        outcome = judged(error, warnings)
        print(f"{kind:14s} {case.name} {outcome} {error:.1f} mm", file=sys.stderr, flush=True)
        yield {"kind": kind, "name": case.name, "error_mm": error, "outcome": outcome, "TemplateCorrelation": r}


def judged(error: float, warnings: list[str]) -> str:
    """The outcome; NaN is an error."""
    if not error < RIGHT_MM:
        return "detected" if warnings else "missed"
    return "false_alarm" if warnings else "rescued"


def alone(rows: list[dict[str, Any]], name: str, limit: float, sign: int) -> dict[str, Any]:
    """What one measure finds; one that could not be taken warns."""
    values = [sign * r[name] if np.isfinite(r[name]) else np.inf for r in rows]
    warns = [value > sign * limit for value in values]
    wrong = [r["outcome"] in ("detected", "missed") for r in rows]
    kinds = dict.fromkeys(r["kind"] for r, bad in zip(rows, wrong, strict=True) if bad)

    def share(of: list[bool]) -> float | None:
        chosen = [warned for warned, use in zip(warns, of, strict=True) if use]
        return float(np.mean(chosen)) if chosen else None

    return {
        "detection": share(wrong),
        "false_alarms": share([not bad for bad in wrong]),
        "worst_of_right": max((v for v, bad in zip(values, wrong, strict=True) if not bad), default=0.0) * sign,
        "best_of_wrong": min((v for v, bad in zip(values, wrong, strict=True) if bad), default=0.0) * sign,
        "detection_by_kind": {k: share([bad and r["kind"] == k for r, bad in zip(rows, wrong, strict=True)])
                              for k in kinds},
    }  # fmt: skip


def tally(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Outcomes by kind, and what each measure finds by itself."""
    kinds = {
        kind: {"n": sum(r["kind"] == kind for r in rows), **Counter(r["outcome"] for r in rows if r["kind"] == kind)}
        for kind in dict.fromkeys(r["kind"] for r in rows)
    }
    wrong = [r for r in rows if r["outcome"] in ("detected", "missed")]
    right = [r for r in rows if r["outcome"] not in ("detected", "missed")]
    measures = {}
    for name, (limit, sign) in LIMITS.items():
        if ours := [r for r in rows if name in r]:
            measures[name] = {"limit": limit, **alone(ours, name, limit, sign)}
    return {
        "detection_rate": float(np.mean([r["outcome"] == "detected" for r in wrong])), "wrong": len(wrong),
        "false_alarm_rate": float(np.mean([r["outcome"] == "false_alarm" for r in right])), "right": len(right),
        "kinds": kinds, "measures": measures,
    }  # fmt: skip


def simulated(options: argparse.Namespace, data: Path) -> tuple[Path, Path]:
    """Datasets without and with distortion, made where they are not there."""
    out = []
    for size in (0.0, options.distortion_mm):
        out.append(data / f"distortion-{size:g}")
        if not out[-1].exists():
            from brainlm_data.simulate.cohort import simulate
            from brainlm_data.simulate.plan import Plan

            simulate(Plan(out=out[-1], subjects=options.subjects, volumes=2, tr_s=2.0, shape=(60, 66, 44),
                          voxel_mm=3.5, t1w_mm=2.0, seed=options.seed, distortion_mm=size), quiet=True)  # fmt: skip
    return out[0], out[1]


def prepared(t1w: Path, bolds: dict[str, Path], space: dict[str, Path], folder: Path) -> dict[str, dict[str, Path]]:
    """Inputs of coreg for each EPI of a subject: anat on a coarse grid, and motion's reference."""
    meta = {"id": "x", "metadata": {"RepetitionTime": 2.0}}
    anatomy, _, _ = call(anat.STAGE, Files({**space, "t1w": t1w}, meta), folder / "anat", grid_mm=4.0,
                         registration="fast")  # fmt: skip
    out = {"": {**space, **anatomy, "t1w": t1w}}
    for name, bold in bolds.items():
        moved, _, _ = call(motion.STAGE, Files({"bold": bold}, meta), folder / name, min_volumes=1)
        out[name] = {**out[""], **moved}
    return out


def cases(options: argparse.Namespace, folder: Path) -> Iterator[Case]:
    """Simulated cases, then, where there is a real dataset, those with it."""
    space, _, _ = call(template.STAGE, Files({}), folder / "template")
    sets = dict(zip(("good", "good_distorted"), simulated(options, options.data or folder), strict=True))
    subjects = [path.name.removeprefix("sub-") for path in sorted(sets["good"].glob("sub-*"))]
    inputs: list[dict[str, dict[str, Path]]] = []
    truths: list[dict[str, Array]] = []
    for subject in subjects:
        bolds = {kind: next((data / f"sub-{subject}" / "func").glob("*_bold.nii.gz")) for kind, data in sets.items()}
        t1w = sets["good"] / f"sub-{subject}" / "anat" / f"sub-{subject}_T1w.nii.gz"
        inputs.append(prepared(t1w, bolds, space, folder / subject))
        truths.append({})
        for kind, data in sets.items():
            placed = np.load(next((data / "truth" / f"sub-{subject}" / "func").glob("*_from-T1w_to-boldref_xfm.npy")))
            truths[-1][kind] = np.linalg.inv(rigid.read_itk(inputs[-1][kind]["motion_xfm"])[0]) @ placed
            yield Case(kind, subject, inputs[-1][kind], truths[-1][kind])
    heads = [{k: v for k, v in files["good"].items() if k.startswith("t1w")} for files in inputs]
    for number in range(min(options.broken, len(subjects))):
        files, name = inputs[number]["good_distorted"], subjects[number]
        yield Case("other_t1w", name, {**files, **heads[(number + 1) % len(heads)]}, None)
        yield from broken_epi(name, files, truths[number]["good_distorted"], number, folder / name)
    if options.bids is None:
        return
    t1w = sorted(options.bids.glob("sub-*/anat/*_T1w.nii.gz"))[0]
    bold = sorted(t1w.parents[1].glob("func/*_bold.nii.gz"))[0]
    files = prepared(t1w, {"good": bold}, space, folder / "real")["good"]
    real, config = Files(files, {"id": "real", "metadata": {}}), coreg.Config(grid_mm=options.grid_mm)
    epi, mask, head = coreg.even(real, config), coreg.image(real["bold_mask"]), coreg.Head.read(real)
    found = coreg.to_t1w(head, config, epi, mask)
    yield Case("real_good", "real", files, found, found)
    own = {k: v for k, v in files.items() if k.startswith("t1w")}
    for number in range(min(options.broken // 2, len(subjects))):
        yield Case("real_other_t1w", f"EPI real, T1w {subjects[number]}", {**files, **heads[number]}, None)
        yield Case("real_other_t1w", f"EPI {subjects[number]}, T1w real", {**inputs[number]["good"], **own}, None)
        for case in broken_epi("real", files, found, number, folder / f"real{number}"):
            if number == 0 or case.kind != "flipped":  # it is the same each time
                yield Case(f"real_{case.kind}", f"real {number}", case.files, case.truth, case.moved)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--broken", type=int, default=8, help="cases of each broken kind")
    parser.add_argument("--grid-mm", type=float, default=4.0, help="coreg.grid_mm; 4 is coarse and cheap")
    parser.add_argument("--distortion-mm", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=171)
    parser.add_argument("--bids", type=Path, help="a real dataset to add")
    parser.add_argument("--data", type=Path, help="for the simulated datasets, kept; used if they are there")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        config = coreg.Config(grid_mm=options.grid_mm)
        rows = []
        for case in cases(options, Path(name)):
            rows.append(judge(case, config))
            if case.kind == "good" and (number := int(case.name)) <= options.broken:
                truth = (options.data or Path(name)) / "distortion-0" / "truth" / f"sub-{case.name}" / "anat"
                warp = Displacement(next(truth.glob("*displacement.nii.gz")))
                rows += turned_t1w(case, warp, number, Path(name) / f"turned{case.name}")
    for row in rows:
        row |= {k: None for k, v in row.items() if isinstance(v, float) and not np.isfinite(v)}
    real = [row for row in rows if row["kind"].startswith("real_")]
    plain = [row for row in rows if row not in real]
    result = {
        "settings": {k: v for k, v in vars(options).items() if k not in {"json", "data", "bids"}},
        "cpu_s": time.process_time() - begin,
        "simulated": tally(plain), **({"real": tally(real)} if real else {}), "cases": rows,
    }  # fmt: skip
    text = result if options.json else {k: v for k, v in result.items() if k != "cases"}
    print(json.dumps(text, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
