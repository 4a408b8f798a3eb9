"""A real recording by this pipeline and by well-known tools that share nothing with it: how far the series agree.

    python -m benchmarks.independent BIDS_DIR --template T1W --brain BRAIN --atlas LABELS --json [--subject 02]
        [--interpolator bSpline]

BIDS_DIR needs a T1w; the subject's first run is taken. Steps, from raw to high-pass at .01 Hz, no ICA (strategy none):

    ours   stages motion, anat, coreg, sample, filter; default configuration
    peer   ants.motion_correction (BOLDRigid, to the mean); N4 and SyN of the T1w at 2 mm to the template
           (ants.registration, its defaults, template's brain as mask); Rigid EPI mean -> T1w; motion, rigid and SyN
           composed by ants.apply_transforms, one interpolation per volume onto the atlas grid; NiftiLabelsMasker with
           its Butterworth high-pass

The template must have its skull (the bundled one has none): the peer's linear steps use the whole head.

`r`: correlation of the two series of a parcel, over the parcels that stage sample does not call missing; `r_middle`:
the same without the volumes within half a period of the filter's edge from either end. `ablation`: with the peer's
parcels filtered by our filter, so that padding no longer differs, and then with the peer's transforms in our stage
sample, some or all, so that with all of them only interpolation and the rim of the field of view differ. `tsnr`,
`dvars`: one definition (this package's) on both, unfiltered, at the atlas voxels that are inside the field of view by
both; `ratio` is ours / peer's. `worst`: the parcels that agree least, with coverage, and `apart_mm`, the mean distance
between where the two take the parcel from.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.normalize import call
from benchmarks.recovery import correlations
from brainlm_data.files.tables import read_table
from brainlm_data.methods import rigid
from brainlm_data.methods.courses import Courses
from brainlm_data.methods.nuisance import dvars
from brainlm_data.methods.operators import Recipe, drop, fill_censored, high_pass
from brainlm_data.methods.registration import affine_of, template_to_boldref, to_ants
from brainlm_data.methods.sampling import Grid, Sampler
from brainlm_data.quality.measures import tsnr_of
from brainlm_data.stage import Files
from brainlm_data.stages import anat, atlas, confounds, coreg, motion, sample, template
from brainlm_data.stages import filter as filter_stage

Array = NDArray[np.float64]
WORST = 8  # parcels that are named


@dataclass(frozen=True)
class Peer:
    """What the other tools gave: files of their transforms, voxels of the atlas (T, n), filtered parcels (T, k)."""

    motion_xfm: Path
    bold_to_t1w: Path
    t1w_to_mni: Path
    voxels: NDArray[np.float32]
    parcels: Array
    filtered: Array
    cpu_s: dict[str, float]


def timed(seconds: dict[str, float], name: str, function: Callable[[], Any]) -> Any:
    """Call it, keep its CPU seconds, say so."""
    begin = time.process_time()
    found = function()
    seconds[name] = time.process_time() - begin
    print(f"{name}: {seconds[name]:.0f} CPU s", file=sys.stderr, flush=True)
    return found


def ours(known: dict[str, Path], meta: dict[str, Any], folder: Path) -> tuple[dict[str, Path], dict[str, float]]:
    """Every file up to the filter's recipe, and CPU seconds."""
    files, seconds = dict(known), {}
    for stage in (motion, anat, coreg, sample, confounds, filter_stage):
        written, _, seconds[stage.STAGE.name] = call(stage.STAGE, Files(files, meta), folder / stage.STAGE.name)
        files |= written
        print(f"ours: {stage.STAGE.name} {seconds[stage.STAGE.name]:.0f} CPU s", file=sys.stderr, flush=True)
    return files, seconds


def peer(known: dict[str, Path], recipe: Recipe, folder: Path, interpolator: str) -> Peer:
    """The same by antspyx and nilearn."""
    import ants
    from nilearn.maskers import NiftiLabelsMasker

    folder.mkdir()
    seconds: dict[str, float] = {}
    bold = ants.image_read(str(known["bold"]))
    t1w = ants.resample_image(ants.image_read(str(known["t1w"])), (2, 2, 2))
    fixed = ants.resample_image(ants.image_read(str(known["template_t1w"])), (2, 2, 2))
    mask = ants.resample_image_to_target(ants.image_read(str(known["template_mask"])), fixed, "nearestNeighbor")
    t1w = timed(seconds, "n4", lambda: ants.n4_bias_field_correction(t1w))
    syn = timed(
        seconds, "syn",
        lambda: ants.registration(fixed, t1w, "SyN", mask=mask, write_composite_transform=True, random_seed=1,
                                  outprefix=f"{folder}/syn"),
    )  # fmt: skip
    moved = timed(seconds, "motion", lambda: ants.motion_correction(bold, outprefix=f"{folder}/motion", random_seed=1))
    mean = ants.get_average_of_timeseries(moved["motion_corrected"])
    placed = timed(
        seconds, "coregistration",
        lambda: ants.registration(t1w, mean, "Rigid", random_seed=1, outprefix=f"{folder}/rigid"),
    )  # fmt: skip
    image: Any = nib.load(known["atlas_dseg"])
    labels = np.asarray(image.dataobj).astype(np.int32)
    grid = to_ants(np.zeros(labels.shape, np.float32), image.affine)
    chain = [str(syn["fwdtransforms"]), *placed["fwdtransforms"]]
    stack = np.empty((*labels.shape, bold.shape[3]), np.float32)

    def apply() -> None:
        for t, (volume, file) in enumerate(zip(ants.ndimage_to_list(bold), moved["motion_parameters"], strict=True)):
            stack[..., t] = ants.apply_transforms(grid, volume, [*chain, *file], interpolator=interpolator).numpy()

    timed(seconds, "apply", apply)
    series = nib.Nifti1Image(stack[..., recipe.dropped :], affine_of(grid))
    atlas_image = nib.Nifti1Image(labels, image.affine)

    def extracted(high_pass_hz: float | None) -> Array:
        masker = NiftiLabelsMasker(
            atlas_image, standardize=None, high_pass=high_pass_hz, t_r=recipe.tr_s, resampling_target=None
        )
        return np.asarray(masker.fit_transform(series), np.float64)

    filtered = timed(seconds, "parcellate and filter", lambda: extracted(recipe.low_hz))
    matrices = np.stack([motion._ants_matrix(Path(file[0])) for file in moved["motion_parameters"]])
    rigid.write_itk(folder / "motion.txt", matrices)
    voxels = stack[labels > 0].T[recipe.dropped :]
    return Peer(folder / "motion.txt", Path(placed["fwdtransforms"][0]), Path(syn["fwdtransforms"]), voxels,
                extracted(None), filtered, seconds)  # fmt: skip


def spread(values: Array) -> dict[str, float]:
    """Median, 10th percentile and least."""
    return {"median": float(np.median(values)), "p10": float(np.percentile(values, 10)), "min": float(values.min())}


def places(files: dict[str, Path], points: Array) -> Array:
    """Where the first volume is sampled for template points, RAS mm."""
    found = template_to_boldref(points, bold_to_t1w=files["bold_to_t1w"], t1w_to_mni=files["t1w_to_mni"])
    first = rigid.read_itk(files["motion_xfm"])[0]
    return np.asarray(found @ first[:3, :3].T + first[:3, 3])


def quality(voxels: NDArray[np.float32], parcels: Array) -> dict[str, float]:
    """tSNR and DVARS of unfiltered data."""
    with tempfile.TemporaryDirectory() as folder, Courses(Path(folder), *voxels.shape) as courses:
        for t, volume in enumerate(voxels):
            courses[t] = volume
        standardized, plain = dvars(courses)
    return {
        "tsnr_voxels": float(np.median(tsnr_of(voxels, 0))),
        "tsnr_parcels": float(np.median(tsnr_of(parcels.astype(np.float32), 0))),
        "dvars": float(np.nanmean(plain)),
        "std_dvars": float(np.nanmean(standardized)),
    }


def compare(files: dict[str, Path], other: Peer, meta: dict[str, Any], folder: Path) -> dict[str, Any]:
    """All figures."""
    recipe = Recipe.load(files["filter_recipe"])
    names, raw = read_table(files["parcels_raw"])
    coverage = read_table(files["coverage"])[1][0]
    kept = np.isfinite(raw).all(0)
    theirs = {"motion_xfm": other.motion_xfm, "bold_to_t1w": other.bold_to_t1w, "t1w_to_mni": other.t1w_to_mni}
    parts = {
        "peer's transforms": theirs,
        "peer's motion and EPI -> T1w": {k: v for k, v in theirs.items() if k != "t1w_to_mni"},
        "peer's T1w -> template": {"t1w_to_mni": other.t1w_to_mni},
    }

    def filtered(x: Array) -> Array:
        return high_pass(fill_censored(drop(x, recipe), recipe), recipe)

    mine = filtered(raw[:, kept])
    r = correlations(mine, other.filtered[:, kept])
    beside = high_pass(other.parcels[:, kept], recipe)
    same = correlations(mine, beside)
    ablation = {"one filter": spread(same)}
    ends = round(0.5 / ((recipe.low_hz or 1) * recipe.tr_s))
    middle = slice(ends, -ends)
    for number, (name, part) in enumerate(parts.items()):
        written, _, _ = call(sample.STAGE, Files(files | part, meta), folder / f"part{number}")
        x = read_table(written["parcels_raw"])[1][:, kept]
        both = np.isfinite(x).all(0)
        ablation[f"one filter, {name}"] = spread(correlations(filtered(x[:, both]), beside[:, both]))
    image: Any = nib.load(files["atlas_dseg"])
    labels = np.asarray(image.dataobj).astype(np.int64)
    points = Grid.of(image).points(labels > 0)
    sampler, placed = Sampler(Files(files, meta), points), Sampler(Files(files | theirs, meta), points)
    voxels = np.stack(list(sampler))[recipe.dropped :][:, placed.inside[sampler.inside]]
    others = other.voxels[:, sampler.inside & placed.inside]
    sound = (voxels.std(0) > 0) & (others.std(0) > 0) & (others.mean(0) > 0) & (voxels.mean(0) > 0)
    us = quality(voxels[:, sound], drop(raw[:, kept], recipe))
    them = quality(others[:, sound], other.parcels[:, kept])
    far = np.linalg.norm(places(files, points) - places(files | theirs, points), axis=1)
    index = np.unique(labels[labels > 0], return_inverse=True)[1]
    apart = np.bincount(index, far) / np.bincount(index)
    columns = np.flatnonzero(kept)
    return {
        "r": spread(r),
        "r_middle": spread(correlations(mine[middle], other.filtered[:, kept][middle])),
        "below_0.9": int((r < 0.9).sum()),
        "parcels": int(kept.sum()),
        "missing": int((~kept).sum()),
        "ours": us,
        "peer": them,
        "ratio": {key: us[key] / them[key] for key in us},
        "apart_mm": spread(apart[kept]) | {"max": float(apart[kept].max())},
        "r_one_filter_with_apart": float(np.corrcoef(same, apart[kept])[0, 1]),
        "r_one_filter_with_coverage": float(np.corrcoef(same, coverage[kept])[0, 1]),
        "worst": [
            {"parcel": names[columns[i]], "r": float(r[i]), "r_one_filter": float(same[i]),
             "coverage": float(coverage[columns[i]]), "apart_mm": float(apart[columns[i]])}
            for i in np.argsort(r)[:WORST]
        ],
        "ablation": ablation,
    }  # fmt: skip


def run(options: Namespace, folder: Path) -> dict[str, Any]:
    """Both sides of one recording."""
    root = next(options.bids_dir.glob(f"sub-{options.subject or '*'}"))
    known = {"bold": sorted(root.glob("**/func/*_bold.nii.gz"))[0], "t1w": sorted(root.glob("**/anat/*_T1w.nii.gz"))[0]}
    own = {"name": "given", "path": options.template, "brain": options.brain}
    known |= call(template.STAGE, Files({}), folder / "template", **own)[0]
    known |= call(atlas.STAGE, Files(known), folder / "atlas", name="given", path=options.atlas)[0]
    header: Any = nib.load(known["bold"]).header
    meta = {"id": known["bold"].name.removesuffix("_bold.nii.gz"),
            "metadata": {"RepetitionTime": float(header.get_zooms()[3])}}  # fmt: skip
    files, seconds = ours(known, meta, folder)
    recipe = Recipe.load(files["filter_recipe"])
    other = peer(known, recipe, folder / "peer", options.interpolator)
    return compare(files, other, meta, folder) | {
        "cpu_s": {"ours": seconds, "peer": other.cpu_s},
        "conditions": {
            "recording": meta["id"], "shape": header.get_data_shape(), "tr_s": recipe.tr_s, "dropped": recipe.dropped,
            "low_hz": recipe.low_hz, "interpolator": options.interpolator,
            "template": options.template.name, "atlas": options.atlas.name,
        },
    }  # fmt: skip


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("--subject", help="label without sub-; the first, if not given")
    parser.add_argument("--template", type=Path, required=True, help="T1w template with skull")
    parser.add_argument("--brain", type=Path, required=True, help="the same without skull, or its mask")
    parser.add_argument("--atlas", type=Path, required=True, help="label image in the template's space")
    parser.add_argument("--interpolator", default="bSpline", help="of ants.apply_transforms; linear is quicker")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tools.show(run(options, Path(name)), options.json)


if __name__ == "__main__":
    main()
