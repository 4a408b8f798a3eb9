"""template: the space that everything is normalized to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from pydantic import Field, model_validator

from brainlm_data.errors import InputError
from brainlm_data.files.fetch import Remote, Wanted, is_cached, obtain_all
from brainlm_data.files.sidecar import digest
from brainlm_data.reading.image import load_image
from brainlm_data.spaces import templateflow
from brainlm_data.spaces.known import BUNDLED
from brainlm_data.spaces.templateflow import Template
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig, Unwatched

NEUROPARC = (  # github.com/.../raw/ follows Git LFS, raw.githubusercontent.com does not
    "https://github.com/neurodata/neuroparc/raw/5a5e7469671e65cb58087c47b69d0edb71dc2966/atlases/reference_brains/"
)
LICENCE = "Apache-2.0 repository neurodata/neuroparc; the template under its own terms"
PUBLISHED = {
    "MNI152NLin6Asym": (
        Remote(
            "MNI152NLin6_res-2x2x2_T1w.nii.gz",
            NEUROPARC + "MNI152NLin6_res-2x2x2_T1w.nii.gz",
            "0585cd056bf5ccfb8bf97a5f6a66082d4e7caad525718fc11e40d80a827fcb92",
            LICENCE,
            same_as="$FSLDIR/data/standard/MNI152_T1_2mm.nii.gz",
        ),
        Remote(
            "MNI152NLin6_res-2x2x2_T1w_descr-brain.nii.gz",
            NEUROPARC + "MNI152NLin6_res-2x2x2_T1w_descr-brain.nii.gz",
            "09c925ad165dfbe6b41b572876d67e9bbf8c5e26517e7817f9b43a8256227f53",
            LICENCE,
            same_as="$FSLDIR/data/standard/MNI152_T1_2mm_brain.nii.gz",
        ),
    )
}


class Config(StageConfig):
    """Which template."""

    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9]+$",
        description=f"null: the space of the atlas; else {BUNDLED} (bundled with nilearn), {', '.join(PUBLISHED)}"
        " (downloaded once), one of TemplateFlow's that is on this machine (MNI152NLin2009cAsym), or, with `path`, any",
    )
    path: Path | None = Field(None, description="T1w template with skull, instead of the bundled or downloaded one")
    brain: Path | None = Field(None, description="the same without skull, or its brain mask; required with path")

    templateflow: Unwatched = Field(
        None,
        description="TemplateFlow's folder, to be looked into first; null: TEMPLATEFLOW_HOME, else"
        " ~/.cache/templateflow, for what is neither bundled nor in this package's cache",
    )

    @model_validator(mode="after")
    def _known(self) -> Config:
        if self.path is not None or self.name is None:
            return self
        flow = templateflow.find(self.name, self.templateflow)
        if flow is None and (self.templateflow or self.name not in {BUNDLED, *PUBLISHED}):
            raise ValueError(
                f"name {self.name} is not known: {BUNDLED}, {', '.join(PUBLISHED)}, a template in TemplateFlow's folder"
                f" ({templateflow.home(self.templateflow)} has no T1w and brain mask of it; fetch them:"
                f" {templateflow.how(self.name)}), or give path and brain"
            )
        return self

    @property
    def space(self) -> str:
        """The name; the bundled template's where a stage is called without an atlas."""
        return self.name or BUNDLED


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the template's T1w, brain mask and tissue probabilities on the template's grid.

    Raises
    ------
    InputError: unknown name without path; a file that is missing, has another digest, or another grid than the T1w.
    """
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
    from scipy.ndimage import binary_fill_holes

    files, source = _files(config)
    digests, tissues_of = {}, "the template's own"
    if files is None:
        t1w, mask = load_mni152_template(resolution=1), load_mni152_brain_mask(resolution=1)
    else:
        t1w = _load(files.t1w)
        mask = _on_grid(files.brain, t1w, files.t1w)
        digests = {path.name: digest(path) for path in (files.t1w, files.brain, *files.tissues)}
        if not files.tissues:
            tissues_of = f"those of {BUNDLED}, resampled; the two spaces differ by millimetres"
    # a mask made of a skull-stripped image ("brain > 0") has holes in the ventricles, where no CSF would be found
    brain = binary_fill_holes(np.asarray(mask.dataobj) > 0)
    nib.save(nib.Nifti1Image(np.asarray(t1w.dataobj, dtype=np.float32), t1w.affine), outputs["template_t1w"])
    nib.save(nib.Nifti1Image(brain.astype(np.uint8), t1w.affine), outputs["template_mask"])
    nib.save(_tissues(t1w, brain, files), outputs["template_probseg"])
    return {
        "Space": config.space,
        "Source": source,
        "SourceFiles": digests,
        # without skull nearly nothing is outside the brain: the mask may lie a little within the image's rim
        "template_t1w": {"SkullStripped": bool((np.asarray(t1w.dataobj)[~brain] != 0).mean() < 0.01)},
        "template_probseg": {"Volumes": ["GM", "WM", "CSF"], "Source": tissues_of},
    }


def _files(config: Config) -> tuple[Template | None, str]:
    """The template's files and where they come from; None where nilearn bundles it.

    In this order: the paths given, TemplateFlow's folder where it is given, nilearn's, this package's cache (pinned
    digests), TemplateFlow's folder wherever it is by default, a download.
    """
    if published := ahead(config):
        t1w, brain = obtain_all(published)
        return Template(t1w, brain, ()), published[0].remote.name
    if config.path is not None and config.brain is not None:
        return Template(config.path, config.brain, ()), config.path.name
    if config.space == BUNDLED and config.templateflow is None:
        return None, "bundled with nilearn"
    flow = templateflow.find(config.space, config.templateflow)
    if flow is None:
        raise InputError(f"TemplateFlow's {config.space} is gone", f"fetch it again: {templateflow.how(config.space)}")
    return flow, f"TemplateFlow's {flow.t1w.name}; Ciric et al., 2022"


def ahead(config: Config) -> list[Wanted]:
    """The published files that the template is made of, T1w and brain; none where it is another one.

    Raises
    ------
    InputError: a path without the skull-stripped image beside it.
    """
    if config.path is not None and config.brain is None:
        raise InputError("template.brain is not set", "give the skull-stripped template or its brain mask, same grid")
    published = PUBLISHED.get(config.space)
    if published is None or config.path is not None or config.templateflow is not None:
        return []
    in_cache = all(is_cached(remote) for remote in published)
    if not in_cache and templateflow.find(config.space) is not None:
        return []
    t1w, brain = published
    return [Wanted(t1w, "template.path"), Wanted(brain, "template.brain")]


def _on_grid(path: Path, t1w: Any, t1w_file: Path) -> Any:
    """An image on the template's grid. Raises InputError where it is on another."""
    image = _load(path)
    if image.shape != t1w.shape or not np.allclose(image.affine, t1w.affine, atol=1e-3):
        raise InputError(f"{path}: not on the grid of {t1w_file}", "give both on the same grid: template.brain")
    return image


def _load(path: Path) -> Any:
    image = load_image(path, InputError, "give a NIfTI image: template.path, template.brain")
    if len(image.shape) != 3:
        raise InputError(f"{path}: shape {image.shape}, expected three dimensions", "give a 3-D template")
    return image


def _tissues(t1w: Any, brain: np.ndarray, files: Template | None) -> nib.Nifti1Image:
    """GM, WM and CSF on the template's grid, float32: its own, else those that nilearn bundles (CSF: the rest)."""
    if files and files.tissues:
        own = [np.asarray(_on_grid(path, t1w, files.t1w).dataobj, dtype=np.float32) for path in files.tissues]
        return nib.Nifti1Image(np.clip(np.stack(own, -1), 0, 1) * brain[..., None], t1w.affine)
    from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template
    from nilearn.image import resample_to_img

    maps = []
    for load in (load_mni152_gm_template, load_mni152_wm_template):
        image = load(resolution=1)
        if image.shape != t1w.shape or not np.allclose(image.affine, t1w.affine):
            image = resample_to_img(image, t1w, force_resample=True, copy_header=True)
        maps.append(np.clip(np.asarray(image.dataobj, dtype=np.float32), 0, 1) * brain)
    csf = np.clip(brain - maps[0] - maps[1], 0, 1)
    return nib.Nifti1Image(np.stack([*maps, csf], -1).astype(np.float32), t1w.affine)


def watches(config: Config) -> dict[str, Path]:
    """TemplateFlow's files, where the template is certainly taken from there."""
    if config.path is not None or (config.templateflow is None and config.space in {BUNDLED, *PUBLISHED}):
        return {}
    flow = templateflow.find(config.space, config.templateflow)
    if flow is None:
        return {}
    return {f"templateflow ({file.name})": file for file in (flow.t1w, flow.brain, *flow.tissues)}


def describe(facts: Facts) -> str:
    """Methods sentence."""
    return f"The template was {facts['Space']} ({facts['Source']}; Fonov et al., 2011; Grabner et al., 2006)."


STAGE = Stage(
    name="template",
    version=3,
    level="cohort",
    summary="Provide the template: T1w, brain mask and tissue probabilities.",
    Config=Config,
    inputs=(),
    outputs=("template_t1w", "template_mask", "template_probseg"),
    run=run,
    describe=describe,
    ahead=ahead,
    watches=watches,
    routes=("native", "fmriprep"),
    need=Need(1000),
    fills="space",
)
