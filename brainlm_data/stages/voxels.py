"""voxels: denoised time courses of single voxels of a region, for decoding what was seen.

The same interpolation of the raw image and the same temporal operators as those of the parcel series, at the atlas's
voxels. Nothing asks for it but stage trials.
"""

from __future__ import annotations

import re
import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.arrays import reads_arrays
from brainlm_data.files.reads import reads
from brainlm_data.methods.courses import Courses
from brainlm_data.paths import INTERPOLATED, INTERPOLATED_OPTIONAL
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig

STEPS = 32000  # of int16, from 0 to the largest value of a voxel
SHOWN = 8  # names in a message


class Config(StageConfig):
    """The region, in template space, on the grid of the atlas."""

    parcels: list[str] = Field(
        ["Visual*"],
        description="parcels of the atlas by name or by network, * is any text; []: all that stage sample looks at",
    )
    mask: Path | None = Field(None, description="image in template space, in place of parcels: where it is above 0")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the series (see `Voxels`), and a copy of the events where the recording has some.

    Raises
    ------
    Refused: no voxel of the region is in the field of view; or unreadable or truncated run.
    InputError: nothing of the atlas has such a name, or the mask is empty.
    """
    from brainlm_data.methods.operators import Temporal
    from brainlm_data.methods.sampling import Sampler

    facts = inputs.facts("parcels_raw")
    wanted, grid = _region(inputs, config)
    sampler = Sampler(inputs, grid.points(wanted), facts["Interpolation"] == "cubic")
    count, total = int(sampler.inside.sum()), sampler.run.n_volumes
    if not count:
        raise Refused(f"{inputs['bold']}: no voxel of the region is in its field of view", "another region, or no run")
    temporal = Temporal.load(inputs["filter_recipe"], inputs["denoise_recipe"], float(facts["GrandMean"]))
    first = temporal.recipe.dropped
    stored, slope = np.zeros((total - first, count), np.int16), np.zeros(count, np.float32)
    with Courses(outputs["voxels"].parent, total, count) as courses:
        for volume, values in enumerate(sampler):
            courses[volume] = values
        for places, block in courses.blocks():
            series = temporal.apply(block.T)[first:]
            slope[places] = np.maximum(np.abs(series).max(0), np.finfo(np.float32).tiny * STEPS) / STEPS
            stored[:, places] = np.rint(series / slope[places])
    np.savez_compressed(
        outputs["voxels"],
        series=stored,
        slope=slope,
        ijk=np.argwhere(wanted)[sampler.inside].astype(np.int16),
        shape=np.array(grid.shape),
        affine=grid.affine,
    )
    events = [path for name, path in inputs.items() if name.endswith("events.tsv")]
    if events:
        shutil.copyfile(events[0], outputs["voxel_events"])
    return {
        "Region": str(config.mask) if config.mask else (config.parcels or "all"),
        "NumberOfVoxels": count,
        "VoxelsOutOfView": int(wanted.sum()) - count,
        "FirstVolume": first,
        "SamplingFrequency": 1 / float(facts["RepetitionTime"]),
        "HasEvents": bool(events),
        "voxels": {"Units": "grand mean of the recording scaled to 10000", "Stored": "series x slope"},
    }


def _region(inputs: Files, config: Config) -> tuple[NDArray[np.bool_], Any]:
    """Which voxels of the atlas's grid are wanted, and the grid."""
    import pandas as pd

    from brainlm_data.methods.sampling import Grid, pick, read
    from brainlm_data.reading.image import load_output

    atlas = load_output(inputs["atlas_dseg"])
    labels, grid = np.asarray(atlas.dataobj).astype(np.int64), Grid.of(atlas)
    if config.mask is not None:
        return _inside(config.mask, grid, str(inputs.facts("parcels_raw")["Space"])), grid
    if not config.parcels:
        template, template_grid = read(inputs["template_mask"])
        return (labels > 0) | (pick(template, template_grid, grid.points()) > 0.5).reshape(grid.shape), grid
    with reads(inputs["atlas_table"]):
        table = pd.read_csv(inputs["atlas_table"], sep="\t", keep_default_na=False, dtype=str)
    called = list(zip(table["name"], table["network"], strict=True))
    chosen = np.zeros(len(table), bool)
    for pattern in config.parcels:
        found = np.array([fnmatchcase(name, pattern) or fnmatchcase(network, pattern) for name, network in called])
        if not found.any():
            networks = ", ".join(sorted(set(table["network"]))[:SHOWN])
            raise InputError(
                f"voxels.parcels: nothing of the atlas is called {pattern!r}", f"its networks are {networks}"
            )
        chosen |= found
    return np.isin(labels, table["index"].astype(np.int64)[chosen]), grid


def _inside(path: Path, grid: Any, space: str) -> NDArray[np.bool_]:
    """Which voxels of a grid lie where a mask is above 0. Raises InputError where it is none, or of another space."""
    from brainlm_data.methods.sampling import pick, read

    named = re.search(r"(?:^|_)space-([A-Za-z0-9]+)", path.name)
    if named and named[1] != space:
        raise InputError(f"{path}: a mask in space {named[1]}, the series are in {space}", "give one in that space")
    with reads(path, "an image in template space"):
        mask, mask_grid = read(path)
        if mask.ndim != 3:
            raise ValueError(f"an image of shape {mask.shape}, not 3-D")
    chosen = pick((mask > 0).astype(np.float32), mask_grid, grid.points()) > 0.5
    if not chosen.any():
        raise InputError(f"{path}: no voxel of it is above 0 on the atlas's grid", "is it in template space?")
    return np.asarray(chosen.reshape(grid.shape))


class Voxels:
    """What stage voxels wrote of a recording.

    Attributes
    ----------
    places: (V,) number of each voxel on the grid, in C order. shape, affine: of the grid.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError where the file is damaged."""
        with reads_arrays(path) as arrays:
            self._stored, self._slope = arrays["series"], arrays["slope"]
            self.shape = tuple(int(n) for n in arrays["shape"])
            self.affine = arrays["affine"]
            self.places = np.ravel_multi_index(tuple(arrays["ijk"].T.astype(np.int64)), self.shape)
            if self._stored.shape[1:] != self._slope.shape or self.places.shape != self._slope.shape:
                raise ValueError(f"series of shape {self._stored.shape} with {len(self._slope)} slopes")
            if self._stored.dtype != np.int16 or self._slope.dtype != np.float32 or not np.isfinite(self._slope).all():
                raise ValueError(f"series {self._stored.dtype}, slopes {self._slope.dtype}, or not all finite")
            if (np.diff(self.places) <= 0).any() or self.affine.shape != (4, 4):
                raise ValueError("voxels that are not in the order of the grid")

    def series(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(T, len(places)) of voxels that are among `places`, from the first volume after those that were dropped."""
        columns = np.searchsorted(self.places, places)
        return self._stored[:, columns] * self._slope[columns]


def describe(facts: Facts) -> str:
    """Methods sentence."""
    region = facts["Region"]
    where = ", ".join(region) if isinstance(region, list) else region
    return Sentence(
        "Time courses of {voxels} voxels (region: {where}) were interpolated once and denoised as the parcel series.",
        voxels=facts["NumberOfVoxels"],
        where=where,
    )


STAGE = Stage(
    name="voxels",
    version=2,
    level="recording",
    summary="Write denoised time courses of the voxels of a region (visual cortex), for decoding.",
    Config=Config,
    inputs=(
        *INTERPOLATED, "atlas_dseg", "atlas_table", "template_mask", "parcels_raw", "filter_recipe", "denoise_recipe",
    ),
    outputs=("voxels", "voxel_events"),
    run=run,
    describe=describe,
    optional=(*INTERPOLATED_OPTIONAL, "voxel_events"),
    told=("echo", "echo_files", "events_files"),
    goes_without=("distortion",),
    on_demand=True,
    routes=("native",),
    need=Need(1500, 0.5, 30, 0.1, disk_mb=5, disk_mb_per_mb=0.1),
)  # fmt: skip
