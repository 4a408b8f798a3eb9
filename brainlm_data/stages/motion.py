"""motion: rigid head-motion estimation, the first of the two times that the raw image is read.

Method: `methods/realign.py`. Parameters and transforms: `methods/rigid.py`. No volume is resampled here; stage `sample`
composes these transforms with coregistration and normalization.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.bids import echoes
from brainlm_data.errors import Refused
from brainlm_data.files.tables import write_table
from brainlm_data.methods import lean, rigid
from brainlm_data.reading.image import Run, Volume, cleaned, repetition_time, save_image
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig

if TYPE_CHECKING:
    from brainlm_data.methods.realign import Realigner
    from brainlm_data.methods.reference import Look

FIRST = 10  # volumes before the steady state that `best` and `first` can step over


class Config(StageConfig):
    """Head-motion estimation."""

    engine: Literal["native", "ants"] = Field(
        "native",
        description="native: least-squares realignment of this package; ants: ants.motion_correction, about 100 times"
        " slower, and it holds the whole run in memory",
    )
    reference: Literal["mean", "median", "best", "first", "sbref"] | Annotated[int, Field(ge=0)] = Field(
        "mean",
        description="mean, median: of realigned volumes, in the position of the most typical of them; best: the most"
        " typical of the first ones; first: the first one; all after non-steady-state volumes; sbref: the run's _sbref,"
        " mean where it has none; a number: that volume, from 0",
    )
    reference_volumes: int = Field(
        20, ge=1, le=100, description="volumes over the run that mean and median use; best: the first so many"
    )
    coarse_mm: float = Field(8.0, ge=2, le=32, description="voxel size of the coarse level, mm (native)")
    tolerance_mm: float = Field(0.01, gt=0, le=0.1, description="a smaller step ends the iteration, mm (native)")
    min_volumes: int = Field(10, ge=1, description="shorter runs are refused")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Estimate motion; write parameters, transforms, reference and brain mask.

    Raises
    ------
    Refused: unreadable, truncated, too short, no TR, an image without contrast, or no brain in it.
    """
    source = Run(inputs["bold"])
    name = source.path
    tr, warnings = repetition_time(source, inputs.meta.get("metadata", {}))
    if source.n_volumes < config.min_volumes:
        raise Refused(
            f"{name}: {source.n_volumes} volumes, motion.min_volumes is {config.min_volumes}",
            "leave it out or lower it",
        )
    if min(source.shape) < 4:
        raise Refused(f"{name}: {source.shape} voxels are too few for a rigid fit", "is it a whole 3-D acquisition?")
    if not source.has_orientation:
        warnings.append("neither qform nor sform is set: orientation of the image is unknown")
    echo, of_echoes = echoes.stated(inputs.meta)
    warnings += [*of_echoes, *source.warnings]
    reference, described, seen = _reference(source, inputs.get("sbref"), config)
    mask = _brain_mask(reference, source)
    if config.engine == "native":
        matrices, residuals = _native(source, reference, config)
    else:
        matrices, residuals = _ants(source, reference, config)
    if seen.empty:
        warnings.append(f"volumes without an image, to be interpolated: {', '.join(map(str, seen.empty))}")

    # rotations turn about the head's centre: about the scanner's, a nod would also read as a shift of some millimetres
    centre = _centre_of_gravity(np.where(mask, reference, 0), source)
    parameters = rigid.parameters(matrices, source.affine, source.shape, centre)
    displacement = rigid.displacement(parameters)[1:]
    write_table(outputs["motion_params"], rigid.COLUMNS, parameters)
    rigid.write_itk(outputs["motion_xfm"], matrices)
    save_image(_image(reference.astype(np.float32), source), outputs["boldref"])
    save_image(_image(mask.astype(np.uint8), source), outputs["bold_mask"])
    return {
        **echo,
        "Engine": config.engine,
        "RepetitionTime": tr,
        "NumberOfVolumes": source.n_volumes,
        "ReferenceVolume": described,
        "SpatialReference": "boldref",
        "MeanFramewiseDisplacement": float(displacement.mean()) if len(displacement) else 0.0,
        "NumberOfNonSteadyStates": seen.n_steady,
        "PoorlyFittedVolumes": _poorly_fitted(residuals),
        "EmptyVolumes": list(seen.empty),
        "HasNonFinite": seen.not_finite,
        "Warnings": warnings,
        "motion_params": {
            "Columns": dict.fromkeys(rigid.COLUMNS[:3], "mm") | dict.fromkeys(rigid.COLUMNS[3:], "rad"),
            "Convention": "FSL MCFLIRT, as in fMRIPrep confounds",
        },
        "motion_xfm": {"Convention": "ITK, LPS: points of boldref to points of the original volume"},
        "boldref": {"Units": "scanner units"},
        "bold_mask": {"Type": "Brain", "Share": float(mask.mean())},
    }


def _poorly_fitted(residuals: NDArray[np.float64]) -> list[int]:
    """Volumes that the reference fits less than half as well as it fits the median volume; none without residuals."""
    if not len(residuals):
        return []
    return [int(volume) for volume in np.flatnonzero(residuals > 2 * np.median(residuals))]


def _centre_of_gravity(weights: NDArray[np.floating[Any]], source: Run) -> NDArray[np.float64]:
    """Mean place (3,) of the voxels, RAS mm, each as much as its weight."""
    # sum of w_ijk (i, j, k) over the sum of w_ijk, in voxels
    voxel = [(weights * axis).sum() / weights.sum() for axis in np.indices(source.shape, sparse=True)]
    return np.asarray((source.affine @ np.append(voxel, 1.0))[:3], dtype=np.float64)


def _reference(source: Run, sbref: Path | None, config: Config) -> tuple[Volume, str, Look]:
    """The reference volume, what it is in words, and what was seen of the run."""
    from brainlm_data.methods.reference import averaged, look, on_grid, typical

    total, how, number = source.n_volumes, config.reference, config.reference_volumes
    if isinstance(how, int):
        if how >= total:
            raise Refused(f"{source.path}: no volume {how} in {total}", "motion.reference counts from 0")
        seen = look(source, {how})
        return seen.held[how], f"volume {how}", seen
    if how == "sbref" and sbref is not None:
        return on_grid(sbref, source), "the run's single-band reference", look(source, set())
    early = how in ("best", "first")
    wanted = np.arange(min(total, FIRST + number))  # how many of them are non-steady is known only once they are read
    if not early:  # spread over the run
        wanted = np.linspace(0, total - 1, min(number, total)).round().astype(int)
    seen = look(source, set(wanted.tolist()))
    good = [place for place in sorted(seen.held) if place >= seen.n_steady and place not in seen.empty]
    chosen = good or sorted(seen.held)
    if how == "best":
        chosen = chosen[:number]
    elif how == "first":
        chosen = chosen[:1]
    volumes = [seen.held[place] for place in chosen]
    best = typical(volumes)
    if early or len(volumes) == 1:
        choice = ""
        if len(volumes) > 1:
            choice = f", the most typical of {len(volumes)}"
        return volumes[best], Sentence("volume {reference}" + choice, reference=chosen[best]), seen
    kind: Literal["mean", "median"] = "median" if how == "median" else "mean"
    realigner = _realigner(volumes[best], source, config)
    described = Sentence(f"{kind} of {len(volumes)} volumes aligned to volume {{reference}}", reference=chosen[best])
    return averaged(volumes, best, realigner, source, kind), described, seen


def _realigner(reference: Volume, source: Run, config: Config) -> Realigner:
    from brainlm_data.methods.realign import Realigner

    realigner = Realigner(reference, source.affine, (config.coarse_mm,), config.tolerance_mm)
    if len(realigner.levels[-1].points.places) < 100 or realigner.levels[-1].contrast <= 0:
        raise Refused(f"{source.path}: its reference volume has no contrast", "is it a BOLD image?")
    return realigner


def _native(source: Run, reference: Volume, config: Config) -> tuple[rigid.Matrix, NDArray[np.float64]]:
    """Motion matrices (T, 4, 4) and residuals (T,)."""
    realigner = _realigner(reference, source, config)
    fits = [realigner.fit(cleaned(volume)) for volume in source]
    return np.stack([fit.matrix for fit in fits]), np.array([fit.residual for fit in fits])


def _ants(source: Run, reference: Volume, config: Config) -> tuple[rigid.Matrix, NDArray[np.float64]]:
    """The same from ants.motion_correction; no residuals."""
    import tempfile

    ants = lean.antspyx()
    with tempfile.TemporaryDirectory() as folder:
        whole_run = np.stack([cleaned(volume) for volume in source], -1)
        nib.save(_image(whole_run, source), f"{folder}/moving.nii")
        nib.save(_image(reference, source), f"{folder}/fixed.nii")
        moving, fixed = ants.image_read(f"{folder}/moving.nii"), ants.image_read(f"{folder}/fixed.nii")
        result = ants.motion_correction(
            moving, fixed=fixed, type_of_transform="BOLDRigid", outprefix=f"{folder}/m", random_seed=1
        )
        matrices: list[rigid.Matrix] = [np.eye(4)]
        for files in result["motion_parameters"]:  # "NA" for a volume without contrast: it is left where the last was
            matrices.append(matrices[-1] if files == "NA" else _ants_matrix(Path(files[0])))
    return np.stack(matrices[1:]), np.empty(0)


def _ants_matrix(path: Path) -> rigid.Matrix:
    """An ITK transform file (.mat) of ANTs as a RAS matrix."""
    transform = lean.antspyx().read_transform(str(path))
    numbers, centre = np.asarray(transform.parameters), np.asarray(transform.fixed_parameters)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    # ITK turns about a centre c and then shifts by t: y = A (x - c) + c + t = A x + (t + c - A c)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return rigid.LPS @ matrix @ rigid.LPS


def _brain_mask(reference: Volume, source: Run) -> NDArray[np.bool_]:
    """Brain of the reference."""
    from brainlm_data.methods.reference import epi_mask

    mask = epi_mask(reference)
    if not mask.any():
        raise Refused(f"{source.path}: no brain was found in it", "is it a BOLD image?")
    if not 0.005 < mask.mean() < 0.95:
        raise Refused(f"{source.path}: {mask.mean():.1%} of it looks like brain", "is it a whole BOLD image?")
    return mask


def _image(data: NDArray[np.generic], source: Run) -> nib.Nifti1Image:
    image = nib.Nifti1Image(data, source.affine)
    image.header.set_xyzt_units("mm")
    return image


def describe(facts: Facts) -> str:
    """Methods sentence."""
    engine = {
        "native": "least-squares realignment (inverse-compositional Gauss-Newton with cubic B-splines and Huber"
        " weights; Baker and Matthews, 2004)",
        "ants": "ANTs' rigid motion correction (Avants et al., 2011)",
    }[facts["Engine"]]
    reference = Sentence.of(facts["ReferenceVolume"])
    of_echo, fields = echoes.sentence(facts)
    return Sentence(
        "Head motion was estimated by rigid {engine} of {volumes} volumes (TR {tr_s:g} s) to a reference ("
        + reference.template
        + "); {non_steady} non-steady-state volumes were found at the start; mean framewise displacement was"
        " {mean_fd_mm:.3f} mm (Power et al., 2012)." + of_echo,
        engine=engine,
        volumes=facts["NumberOfVolumes"],
        tr_s=facts["RepetitionTime"],
        **reference.fields,
        non_steady=facts["NumberOfNonSteadyStates"],
        mean_fd_mm=facts["MeanFramewiseDisplacement"],
        **fields,
    )


STAGE = Stage(
    name="motion",
    version=4,
    level="recording",
    summary="Estimate head motion: rigid parameters and transforms, reference volume, brain mask.",
    Config=Config,
    inputs=("bold", "sbref"),
    outputs=("motion_params", "motion_xfm", "boldref", "bold_mask"),
    run=run,
    describe=describe,
    optional=("sbref",),
    told=("echo",),
    routes=("native",),
    need=Need(700, 1, 30, 0.15, disk_mb=0.3, disk_mb_per_mb=0.03),
)
