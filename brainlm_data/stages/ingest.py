"""ingest: take a recording from fMRIPrep's derivatives, in place of motion, coreg and sample.

fMRIPrep's `desc-preproc_bold` in template space is motion-corrected and normalized already, so every transform is the
identity and the stage is `sample` on that image. Motion parameters are read from fMRIPrep's confounds.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.json import read_sidecar
from brainlm_data.files.sidecar import read_document
from brainlm_data.reading.image import Run, load_image, repetition_time
from brainlm_data.reading.table import read_table
from brainlm_data.stage import Facts, Files, Need, Stage
from brainlm_data.stages import sample

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


class Config(sample.Config):
    """The keys of section sample, for images of fMRIPrep."""


def find(folder: Path, recording: str, space: str) -> dict[str, Path]:
    """fMRIPrep's files of one recording: preproc, boldref, mask, confounds.

    Parameters
    ----------
    folder: fMRIPrep's derivatives. space: as fMRIPrep is asked for it, for example `MNI152NLin6Asym:res-2`.

    Raises
    ------
    Refused: one of them is missing.
    """
    name, *modifiers = space.split(":")
    entities = "_".join([f"space-{name}", *modifiers])
    endings = {
        "preproc": f"{entities}_desc-preproc_bold.nii.gz",
        "boldref": f"{entities}_boldref.nii.gz",
        "mask": f"{entities}_desc-brain_mask.nii.gz",
        "confounds": "desc-confounds_timeseries.tsv",
    }
    subject = recording.split("_")[0]
    found: dict[str, Path] = {}
    for key, ending in endings.items():
        matches = sorted((folder / subject).rglob(f"{recording}_{ending}"))
        if not matches:
            raise Refused(f"{folder}: no {recording}_{ending}", "did fMRIPrep finish, and with this output space?")
        found[key] = matches[0]
    return found


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write what motion and sample would, from fMRIPrep's derivatives.

    Raises
    ------
    InputError: fMRIPrep's output space is not the template's.
    Refused: files of this recording are missing, or their lengths differ.
    """
    from brainlm_data.files.tables import write_table
    from brainlm_data.methods.rigid import write_itk

    record = read_document(inputs["fmriprep_run"])
    space, wanted = record["OutputSpace"].split(":")[0], inputs.facts("template_mask")["Space"]
    if space != wanted:
        raise InputError(f"fmriprep.output_space is {space}, template.name is {wanted}", f"set template.name: {space}")
    # the record says where they were written; an outdir that was copied or moved since has its own beside it
    outdir = inputs.meta.get("outdir")
    folder = Path(outdir) / "derivatives" / "fmriprep" if outdir else Path(record["Derivatives"])
    files = find(folder, inputs.meta["id"], record["OutputSpace"])
    motion = _motion(files["confounds"])
    write_table(outputs["motion_params"], MOTION, motion)
    for name, target in (("boldref", "boldref"), ("mask", "bold_mask")):
        load_image(files[name])  # a damaged one is this recording's fault, not that of the stages that read the copy
        shutil.copyfile(files[name], outputs[target])
    scratch = outputs["parcels_raw"].parent
    write_itk(scratch / "identity.txt", np.tile(np.eye(4), (len(motion), 1, 1)))
    write_itk(scratch / "template.txt", np.eye(4)[None])
    taken = {name: path for name, path in inputs.items() if name not in {"bold", "fmriprep_run"}}
    taken |= {"bold": files["preproc"], "motion_xfm": scratch / "identity.txt", "bold_to_mni": scratch / "template.txt"}
    taken |= {name: outputs[name] for name in ("motion_params", "boldref", "bold_mask")}
    sidecar = files["preproc"].with_name(files["preproc"].name.removesuffix(".nii.gz") + ".json")
    metadata = read_sidecar(sidecar, Refused) or inputs.meta["metadata"]
    if "RepetitionTime" not in metadata:
        raise Refused(f"{sidecar}: no RepetitionTime", "fMRIPrep writes it; is the file whole?")
    tr, warnings = repetition_time(Run(files["preproc"]), metadata)
    facts = sample.sampled(Files(taken, inputs.meta), outputs, config, tr)
    said = {"Warnings": warnings} if warnings else {}
    return {"RepetitionTime": tr, "EmptyVolumes": [], **facts, **said, "Image": record["Image"]}


def _motion(confounds: Path) -> np.ndarray:
    """(T, 6) in mm and rad. Raises Refused where a column is missing."""
    try:
        columns = read_table(confounds).columns
    except InputError as error:
        raise Refused(error.message, "is it fMRIPrep's confounds table?") from error
    missing = [name for name in MOTION if name not in columns or any(isinstance(v, str) for v in columns[name])]
    if missing:
        raise Refused(f"{confounds}: no column of numbers {', '.join(missing)}", "is it fMRIPrep's confounds table?")
    return np.array([columns[name] for name in MOTION], dtype=float).T


def describe(facts: Facts) -> str:
    """Methods sentence."""
    return (
        f"fMRIPrep's preprocessed images ({facts['Image']}) were averaged over the voxels of"
        f" {facts['NumberOfParcels']} parcels in {facts['Space']} space."
    )


STAGE = Stage(
    name="ingest",
    version=3,
    level="recording",
    summary="Take parcel means and the voxel sample from fMRIPrep's derivatives.",
    Config=Config,
    inputs=(
        "bold", "fmriprep_run", "atlas_dseg", "atlas_table", "template_t1w", "template_mask", "template_probseg",
    ),
    outputs=(
        "motion_params", "boldref", "bold_mask", "parcels_raw", "coverage", "voxel_sample", "sample_mask",
        "sample_probseg",
    ),
    run=run,
    describe=describe,
    routes=("fmriprep",),
    need=Need(1200, 3, 60, 0.5, disk_mb=2, disk_mb_per_mb=0.4),
)  # fmt: skip
