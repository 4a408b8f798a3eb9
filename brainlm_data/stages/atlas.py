"""atlas: the label image and its table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from pydantic import Field, model_validator

from brainlm_data.errors import InputError, did_you_mean
from brainlm_data.files.fetch import Wanted, obtain
from brainlm_data.files.reads import reads
from brainlm_data.files.sidecar import digest
from brainlm_data.reading.image import load_image, load_output
from brainlm_data.reading.labels import read_labels
from brainlm_data.spaces import demo424 as embedded
from brainlm_data.spaces.a424 import A424, A424_SPACE
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig

if TYPE_CHECKING:
    import pandas as pd

MARGIN_MM, INSIDE = 6.0, 0.8  # of the check that an atlas lies in the template's brain
LARGEST = 2**31 - 1  # label: that of int32
NAMES = ("A424", "demo424")  # atlases that come without a path
COLUMNS = ["index", "name", "hemisphere", "network", "x", "y", "z", "n_voxels"]


class Config(StageConfig):
    """Which parcellation."""

    name: str = Field(
        "A424",
        pattern=r"^[A-Za-z0-9]+$",
        description="A424 (downloaded once), demo424 (a geometric stand-in, made here), or, with `path`, any",
    )
    path: Path | None = Field(None, description="label image: integers; 0 is background")
    labels: Path | None = Field(None, description="TSV with columns index, name and, if known, network, hemisphere")
    space: str | None = Field(None, description="template space of `path`; null: assumed to be that of the template")
    allow_space_mismatch: bool = Field(False, description="accept an atlas in another MNI space, with a note")

    @model_validator(mode="after")
    def _known(self) -> Config:
        if self.path is None and self.name not in NAMES:
            meant = did_you_mean(self.name, NAMES)
            raise ValueError(f"name {self.name} is not known -> {meant or 'A424, demo424, or give atlas.path'}")
        return self


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the label image (int32) and its table.

    Raises
    ------
    InputError: the file cannot be had; its labels, grid or space are not what they must be.
    """
    template = inputs.facts("template_t1w")["Space"]
    atlas = parcellation(config, template)
    image, table, space = atlas.image, atlas.table, atlas.space
    if space != template and not config.allow_space_mismatch:
        raise InputError(
            f"atlas {config.name} is in {space}, the template is {template}",
            f"set template.name: {space}, or atlas.allow_space_mismatch: true (differences of some millimetres)",
        )
    _check_place(config.path, image, inputs["template_mask"])
    nib.save(image, outputs["atlas_dseg"])
    table[COLUMNS].to_csv(outputs["atlas_table"], sep="\t", index=False, float_format="%.4f")
    facts: Facts = {
        "AtlasName": config.name,
        "Source": atlas.source,
        "Sha256": atlas.sha256,
        "NumberOfParcels": len(table),
        "NetworkSource": atlas.networks,
    }
    warnings = []
    if space != template:
        facts["SpaceMismatch"] = f"atlas in {space}, template {template}"
        warnings.append(f"{facts['SpaceMismatch']}: differences of some millimetres are not corrected")
    if config.path is not None and config.name != "A424" and config.space is None:
        warnings.append(f"atlas.space is not set: atlas {config.name} was taken to be in {template}")
    return {**facts, "Warnings": warnings}


@dataclass(frozen=True)
class Parcellation:
    """A label image with its table (see `COLUMNS`), its template space, where it and its networks come from."""

    image: nib.Nifti1Image
    table: pd.DataFrame
    space: str
    source: str
    networks: str
    sha256: str


def parcellation(config: Config, template: str) -> Parcellation:
    """The parcellation that a configuration names. `template`: the space of one whose own is not stated.

    Raises
    ------
    InputError: the file cannot be had, or its labels are not what they must be.
    """
    if config.name == "demo424" and config.path is None:
        image, table = embedded.embedded_atlas()
        space, source, networks = embedded.SPACE, "made by this package", "geometric stand-in"
        sha = hashlib.sha256(np.asarray(image.dataobj).astype("<i4").tobytes()).hexdigest()
    else:
        a424 = config.name == "A424"
        path = config.path or obtain(A424, "atlas.path")
        image = _labels(path)
        space, source, sha = (A424_SPACE if a424 else config.space or template), path.name, digest(path)
        if a424:
            _check_a424(path, image)
        table, networks = _table(image, config, a424)
    return Parcellation(image, table, space, source, networks, sha)


def _labels(path: Path) -> nib.Nifti1Image:
    """A label image as int32. Raises InputError where it is not one."""
    image = load_image(path, InputError, "give a NIfTI label image: atlas.path")
    data = np.squeeze(np.asarray(image.dataobj))
    if data.ndim != 3:
        raise InputError(f"{path}: shape {data.shape}, expected three dimensions", "give one label image, not maps")
    if not np.array_equal(data, np.round(data)) or data.min() < 0:
        raise InputError(f"{path}: holds values that are no labels (not whole, or negative)", "give integers, 0 = none")
    if data.max() == 0:
        raise InputError(f"{path}: holds no label", "give integers, 0 = none")
    if data.max() > LARGEST:
        raise InputError(f"{path}: label {data.max():.0f} is beyond {LARGEST}", "number the parcels anew, from 1")
    out = nib.Nifti1Image(data.astype(np.int32), image.affine)
    out.header.set_xyzt_units("mm")
    return out


def _check_place(path: Path | None, image: nib.Nifti1Image, mask_file: Path) -> None:
    """Most labelled voxels must lie in the template's brain, or the affine is wrong."""
    from scipy.ndimage import binary_dilation

    mask = load_output(mask_file)
    steps = round(MARGIN_MM / mask.header.get_zooms()[0])
    near = binary_dilation(np.asarray(mask.dataobj) > 0.5, iterations=steps)
    # labelled voxels of the atlas -> mm -> voxels of the mask, which may have another grid
    points = nib.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) > 0))
    place = np.round(nib.affines.apply_affine(np.linalg.inv(mask.affine), points)).astype(int)
    on_grid = ((place >= 0) & (place < near.shape)).all(1)
    share = float(near[tuple(place[on_grid].T)].sum() / len(place))
    if share < INSIDE:
        raise InputError(
            f"{path}: only {share:.0%} of its labelled voxels lie in the template's brain",
            "its affine is wrong, or it belongs to another space: fix the header, or set atlas.space",
        )


def _check_a424(path: Path, image: nib.Nifti1Image) -> None:
    """A424 must have exactly the labels 1 to 424, on the 2 mm grid of MNI152NLin6Asym."""
    labels = set(np.unique(np.asarray(image.dataobj)).tolist()) - {0}
    wrong = sorted(labels ^ set(range(1, 425)))
    if wrong:
        problem = "are missing" if wrong[0] not in labels else "are none of A424's"
        raise InputError(
            f"{path}: labels {', '.join(map(str, wrong[:5]))} {problem}",
            "use A424+2mm.nii.gz (A424.nii.gz lacks 120)",
        )
    expected = np.array([[-2, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    if image.shape != (91, 109, 91) or not np.allclose(image.affine, expected):
        raise InputError(f"{path}: grid {image.shape} is not that of A424+2mm.nii.gz", "use the published file")


def _measured(image: nib.Nifti1Image, name: str) -> pd.DataFrame:
    """One row per label: what the image itself says of it."""
    import pandas as pd

    data = np.asarray(image.dataobj)
    voxels = np.argwhere(data > 0)
    index, row, count = np.unique(data[data > 0], return_inverse=True, return_counts=True)
    # centroid: the mean voxel of a label, then to mm (the affine of a mean is the mean of the affine)
    sums = np.stack([np.bincount(row, voxels[:, axis]) for axis in range(3)], 1)
    centres = sums / count[:, None] @ image.affine[:3, :3].T + image.affine[:3, 3]
    # hemisphere: x < 0 is left in RAS; a label of which neither side has three quarters is bilateral
    x = voxels @ image.affine[0, :3] + image.affine[0, 3]
    left = np.bincount(row, x < 0) / count
    side = np.where(left > 0.75, "L", np.where(left < 0.25, "R", "B"))
    table = pd.DataFrame({"index": index, "name": [f"{name}_{i:03d}" for i in index], "hemisphere": side,
                          "network": "Unassigned", "n_voxels": count})  # fmt: skip
    table[["x", "y", "z"]] = centres
    return table


def _table(image: nib.Nifti1Image, config: Config, a424: bool) -> tuple[pd.DataFrame, str]:
    """What was measured on the image, with known names and networks; and where the networks come from."""
    import pandas as pd

    table = _measured(image, config.name)
    index = table["index"].to_numpy()
    known, source = None, "none"
    if config.labels is not None:
        known, source = _own_table(config.labels, index), config.labels.name
    elif a424:
        shipped = resources.files("brainlm_data") / "data" / "A424_networks.tsv"
        with resources.as_file(shipped) as path, reads(path, "install the package again"):
            known = pd.read_csv(path, sep="\t", comment="#")
        source = "majority of Yeo-7 (Yeo et al., 2011) over each parcel's voxels"
    if known is not None:  # a known value goes before a measured one
        extra = [column for column in ("name", "hemisphere", "network") if column in known]
        merged = table[["index"]].merge(known[["index", *extra]], on="index", how="left")
        for column in extra:
            table[column] = merged[column].fillna(table[column]).to_numpy()
    if table["name"].duplicated().any():
        twice = table.loc[table["name"].duplicated(), "name"].iloc[0]
        raise InputError(
            f"atlas.labels: name {twice} stands for two labels", "names are column headings: make them unique"
        )
    return table, source


def _own_table(path: Path, index: np.ndarray) -> pd.DataFrame:
    """The user's table, with a row for each label of the image."""
    known = read_labels(path)
    if "index" not in known:
        raise InputError(f"{path}: no column index", "give a TSV with columns index and name: atlas.labels")
    if not {"name", "network", "hemisphere"} & set(known):
        raise InputError(f"{path}: no column name, network or hemisphere: nothing of it would be used", "name them so")
    absent = sorted(set(index.tolist()) - set(known["index"]))
    if absent:
        raise InputError(f"{path}: no row for label {absent[0]} ({len(absent)} in all)", "one row per label")
    return known


def ahead(config: Config) -> list[Wanted]:
    """The published label image, where that is the atlas."""
    return [Wanted(A424, "atlas.path")] if config.name == "A424" and config.path is None else []


def describe(facts: Facts) -> str:
    """Methods sentence."""
    mismatch = f" ({facts['SpaceMismatch']}: their differences are not corrected)" if "SpaceMismatch" in facts else ""
    parcels = f"{facts['AtlasName']} with {facts['NumberOfParcels']} parcels ({facts['Source']})"
    return f"The parcellation was {parcels}{mismatch}."


STAGE = Stage(
    name="atlas",
    version=5,
    level="cohort",
    summary="Provide the parcellation: label image and table, checked against the template's space.",
    Config=Config,
    inputs=("template_t1w", "template_mask"),
    outputs=("atlas_dseg", "atlas_table"),
    run=run,
    describe=describe,
    ahead=ahead,
    routes=("native", "fmriprep"),
    need=Need(800),
    fills="seg",
)
