"""Parcellations: the one that this package makes itself, A424, and any other label image.

The embedded parcellation (`demo424`) is made from the MNI152NLin2009aSym grey-matter map that nilearn bundles: cortex,
subcortex and cerebellum, left and right apart, each cut into compact parcels of about equal size. Seeds come from
farthest-point sampling and are refined by Lloyd's algorithm. All coordinates are multiples of 1/8 mm, so that every
distance is exact in any order of summation, and the parcels are the same on every machine. Its networks are a
geometric stand-in: the nearest of a few prototype points around which the literature's seven cortical networks lie.
They are not Yeo's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import nibabel as nib
    import pandas as pd

SPACE = "MNI152NLin2009aSym"
COUNTS = {"cortex": 180, "subcortex": 18, "cerebellum": 14}  # a hemisphere: 2 x 212 = 424
GREY = 0.35  # grey-matter probability of a voxel that belongs to a parcel
PASSES = 12
STAND_IN = "stand-in"  # beside the name of each network, wherever it is shown

# |x|, y, z in mm
PROTOTYPES: dict[str, list[tuple[int, int, int]]] = {
    "Visual": [(10, -80, 5), (28, -88, 10), (20, -70, -8), (42, -75, 0)],
    "Somatomotor": [(38, -22, 56), (10, -25, 65), (55, -8, 25), (55, -22, 10), (20, -60, -24)],
    "DorsalAttention": [(26, -58, 55), (30, -4, 55), (50, -60, -6), (38, -40, 48)],
    "VentralAttention": [(38, 16, 2), (6, 14, 46), (58, -36, 28), (30, 45, 28)],
    "Limbic": [(26, 10, -30), (10, 28, -18), (36, -12, -34), (24, -12, -18), (14, 6, 4)],
    "Frontoparietal": [(42, 30, 24), (46, -50, 46), (40, 50, -2), (12, -14, 8), (36, -68, -40)],
    "Default": [(6, 50, 12), (6, -52, 28), (46, -66, 34), (60, -14, -16), (22, 30, 48)],
}


@lru_cache(maxsize=1)
def embedded_atlas() -> tuple[nib.Nifti1Image, pd.DataFrame]:
    """The embedded 424-parcel atlas: label image (int32, 2 mm, MNI152NLin2009aSym) and its table.

    Table columns: index, name, hemisphere (L, R), network, x, y, z (mm), n_voxels.
    """
    import nibabel as nib
    import pandas as pd
    from nilearn.datasets import load_mni152_gm_template

    source = load_mni152_gm_template(resolution=1)
    grey = np.asarray(source.dataobj)[::2, ::2, ::2] > GREY
    affine = source.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    voxels = np.argwhere(grey)
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    region = _regions(points)
    labels = np.zeros(grey.shape, np.int32)
    rows, index = [], 0
    for hemisphere, side in (("L", points[:, 0] < 0), ("R", points[:, 0] >= 0)):
        for name, count in COUNTS.items():
            chosen = np.flatnonzero(side & (region == name))
            nearest, centres = _compact(points[chosen], count)
            for parcel in range(count):
                index += 1
                members = chosen[nearest == parcel]
                labels[tuple(voxels[members].T)] = index
                x, y, z = centres[parcel]
                rows.append((index, f"{hemisphere}_{name}_{parcel + 1:03d}", hemisphere, _network(centres[parcel]),
                             x, y, z, len(members)))  # fmt: skip
    table = pd.DataFrame(rows, columns=["index", "name", "hemisphere", "network", "x", "y", "z", "n_voxels"])
    image = nib.Nifti1Image(labels, affine)
    image.header.set_xyzt_units("mm")
    return image, table


def _regions(points: NDArray[np.float64]) -> NDArray[np.str_]:
    """Cortex, subcortex or cerebellum of points (n, 3), by geometry: an ellipsoid, and a tilted plane as tentorium."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    cerebellum = (y < -36) & (z < -12 - 0.3 * x)
    inside = (x / 33) ** 2 + ((y + 8) / 28) ** 2 + (z / 18) ** 2 < 1
    stem = (x < 14) & (y > -46) & (y < -8) & (z < -8)
    return np.where(cerebellum, "cerebellum", np.where(inside | stem, "subcortex", "cortex"))


def _compact(points: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nearest centre of each point, and the centres, rounded to 1/8 mm so that squared distances are exact."""
    centres = points[_farthest(points, count)]
    nearest = np.zeros(len(points), np.int64)
    # Lloyd's algorithm: each point to its nearest centre, each centre to the mean of its points, again and again.
    for _ in range(PASSES):
        nearest = ((centres**2).sum(1) - 2 * points @ centres.T).argmin(1)  # squared distance, less the point's own
        sums = np.stack([np.bincount(nearest, points[:, axis], count) for axis in range(3)], 1)
        centres = np.round(8 * sums / np.bincount(nearest, minlength=count)[:, None]) / 8
    return nearest, centres


def _farthest(points: NDArray[np.float64], count: int) -> list[int]:
    """Indices of points that are far from each other, starting at the first one in the most posterior plane."""
    chosen = [int(points[:, 1].argmin())]
    squared = np.full(len(points), np.inf)
    for _ in range(count - 1):
        squared = np.minimum(squared, ((points - points[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(squared.argmax()))
    return chosen


def _network(centre: NDArray[np.float64]) -> str:
    """The network whose prototype is nearest, the two hemispheres folded together."""
    folded = np.abs(centre) * [1, 0, 0] + centre * [0, 1, 1]
    distance = {}
    for name, places in PROTOTYPES.items():
        distance[name] = ((folded - np.array(places)) ** 2).sum(1).min()
    return f"{min(distance, key=distance.__getitem__)} ({STAND_IN})"
