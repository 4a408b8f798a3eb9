"""coreg: from the BOLD reference to the subject's T1w, rigidly; or, where there is none, to the template directly."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pydantic import Field

from brainlm_data.stage import Facts, Files, Stage, StageConfig


class Config(StageConfig):
    """Coregistration."""

    grid_mm: float = Field(2.0, ge=1, le=6, description="grid of the fixed image, mm")
    bias_iterations: int = Field(30, ge=0, le=200, description="N4 iterations on the BOLD reference; 0: none")
    margin_mm: float = Field(6.0, ge=0, le=20, description="how far around the brain the two images are compared")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write `bold_to_t1w` (route "t1w") or `bold_to_mni` (route "epi")."""
    import ants

    from brainlm_data.registration import dice, nonlinear, rigid, similarity
    from brainlm_data.stages.anat import _bias_field, _coarse, _coarse_mask

    bold, bold_mask = (ants.image_read(str(inputs[name])) for name in ("boldref", "bold_mask"))
    bold = bold / _bias_field(bold, config.bias_iterations)
    through_t1w = inputs.get("t1w_preproc") is not None
    names = ("t1w_preproc", "t1w_mask") if through_t1w else ("template_t1w", "template_mask")
    image, mask = (ants.image_read(str(inputs[name])) for name in names)
    fixed, brain = _coarse(image, config.grid_mm), _coarse_mask(mask, config.grid_mm)
    near = ants.iMath(brain, "MD", max(1, round(config.margin_mm / config.grid_mm)))
    if through_t1w:
        quality = rigid(fixed * near, bold, near, outputs["bold_to_t1w"])
        transform = outputs["bold_to_t1w"]
    else:
        with tempfile.TemporaryDirectory() as folder:
            nonlinear(fixed, bold * bold_mask, outputs["bold_to_mni"], Path(folder, "i.h5"), (40, 30, 10), near)
        transform = outputs["bold_to_mni"]
        quality = similarity(fixed, _onto(fixed, bold, transform), brain)
    overlap = dice(_onto(fixed, bold_mask, transform).numpy() > 0.5, brain.numpy() > 0)
    return {
        "Route": "t1w" if through_t1w else "epi",
        "GridMm": config.grid_mm,
        "MutualInformation": quality,
        "BrainOverlap": overlap,
        "Space": inputs.facts("template_t1w").get("Space", ""),
    }


def _onto(fixed: Any, moving: Any, transform: Path) -> Any:
    import ants

    return ants.apply_transforms(fixed, moving, [str(transform)], interpolator="linear")


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
