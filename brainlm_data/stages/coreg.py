"""coreg: from the BOLD reference to the subject's T1w, rigidly; or, where there is none, to the template directly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.stage import Facts, Files, Stage, StageConfig

ITERATIONS = (40, 30, 10)  # of SyN where there is no T1w


class Config(StageConfig):
    """Coregistration."""

    grid_mm: float = Field(2.0, ge=1, le=6, description="grid on which the two images are compared, mm")
    bias_iterations: int = Field(30, ge=0, le=200, description="N4 iterations a level on the BOLD reference; 0: none")
    margin_mm: float = Field(4.0, ge=0, le=20, description="how far around the brain the two images are compared")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write `bold_to_t1w` (route "t1w") or `bold_to_mni` (route "epi")."""
    import ants

    from brainlm_data import registration as reg

    through_t1w = inputs.get("t1w_preproc") is not None
    names = ("t1w_preproc", "t1w_mask") if through_t1w else ("template_t1w", "template_mask")
    fixed, brain = (reg.working(*_image(inputs[names[0]]), config.grid_mm),
                    reg.working_mask(*_image(inputs[names[1]]), config.grid_mm))  # fmt: skip
    bold = reg.to_ants(*_image(inputs["boldref"]))
    epi_brain = reg.to_ants(*_image(inputs["bold_mask"]))
    bold = bold / reg.bias_field(bold, epi_brain, config.bias_iterations)
    near = ants.iMath(brain, "MD", max(1, round(config.margin_mm / config.grid_mm)))
    if through_t1w:
        transform = outputs["bold_to_t1w"]
        quality = reg.linear(fixed, bold, near, "Rigid", transform)
    else:
        transform = outputs["bold_to_mni"]
        with reg.scratch() as folder:
            start = folder / "affine.mat"
            reg.linear(fixed, bold * epi_brain, brain, "Affine", start, brain_only=True)
            moved = reg.nonlinear(fixed, bold * epi_brain, brain, start, transform, folder / "inverse.h5", ITERATIONS)
        quality = reg.similarity(fixed, moved, brain)
    carried = ants.apply_transforms(fixed, epi_brain, [str(transform)], "linear").numpy() > 0.5
    return {
        "Route": "t1w" if through_t1w else "epi",
        "GridMm": config.grid_mm,
        "MutualInformation": quality,
        "BrainOverlap": reg.dice(carried, brain.numpy() > 0),
        "Space": inputs.facts("template_t1w").get("Space", ""),
    }


def _image(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    image: Any = nib.load(path)
    return np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64)


def describe(facts: Facts) -> str:
    """Methods sentence."""
    if facts["Route"] == "t1w":
        return "The BOLD reference was registered rigidly to the T1w image by mutual information (ANTs)."
    return (
        f"There was no T1w image: the BOLD reference was registered to {facts['Space']} directly (affine and SyN,"
        " ANTs), which is less exact."
    )


STAGE = Stage(
    name="coreg",
    version=1,
    level="recording",
    summary="Register the BOLD reference to the T1w image, or to the template where there is none.",
    Config=Config,
    inputs=("boldref", "bold_mask", "t1w_preproc", "t1w_mask", "template_t1w", "template_mask"),
    outputs=("bold_to_t1w", "bold_to_mni"),
    run=run,
    describe=describe,
    optional=("t1w_preproc", "t1w_mask", "bold_to_t1w", "bold_to_mni"),
)
