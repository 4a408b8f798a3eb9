"""The stages, in order. Adding one: write `stages/<name>.py`, list it here (see CONTRIBUTING.md)."""

from __future__ import annotations

from brainlm_data.stage import Stage
from brainlm_data.stages import (
    anat,
    atlas,
    collate,
    confounds,
    coreg,
    denoise,
    distortion,
    filter,
    fmriprep,
    imported,
    ingest,
    input,
    keep,
    motion,
    parcellate,
    qc,
    qcgroup,
    resample,
    sample,
    slicetiming,
    template,
)

STAGES: tuple[Stage, ...] = (
    input.STAGE,
    imported.STAGE,
    template.STAGE,
    atlas.STAGE,
    anat.STAGE,
    fmriprep.STAGE,
    motion.STAGE,
    slicetiming.STAGE,
    coreg.STAGE,
    distortion.STAGE,
    sample.STAGE,
    ingest.STAGE,
    confounds.STAGE,
    filter.STAGE,
    denoise.STAGE,
    parcellate.STAGE,
    resample.STAGE,
    keep.STAGE,
    qc.STAGE,
    qcgroup.STAGE,
    collate.STAGE,
)
