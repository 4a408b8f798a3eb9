"""anat: the T1w image, corrected, masked, segmented and normalized to the template.

Bias field: N4 (Tustison et al., 2010). Registration: affine and SyN (Avants et al., 2008). Brain mask: the template's,
carried over by a first registration of the whole head, then cleaned. Tissues: Atropos (Avants et al., 2011) with the
template's tissue probabilities as priors. Everything is fitted on an isotropic working grid; outputs keep the T1w's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.errors import Refused
from brainlm_data.stage import Facts, Files, Stage, StageConfig

ITERATIONS = {"syn": (60, 40, 15), "fast": (40, 20, 0), "affine": ()}


class Config(StageConfig):
    """Anatomical processing."""

    grid_mm: float = Field(2.0, ge=1, le=6, description="working grid of bias correction, segmentation, registration")
    registration: Literal["syn", "fast", "affine"] = Field(
        "syn", description="syn: to the finest level of the working grid; fast: stops one level above; affine: no warp"
    )
    bias_iterations: int = Field(50, ge=0, le=200, description="N4 iterations a level; 0 leaves the image as it is")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write corrected T1w, brain mask, tissues, and the two composites to and from the template.

    Raises
    ------
    Refused: unreadable, not three-dimensional, without contrast, or no brain found in it.
    """
    import ants

    from brainlm_data.registration import correlation, dice, nonlinear, similarity

    t1w = _read(inputs["t1w"])
    template, template_mask = (ants.image_read(str(inputs[n])) for n in ("template_t1w", "template_mask"))
    fixed, fixed_mask = _coarse(template, config.grid_mm), _coarse_mask(template_mask, config.grid_mm)
    working = _coarse(t1w, config.grid_mm)
    bias = _bias_field(working, config.bias_iterations)
    working = working / bias

    steps = ITERATIONS[config.registration]
    with tempfile.TemporaryDirectory() as folder:
        forward, inverse = Path(folder, "f.h5"), Path(folder, "i.h5")
        near = ants.iMath(fixed_mask, "MD", max(1, round(6 / config.grid_mm)))
        nonlinear(fixed, working, forward, inverse, steps[:2] and (*steps[:2], 0), near)
        carried = ants.apply_transforms(working, fixed_mask, [str(inverse)], interpolator="linear")
    mask = _cleaned(carried.numpy() > 0.5, working)
    if mask.sum() * config.grid_mm**3 < 3e5:
        litres = mask.sum() * config.grid_mm**3 / 1e6
        raise Refused(
            f"{inputs['t1w']}: {litres:.2f} l of brain were found in it", "is it a T1w image of a whole head?"
        )
    brain = working.new_image_like(mask.astype(np.float32))
    moved = nonlinear(fixed * fixed_mask, working * brain, outputs["t1w_to_mni"], outputs["mni_to_t1w"], steps)
    tissues = _segment(working, brain, inputs, outputs)

    corrected = t1w / ants.resample_image_to_target(bias, t1w, "linear").numpy().clip(1e-3)
    ants.image_write(corrected, str(outputs["t1w_preproc"]))
    ants.image_write(moved, str(outputs["t1w_mni"]))
    native = ants.resample_image_to_target(brain, t1w, "linear").numpy() > 0.5
    _write(t1w, native.astype(np.uint8), outputs["t1w_mask"])
    stacked = [ants.resample_image_to_target(tissue, t1w, "linear").numpy() * native for tissue in tissues]
    for name, data in zip(("t1w_gm", "t1w_wm", "t1w_csf"), stacked, strict=True):
        _write(t1w, data.astype(np.float32), outputs[name])
    label = np.where(native, np.argmax(stacked, 0) + 1, 0)
    _write(t1w, label.astype(np.uint8), outputs["t1w_dseg"])
    overlap = dice(moved.numpy() > 0, fixed_mask.numpy() > 0)
    return {
        "GridMm": config.grid_mm,
        "Registration": config.registration,
        "Space": inputs.facts("template_t1w").get("Space", ""),
        "BrainVolumeMl": float(mask.sum() * config.grid_mm**3 / 1000),
        "BrainOverlap": overlap,
        "TemplateCorrelation": correlation(fixed, moved, fixed_mask),
        "TemplateSimilarity": similarity(fixed, moved, fixed_mask),
        "TissueShares": [float(s.sum() / max(native.sum(), 1)) for s in stacked],
        "t1w_dseg": {"Labels": {"1": "GM", "2": "WM", "3": "CSF"}},
    }


def _read(path: Path) -> Any:
    """The T1w as an ANTs image without values that are no numbers, its lowest value 0."""
    import nibabel as nib

    from brainlm_data.registration import to_ants

    try:
        image: Any = nib.squeeze_image(nib.load(path))
        data = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise Refused(f"{path}: not a readable image ({error})", "export or download it again") from error
    if data.ndim != 3 or min(data.shape) < 8:
        raise Refused(f"{path}: shape {data.shape} is not a 3-D head", "is it a T1w image?")
    if abs(np.linalg.det(image.affine[:3, :3])) < 1e-6:
        raise Refused(f"{path}: its affine is not invertible", "mend qform/sform in the header")
    data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    data -= data.min()
    if not data.max() > 0:
        raise Refused(f"{path}: has no contrast", "is it a T1w image?")
    return to_ants(data, image.affine)


def _coarse(image: Any, size_mm: float) -> Any:
    """The image on an isotropic grid, smoothed beforehand where that grid is coarser."""
    import ants

    spacing = np.asarray(image.spacing)
    sigma = np.where(spacing < size_mm, np.sqrt(np.maximum(size_mm**2 - spacing**2, 0)) / 2.355, 0)
    smooth = ants.smooth_image(image, tuple(float(s) for s in sigma), sigma_in_physical_coordinates=True)
    return ants.resample_image(smooth, (size_mm,) * 3, use_voxels=False, interp_type=0)


def _coarse_mask(mask: Any, size_mm: float) -> Any:
    """A mask on the same grid as `_coarse` gives."""
    soft = _coarse(mask, size_mm)
    return soft.new_image_like((soft.numpy() > 0.5).astype(np.float32))


def _bias_field(image: Any, iterations: int) -> Any:
    """Multiplicative bias field on the image's grid, by N4; ones where `iterations` is 0."""
    import ants

    if iterations == 0:
        return image.new_image_like(np.ones(image.shape, np.float32))
    head = ants.get_mask(image, cleanup=0)
    convergence = {"iters": [iterations] * 3, "tol": 1e-6}
    return ants.n4_bias_field_correction(
        image, mask=head, shrink_factor=2, convergence=convergence, spline_param=160, return_bias_field=True
    )


def _cleaned(mask: NDArray[np.bool_], image: Any) -> NDArray[np.bool_]:
    """The largest piece without air, thin bridges and holes."""
    from scipy import ndimage

    inside = image.numpy()[mask]
    air = 0.15 * np.median(inside) if len(inside) else 0.0
    solid = ndimage.binary_opening(mask & (image.numpy() > air))
    pieces, number = ndimage.label(solid)
    if number == 0:
        return np.zeros_like(mask)
    largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    return ndimage.binary_fill_holes(ndimage.binary_closing(largest, iterations=2) & mask)


def _segment(image: Any, brain: Any, inputs: Files, outputs: Files) -> list[Any]:
    """GM, WM and CSF probabilities on the working grid, by Atropos with the template's as priors."""
    import ants

    from brainlm_data.sampling import read

    data, _ = read(inputs["template_probseg"])
    reference = ants.image_read(str(inputs["template_mask"]))
    priors = []
    for volume in range(3):
        prior = reference.new_image_like(np.ascontiguousarray(data[..., volume]))
        warped = ants.apply_transforms(image, prior, [str(outputs["mni_to_t1w"])], interpolator="linear")
        priors.append(warped.new_image_like(np.clip(warped.numpy() * 0.9 + 0.03, 0, 1)))
    found = ants.atropos(a=image, x=brain, i=priors, m="[0.1,1x1x1]", c="[5,0]", priorweight=0.3)
    return list(found["probabilityimages"])


def _write(like: Any, data: NDArray[Any], path: Path) -> None:
    """An image on the T1w's grid with data's own type."""
    import nibabel as nib

    from brainlm_data.registration import affine_of

    image = nib.Nifti1Image(data, affine_of(like))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def describe(facts: Facts) -> str:
    """Methods sentence."""
    kind = "affine" if facts["Registration"] == "affine" else "affine and symmetric diffeomorphic (SyN)"
    return (
        f"T1w images were corrected for bias (N4; Tustison et al., 2010), masked, segmented (Atropos; Avants et al.,"
        f" 2011) and normalized to {facts['Space']} by {kind} registration (ANTs; Avants et al., 2008) on a"
        f" {facts['GridMm']:g} mm grid."
    )


STAGE = Stage(
    name="anat",
    version=1,
    level="subject",
    summary="Correct, mask, segment and normalize the T1w image to the template.",
    Config=Config,
    inputs=("t1w", "template_t1w", "template_mask", "template_probseg"),
    outputs=(
        "t1w_preproc", "t1w_mask", "t1w_dseg", "t1w_gm", "t1w_wm", "t1w_csf", "t1w_to_mni", "mni_to_t1w", "t1w_mni",
    ),
    run=run,
    describe=describe,
)  # fmt: skip
