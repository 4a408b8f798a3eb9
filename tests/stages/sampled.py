"""What stages sample and keep need besides a run: a small atlas, a template, and a known route to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import read_table
from brainlm_data.methods import rigid
from brainlm_data.runner.call import call
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import sample

ROUTE = rigid.about(np.array([0.05, -0.1, 0.08]), np.array([3.0, -2.0, 4.0]), np.zeros(3))  # template -> boldref
GRID = np.diag([2.0, 2.0, 2.0, 1.0])
GRID[:3, 3] = [-44, -50, -40]
GRID_SHAPE = (45, 51, 41)
OUTPUTS = {
    "parcels_raw": "raw_timeseries.tsv", "coverage": "coverage.tsv", "voxel_sample": "sample_bold.nii.gz",
    "sample_mask": "sample_mask.nii.gz", "sample_probseg": "probseg.nii.gz",
}  # fmt: skip


def to_boldref(_: Files, points: NDArray[Any]) -> NDArray[Any]:
    """Stands in for the registration: a known rigid route."""
    return points @ ROUTE[:3, :3].T + ROUTE[:3, 3]


def prepare(folder: Path, bold: Path, motion: NDArray[Any], reference: NDArray[Any]) -> Files:
    """Inputs of stage sample, at known motion."""
    grid = np.indices(GRID_SHAPE).reshape(3, -1).T @ GRID[:3, :3].T + GRID[:3, 3]
    inside = ((grid / [36, 42, 32]) ** 2).sum(1).reshape(GRID_SHAPE) < 1
    labels = np.zeros(GRID_SHAPE, np.int32)
    blocks = (grid // 16).astype(int)
    names = {block: 2 * i + 3 for i, block in enumerate(sorted({tuple(b) for b in blocks[inside.ravel()]}))}
    labels[inside] = [names[tuple(b)] for b in blocks[inside.ravel()]]
    paths = {}

    def put(name: str, data: NDArray[Any], affine: NDArray[Any], **facts: Any) -> None:
        paths[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(data, affine), paths[name])
        write_facts(paths[name], facts)

    put("atlas_dseg", labels, GRID)
    put("template_mask", inside.astype(np.uint8), GRID, Space="Phantom")
    tissue = inside[..., None] * np.array([0.5, 0.3, 0.2], np.float32)
    put("template_probseg", tissue.astype(np.float32), GRID)
    put("template_t1w", inside.astype(np.float32), GRID)
    affine = nib.load(bold).affine
    put("boldref", reference.astype(np.float32), affine)
    put("bold_mask", (reference > 300).astype(np.uint8), affine)
    rows = [f"{v}\tP{v}\tL\tNet\t0\t0\t0\t{(labels == v).sum()}" for v in sorted(names.values())]
    paths["atlas_table"] = folder / "atlas.tsv"
    paths["atlas_table"].write_text("\n".join(["index\tname\themisphere\tnetwork\tx\ty\tz\tn_voxels", *rows]) + "\n")
    write_facts(paths["atlas_table"], {"AtlasName": "blocks"})
    paths["motion_params"], paths["motion_xfm"] = folder / "m.tsv", folder / "x.txt"
    paths["motion_params"].write_text("")
    write_facts(paths["motion_params"], {"RepetitionTime": 2.0, "EmptyVolumes": [], "Warnings": ["careful"]})
    rigid.write_itk(paths["motion_xfm"], motion)
    paths["bold_to_mni"] = folder / "unused.h5"
    paths["bold_to_mni"].touch()
    return Files({**paths, "bold": bold}, {"id": "x", "metadata": {}})


def run(inputs: Files, **section: Any) -> tuple[Facts, Files]:
    """Stage sample into a folder of its own."""
    folder = inputs["atlas_table"].parent / "out"
    outputs = Files({name: folder / file for name, file in OUTPUTS.items()})
    return call(sample.STAGE, inputs, outputs, sample.Config(**section)), outputs


def series(outputs: Files) -> NDArray[np.float64]:
    """The parcel series, (T, parcels)."""
    return read_table(outputs["parcels_raw"])[1]
