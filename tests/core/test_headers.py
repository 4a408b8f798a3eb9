"""What a NIfTI header says of the image: its format, orientation, units and intent."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.errors import Refused
from brainlm_data.reading.image import Run
from tests.core.test_volumes import SOME, header_of, save


@pytest.mark.parametrize(
    ("name", "kind"), [("a.img", "Nifti1Pair"), ("a.hdr", "Nifti1Pair"), ("a.mgz", "MGHImage"), ("a.mgh", "MGHImage")]
)
def test_other_formats_are_refused_by_their_name(tmp_path: Path, name: str, kind: str) -> None:
    image = nib.MGHImage if kind == "MGHImage" else nib.Nifti1Pair
    nib.save(image(SOME, np.eye(4)), tmp_path / (name if name != "a.hdr" else "a.img"))
    with pytest.raises(Refused, match=rf"{name}: {kind}, not one NIfTI file -> convert it to \.nii\.gz"):
        Run(tmp_path / name)


def test_a_surface_series_is_refused(tmp_path: Path) -> None:
    axes = nib.cifti2.SeriesAxis(0, 1, 4), nib.cifti2.ScalarAxis(["a", "b"])
    nib.save(nib.Cifti2Image(np.zeros((4, 2), np.float32), axes), tmp_path / "a.dtseries.nii")
    with pytest.raises(Refused, match=r"a\.dtseries\.nii: Cifti2Image, not one NIfTI file"):
        Run(tmp_path / "a.dtseries.nii")


@pytest.mark.parametrize(("qform", "corner"), [((0, 0, 0), None), ((0.5, 0, 0), None), ((3, 4, 0), "5.0 mm")])
def test_two_orientations_that_differ(tmp_path: Path, qform: tuple[float, float, float], corner: str | None) -> None:
    """The sform is taken, as nibabel does; a difference of a millimetre at a corner of the image is said."""
    image, moved = nib.Nifti1Image(SOME, np.diag([2.0, 2, 2, 1])), np.diag([2.0, 2, 2, 1])
    moved[:3, 3] = qform
    image.header.set_qform(moved, code=1)
    image.header.set_sform(np.diag([2.0, 2, 2, 1]), code=1)
    nib.save(image, tmp_path / "a.nii.gz")
    run = Run(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(run.affine, np.diag([2, 2, 2, 1]))
    said = [f"qform and sform of the NIfTI header place its corners up to {corner} apart; the sform is used"]
    assert run.warnings == (said if corner else []) and run.has_orientation


@pytest.mark.parametrize(("codes", "taken"), [((1, 0), "qform"), ((0, 1), "sform"), ((0, 0), "neither")])
def test_one_orientation_or_none(tmp_path: Path, codes: tuple[int, int], taken: str) -> None:
    places = {"qform": np.diag([2.0, 2, 2, 1]), "sform": np.diag([3.0, 3, 3, 1])}
    image = nib.Nifti1Image(SOME, None)
    image.header["pixdim"][1:4] = 2
    for name, code in zip(("qform", "sform"), codes, strict=True):
        if code:
            getattr(image.header, f"set_{name}")(places[name], code=code)
    nib.save(image, tmp_path / "a.nii.gz")
    run = Run(tmp_path / "a.nii.gz")
    assert run.warnings == [] and run.has_orientation == (taken != "neither")
    np.testing.assert_array_equal(np.abs(run.affine[:3, :3]), places.get(taken, places["qform"])[:3, :3])


def test_a_qform_that_is_none(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", SOME)
    path = header_of(header_of(path, "sform_code", 1), "qform_code", 1)
    for name in ("quatern_b", "quatern_c", "quatern_d"):
        header_of(path, name, 0.9)
    assert Run(path).warnings == ["the NIfTI header's qform is not valid; the sform is used"]


@pytest.mark.parametrize(
    ("unit", "stored", "size", "said"),
    [("mm", 2.0, 2.0, None), ("unknown", 2.0, 2.0, None), ("meter", 0.002, 2.0, "meters (voxels of 0.002 x 0.002 x"),
     ("micron", 2000.0, 2.0, "lengths were made mm"), ("micron", 2.0, 2.0, "which cannot be: taken as mm"),
     ("meter", 3.5, 3.5, "which cannot be: taken as mm")],
)  # fmt: skip
def test_units_of_length(tmp_path: Path, unit: str, stored: float, size: float, said: str | None) -> None:
    affine = np.diag([stored, stored, stored, 1])
    affine[:3, 3] = -4 * stored
    image = nib.Nifti1Image(SOME, affine)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, tmp_path / "a.nii.gz")
    run = Run(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(run.zooms, size, rtol=1e-6)
    np.testing.assert_allclose(run.affine[:3, 3], -4 * size, rtol=1e-6)
    assert [said in w for w in run.warnings] == [True] if said else run.warnings == []


@pytest.mark.parametrize(("code", "said"), [(0, ""), (2001, ""), (1001, ""), (1002, "code is 1002"), (5, "code is 5")])
def test_intent(tmp_path: Path, code: int, said: str) -> None:
    run = Run(header_of(save(tmp_path / "a.nii", SOME), "intent_code", code))
    assert [said in w for w in run.warnings] == ([True] if said else [])


def test_vectors_are_no_series(tmp_path: Path) -> None:
    """A displacement field (x, y, z, 1, 3) has the shape of three volumes."""
    path = save(tmp_path / "a.nii", np.zeros((4, 5, 6, 1, 3), np.float32))
    with pytest.raises(Refused, match="intent code 1006 says vectors"):
        Run(header_of(path, "intent_code", 1006))
