"""Tissues of a real recording beside another tool's: the CSF and white-matter confounds, and how large white matter is.

    python -m benchmarks.tissues BIDS OUTDIR --json [--recording ID]

OUTDIR holds what stages anat to confounds made of BIDS. The other side is ANTs' Atropos by itself: k-means of the T1w
into three classes, without priors. As in fMRIPrep, its masks are voxels of 2 mm that are almost certainly CSF or white
matter (above .95), eroded by one voxel; the signal is their mean, in the raw volumes, at places that head motion and
coregistration give, trilinear. Nothing of our tissue maps, the normalization or the voxel sample is in it.

* csf_r, white_matter_r: correlation of our confound columns with those signals, a quadratic trend removed from both.
* wm_share: white matter, of grey and white matter together, ours (sum of probabilities); kmeans_wm_share: k-means'.
* wm_over_gm: the same as a ratio; tools with priors (SPM, FAST) have .6 to .7 for young adults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.tools import one_thread, parser, show

one_thread()

# ruff: noqa: E402
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainlm_data.files.tables import read_table
from brainlm_data.methods import lean, rigid
from brainlm_data.methods import registration as reg
from brainlm_data.reading.image import Run, load_output

GRID_MM, SURE = 2.0, 0.95
CLASSES = {"csf": 0, "white_matter": 2}  # of k-means on a T1w, from dark to bright
Array = NDArray[Any]


def image(path: Path) -> tuple[Array, Array]:
    """Values and affine."""
    loaded = load_output(path)
    return np.asarray(loaded.dataobj, np.float32), np.asarray(loaded.affine, np.float64)


def k_means(t1w: Path, mask: Path) -> tuple[Array, Array]:
    """Probabilities (3, x, y, z) of the classes from dark to bright within a mask, and their affine."""
    ants = lean.antspyx()
    inside = reg.working_mask(*image(mask), GRID_MM)
    box = reg.box_around(inside, 2 * GRID_MM)
    head = reg.part(reg.working(*image(t1w), GRID_MM), box)
    with reg.scratch():
        found = ants.atropos(a=head, x=reg.part(inside, box), i="kmeans[3]", m="[0.1,1x1x1]", c="[5,0]")
    return np.stack([shares.numpy() for shares in found["probabilityimages"]]), reg.affine_of(head)


def signals(bold: Path, motion: Array, points: dict[str, Array]) -> dict[str, Array]:
    """Means over points of the reference (n, 3; RAS mm) in every volume, where the head has moved to."""
    run = Run(bold)
    inverse = np.linalg.inv(run.affine)
    means: dict[str, list[float]] = {name: [] for name in points}
    for volume, matrix in zip(run, motion, strict=True):
        to_voxel = inverse @ matrix
        for name, places in points.items():
            voxels = places @ to_voxel[:3, :3].T + to_voxel[:3, 3]
            values = ndimage.map_coordinates(volume, voxels.T, order=1, cval=np.nan)
            means[name].append(float(np.nanmean(values)))
    return {name: np.array(values) for name, values in means.items()}


def detrended(series: Array) -> Array:
    """What a quadratic trend leaves."""
    trend = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(series)), 2)
    return series - trend @ np.linalg.lstsq(trend, series, rcond=None)[0]


def main() -> None:
    """One JSON object."""
    wanted = parser(__doc__)
    wanted.add_argument("bids", type=Path)
    wanted.add_argument("outdir", type=Path)
    wanted.add_argument("--recording", help="default: the first that there is")
    options = wanted.parse_args()
    confounds = sorted(options.outdir.glob("derivatives/sub-*/**/*_desc-confounds_timeseries.tsv"))
    table = next(path for path in confounds if not options.recording or path.name.startswith(options.recording))
    recording = table.name.removesuffix("_desc-confounds_timeseries.tsv")
    subject = recording.split("_")[0]
    anatomy, functional = options.outdir / "derivatives" / subject / "anat", table.parent
    bold = next(options.bids.glob(f"{subject}/**/{recording}_bold.nii*"))

    shares, affine = k_means(
        next(anatomy.glob(f"{subject}_desc-preproc_T1w.nii.gz")), next(anatomy.glob("*_desc-brain_mask.nii.gz"))
    )
    to_boldref = rigid.read_itk(next(functional.glob(f"{recording}_*desc-coreg_xfm.txt")))[0]
    points = {}
    for name, number in CLASSES.items():
        sure = ndimage.binary_erosion(shares[number] > SURE)
        places = np.argwhere(sure) @ affine[:3, :3].T + affine[:3, 3]
        points[name] = places @ to_boldref[:3, :3].T + to_boldref[:3, 3]
    motion = rigid.read_itk(next(functional.glob(f"{recording}_*desc-hmc_xfm.txt")))
    theirs = signals(bold, motion, points)
    names, columns = read_table(table)
    steady = int(load_sidecar(table).get("NumberOfNonSteadyStates", 0))
    result: dict[str, Any] = {}
    for name, series in theirs.items():
        ours = columns[steady:, names.index(name)]
        result[f"{name}_r"] = float(np.corrcoef(detrended(ours), detrended(series[steady:]))[0, 1])
    grey, white = (float(image(next(anatomy.glob(f"*_label-{kind}_probseg.nii.gz")))[0].sum()) for kind in ("GM", "WM"))
    result |= {
        "wm_share": white / (grey + white),
        "wm_over_gm": white / grey,
        "kmeans_wm_share": float(shares[2].sum() / shares[1:].sum()),
        "voxels": {name: len(places) for name, places in points.items()},
        "our_voxels": load_sidecar(table)["TissueVoxels"],
        "recording": recording,
    }
    show(result, options.json)


def load_sidecar(path: Path) -> dict[str, Any]:
    """The facts beside an output."""
    from brainlm_data.stage import Files

    return Files({"x": path}).facts("x")


if __name__ == "__main__":
    main()
