"""BIDS files of a simulated dataset, and its `truth/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.sidecar import sidecar_path, write_json
from brainlm_data.files.tables import write_table
from brainlm_data.methods import rigid
from brainlm_data.simulate import noise, signals
from brainlm_data.simulate.anatomy import FIELD_STEP, FINE_ORIGIN, FINE_SHAPE, Head, grid_affine, voxel_points
from brainlm_data.simulate.fieldmaps import FieldmapImage, encoding
from brainlm_data.simulate.pictures import Cortex, Stimuli
from brainlm_data.simulate.plan import AGES, Plan
from brainlm_data.simulate.scanner import DIRECTION, EpiRun

README = """A simulated dataset: no person was scanned.

Made by `brainlm-data simulate` (seed {seed}). Heads are the MNI152 template's tissues under a random affine and a
random non-linear warp, with intensities, bias field and noise of their own. `truth/` holds what is known of them;
its README says how to read it.
"""
TRUTH = """Truth of the simulated recordings. All points are RAS mm. P, M: 4 x 4 matrices on column vectors.

sub-*/anat/
  *_from-MNI_to-T1w_mode-points_displacement.nii.gz  (x, y, z, 1, 3), mm: template point p is subject point p + d(p),
      in the T1w's scanner space; linear between nodes {step:g} mm apart (brainlm_data.simulate.truth.Displacement)
  *_label-{{GM,WM,CSF}}_probseg.nii.gz, *_dseg.nii.gz (1 GM, 2 WM, 3 CSF), *_desc-brain_mask.nii.gz  on the T1w grid
  *_desc-bias_T1w.nii.gz  the multiplicative bias field of the T1w, at every fourth voxel
sub-*/func/
  *_desc-motion_timeseries.tsv   trans_x..z (mm), rot_x..z (rad): FSL MCFLIRT's convention, as in fMRIPrep's confounds,
      of movement from the first volume, about the centre of gravity of the head (`Centre` in its JSON, mm)
  *_desc-motion_xfm.npy          M (T, 4, 4): a point of the head at the first volume -> the same point at volume t
  *_from-T1w_to-boldref_xfm.npy  P (4, 4): T1w scanner space -> EPI scanner space at the first volume
  *_desc-neural_timeseries.tsv   neural signal of each parcel, percent of its grey matter's signal, one row per volume
  *_desc-noise_timeseries.tsv    time courses of structured noise; times a component's map it is percent of the signal
  *_desc-noise_maps.nii.gz       maps of these components on the EPI grid at the first volume, same order
  *_desc-parcels_dseg.nii.gz     parcel index of the grey matter of each EPI voxel at the first volume
  *_desc-distortion_fieldmap.nii.gz  (if --distortion-mm) by how much the signal of a point of the undistorted EPI grid
      is displaced, mm along y towards higher indices, at the first volume: it appears at y + d(y), divided by 1 + d'(y)
sub-*/sub-*_desc-cortex_response.npz   (if --pictures) of each cube of visual cortex: row of its parcel (from 0), its
      Gabor filter (docs/stages/simulate.md), answers (cube, picture) as z-scores, and the names of the pictures
sub-*/sub-*_desc-networks_relmat.tsv   correlation of the networks' courses that was drawn for the subject
sub-*/sub-*_desc-parcels_brain.tsv     of each parcel: share of variance from networks, gain, mixing by network
parcels.tsv                            the atlas table: parcels in the order of the columns above
How signals and the effect of age are made: docs/stages/simulate.md.
"""


def save(
    path: Path,
    data: NDArray[Any],
    affine: NDArray[np.floating[Any]],
    tr_s: float | None = None,
    stored: type | None = None,
) -> None:
    """Write a NIfTI image in scanner space; a displacement field where `data` is 5-D; scaled to dtype `stored`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    if tr_s:
        image.header["pixdim"][4] = tr_s
    if stored:
        image.set_data_dtype(stored)
    if data.ndim == 5:
        image.header.set_intent("vector")
    nib.save(image, path)


def _rows(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(columns)]
    for row in rows:
        lines.append("\t".join(str(row[column]) for column in columns))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def dataset(plan: Plan, people: list[dict[str, Any]], table: Any) -> None:
    """Files at the root of the dataset and of its truth."""
    from importlib.metadata import version

    plan.out.mkdir(parents=True, exist_ok=True)
    write_json(
        plan.out / "dataset_description.json",
        {
            "Name": "Simulated cohort with known truth",
            "BIDSVersion": "1.10.0",
            "DatasetType": "raw",
            "License": "CC0",
            "GeneratedBy": [{"Name": "brainlm-data simulate", "Version": version("brainlm-pipeline")}],
        },
    )
    _rows(plan.out / "participants.tsv", ["participant_id", "age", "sex"], people)
    write_json(
        plan.out / "participants.json",
        {
            "age": {"Description": f"age, uniform from {AGES[0]:g} to {AGES[1]:g}", "Units": "year"},
            "sex": {"Description": "sex; it has no effect", "Levels": {"M": "male", "F": "female"}},
        },
    )
    (plan.out / "README").write_text(README.format(seed=plan.seed), encoding="utf-8")
    # with an ending slash the validator does not know the folder
    (plan.out / ".bidsignore").write_text("/truth\n", encoding="utf-8")
    truth = plan.out / "truth"
    truth.mkdir()
    (truth / "README").write_text(TRUTH.format(step=FIELD_STEP), encoding="utf-8")
    table.to_csv(truth / "parcels.tsv", sep="\t", index=False)


def t1w(plan: Plan, label: str, image: NDArray[np.int16], bias: NDArray[np.float32], affine: Any) -> None:
    """The T1w with its sidecar, and the truth of its bias field."""
    path = plan.out / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
    save(path, image, affine)
    write_json(sidecar_path(path), {"Modality": "MR", "MagneticFieldStrength": 3, "Manufacturer": "simulated"})
    smooth = plan.out / "truth" / f"sub-{label}" / "anat" / f"sub-{label}_desc-bias_T1w.nii.gz"
    save(smooth, bias[::4, ::4, ::4], affine @ np.diag([4.0, 4.0, 4.0, 1.0]))  # nothing is lost: it is smooth


def anatomy_truth(plan: Plan, label: str, head: Head, shares: NDArray[np.float32], affine: Any) -> None:
    """The warp, and tissues on the T1w grid. `shares` (x, y, z, 3): GM, WM, CSF."""
    folder = plan.out / "truth" / f"sub-{label}" / "anat"
    nodes = tuple(int(np.ceil(n / FIELD_STEP)) + 1 for n in FINE_SHAPE)
    grid = grid_affine(FINE_ORIGIN, FIELD_STEP)
    points = voxel_points(nodes, grid).reshape(-1, 3)
    moved = (head.warp.to_subject(points) - points).reshape(*nodes, 1, 3).astype(np.float32)
    path = folder / f"sub-{label}_from-MNI_to-T1w_mode-points_displacement.nii.gz"
    save(path, moved, grid)
    write_json(sidecar_path(path), {"Units": "mm", "Coordinates": "RAS: template point p is subject point p + d(p)"})
    for index, tissue in enumerate(("GM", "WM", "CSF")):
        save(folder / f"sub-{label}_label-{tissue}_probseg.nii.gz", shares[..., index], affine, stored=np.uint8)
    brain = shares.sum(axis=-1) > 0.5
    save(folder / f"sub-{label}_dseg.nii.gz", ((shares.argmax(-1) + 1) * brain).astype(np.uint8), affine)
    save(folder / f"sub-{label}_desc-brain_mask.nii.gz", brain.astype(np.uint8), affine)


def brain_truth(plan: Plan, label: str, parcels: signals.Parcels, who: signals.Brain) -> None:
    """The subject's functional organisation."""
    stem = plan.out / "truth" / f"sub-{label}" / f"sub-{label}"
    write_table(stem.with_name(stem.name + "_desc-networks_relmat.tsv"), parcels.networks, who.between)
    names = ("share", "gain", *parcels.networks)
    write_table(stem.with_name(stem.name + "_desc-parcels_brain.tsv"), names, np.c_[who.share, who.gain, who.mixing])


def fieldmap(plan: Plan, label: str, image: FieldmapImage) -> None:
    """One image of fmap/ with its sidecar."""
    path = plan.out / f"sub-{label}" / "fmap" / f"sub-{label}_{image.suffix}.nii.gz"
    save(path, image.data, image.affine)
    write_json(sidecar_path(path), image.metadata)


def cortex_truth(plan: Plan, label: str, cortex: Cortex, stimuli: Stimuli) -> None:
    """What visual cortex answers to each picture."""
    cortex.save(plan.out / "truth" / f"sub-{label}" / f"sub-{label}_desc-cortex_response.npz", stimuli)


def block_rows(plan: Plan, task: str) -> list[dict[str, Any]]:
    """Rows of the events of a block design; none at rest."""
    if task == "rest":
        return []
    rows = []
    for onset, duration in signals.blocks(plan.volumes * plan.tr_s):
        rows.append({"onset": onset, "duration": duration, "trial_type": "block"})
    return rows


def bold(
    plan: Plan, label: str, run: EpiRun, images: NDArray[np.int16], task: str, events: list[dict[str, Any]]
) -> None:
    """The run with its sidecar; events of a task."""
    stem = plan.out / f"sub-{label}" / "func" / run.recording
    path = stem.with_name(stem.name + "_bold.nii.gz")
    save(path, images, run.affine, plan.tr_s)
    encoded = encoding(plan, DIRECTION) if plan.distortion_mm or plan.fieldmaps else {}
    measured = {"B0FieldSource": list(plan.fieldmaps)} if plan.fieldmaps else {}
    write_json(
        sidecar_path(path),
        {
            "RepetitionTime": plan.tr_s,
            "TaskName": task,
            "EchoTime": 0.03,
            "FlipAngle": 80,
            "MagneticFieldStrength": 3,
            "Manufacturer": "simulated",
            "PhaseEncodingDirection": DIRECTION,
            **encoded,
            **measured,
        },
    )
    if task != "rest":
        columns = list(events[0]) if events else ["onset", "duration", "trial_type"]
        _rows(stem.with_name(stem.name + "_events.tsv"), columns, events)


def run_truth(plan: Plan, label: str, run: EpiRun, parcels: signals.Parcels, who: signals.Brain, task: str) -> None:
    """Motion, head position, neural series and noise of one run."""
    folder = plan.out / "truth" / f"sub-{label}" / "func"
    folder.mkdir(parents=True, exist_ok=True)

    def path(suffix: str) -> Path:
        return folder / f"{run.recording}_{suffix}"

    still = run.sampled(run.epi.still)
    weight = still / still.sum()
    voxel = [float((weight * axis).sum()) for axis in np.indices(plan.shape, sparse=True)]  # centre of gravity
    centre = (run.affine @ np.append(voxel, 1.0))[:3]
    motion = rigid.parameters(run.matrices, run.affine, plan.shape, centre)
    write_table(path("desc-motion_timeseries.tsv"), rigid.COLUMNS, motion)
    write_json(
        path("desc-motion_timeseries.json"),
        {"Centre": centre, "MeanFramewiseDisplacement": float(np.nan_to_num(rigid.displacement(motion)[1:].mean()))},
    )
    np.save(path("desc-motion_xfm.npy"), run.matrices)
    np.save(path("from-T1w_to-boldref_xfm.npy"), run.pose)
    write_table(path("desc-neural_timeseries.tsv"), parcels.names, run.parcels[:, : len(parcels.names)])
    driven = plan.driven(task, len(parcels.networks))
    write_json(
        path("desc-neural_timeseries.json"),
        {"Units": "percent", "Age": who.age, "DrivenNetworks": [parcels.networks[n] for n in driven]},
    )
    names = (*noise.ATTACHED, *noise.FIXED)
    write_table(path("desc-noise_timeseries.tsv"), names, run.courses)
    save(path("desc-noise_maps.nii.gz"), noise_maps(run, still), run.affine)
    save(path("desc-parcels_dseg.nii.gz"), parcels_dseg(run, parcels), run.affine)
    if plan.distortion_mm:
        save(path("desc-distortion_fieldmap.nii.gz"), run.displacement_mm, run.affine)
        write_json(path("desc-distortion_fieldmap.json"), {"Units": "mm", **encoding(plan, DIRECTION)})


def noise_maps(run: EpiRun, still: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps (x, y, z, 8), percent of the local signal per unit of course, at the first volume."""
    maps = np.zeros((*run.plan.shape, len(noise.ATTACHED) + len(noise.FIXED)), np.float32)
    inside = still > 0.02 * still.max()
    for k in range(len(noise.ATTACHED)):
        fine = np.zeros(FINE_SHAPE, np.float32)
        fine.reshape(-1)[run.epi.active] = run.epi.maps[:, k]
        maps[..., k] = np.where(inside, 100 * run.sampled(fine) / np.maximum(still, 1), 0)
    fixed = np.moveaxis(noise.fixed_maps(run.plan, run.recording), 0, -1)
    maps[..., len(noise.ATTACHED) :] = fixed * inside[..., None]
    return maps


def parcels_dseg(run: EpiRun, parcels: signals.Parcels) -> NDArray[np.int32]:
    """Parcel index of each EPI voxel's centre, where a third or more of the voxel is grey matter of parcels."""
    head = run.epi.head
    grid = np.moveaxis(np.indices(run.plan.shape), 0, -1) + run.shift[..., None] * np.array([0, 1, 0])
    to_fine = run.to_fine(0)
    place = np.round((grid @ to_fine[:3, :3].T + to_fine[:3, 3]).reshape(-1, 3)).astype(int)
    inside = ((place >= 0) & (place < FINE_SHAPE)).all(axis=1)
    out = np.zeros(len(place), np.int32)
    rows = head.parcels[tuple(place[inside].T)]
    out[inside] = np.append([0], parcels.labels)[rows]
    grey = np.where(head.parcels > 0, head.tissues[..., 0], 0).astype(np.float32) / np.float32(255)
    return np.where(run.sampled(grey) > 1 / 3, out.reshape(run.plan.shape), 0).astype(np.int32)
