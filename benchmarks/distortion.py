"""Distortion correction against known truth: what it regains, what it harms, and its cost.

    python -m benchmarks.distortion --json [--subjects 2] [--sizes 6 12] [--volumes 100] [--folder DIR]

Subjects are simulated (`brainlm-data simulate`) without distortion and with displacements of up to so many mm, from the
same head, pose, motion and signals; fieldmaps have poses and noise of their own. The stages run as they are: template,
atlas, anat, motion, coreg, distortion, sample. `r`: correlation of the parcel series, high-passed, with the true neural
series, high-passed. In each dataset it is measured without correction (`uncorrected`), with each source of a field
(`epi`: two opposed images, `phasediff`, `fieldmap`: in Hz; `none`: without a fieldmap), and with the true field and
the registration of the reference that it undistorts (`truth`: what a perfect field gives).

Moved parcels: displaced by more than a third of the largest displacement (of 12 mm: 4 mm), mean over their voxels.
Regained: (r corrected - r uncorrected) / (r undistorted - r uncorrected), of means over moved parcels and subjects.

* regained_fieldmap, regained_none: at the largest size, mean of the three fieldmaps; without one. `by_source`: each.
* harm_undistorted_r: without distortion, r without correction less r with method `fit`, all parcels; 0 or less is no
  harm. `harm_by_source`: with fieldmaps, too, of a field that is flat.
* cpu_s: of stage distortion alone, the dearest source. A process of its own pays imports in addition.
* field_rms_mm: of the field against the truth, in the brain; `uncorrected`: of no field.
* boundary_before, boundary_after: cost of the border of white matter (Greve and Fischl, 2009); less is better.
* kept: share of subjects in which the stage kept the field.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from benchmarks.recovery import correlations
from benchmarks.scoring import call
from benchmarks.waterfall import once
from brainlm_data.bids.index import Recording, Select, read_index
from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import read_table
from brainlm_data.methods import distortion as shifts
from brainlm_data.methods import rigid
from brainlm_data.methods.operators import Recipe, high_pass
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import anat, atlas, coreg, distortion, motion, sample, template
from brainlm_data.stages import filter as filter_stage

FIELDMAPS = ("epi", "phasediff", "fieldmap")
SHAPE, VOXEL_MM, TR_S = (64, 64, 36), 3.5, 2.0
PART = 1 / 3  # of the largest displacement: what is displaced more is a moved parcel
Array = NDArray[np.float64]
Paths = dict[str, Path]


def simulated(folder: Path, size: float, options: argparse.Namespace) -> Path:
    """The dataset of one size of distortion, simulated once a folder."""
    from brainlm_data.simulate.cohort import simulate
    from brainlm_data.simulate.plan import Plan

    out = folder / f"distortion-{size:g}"
    if not out.exists():
        unfinished = out.with_name(out.name + ".part")
        plan = Plan(out=unfinished, subjects=options.subjects, volumes=options.volumes, tr_s=TR_S, shape=SHAPE,
                    voxel_mm=VOXEL_MM, seed=options.seed, distortion_mm=size, fieldmaps=FIELDMAPS)  # fmt: skip
        simulate(plan, quiet=True)
        unfinished.rename(out)
    return out


def image(path: Path) -> Any:
    return nib.load(path)


class Subject:
    """One subject's run in one dataset: what the stages before distortion make of it, and its truth."""

    def __init__(self, data: Path, flat: Path, recording: Recording, space: Paths, anatomy: Paths, folder: Path):
        self.recording, self._data, self._flat, self._folder = recording, data, flat, folder
        self.files = {**space, **anatomy, "bold": Path(recording.bold.path)}
        self.files |= once(motion.STAGE, Files(self.files, self.meta()), folder / "motion", reuse=True)
        self.files |= once(coreg.STAGE, Files(self.files, self.meta()), folder / "coreg", reuse=True)

    def meta(self, source: str = "") -> Facts:
        """What the run's own stages are told; `source`: with the fieldmaps of one kind alone."""
        r = self.recording
        meta: Facts = {"id": r.id, "subject": r.subject, "metadata": r.metadata, "phase_encoding": r.phase_encoding}
        return meta | {"fieldmaps": [each for each in r.fieldmaps if each["kind"] == source]}

    def truth(self, what: str, flat: bool = False) -> Path:
        """A file of the run's truth; `flat`: of that without distortion."""
        folder = (self._flat if flat else self._data) / "truth" / f"sub-{self.recording.subject}" / "func"
        return folder / f"{self.recording.id}_{what}"

    def true_shift(self) -> shifts.Shift:
        """On the grid of the BOLD reference; 0 where nothing is distorted."""
        axis = shifts.PhaseEncoding.of(self.recording.phase_encoding["PhaseEncodingDirection"]).axis
        reference = image(self.files["boldref"])
        values = np.zeros(reference.shape[:3], np.float32)
        if (path := self.truth("desc-distortion_fieldmap.nii.gz")).exists():
            field = image(path)
            to_first = rigid.read_itk(self.files["motion_xfm"])[0]  # boldref -> first volume, in which truth is given
            to_voxel = np.linalg.inv(field.affine) @ to_first @ reference.affine
            places = np.tensordot(to_voxel[:3, :3], np.indices(values.shape), 1) + to_voxel[:3, 3, None, None, None]
            values = map_coordinates(np.asarray(field.dataobj) / VOXEL_MM, places, order=1, mode="nearest")
        return shifts.Shift(values.astype(np.float32), reference.affine, axis)

    def moved(self, names: list[str]) -> NDArray[np.bool_]:
        """Of parcels by name: whether they are displaced by more than a third of the largest displacement."""
        labels = np.asarray(image(self.truth("desc-parcels_dseg.nii.gz", flat=True)).dataobj)
        mm = np.abs(np.asarray(image(self.truth("desc-distortion_fieldmap.nii.gz")).dataobj))
        header, *lines = (self._data / "truth" / "parcels.tsv").read_text().splitlines()
        rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
        inside = {row["name"]: labels == int(row["index"]) for row in rows}
        return np.array([inside[name].any() and mm[inside[name]].mean() > PART * mm.max() for name in names])

    def corrected(self, source: str) -> tuple[Paths, dict[str, Any]]:
        """Files of stage distortion, and what is reported of it; of the true field for `truth`."""
        folder = self._folder / f"distortion_{source}"
        if source == "uncorrected":
            return {}, {"field_rms_mm": self._rms(None)}
        if source == "truth":
            return self._by_truth(folder), {"field_rms_mm": 0.0}
        method = "fit" if source == "none" else "fieldmap"
        named = {path: Path(file.path) for path, file in self.recording.fieldmap_files.items()}
        inputs = Files({**self.files, **named}, self.meta(source))
        written, facts, seconds = call(distortion.STAGE, inputs, folder, method=method)
        kept = facts["DistortionCorrection"] != "none"
        shift = shifts.Shift.read(written["fieldmap"], facts["fieldmap"]) if kept else None
        report = {"cpu_s": seconds, "kept": float(kept), "field_rms_mm": self._rms(shift), "reason": facts["Reason"]}
        for key, name in (("boundary_before", "BoundaryCostBefore"), ("boundary_after", "BoundaryCost")):
            if name in facts:
                report[key] = facts[name]
        return written, report

    def _by_truth(self, folder: Path) -> Paths:
        """What stage distortion would write with the true field."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {name: folder / f"{name}.nii.gz" for name in ("fieldmap", "boldref_undistorted")}
        shift = self.true_shift()
        write_facts(files["fieldmap"], shift.write(files["fieldmap"]))
        reference = image(self.files["boldref"])
        undistorted = shift.undistorted(np.asarray(reference.dataobj, dtype=np.float32))
        nib.save(nib.Nifti1Image(undistorted, reference.affine), files["boldref_undistorted"])
        inputs = {**self.files, "boldref": files["boldref_undistorted"]}
        matrix = once(coreg.STAGE, Files(inputs, self.meta()), folder / "coreg", reuse=True)["bold_to_t1w"]
        recipe = folder / "distortion.json"
        recipe.write_text(json.dumps({"method": "truth", "reason": ""}))
        return {**files, "undistorted_to_t1w": matrix, "distortion": recipe}

    def _rms(self, shift: shifts.Shift | None) -> float:
        """Of a field against the truth in the brain, mm along the phase encoding."""
        brain = np.asarray(image(self.files["bold_mask"]).dataobj) > 0
        error = (self.true_shift().mm - (shift.mm if shift else 0))[brain]
        return float(np.sqrt(np.mean(error**2)))

    def series(self, source: str, files: Paths) -> tuple[list[str], Array]:
        """Names of parcels and r of each with the truth; NaN of parcels without a series."""
        inputs = Files({**self.files, **files}, self.meta())
        sampled, _, _ = call(sample.STAGE, inputs, self._folder / f"sample_{source}")
        names, series = read_table(sampled["parcels_raw"])
        known, neural = read_table(self.truth("desc-neural_timeseries.tsv"))
        recipe = Recipe(TR_S, len(series), low_hz=filter_stage.Config().low_hz)
        r = np.full(len(names), np.nan)
        seen = [n for n, name in enumerate(names) if np.isfinite(series[:, n]).all() and name in known]
        true = neural[:, [known.index(names[n]) for n in seen]]
        r[seen] = correlations(high_pass(series[:, seen], recipe), high_pass(true, recipe))
        return names, r


def evaluate(sets: dict[float, Path], index: int, space: Paths, folder: Path) -> dict[float, dict[str, Any]]:
    """Of one subject, by size and source: r of each parcel and what is reported of the stage."""
    rows: dict[float, dict[str, Any]] = {}
    flat = sets[0.0]
    anatomy: Paths = {}
    for size, data in sets.items():
        recording = read_index(data, Select.model_validate({})).recordings[index]
        if not anatomy:  # the T1w is the same in every dataset
            [t1w] = data.glob(f"sub-{recording.subject}/anat/*_T1w.nii.gz")
            about = {"id": recording.subject, "metadata": {}}
            anatomy = once(anat.STAGE, Files({**space, "t1w": t1w}, about), folder / "anat", reuse=True)
        subject = Subject(data, flat, recording, space, anatomy, folder / f"{size:g}")
        rows[size] = {"r": {}}
        for source in ("uncorrected", "none", *FIELDMAPS, "truth"):
            files, rows[size][source] = subject.corrected(source)
            names, rows[size]["r"][source] = subject.series(source, files)
        if size:
            rows[size]["moved"] = subject.moved(names)
        medians = {source: round(float(np.nanmedian(r)), 3) for source, r in rows[size]["r"].items()}
        print(f"sub-{recording.subject} {size:g} mm: {medians}", file=sys.stderr, flush=True)
    return rows


def means(rows: list[dict[float, dict[str, Any]]], size: float, source: str, moved_at: float = 0) -> float:
    """Mean r over subjects and parcels that every source has; of moved parcels where `moved_at` is a size."""
    values = list[float]()
    for row in rows:
        known = np.all([np.isfinite(r) for part in row.values() for r in part["r"].values()], axis=0)
        wanted = known & (row[moved_at]["moved"] if moved_at else True)
        values += row[size]["r"][source][wanted].tolist()
    return float(np.mean(values))


def summary(rows: list[dict[float, dict[str, Any]]], size: float) -> dict[str, Any]:
    """What is reported of one size."""
    out: dict[str, Any] = {"r_moved": {"undistorted": means(rows, 0.0, "uncorrected", size)}, "regained": {}}
    out["r_all"] = {"undistorted": means(rows, 0.0, "uncorrected")}
    out["n_moved"] = float(np.mean([row[size]["moved"].sum() for row in rows]))
    for source in rows[0][size]["r"]:
        out["r_moved"][source] = means(rows, size, source, size)
        out["r_all"][source] = means(rows, size, source)
    lost = out["r_moved"]["undistorted"] - out["r_moved"]["uncorrected"]
    for source in ("none", *FIELDMAPS, "truth"):
        out["regained"][source] = (out["r_moved"][source] - out["r_moved"]["uncorrected"]) / lost
    for key in ("field_rms_mm", "boundary_before", "boundary_after", "cpu_s", "kept"):
        found = {s: [row[size][s][key] for row in rows if key in row[size][s]] for s in rows[0][size]["r"]}
        out[key] = {source: float(np.mean(values)) for source, values in found.items() if values}
    return out


def reasons(rows: list[dict[float, dict[str, Any]]], size: float) -> dict[str, list[str]]:
    """Why the stage kept no field, of each subject; "" where it did."""
    return {source: [row[size][source]["reason"] for row in rows] for source in ("none", *FIELDMAPS)}


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--subjects", type=int, default=2)
    parser.add_argument("--sizes", type=float, nargs="+", default=[6.0, 12.0], help="largest displacements, mm")
    parser.add_argument("--volumes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="for data and what stages before distortion write, kept and reused")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        sets = {size: simulated(folder, size, options) for size in sorted({0.0, *options.sizes})}
        space = once(template.STAGE, Files({}), folder / "template", reuse=True)
        space |= once(atlas.STAGE, Files(space), folder / "atlas", reuse=True, name="demo424")
        rows = [evaluate(sets, n, space, folder / f"stages-{n}") for n in range(options.subjects)]
    sizes = {f"{size:g}": summary(rows, size) for size in sets if size}
    largest = sizes[f"{max(options.sizes):g}"]
    without = means(rows, 0.0, "uncorrected")
    harm = {source: without - means(rows, 0.0, source) for source in ("none", *FIELDMAPS)}
    costs = [row[size][source]["cpu_s"] for row in rows for size in row for source in ("none", *FIELDMAPS)]
    result = {
        "regained_fieldmap": float(np.mean([largest["regained"][source] for source in FIELDMAPS])),
        "regained_none": largest["regained"]["none"],
        "harm_undistorted_r": harm["none"],
        "cpu_s": max(costs),
        "by_source": largest["regained"],
        "harm_by_source": harm,
        "undistorted_kept": {s: float(np.mean([row[0.0][s]["kept"] for row in rows])) for s in ("none", *FIELDMAPS)},
        "sizes": sizes,
        "reasons": {f"{size:g}": reasons(rows, size) for size in sets},
        "settings": {"subjects": options.subjects, "volumes": options.volumes, "shape": SHAPE, "voxel_mm": VOXEL_MM},
    }  # fmt: skip
    tools.show(result, options.json)


if __name__ == "__main__":
    main()
