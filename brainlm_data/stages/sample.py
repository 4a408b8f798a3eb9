"""sample: the second and last time that the raw image is read.

Motion, coregistration and normalization are composed into ONE interpolation per volume, at the atlas voxels and on a
coarse grid for everything that is fitted on voxels later. No 4-D intermediate is written.
"""

from __future__ import annotations

from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.reads import reads
from brainlm_data.files.tables import write_table
from brainlm_data.methods import lean
from brainlm_data.paths import INTERPOLATED, INTERPOLATED_OPTIONAL
from brainlm_data.reading.image import Writer, load_output, save_image
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig

TISSUES = ("t1w_gm", "t1w_wm", "t1w_csf")
VOLUMES = ("GM", "WM", "CSF", "WM eroded", "CSF eroded")  # of sample_probseg
LEAST_ML = 25.0  # one slice of 5 mm through a brain holds more


class Config(StageConfig):
    """Sampling of the raw image in template space."""

    interpolation: Literal["cubic", "linear"] = Field("cubic", description="cubic (B-spline) or linear (faster)")
    coarse_mm: float = Field(4.0, ge=2, le=8, description="voxel size of the voxel sample, mm")
    min_coverage: float = Field(
        0.5, ge=0, le=1, description="a parcel with a smaller fraction of its voxels in the field of view becomes n/a"
    )
    min_overlap: float = Field(
        0.3, ge=0, le=1,
        description="refuse a recording whose brain covers a smaller fraction of the template's: registration failed"
    )  # fmt: skip


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write parcel means, coverage and the voxel sample; see `sampled`."""
    return sampled(inputs, outputs, config, float(inputs.facts("motion_params")["RepetitionTime"]))


def sampled(inputs: Files, outputs: Files, config: Config, tr_s: float) -> Facts:
    """Write parcel means (T, parcels), coverage and the voxel sample of a run whose motion is known.

    Raises
    ------
    Refused: unreadable or truncated run; no brain in it; brain and template hardly overlap.
    InputError: atlas image and table do not belong together.
    """
    from brainlm_data.methods.sampling import Grid, Sampler, pick, read

    names, labels, atlas = _atlas(inputs)
    epi, epi_grid = read(inputs["bold_mask"])
    brain_ml = float((epi > 0.5).sum() * abs(np.linalg.det(epi_grid.affine[:3, :3])) / 1000)
    if brain_ml < LEAST_ML:  # which a registration would blow up to a brain
        raise Refused(f"{inputs['bold']}: {brain_ml:.0f} ml of brain were found in it", "is it a run of a whole head?")
    template, template_grid = read(inputs["template_mask"])
    coarse = Grid.around(template > 0.5, template_grid.affine, config.coarse_mm)
    brain = pick(template, template_grid, coarse.points()) > 0.5
    # Two kinds of points go through one interpolation: the parcels' atlas voxels, then the brain's coarse voxels.
    parcel = labels[labels >= 0]
    points = np.concatenate([atlas.points(labels >= 0), coarse.points(brain.reshape(coarse.shape))])
    sampler = Sampler(inputs, points, config.interpolation == "cubic")
    covered, in_view = sampler.inside[: len(parcel)], sampler.inside[len(parcel) :]
    in_epi = pick(_dilated(epi), epi_grid, sampler.boldref_points[len(parcel) :]) > 0.5
    overlap = float((in_view & in_epi).mean())
    if overlap < config.min_overlap:
        raise Refused(
            f"{inputs['bold']}: its brain covers {overlap:.0%} of the template's, sample.min_overlap is"
            f" {config.min_overlap:.0%}",
            "look at the registration; lower sample.min_overlap for a partial field of view",
        )
    # coverage: voxels of a parcel in the field of view, over all of its voxels
    size = np.bincount(parcel, minlength=len(names))
    counted = np.bincount(parcel[covered], minlength=len(names))
    coverage = np.divide(counted, size, out=np.zeros(len(names)), where=size > 0)
    missing = (coverage < config.min_coverage) | (counted == 0)
    series, voxels = _means_and_voxels(sampler, parcel[covered], len(names), in_epi[in_view])
    series[:, missing] = np.nan

    mask = np.zeros(coarse.shape, bool)
    mask.flat[np.flatnonzero(brain)[in_view & in_epi]] = True
    write_table(outputs["parcels_raw"], names, series)
    write_table(outputs["coverage"], names, coverage[None])
    _write_voxels(outputs, voxels, mask, coarse, tr_s)
    tissues = _write_tissues(inputs, outputs, coarse)
    grand_mean = float(voxels.mean(dtype=np.float64))
    if not grand_mean > 0:
        raise Refused(f"{inputs['bold']}: mean of its brain is {grand_mean:g}", "are the images magnitudes?")
    return {
        "NumberOfVolumes": len(series),
        "VolumesOutOfView": sampler.out_of_view,
        "SliceTimingCorrected": sampler.slice_times is not None,
        "StartTime": sampler.slice_times.reference_s if sampler.slice_times else 0.0,
        "GrandMean": grand_mean,
        **_of_echoes(inputs, sampler, len(parcel[covered])),
        "Interpolation": config.interpolation,
        "CoarseMm": config.coarse_mm,
        "BrainOverlap": overlap,
        "MinimumCoverage": config.min_coverage,
        "NumberOfParcels": len(names),
        "MissingParcels": [name for name, gone in zip(names, missing, strict=True) if gone],
        "parcels_raw": {"Units": "scanner units"},
        "coverage": {
            "Units": "share of the parcel's voxels that are in the field of view in every volume that is used"
        },
        "voxel_sample": {"Units": "scanner units", "NumberOfVoxels": int(mask.sum())},
        "sample_probseg": {"Volumes": list(VOLUMES), "Source": tissues},
    }


def _of_echoes(inputs: Files, sampler: Any, n_atlas: int) -> Facts:
    """Where echoes were combined: which, and the median of T2* (s) over the first `n_atlas` points, the parcels'."""
    if sampler.t2star_s is None:
        return {}
    return {**inputs.meta["echo"], "MedianT2star": float(np.median(sampler.t2star_s[:n_atlas]))}


def _means_and_voxels(
    sampler: Any, parcel_of: NDArray[np.int64], parcels: int, in_brain: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Parcel means (T, parcels) and brain voxels (T, voxels) of every volume, read once.

    `parcel_of`: the parcel of each atlas voxel in view; `in_brain`: which of the coarse points in view are kept.
    """
    counted = np.bincount(parcel_of, minlength=parcels)
    series = np.empty((sampler.run.n_volumes, parcels))
    voxels = np.empty((sampler.run.n_volumes, int(in_brain.sum())), np.float32)
    for volume, values in enumerate(sampler):
        of_parcels, of_points = values[: len(parcel_of)], values[len(parcel_of) :]
        # bincount with weights sums the values of each parcel
        series[volume] = np.bincount(parcel_of, of_parcels, parcels) / np.maximum(counted, 1)
        voxels[volume] = of_points[in_brain]
    return series, voxels


def _atlas(inputs: Files) -> tuple[list[str], NDArray[np.int64], Any]:
    """Parcel names in the table's order, the row of each voxel (x, y, z; -1: none), and the atlas grid."""
    import pandas as pd

    from brainlm_data.methods.sampling import Grid

    with reads(inputs["atlas_table"]):
        table = pd.read_csv(inputs["atlas_table"], sep="\t", na_values=["n/a"], keep_default_na=False)
    atlas = load_output(inputs["atlas_dseg"])
    image = np.asarray(atlas.dataobj).astype(np.int64)
    indices = table["index"].to_numpy(np.int64)
    if (np.diff(indices) <= 0).any() or image.min() < 0:
        raise InputError(f"{inputs['atlas_table']}: labels must be positive and sorted", "run stage atlas again")
    rows = np.searchsorted(indices, image).clip(max=len(indices) - 1)
    rows[(indices[rows] != image) | (image == 0)] = -1  # a label of the image that the table does not list
    if (rows < 0).all():
        raise InputError(f"{inputs['atlas_dseg']}: holds no label of {inputs['atlas_table']}", "run stage atlas again")
    return [str(name) for name in table["name"]], rows, Grid.of(atlas)


def _dilated(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """A brain mask one voxel larger: EPI masks lose cortex at the rim and at drop-out."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(mask > 0.5), dtype=np.float32)


def _write_voxels(outputs: Files, voxels: NDArray[np.float32], mask: NDArray[np.bool_], grid: Any, tr: float) -> None:
    """The voxel sample as scaled int16 (steps of 1/32000 of the maximum), and its mask."""
    slope = np.float32(max(float(np.abs(voxels).max()), 1e-6) / 32000)
    image = np.zeros(grid.shape, np.int16)
    with Writer(outputs["voxel_sample"], (*grid.shape, len(voxels)), grid.affine, np.int16, tr, float(slope)) as out:
        for row in voxels:
            image[mask] = np.rint(row / slope)
            out.add(image)
    image_of_mask = nib.Nifti1Image(mask.astype(np.uint8), grid.affine)
    image_of_mask.header.set_xyzt_units("mm")
    save_image(image_of_mask, outputs["sample_mask"])


def _write_tissues(inputs: Files, outputs: Files, grid: Any) -> str:
    """GM, WM, CSF, eroded WM and CSF on the coarse grid (means of 2 x 2 x 2 points), and where they come from."""
    from scipy.ndimage import generate_binary_structure, grey_erosion

    from brainlm_data.methods.sampling import Grid, pick, read

    # Voxels half as large: the centres of the eight in a coarse voxel lie a quarter of its size from its own centre,
    # so that the first is at voxel (-1/4, -1/4, -1/4) of the coarse grid.
    affine = grid.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = grid.affine[:3, :3] @ np.full(3, -0.25) + grid.affine[:3, 3]
    nx, ny, nz = grid.shape
    fine = Grid((2 * nx, 2 * ny, 2 * nz), affine)
    own = inputs.get("t1w_to_mni") is not None and all(inputs.get(name) is not None for name in TISSUES)
    if own:
        maps = _warped(inputs, fine)
    else:
        template, template_grid = read(inputs["template_probseg"])
        points = fine.points()
        maps = [pick(template[..., i], template_grid, points).reshape(fine.shape) for i in range(3)]
    # Eroded: the least of a voxel and its six neighbours, so that what lies above any threshold is what an erosion of
    # the mask above it leaves.
    cross = generate_binary_structure(3, 1)
    eroded = [grey_erosion(data, footprint=cross) for data in maps[1:]]
    with Writer(outputs["sample_probseg"], (nx, ny, nz, len(VOLUMES)), grid.affine, np.float32) as out:
        for data in (*maps, *eroded):
            mean = data.reshape(nx, 2, ny, 2, nz, 2).mean((1, 3, 5))  # over the 2 x 2 x 2 of each coarse voxel
            out.add(np.clip(mean, 0, 1))
    return "T1w of the subject" if own else "template"


def _warped(inputs: Files, grid: Any) -> list[NDArray[np.float32]]:
    """The subject's tissue probabilities on a grid in template space, trilinear."""
    from brainlm_data.methods.hdf5 import check_transform
    from brainlm_data.methods.registration import to_ants

    ants = lean.antspyx()
    fixed = to_ants(np.zeros(grid.shape, np.float32), grid.affine)
    check_transform(inputs["t1w_to_mni"])
    transform = [str(inputs["t1w_to_mni"])]
    maps = []
    for name in TISSUES:
        with reads(inputs[name]):
            tissue = ants.image_read(str(inputs[name]))
        with reads(inputs["t1w_to_mni"]):
            maps.append(ants.apply_transforms(fixed, tissue, transform, interpolator="linear").numpy())
    return maps


def describe(facts: Facts) -> str:
    """Methods sentence."""
    but = " but the {out_of_view} in which the head had left it" if facts["VolumesOutOfView"] else ""
    kind = {"cubic": "cubic B-spline (Unser, 1999)", "linear": "trilinear"}[facts["Interpolation"]]
    of_echoes, fields = "", dict[str, Any]()
    if "MedianT2star" in facts:
        fields = {
            "echo_times_ms": ", ".join(f"{1000 * time:g}" for time in facts["EchoTimes"]),
            "t2star_ms": 1000 * facts["MedianT2star"],
        }
        of_echoes = (
            " Echoes ({echo_times_ms} ms) were combined with weights TE exp(-TE/T2*) (Posse et al., 1999), T2* from a"
            " log-linear fit at each of these voxels (median {t2star_ms:.0f} ms)."
        )
    return Sentence(
        "Head motion, coregistration and normalization were composed and each volume was interpolated once"
        " ({kind}) at the voxels of {parcels} parcels of the {atlas} atlas in {space} space; parcel means are over a"
        f" fixed set of voxels inside the field of view in all volumes{but}, and parcels with coverage below"
        " {min_coverage:g} are missing ({missing_parcels} per recording)." + of_echoes,
        kind=kind,
        out_of_view=len(facts["VolumesOutOfView"]),
        parcels=facts["NumberOfParcels"],
        atlas=facts["AtlasName"],
        space=facts["Space"],
        min_coverage=facts["MinimumCoverage"],
        missing_parcels=len(facts["MissingParcels"]),
        **fields,
    )


STAGE = Stage(
    name="sample",
    version=4,
    level="recording",
    summary="Read the raw image once more: parcel means and a compact voxel sample in template space.",
    Config=Config,
    inputs=(
        *INTERPOLATED, "bold_mask", "atlas_dseg", "atlas_table",
        "template_t1w", "template_mask", "template_probseg", *TISSUES,
    ),
    outputs=("parcels_raw", "coverage", "voxel_sample", "sample_mask", "sample_probseg"),
    run=run,
    describe=describe,
    optional=(*INTERPOLATED_OPTIONAL, *TISSUES),
    told=("echo", "echo_files"),
    goes_without=("distortion",),
    routes=("native",),
    need=Need(1200, 1, 40, 0.15, disk_mb=2, disk_mb_per_mb=0.35),
)  # fmt: skip
