"""keep: 4-D NIfTI in template space, only where the config asks for it.

Written by the same operators that make the parcel series: the same interpolation of the raw image, the same temporal
operators. No stage reads these files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from brainlm_data.methods.courses import Courses
from brainlm_data.paths import INTERPOLATED, INTERPOLATED_OPTIONAL
from brainlm_data.reading.image import Writer
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig

NOTHING = {"", "null", "none", "~"}


class Config(StageConfig):
    """Which 4-D images to write: `keep: [preproc, denoised]`, or `keep: {images: [...]}`."""

    images: list[Literal["preproc", "denoised"]] = Field(
        [], description="preproc: motion-corrected, normalized; denoised: filtered and denoised as the parcels are"
    )

    # A "before" validator of a subclass runs before its base's, so StageConfig sees a mapping.
    @model_validator(mode="before")
    @classmethod
    def _plain_list(cls, data: Any) -> Any:
        section = dict(data) if isinstance(data, Mapping) else {"images": data}
        names = section.get("images")
        if isinstance(names, str):  # `--config keep=preproc` and the words for null
            names = [word for word in (w.strip() for w in names.strip("[]").split(",")) if word not in NOTHING]
        return {**section, "images": [] if names is None else names}

    @property
    def is_on(self) -> bool:
        """False where nothing is to be written; the stage is then no target."""
        return bool(self.images)


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the images asked for: float32, on the atlas grid, within the brain mask and the parcels.

    Voxels outside the field of view in any volume are 0; volumes that the filter dropped are NaN in `denoised`.
    Time courses pass through a scratch file, so memory does not grow with the number of volumes.

    Raises
    ------
    Refused: unreadable or truncated run.
    """
    facts = inputs.facts("parcels_raw")
    tr = float(facts["RepetitionTime"])
    if config.images:
        _write(inputs, outputs, config, tr, facts)
    return {
        "Images": sorted(config.images),
        "Interpolation": facts["Interpolation"],
        "keep_preproc": {"Units": "scanner units"},
        "keep_denoised": {"Units": "grand mean of the recording scaled to 10000"},
    }


def _write(inputs: Files, outputs: Files, config: Config, tr: float, facts: Facts) -> None:
    from brainlm_data.methods.sampling import Sampler, pick, read

    labels, grid = read(inputs["atlas_dseg"])
    template, template_grid = read(inputs["template_mask"])
    wanted = (labels > 0) | (pick(template, template_grid, grid.points()) > 0.5).reshape(grid.shape)
    sampler = Sampler(inputs, grid.points(wanted), facts["Interpolation"] == "cubic")
    place = np.flatnonzero(wanted)[sampler.inside]
    total = sampler.run.n_volumes
    image = np.zeros(grid.shape, np.float32)

    def write(path: Path, rows: Any) -> None:
        with Writer(path, (*grid.shape, total), grid.affine, np.float32, tr) as out:
            for row in rows:
                image.flat[place] = row
                out.add(image)

    if "denoised" not in config.images:
        return write(outputs["keep_preproc"], sampler)
    from brainlm_data.methods.operators import Temporal

    temporal = Temporal.load(inputs["filter_recipe"], inputs["denoise_recipe"], float(facts["GrandMean"]))
    with Courses(outputs["keep_denoised"].parent, total, len(place)) as courses:
        for t, values in enumerate(sampler):
            courses[t] = values
        if "preproc" in config.images:
            write(outputs["keep_preproc"], courses)
        for places, block in courses.blocks():
            courses.replace(places, temporal.apply(block.T).T)
        write(outputs["keep_denoised"], courses)


def describe(facts: Facts) -> str:
    """Methods sentence; empty where nothing was written."""
    if not facts["Images"]:
        return ""
    return f"4-D images ({', '.join(facts['Images'])}) were written in {facts['Space']} space."


STAGE = Stage(
    name="keep",
    version=4,
    level="recording",
    summary="Write 4-D NIfTI in template space, where asked for (keep: [preproc, denoised]).",
    Config=Config,
    inputs=(*INTERPOLATED, "atlas_dseg", "template_mask", "parcels_raw", "filter_recipe", "denoise_recipe"),
    outputs=("keep_preproc", "keep_denoised"),
    run=run,
    describe=describe,
    optional=(*INTERPOLATED_OPTIONAL, "keep_preproc", "keep_denoised"),
    told=("echo", "echo_files"),
    goes_without=("distortion",),
    routes=("native",),
    need=Need(1200, 0.2, 60, 1, disk_mb_per_mb=8),
)  # fmt: skip
