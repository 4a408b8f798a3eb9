"""coreg: from the BOLD reference to the subject's T1w, rigidly; or, where there is none, to the template directly.

Mutual information at points within and around the brain, from many starts, on a reference that N4 has made even; then
checks that the fit itself does not optimise: does the T1w fit better than its mirror image, does the signal rise across
the white-matter surface. Without a T1w: affine and SyN, by mutual information within the template's brain. Stage
`distortion` corrects it where EPI distortion is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.methods import lean
from brainlm_data.reading.image import load_output
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig

BIAS_MM = 4.0  # the grid of the bias field, which is smooth
MIDDLE_MM = 4.0  # detail of the second level
CHECK_MM = 4.0  # detail of the checks
ITERATIONS = (40, 25, 8)  # of SyN where there is no T1w
DIRECT_MM = 4.0  # its grid: the BOLD reference holds nothing finer that it shares with a T1w
LEAST_GAIN = 1.4  # limits of the checks: `python -m benchmarks.broken`
LEAST_MIRROR_GAIN = 1.25
MOST_BOUNDARY_COST = 0.55
T1W_MM = 2.0  # the grid on which the T1w is kept: what is finer, the BOLD reference does not show
BOX_MM = 30.0  # of the T1w's image around its brain are looked at
Image = tuple[NDArray[np.float32], NDArray[np.float64]]


class Config(StageConfig):
    """Coregistration."""

    grid_mm: float = Field(2.5, ge=1, le=6, description="spacing of the points at which images are compared, mm")
    bias_iterations: int = Field(30, ge=0, le=200, description="N4 iterations per level on the BOLD reference; 0: none")
    margin_mm: float = Field(
        6.0, ge=0, le=20, description="margin around the T1w's brain within which the two are compared, mm"
    )


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write `bold_to_t1w` (route "t1w") or `bold_to_mni` (route "epi"), whichever the subject allows."""
    bold, mask = even(inputs, config), image(inputs["bold_mask"])
    if inputs.get("t1w_preproc") is None:
        return _direct(inputs, outputs, config, bold, mask)
    from brainlm_data.methods import rigid

    head = Head.read(inputs)
    matrix = to_t1w(head, config, bold, mask)
    rigid.write_itk(outputs["bold_to_t1w"], matrix[None])
    facts = {"Route": "t1w", "GridMm": config.grid_mm, **checks(head, bold, mask, matrix)}
    return {**facts, "Warnings": doubts(facts)}


@dataclass(frozen=True)
class Head:
    """The T1w around its brain: on a grid of `T1W_MM`; brain mask and tissue shares (None: not given) on its own."""

    t1w: Image
    mask: Image
    white: Image | None
    grey: Image | None

    @classmethod
    def read(cls, inputs: Files) -> Head:
        """From the outputs of anat."""
        from brainlm_data.methods import registration as reg

        mask = load_output(inputs["t1w_mask"])
        inside = np.argwhere(np.asarray(mask.dataobj) > 0)
        voxel_mm = np.sqrt((mask.affine[:3, :3] ** 2).sum(0))  # length of the affine's columns
        reach = np.ceil(BOX_MM / voxel_mm).astype(int)
        low, high = np.maximum(inside.min(0) - reach, 0), inside.max(0) + reach + 1
        box = tuple(slice(int(start), int(end)) for start, end in zip(low, high, strict=True))

        def part(name: str) -> Image | None:
            path = inputs.get(name)
            if path is None:
                return None
            return image(path, box)

        grid = reg.working(*image(inputs["t1w_preproc"], box), T1W_MM)
        t1w = (grid.numpy(), reg.affine_of(grid))
        return cls(t1w, image(inputs["t1w_mask"], box), part("t1w_wm"), part("t1w_gm"))


def even(inputs: Files, config: Config) -> Image:
    """The BOLD reference without its bias field, by N4 on a coarse grid."""
    from brainlm_data.methods import registration as reg

    data, affine = image(inputs["boldref"])
    mask = reg.working_mask(*image(inputs["bold_mask"]), BIAS_MM)
    bias = reg.bias_field(reg.working(data, affine, BIAS_MM), mask, config.bias_iterations)
    # image = truth x field; far from the mask the field is extrapolated, and a division by almost 0 would blow noise up
    field = np.clip(reg.back_onto(bias, affine, data.shape), 0.1, 10)
    return np.asarray(data / field, dtype=np.float32), affine


def to_t1w(head: Head, config: Config, bold: Image, mask: Image) -> NDArray[Any]:
    """The rigid map (4, 4) from points of the T1w to points of the BOLD reference, RAS mm; coarse to fine."""
    from brainlm_data.methods.rigidfit import SEARCH_MM, Information, Volume, fit, search

    fixed, moving = Volume(*head.t1w), Volume(*bold)
    around = Volume(*surroundings(head.mask, config.grid_mm, config.margin_mm))
    points, bold_points = Volume(*head.mask).points(), Volume(*mask).points()
    # Three guesses of the shift: the scanner's coordinates are right; the centres of the brains coincide; or, where
    # the field of view cuts off the lower end of the BOLD brain, their tops do.
    centre, bold_centre = points.mean(0), bold_points.mean(0)
    tops = np.quantile(bold_points[:, 2], 0.99) - np.quantile(points[:, 2], 0.99)
    shifts = [np.zeros(3), bold_centre - centre, np.array([*(bold_centre - centre)[:2], tops])]
    cost = Information(fixed, around, moving, SEARCH_MM).negative
    matrix = search(cost, shifts, centre)
    # each finer level looks only as far around as the one before can have missed
    for size_mm, reach_mm, precision_mm in ((max(MIDDLE_MM, config.grid_mm), 3.0, 0.1), (config.grid_mm, 1.5, 0.03)):
        cost = Information(fixed, around, moving, size_mm).negative
        matrix = fit(cost, matrix, centre, reach_mm, precision_mm)
    return matrix


def checks(head: Head, bold: Image, mask: Image, matrix: NDArray[Any]) -> Facts:
    """How well a rigid map fits, by the measures that `doubts` judges."""
    from brainlm_data.methods.boundary import Boundary
    from brainlm_data.methods.rigidfit import Information, Volume, gain, mirror_gain

    moving, bold_mask, brain = Volume(*bold), Volume(*mask), Volume(*surroundings(head.mask, CHECK_MM, 0.0))
    points, bold_points = brain.points(), bold_mask.points()
    in_bold = bold_mask.at(points @ matrix[:3, :3].T + matrix[:3, 3])  # NaN outside of the field of view
    back = np.linalg.inv(matrix)
    in_t1w = brain.at(bold_points @ back[:3, :3].T + back[:3, 3])
    # overlap is asked in both directions: a small brain within a large one overlaps fully in one of them
    information = Information(Volume(*head.t1w), brain, moving, CHECK_MM)
    facts: Facts = {
        "MutualInformation": information(matrix),
        "SimilarityGain": gain(information, matrix),
        "MirrorGain": mirror_gain(information, matrix, points.mean(0)),
        "BrainOverlap": float(((in_bold > 0.5).mean() + (in_t1w > 0.5).mean()) / 2),
        "FieldOfView": float(np.isfinite(in_bold).mean()),
    }
    if head.white and head.grey:
        facts["BoundaryCost"] = Boundary(Volume(*head.white), Volume(*head.grey), moving)(matrix)
    return facts


def doubts(facts: Facts) -> list[str]:
    """What speaks against a registration to the T1w, as warnings."""
    warnings = []
    mirror, gain, boundary = facts["MirrorGain"], facts["SimilarityGain"], facts.get("BoundaryCost", 0.0)
    if mirror < LEAST_MIRROR_GAIN:
        warnings.append(
            f"BOLD fits the T1w's mirror image about as well (MirrorGain {mirror:.2f}): registration failed, another"
            " person's T1w, or left and right exchanged?"
        )
    if gain < LEAST_GAIN:
        warnings.append(f"BOLD hardly matches the T1w (SimilarityGain {gain:.2f}): look at the registration")
    if boundary > MOST_BOUNDARY_COST:
        warnings.append(
            f"BOLD signal does not rise across the T1w's white-matter surface (BoundaryCost {boundary:.2f}):"
            " registration failed, or another person's T1w?"
        )
    return warnings


def _direct(inputs: Files, outputs: Files, config: Config, even_bold: Image, mask: Image) -> Facts:
    """To the template by affine and SyN."""
    from brainlm_data.methods import registration as reg

    ants = lean.antspyx()
    # the template is the fixed image, so that warps lead from its grid, on which parcels lie, to the BOLD reference
    grid_mm = max(config.grid_mm, DIRECT_MM)
    fixed = reg.working(*image(inputs["template_t1w"]), grid_mm)
    brain = reg.working_mask(*image(inputs["template_mask"]), grid_mm)
    bold, bold_mask = reg.native(*even_bold), reg.native(mask[0] > 0, mask[1])
    with reg.scratch() as folder:
        start = folder / "affine.mat"
        reg.linear(fixed, bold, brain, "Affine", start)
        moved = reg.nonlinear(
            fixed, bold, brain, start, outputs["bold_to_mni"], folder / "inverse.h5", ITERATIONS, metric="mattes"
        )
    carried = ants.apply_transforms(fixed, bold_mask, [str(outputs["bold_to_mni"])], "linear").numpy() > 0.5
    gain = reg.similarity_gain(fixed, moved, brain)
    warnings = []
    if gain < LEAST_GAIN:
        warnings.append("BOLD reference hardly matches the template: look at the registration")
    return {
        "Route": "epi",
        "GridMm": grid_mm,
        "MutualInformation": reg.similarity(fixed, moved, brain),
        "SimilarityGain": gain,
        "BrainOverlap": reg.dice(carried, brain.numpy() > 0),
        "Warnings": warnings,
    }


def image(path: Path, box: tuple[slice, ...] | None = None) -> Image:
    """Values (float32, what is not a number is 0) and voxel -> RAS mm affine; of a part of it where there is a box."""
    loaded = load_output(path)
    if box is not None:
        loaded = loaded.slicer[box]
    data = np.nan_to_num(np.asarray(loaded.dataobj, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return data, np.asarray(loaded.affine, dtype=np.float64)


def surroundings(mask: Image, grid_mm: float, margin_mm: float) -> Image:
    """What lies within a distance of a mask, on an isotropic grid."""
    from scipy.ndimage import distance_transform_edt

    from brainlm_data.methods import registration as reg

    grid = reg.working_mask(*mask, grid_mm)
    near = distance_transform_edt(grid.numpy() == 0, sampling=grid_mm) <= margin_mm
    return near.astype(np.float32), reg.affine_of(grid)


def describe(facts: Facts) -> str:
    """Methods sentence."""
    if facts["Route"] == "t1w":
        return (
            "The BOLD reference was corrected for bias (N4; Tustison et al., 2010) and registered rigidly to the T1w"
            " image by mutual information (Mattes et al., 2003)."
        )
    return (
        f"There was no T1w image: the BOLD reference was corrected for bias (N4; Tustison et al., 2010) and registered"
        f" to {facts['Space']} directly (affine and SyN by mutual information, ANTs; Avants et al.,"
        f" 2008), which is less exact."
    )


STAGE = Stage(
    name="coreg",
    version=3,
    level="recording",
    summary="Register the BOLD reference to the T1w image, or to the template where there is none.",
    Config=Config,
    inputs=("boldref", "bold_mask", "t1w_preproc", "t1w_mask", "t1w_gm", "t1w_wm", "template_t1w", "template_mask"),
    outputs=("bold_to_t1w", "bold_to_mni"),
    run=run,
    describe=describe,
    optional=("t1w_preproc", "t1w_mask", "t1w_gm", "t1w_wm", "bold_to_t1w", "bold_to_mni"),
    routes=("native",),
    need=Need(1100, 0.5, 60),
)
