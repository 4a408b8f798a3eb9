"""anat: the T1w image, corrected, masked, segmented and normalized to the template.

Bias field: N4 (Tustison et al., 2010), on a coarse grid, over the head and then over the brain. Registration: affine
by mutual information, then SyN by local correlation (Avants et al., 2008), both evaluated inside the template's brain
only, which makes them indifferent to skull, neck and defacing. Brain mask: the template's, carried over. Tissues:
Atropos (Avants et al., 2011) with the template's probabilities as priors. Outputs are on a grid of 2 mm, or, on
request, on the T1w's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.errors import Refused
from brainlm_data.methods import lean
from brainlm_data.reading.image import Header, load_output, save_image
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig

BIAS_MM = 4.0  # the grid of bias field and affine registration: both are smooth
MARGIN_MM = 10.0  # of the template around its brain, in which deformations can fade out
PRIOR_WEIGHT = 0.25  # of the template in the segmentation: docs/stages/anat.md
FAILED = 0.6  # a lower correlation with the template within its brain: the registration is probably wrong
SMALLEST_ML, LARGEST_ML = 500, 3000  # a brain mask beyond is not a human brain's
TISSUES = ("t1w_gm", "t1w_wm", "t1w_csf")
Array = NDArray[Any]


class Config(StageConfig):
    """Anatomical processing."""

    grid_mm: float = Field(2.0, ge=1, le=6, description="grid of registration and segmentation, mm; 4 is quick")
    registration: Literal["syn", "fast", "affine"] = Field(
        "syn", description="syn: to the finest level of the grid; fast: stops one level above; affine: no warp"
    )
    bias_iterations: int = Field(30, ge=0, le=200, description="N4 iterations per level; 0: no bias correction")
    resolution: Literal["t1w"] | Annotated[float, Field(ge=0.5, le=4)] = Field(
        2.0,
        description="voxel size of corrected T1w, mask and tissues as they are written, mm; t1w: the T1w's own grid",
    )


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write corrected T1w, brain mask, tissues, and the two composites to and from the template.

    Raises
    ------
    Refused: unreadable, not three-dimensional, without contrast, or no brain found in it.
    """
    from brainlm_data.methods import registration as reg

    ants = lean.antspyx()
    path, data, affine, warnings = readable(inputs)
    template, template_mask = _image(inputs["template_t1w"]), _image(inputs["template_mask"])
    coarse_mm = max(BIAS_MM, config.grid_mm)
    head = reg.working(data, affine, coarse_mm)
    fixed, inside = reg.working(*template, coarse_mm), reg.working_mask(*template_mask, coarse_mm)
    # N4 twice: over the whole head, which is enough to find the brain, and then over the brain alone.
    with reg.scratch() as folder:
        rough = reg.bias_field(head, ants.get_mask(head, cleanup=0), config.bias_iterations)
        affine_file = folder / "affine.mat"
        reg.linear(fixed, head / rough, inside, "Affine", affine_file)
        brain = ants.apply_transforms(head, inside, [str(affine_file)], "nearestNeighbor", whichtoinvert=[True])
        bias = rough * reg.bias_field(head / rough, brain, config.bias_iterations * 2 // 3, spline_mm=100)
        image = reg.working(data, affine, config.grid_mm)
        image = image / np.clip(reg.back_onto(bias, reg.affine_of(image), image.shape), 0.1, 10)
        fixed, inside = reg.working(*template, config.grid_mm), reg.working_mask(*template_mask, config.grid_mm)
        box = reg.box_around(inside, MARGIN_MM)  # what lies beyond costs time alone
        fixed, inside = reg.part(fixed, box), reg.part(inside, box)
        moved = reg.nonlinear(
            fixed, image, inside, affine_file, outputs["t1w_to_mni"], outputs["mni_to_t1w"], iterations(config)
        )
    carried = ants.apply_transforms(image, inside, [str(outputs["mni_to_t1w"])], "linear").numpy()
    mask = _largest(carried > 0.5)
    volume_ml = float(mask.sum() * config.grid_mm**3 / 1000)
    if not SMALLEST_ML < volume_ml < LARGEST_ML:
        raise Refused(f"{path}: {volume_ml:.0f} ml of brain were found in it", "is it a T1w of a whole head?")
    tissues = _segment(image, mask, inputs, outputs["mni_to_t1w"])

    # From the working grid to that of the outputs.
    resolution = "that of the T1w"
    if config.resolution != "t1w":
        resolution = f"{config.resolution:g} mm, isotropic"
        written = reg.working(data, affine, config.resolution)
        data, affine = written.numpy(), reg.affine_of(written)
    corrected = data / np.clip(reg.back_onto(bias, affine, data.shape), 0.1, 10)
    own_mask = reg.back_onto(image.new_image_like(np.where(mask, carried, 0)), affine, data.shape) > 0.5
    own = np.stack([reg.back_onto(image.new_image_like(tissue), affine, data.shape) for tissue in tissues])
    own *= own_mask / np.maximum(own.sum(0), 1e-3)  # shares of 1 at the mask's rim, too
    save(corrected.astype(np.float32), affine, outputs["t1w_preproc"])
    save(moved.numpy(), reg.affine_of(fixed), outputs["t1w_mni"])
    _save_tissues(own, own_mask, affine, outputs)
    quality = reg.correlation(fixed, moved, inside)
    low, high = reg.jacobian_range(inside, outputs["t1w_to_mni"])
    if quality < FAILED:
        warnings.append(f"T1w correlates {quality:.2f} with the template: look at the registration")
    return {
        "GridMm": config.grid_mm,
        "Registration": config.registration,
        "BrainVolumeMl": volume_ml,
        "TemplateCorrelation": quality,
        "TemplateSimilarity": reg.similarity(fixed, moved, inside),
        "JacobianRange": [low, high],
        "TissueShares": [float(tissue.sum() / max(own_mask.sum(), 1)) for tissue in own],
        "Warnings": warnings,
        **{name: {"Resolution": resolution} for name in ("t1w_preproc", "t1w_mask", *TISSUES)},
        "t1w_dseg": {"Labels": {"1": "GM", "2": "WM", "3": "CSF"}, "Resolution": resolution},
    }


def _save_tissues(shares: Array, mask: NDArray[np.bool_], affine: Array, outputs: Files) -> None:
    """Brain mask, the likeliest tissue of each voxel, and the shares (3, x, y, z)."""
    save(mask.astype(np.uint8), affine, outputs["t1w_mask"])
    save(np.where(mask, np.argmax(shares, 0) + 1, 0).astype(np.uint8), affine, outputs["t1w_dseg"])
    for name, tissue in zip(TISSUES, shares, strict=True):
        save(tissue, affine, outputs[name], as_share=True)


def iterations(config: Config) -> tuple[int, ...]:
    """SyN iterations, coarse to fine, by the voxel size of each level; the last level is the grid itself."""
    sizes = [config.grid_mm]
    while sizes[0] <= 8:
        sizes.insert(0, 2 * sizes[0])
    if config.registration == "affine":
        return (0,) * len(sizes)
    steps = []
    for size_mm in sizes:
        if size_mm > 8:
            steps.append(40)
        elif size_mm > 4:
            steps.append(25)
        else:
            steps.append(8)
    if config.grid_mm < 3:
        steps[-2:] = 20, 3  # the last level costs eight times as much as the one before, and is close to the end
    if config.registration == "fast":
        steps[-1] = 0
    return tuple(steps)


def readable(inputs: Files) -> tuple[Path, Array, Array, list[str]]:
    """The T1w that is used (path, values, affine) and warnings: the next one where the first cannot be read.

    Raises Refused where none can.
    """
    try:
        header = Header(inputs["t1w"])
        return header.path, *read(header), header.warnings
    except Refused as refusal:
        following = inputs.get("t1w_next")
        if following is None:
            raise
        header = Header(following)
        return following, *read(header), [f"{refusal.message}; {following.name} was used", *header.warnings]


def read(header: Header) -> tuple[Array, Array]:
    """A T1w's values (float32, the lowest 0, none of them not a number) and affine. Raises Refused."""
    path, image = header.path, nib.squeeze_image(header.image())
    data = np.asarray(image.dataobj, dtype=np.float32)
    if data.ndim != 3 or min(data.shape) < 8:
        raise Refused(f"{path}: shape {data.shape} is not a 3-D head", "is it a T1w image?")
    data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    data -= data.min()
    if not data.max() > 0:
        raise Refused(f"{path}: has no contrast", "is it a T1w image?")
    return data, np.asarray(image.affine, dtype=np.float64)


def _image(path: Path) -> tuple[Array, Array]:
    image = load_output(path)
    return np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece, without holes."""
    from scipy import ndimage

    pieces, number = ndimage.label(mask)
    if number == 0:
        return mask
    largest: NDArray[np.bool_] = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    return np.asarray(ndimage.binary_fill_holes(largest))


def _segment(image: Any, mask: NDArray[np.bool_], inputs: Files, to_t1w: Path) -> NDArray[np.float32]:
    """GM, WM and CSF probabilities (3, x, y, z; sum 1) within a mask, by Atropos with the template's as priors."""
    from brainlm_data.methods import registration as reg

    ants = lean.antspyx()
    data, affine = _image(inputs["template_probseg"])
    whole = image.new_image_like(mask.astype(np.float32))
    box = reg.box_around(whole, image.spacing[0])
    head, brain = reg.part(image, box), reg.part(whole, box)
    priors = []
    for volume in range(3):
        prior = ants.apply_transforms(head, reg.to_ants(data[..., volume], affine), [str(to_t1w)], "linear").numpy()
        priors.append(np.clip(prior, 0, 1) * 0.94 + 0.02)  # a prior never rules a tissue out
    total = np.sum(priors, 0)
    low, high = np.percentile(image.numpy()[mask], [0.5, 99.5])
    clipped = head.new_image_like(np.clip(head.numpy(), low, high))
    with reg.scratch():
        segmented = ants.atropos(
            a=clipped, x=brain, i=[head.new_image_like(prior / total) for prior in priors], m="[0.1,1x1x1]", c="[6,0]",
            priorweight=PRIOR_WEIGHT,
            r=0,  # no random seed: same bytes
        )  # fmt: skip
    tissues = np.zeros((3, *mask.shape), np.float32)
    for tissue, shares in zip(tissues, segmented["probabilityimages"], strict=True):
        tissue[box] = np.clip(shares.numpy(), 0, 1)
    return tissues


def save(data: Array, affine: Array, path: Path, as_share: bool = False) -> None:
    """Write an image with data's own type; shares of 0 to 1 as 8 bits (steps of 1/255)."""
    if as_share:
        data = np.rint(255 * data).astype(np.uint8)
    image = nib.Nifti1Image(data, affine)
    if as_share:
        image.header.set_slope_inter(1 / 255, 0)
    image.header.set_xyzt_units("mm")
    save_image(image, path)


def describe(facts: Facts) -> str:
    """Methods sentence."""
    kind = "affine" if facts["Registration"] == "affine" else "affine and symmetric diffeomorphic (SyN)"
    return (
        f"T1w images were corrected for bias (N4; Tustison et al., 2010), segmented (Atropos; Avants et al., 2011) and"
        f" normalized to {facts['Space']} by {kind} registration (ANTs; Avants et al., 2008) on a"
        f" {facts['GridMm']:g} mm grid; the brain mask is the template's, carried over."
    )


STAGE = Stage(
    name="anat",
    version=4,
    level="subject",
    summary="Correct, mask, segment and normalize the T1w image to the template.",
    Config=Config,
    inputs=("t1w", "t1w_next", "template_t1w", "template_mask", "template_probseg"),
    outputs=(
        "t1w_preproc", "t1w_mask", "t1w_dseg", *TISSUES, "t1w_to_mni", "mni_to_t1w", "t1w_mni",
    ),
    run=run,
    describe=describe,
    optional=("t1w_next",),
    routes=("native",),
    need=Need(1500, 20, 60, 8, disk_mb=25, disk_mb_per_mb=2.5),
)  # fmt: skip
