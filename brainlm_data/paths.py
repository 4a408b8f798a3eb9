"""Every file name of this package: the only place that spells BIDS names.

An artifact is a kind of file that one stage writes and others read. Its path is `<outdir>/` + its pattern with
`{prefix}` (`sub-01/ses-02/func/sub-01_ses-02_task-rest_run-1`, or `sub-01/anat/sub-01` for subject level), `{space}`
(the template's name) and `{seg}` (the atlas's name) filled in. Stages of other packages bring the kinds of their own
files (`Stage.artifacts`). Names follow BIDS-Derivatives, fMRIPrep (transforms, confounds) and XCP-D (parcel series).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from brainlm_data.stage import Artifact, Level, Stage


def _sub(suffix: str, description: str, **metadata: Any) -> Artifact:
    return Artifact("subject", f"derivatives/{{prefix}}_{suffix}", description, metadata)


def _rec(suffix: str, description: str, **metadata: Any) -> Artifact:
    return Artifact("recording", f"derivatives/{{prefix}}_{suffix}", description, metadata)


def _all(pattern: str, description: str, **metadata: Any) -> Artifact:
    return Artifact("cohort", pattern, description, metadata)


RAW_URI = "bids:raw:"  # before a path below the raw dataset's root
TEMPLATE = "bids::tpl-{space}/tpl-{space}_T1w.nii.gz"
COARSE = "grid of the voxel sample over the template; CoarseMm of the sample is its voxel size in mm"
BIDSIGNORE = """\
# What BIDS-Derivatives has no name for (yet): transforms, series, confounds, components, recipes, metrics, pages.
*.html
*_xfm.*
*_boldref.*
*_fieldmap.*
*_timeseries.*
*_mixing.*
*_components.*
*_metrics.*
*_recipe.*
*_report.json
*_run.json
*_stat-coverage_bold.*
*_events.*
tpl-*/
/atlas
fmriprep/
"""
SERIES = "space-{space}_seg-{seg}_stat"

ARTIFACTS: dict[str, Artifact] = {
    # raw inputs: paths come from the index, not from a pattern
    "t1w": Artifact("subject", "", "raw T1-weighted image"),
    "t1w_next": Artifact("subject", "", "another raw T1-weighted image, in case the first is damaged"),
    "bold": Artifact("recording", "", "raw BOLD run, 4-D"),
    "sbref": Artifact("recording", "", "raw single-band reference of the run"),
    # template
    "template_t1w": _all("derivatives/tpl-{space}/tpl-{space}_T1w.nii.gz", "T1w template with skull"),
    "template_mask": _all(
        "derivatives/tpl-{space}/tpl-{space}_desc-brain_mask.nii.gz", "brain mask of the template", Type="Brain"
    ),
    "template_probseg": _all(
        "derivatives/tpl-{space}/tpl-{space}_probseg.nii.gz", "4-D tissue probabilities of the template: GM, WM, CSF"
    ),
    # atlas
    "atlas_dseg": _all(
        "derivatives/atlas/atlas-{seg}/atlas-{seg}_space-{space}_dseg.nii.gz", "label image on the 2 mm grid"
    ),
    "atlas_table": _all(
        "derivatives/atlas/atlas-{seg}/atlas-{seg}_dseg.tsv",
        "one row per parcel: index, name, hemisphere, network, x, y, z (mm), n_voxels",
    ),
    # anat
    "t1w_preproc": _sub("desc-preproc_T1w.nii.gz", "bias-corrected T1w", SkullStripped=False),
    "t1w_mask": _sub("desc-brain_mask.nii.gz", "brain mask on the grid of the corrected T1w", Type="Brain"),
    "t1w_dseg": _sub("dseg.nii.gz", "tissue labels: 1 GM, 2 WM, 3 CSF"),
    "t1w_gm": _sub("label-GM_probseg.nii.gz", "grey-matter probability"),
    "t1w_wm": _sub("label-WM_probseg.nii.gz", "white-matter probability"),
    "t1w_csf": _sub("label-CSF_probseg.nii.gz", "CSF probability"),
    "t1w_to_mni": _sub("from-T1w_to-{space}_mode-image_xfm.h5", "ITK composite: resamples T1w onto the template"),
    "mni_to_t1w": _sub("from-{space}_to-T1w_mode-image_xfm.h5", "ITK composite: resamples the template onto T1w"),
    "t1w_mni": _sub(
        "space-{space}_desc-preproc_T1w.nii.gz", "T1w on the template's registration grid, for QC", SkullStripped=False
    ),
    # fmriprep (instead of anat, motion, coreg; its own outputs are in derivatives/fmriprep)
    "fmriprep_run": _sub("desc-fmriprep_run.json", "the fMRIPrep command that was run, its image and its report"),
    # motion
    "motion_params": _rec(
        "desc-motion_timeseries.tsv", "rigid-body parameters per volume: trans_x..z (mm), rot_x..z (rad)"
    ),
    "motion_xfm": _rec(
        "from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
        "ITK rigid transforms, one per volume: resample it onto boldref",
    ),
    "boldref": _rec("desc-hmc_boldref.nii.gz", "reference volume of head-motion correction", SkullStripped=False),
    "bold_mask": _rec("desc-brain_mask.nii.gz", "brain mask on the BOLD grid", Type="Brain"),
    # slicetiming
    "slice_times": _rec("desc-slicetiming_recipe.json", "when each slice was acquired, and the time all are moved to"),
    # coreg (the first where there is a T1w, the second where there is none)
    "bold_to_t1w": _rec("from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt", "ITK rigid: resamples boldref onto T1w"),
    "bold_to_mni": _rec("from-boldref_to-{space}_mode-image_xfm.h5", "ITK composite: resamples boldref onto template"),
    # distortion (but the first, where a field is kept)
    "distortion": _rec(
        "desc-distortion_recipe.json", "where the field of susceptibility distortion comes from, or why none"
    ),
    "fieldmap": _rec("desc-distortion_fieldmap.nii.gz", "how far away boldref shows the signal of each voxel, mm"),
    "boldref_undistorted": _rec("desc-undistorted_boldref.nii.gz", "boldref without distortion", SkullStripped=False),
    "undistorted_to_t1w": _rec(
        "from-boldref_to-T1w_mode-image_desc-undistorted_xfm.txt",
        "ITK rigid: resamples the undistorted boldref onto T1w",
    ),
    # sample
    "parcels_raw": _rec(
        f"{SERIES}-mean_desc-raw_timeseries.tsv", "parcel means of motion-corrected, normalized data; scanner units"
    ),
    "coverage": _rec(f"{SERIES}-coverage_bold.tsv", "share of each parcel's voxels inside the field of view"),
    "voxel_sample": _rec(
        "space-{space}_res-coarse_desc-sample_bold.nii.gz",
        "voxel sample on a coarse MNI grid",
        SkullStripped=True,
        Resolution=COARSE,
    ),
    "sample_mask": _rec(
        "space-{space}_res-coarse_desc-brain_mask.nii.gz",
        "brain mask of the voxel sample",
        Type="Brain",
        Resolution=COARSE,
    ),
    "sample_probseg": _rec(
        "space-{space}_res-coarse_probseg.nii.gz",
        "4-D tissue probabilities: GM, WM, CSF, and those of WM and CSF eroded by one voxel of half the size",
        Resolution=COARSE,
    ),
    # confounds .. resample
    "confounds": _rec("desc-confounds_timeseries.tsv", "confounds, one row per volume, named as in fMRIPrep"),
    "filter_recipe": _rec("desc-filter_recipe.json", "the temporal operators: dropped and censored volumes, H and L"),
    "ica_mixing": _rec("desc-ica_mixing.tsv", "time courses of the independent components, one column each"),
    "ica_components": _rec(
        "space-{space}_res-coarse_desc-ica_components.nii.gz", "z-maps of the components", Resolution=COARSE
    ),
    "ica_metrics": _rec("desc-ica_metrics.tsv", "features, verdict and reason of each component"),
    "denoise_recipe": _rec("desc-denoise_recipe.npz", "low-rank factors of the regression operator D"),
    "parcels_native": _rec(f"{SERIES}-mean_desc-native_timeseries.tsv", "denoised parcel series at the native TR"),
    "parcels": _rec(f"{SERIES}-mean_timeseries.tsv", "denoised parcel series at the common rate"),
    "keep_preproc": _rec(
        "space-{space}_desc-preproc_bold.nii.gz", "4-D: motion-corrected, normalized", SkullStripped=True
    ),
    "keep_denoised": _rec(
        "space-{space}_desc-denoised_bold.nii.gz", "4-D: filtered and denoised as the parcels are", SkullStripped=True
    ),
    "voxels": _rec(
        "space-{space}_desc-voxels_timeseries.npz", "denoised time courses of the voxels of a region, int16"
    ),
    "voxel_events": _rec("desc-voxels_events.tsv", "copy of the events of the run"),
    "qc_metrics": _rec("desc-qc_metrics.json", "quality metrics of the recording"),
    "qc_page": _rec("desc-qc_report.html", "quality page of the recording, self-contained"),
    # qcgroup
    "qc_group_page": _all(
        "qc.html", "quality of all recordings on one page: sortable, outliers marked, links to pages"
    ),
    "qc_group_table": _all("qc.tsv", "one row per recording: warnings, outliers and every quality metric"),
    "qc_group_columns": _all("qc.json", "what the columns of qc.tsv are"),
    # trials
    "trials": _all("trials.npz", "patterns of voxels per trial, split by stimulus, with the pictures"),
    "trials_table": _all("trials.tsv", "one row per trial: when, what, in which split, and why it was left out"),
    "trials_facts": _all("trials.json", "how patterns were made, counts and warnings"),
    # events
    "events": _all("events.tsv", "one row per event: recording, onset in its series (s), duration (s), trial_type"),
    # collate
    "store": _all("store.zarr", "Zarr v3 store: bold (time, parcel) and valid (time)"),
    "recordings": _all("recordings.parquet", "one row per recording: entities, TR, split, QC metrics, status, reason"),
    "scaler": _all("scaler.npz", "median and iqr per parcel, from training subjects only"),
    "card_data": _all("card.json", "how the data were made: atlas, rate, band, filter, stages, splits"),
    "card": _all("card.md", "how the data were made, in words"),
    "checksums": _all("SHA256SUMS", "sha256 of the tables and of the store's metadata"),
}


# What the interpolation of a raw image in template space reads (`methods.sampling.Sampler`); not every recording has
# the transforms and times of the second line.
INTERPOLATED_OPTIONAL = (
    "slice_times", "bold_to_t1w", "distortion", "fieldmap", "undistorted_to_t1w", "bold_to_mni", "t1w_to_mni",
)  # fmt: skip
INTERPOLATED = ("bold", "motion_xfm", "motion_params", "boldref", *INTERPOLATED_OPTIONAL)


def artifacts_of(stages: Iterable[Stage]) -> dict[str, Artifact]:
    """Every kind of file by name: those of the table above, and what the stages bring themselves."""
    artifacts = dict(ARTIFACTS)
    for stage in stages:
        artifacts |= stage.artifacts
    return artifacts


def bids_metadata(name: str, names: Mapping[str, str]) -> dict[str, Any]:
    """BIDS metadata of a derivative: its own, and the template that an image in standard space is aligned to."""
    pattern = ARTIFACTS[name].pattern
    standard = "space-{space}" in pattern and pattern.endswith(".nii.gz")
    reference = {"SpatialReference": TEMPLATE.format(**names)} if standard and "space" in names else {}
    return {**reference, **ARTIFACTS[name].metadata}


def artifact_path(name: str, outdir: Path, prefix: str = "", names: Mapping[str, str] | None = None) -> Path:
    """Path of an artifact of the table below `outdir`. Raises KeyError where a placeholder is not given."""
    return ARTIFACTS[name].path(outdir, prefix, names)


def manifest_path(outdir: Path, stage: str, bundle: str) -> Path:
    """Manifest of one bundle's job, the file that Snakemake tracks. `bundle` may be the wildcard `{bundle}`."""
    return outdir / "work" / stage / f"{bundle}.json"


def receipt_path(outdir: Path, stage: str, unit: str) -> Path:
    """Receipt of one recording (or subject, or "cohort")."""
    return outdir / "work" / "receipts" / stage / f"{unit}.json"


def state_path(outdir: Path, stage: str, unit: str) -> Path:
    """Folder where a stage keeps what a killed job goes on from."""
    return outdir / "work" / stage / f"{unit}.state"


def listing_path(outdir: Path, level: Level, bundle: str) -> Path:
    """What a bundle's jobs are told: its raw files (path, size, mtime), and what is known of each recording."""
    return outdir / "work" / "listing" / level / f"{bundle}.json"


def marker_path(outdir: Path) -> Path:
    """An input of all that has to be made again (`graph.plan`)."""
    return outdir / "work" / "to-do-again"


def log_path(outdir: Path, stage: str, bundle: str) -> Path:
    """Log of one bundle's job."""
    return outdir / "work" / "logs" / stage / f"{bundle}.log"


def planned_path(outdir: Path) -> Path:
    """Digest of the listings as the last plan wrote them."""
    return outdir / "work" / "planned"


def index_page_path(outdir: Path) -> Path:
    """The page that links all others of an outdir."""
    return outdir / "index.html"


def left_aside_path(outdir: Path) -> Path:
    """Files of the dataset that are not taken, one line each, with the reason."""
    return outdir / "left_aside.txt"


def requested_path(outdir: Path) -> Path:
    """What the last run was to make: the signature of every stage, and the stages that were finished."""
    return outdir / "work" / "requested.json"


PLAIN = re.compile(r"\w[\w.+-]*")


def not_plain(*names: str | None) -> str | None:
    """Why one of these names cannot be part of file names and commands; None where all can.

    Names of people's files become names of bundles, which shells, schedulers and containers read as words of commands.
    """
    for name in names:
        if name is not None and not PLAIN.fullmatch(name):
            return f"the name {name!r} has characters other than letters, digits, _ + - and . (rename the file)"
    return None


def ending(name: str) -> str:
    """What kind of file a name says: `*.dcm`, `*.nii.gz`; `* without an ending` for none, and for the UIDs of DICOM."""
    found = re.search(r"(?:\.[A-Za-z]\w*)?\.[A-Za-z]\w*$", name, re.ASCII)
    if found is None:
        return "* without an ending"
    both = found.group()
    return f"*{both if both.endswith(('.gz', '.nii')) else both[both.rindex('.') :]}"


def recording_prefix(subject: str, session: str | None, name: str) -> str:
    """`sub-01/ses-02/func/<name>`, below derivatives/."""
    folders = [f"sub-{subject}", *([f"ses-{session}"] if session else []), "func"]
    return "/".join([*folders, name])


def subject_prefix(subject: str) -> str:
    """`sub-01/anat/sub-01`, below derivatives/."""
    return f"sub-{subject}/anat/sub-{subject}"
