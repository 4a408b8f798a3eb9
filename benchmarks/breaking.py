"""Inputs of coreg, and ways to break them: for `benchmarks/broken.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring import affine
from brainlm_data.methods.rigid import about

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """Inputs of coreg, and the true map T1w -> EPI (None: there is none)."""

    kind: str
    name: str
    files: dict[str, Path]
    truth: Array | None
    moved: Array | None = None  # instead of registration: the transform that is judged


def rewritten(files: dict[str, Path], folder: Path, before: Array | None = None, part: slice | None = None,
              after: Array | None = None) -> dict[str, Path]:  # fmt: skip
    """EPI files with `before` applied to the header (voxels -> mm after it: `after`), and some slices only."""
    folder.mkdir(parents=True, exist_ok=True)
    out = dict(files)
    for name in ("boldref", "bold_mask"):
        image: Any = nib.load(files[name])
        image = image.slicer[:, :, part] if part else image
        header = image.affine if before is None else before @ image.affine
        out[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), header), out[name])
    return out


def turn(rng: np.random.Generator, degrees: float, mm: float, centre: Array) -> Array:
    """A rigid map by an angle about a random axis through `centre`, and a shift in a random direction."""
    axis, way = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    return about(np.deg2rad(degrees) * axis, mm * way, centre)


def brain_points(mask: Path) -> Array:
    image: Any = nib.load(mask)
    return affine(image.affine, np.argwhere(np.asarray(image.dataobj) > 0)[::97])


def broken_epi(name: str, files: dict[str, Path], truth: Array, number: int, folder: Path) -> Iterator[Case]:
    """The kinds that concern the EPI alone. Odd numbers lose the upper slices, even ones the lower."""
    rng = np.random.default_rng(number)
    image: Any = nib.load(files["boldref"])
    slices = image.shape[2]
    centre = brain_points(files["bold_mask"]).mean(0)
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[0, 3] = 2 * centre[0]
    yield Case("flipped", name, rewritten(files, folder / "flipped", mirror), None)
    for kind, kept in (("half", slices // 2), ("third", slices // 3)):
        part = slice(0, kept) if number % 2 else slice(slices - kept, slices)
        yield Case(kind, name, rewritten(files, folder / kind, part=part), truth)
    for kind, change in (
        ("turned", turn(rng, rng.uniform(20, 90), 0, centre)),
        ("shifted", turn(rng, 0, rng.uniform(30, 70), centre)),
    ):
        yield Case(kind, name, rewritten(files, folder / kind, change), change @ truth)
    middle = brain_points(files["t1w_mask"]).mean(0)
    for kind, degrees, mm in (("off_6mm", 0, 6), ("off_10mm", 0, 10), ("off_10deg", 10, 0), ("off_20deg", 20, 0)):
        yield Case(kind, name, files, truth, truth @ turn(rng, degrees, mm, middle))
