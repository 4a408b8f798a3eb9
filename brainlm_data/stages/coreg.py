"""coreg: from the BOLD reference to the subject's T1w, rigidly; or, where there is none, to the template directly.

Mutual information over all voxels (no random sampling) within and around the brain, from several starts, on a reference
that N4 has made even: on simulated heads without distortion that finds the T1w to some tenths of a millimetre. Without
a T1w: affine and SyN, by mutual information within the template's brain. EPI distortion is not corrected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.stage import Facts, Files, Stage, StageConfig

ITERATIONS = (40, 25, 8)  # of SyN where there is no T1w
DIRECT_MM = 4.0  # its grid: the BOLD reference holds nothing finer that it shares with a T1w
FAILED = 1.4  # a smaller gain of mutual information over shifted images: the registration is probably wrong


class Config(StageConfig):
    """Coregistration."""

    grid_mm: float = Field(2.5, ge=1, le=6, description="grid on which the two images are compared, mm; 4 is quick")
    bias_iterations: int = Field(30, ge=0, le=200, description="N4 iterations a level on the BOLD reference; 0: none")
    margin_mm: float = Field(6.0, ge=0, le=20, description="how far around the T1w's brain the two are compared")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write `bold_to_t1w` (route "t1w") or `bold_to_mni` (route "epi"), whichever the subject allows."""
    import ants

    from brainlm_data.methods import registration as reg

    through_t1w = inputs.get("t1w_preproc") is not None
    names = ("t1w_preproc", "t1w_mask") if through_t1w else ("template_t1w", "template_mask")
    grid_mm = config.grid_mm if through_t1w else max(config.grid_mm, DIRECT_MM)
    fixed = reg.working(*_image(inputs[names[0]]), grid_mm)
    brain = reg.working_mask(*_image(inputs[names[1]]), grid_mm)
    bold, epi_brain = (reg.native(*_image(inputs[name])) for name in ("boldref", "bold_mask"))
    epi_brain = epi_brain.new_image_like((epi_brain.numpy() > 0.5).astype(np.float32))
    bold = bold / reg.bias_field(bold, epi_brain, config.bias_iterations)
    if through_t1w:
        transform, where = outputs["bold_to_t1w"], _dilated(brain, config.margin_mm)
        reg.linear(fixed, bold, where, "Rigid", transform)
        moved = ants.apply_transforms(fixed, bold, [str(transform)], "linear")
    else:
        transform, where = outputs["bold_to_mni"], brain
        with reg.scratch() as folder:
            start = folder / "affine.mat"
            reg.linear(fixed, bold, where, "Affine", start)
            moved = reg.nonlinear(
                fixed, bold, where, start, transform, folder / "inverse.h5", ITERATIONS, metric="mattes"
            )
    carried = ants.apply_transforms(fixed, epi_brain, [str(transform)], "linear").numpy() > 0.5
    gain = reg.similarity_gain(fixed, moved, where)
    target = "T1w" if through_t1w else "template"
    return {
        "Route": "t1w" if through_t1w else "epi",
        "GridMm": grid_mm,
        "MutualInformation": reg.similarity(fixed, moved, where),
        "SimilarityGain": gain,
        "BrainOverlap": reg.dice(carried, brain.numpy() > 0),
        "Space": inputs.facts("template_t1w").get("Space", ""),
        "Warnings": [f"BOLD reference hardly matches the {target}: look at the registration"] if gain < FAILED else [],
    }


def _image(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    image: Any = nib.load(path)
    data = np.nan_to_num(np.asarray(image.dataobj, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return data, np.asarray(image.affine, dtype=np.float64)


def _dilated(mask: Any, margin_mm: float) -> Any:
    from scipy.ndimage import distance_transform_edt

    near = distance_transform_edt(mask.numpy() == 0, sampling=mask.spacing) <= margin_mm
    return mask.new_image_like(near.astype(np.float32))


def describe(facts: Facts) -> str:
    """Methods sentence."""
    if facts["Route"] == "t1w":
        return (
            "The BOLD reference was corrected for bias (N4; Tustison et al., 2010) and registered rigidly to the T1w"
            " image by mutual information (ANTs; Avants et al., 2011)."
        )
    return (
        f"There was no T1w image: the BOLD reference was corrected for bias (N4; Tustison et al., 2010) and registered"
        f" to {facts['Space'] or 'the template'} directly (affine and SyN by mutual information, ANTs; Avants et al.,"
        f" 2008), which is less exact."
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
    engine="native",
)
