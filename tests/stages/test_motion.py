from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.errors import Refused
from brainlm_data.files.tables import read_table
from brainlm_data.methods import rigid
from brainlm_data.methods.reference import epi_mask
from brainlm_data.runner.call import call
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import motion
from tests.stages import phantom

NAMES = {"motion_params": "p.tsv", "motion_xfm": "x.txt", "boldref": "ref.nii.gz", "bold_mask": "mask.nii.gz"}


def estimate(
    bold: Path, metadata: dict[str, Any] | None = None, sbref: Path | None = None, **section: Any
) -> tuple[Facts, Files]:
    folder = bold.parent / f"{bold.name}-out"
    outputs = Files({name: folder / file for name, file in NAMES.items()})
    meta = {"id": "x", "metadata": {"RepetitionTime": 2.0} if metadata is None else metadata}
    config = motion.Config(**{"min_volumes": 1, **section})
    raw = {"bold": bold} | ({"sbref": sbref} if sbref else {})
    return call(motion.STAGE, Files(raw, meta), outputs, config), outputs


def test_known_motion_is_found(tmp_path: Path) -> None:
    truth = phantom.motions(phantom.walk(8))
    facts, out = estimate(phantom.save(tmp_path / "b.nii.gz", phantom.series(truth)))
    found = rigid.read_itk(out["motion_xfm"])
    mm, degrees = phantom.error(found, truth)
    assert mm < 0.02 and degrees < 0.03, (mm, degrees)
    # the parameters are those of the transforms, and FD follows the truth
    _, params = read_table(out["motion_params"])
    centre = np.zeros(3)
    expected = rigid.displacement(rigid.parameters(truth, phantom.AFFINE, phantom.SHAPE, centre))[1:]
    np.testing.assert_allclose(rigid.displacement(params)[1:], expected, atol=0.06)
    assert facts["MeanFramewiseDisplacement"] == pytest.approx(expected.mean(), abs=0.03)
    assert facts["PoorlyFittedVolumes"] == [] and facts["Warnings"] == []
    assert "8 volumes (TR 2 s)" in motion.describe(facts) and "2012" in motion.describe(facts)
    # the reference is where the transforms say: boldref -> volume 0, where the head is at rest
    mask = np.asarray(nib.load(out["bold_mask"]).dataobj) > 0
    grid = np.argwhere(mask) @ phantom.AFFINE[:3, :3].T + phantom.AFFINE[:3, 3]
    expected = phantom.head(grid @ found[0][:3, :3].T + found[0][:3, 3])
    seen = np.asarray(nib.load(out["boldref"]).dataobj)[mask]
    assert np.corrcoef(expected, seen)[0, 1] > 0.999


def test_large_jumps_and_spoilt_volumes(tmp_path: Path) -> None:
    params = np.zeros((14, 6))
    params[8:] = [3, 6, 7, np.deg2rad(8), 0, np.deg2rad(-4)]
    params[10:] = [-5, 2, -3, 0, np.deg2rad(-6), 0.02]
    truth = phantom.motions(params)
    data = phantom.series(truth)
    data[:, :, 8:12, 4] = 0  # slices lost
    data[:13, ..., 5] *= 0.3  # signal of half the head lost
    data[..., 6] *= 0.5  # gain
    data[..., 12] = 0  # nothing there
    facts, out = estimate(phantom.save(tmp_path / "b.nii.gz", data), reference="first")
    found = rigid.read_itk(out["motion_xfm"])
    good = [t for t in range(14) if t != 12]
    mm, degrees = phantom.error(found[good], truth[good])
    assert mm < 0.15 and degrees < 0.15, (mm, degrees)
    assert 12 in facts["PoorlyFittedVolumes"] and 0 not in facts["PoorlyFittedVolumes"]
    assert np.isfinite(found).all()


@pytest.mark.parametrize("codes", ["RAS", "PIR", "LPI"])
def test_motion_does_not_depend_on_the_way_it_is_stored(tmp_path: Path, codes: str) -> None:
    truth = phantom.motions(phantom.walk(5))
    image = nib.Nifti1Image(phantom.series(truth), phantom.AFFINE)
    start = nib.orientations.io_orientation(image.affine)
    turned = image.as_reoriented(nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(codes)))
    assert nib.aff2axcodes(turned.affine) == tuple(codes)
    _, plain = estimate(phantom.save(tmp_path / "a.nii.gz", image.get_fdata(dtype=np.float32)))
    _, other = estimate(phantom.save(tmp_path / "b.nii.gz", turned.get_fdata(dtype=np.float32), turned.affine))
    np.testing.assert_allclose(read_table(plain["motion_params"])[1], read_table(other["motion_params"])[1], atol=2e-3)


def test_ants_engine_agrees(tmp_path: Path) -> None:
    params = np.zeros((3, 6))
    params[1:] = [[2, 1, -1.5, 0.08, -0.06, 0.05], [-1, 2, 2, -0.05, 0.07, -0.06]]
    truth = phantom.motions(params)
    bold = phantom.save(tmp_path / "b.nii.gz", phantom.series(truth))
    facts, out = estimate(bold, engine="ants", reference="first")
    mm, degrees = phantom.error(rigid.read_itk(out["motion_xfm"]), truth)
    moved, turned = phantom.error(np.stack([np.eye(4)] * 3), truth)
    assert mm < 0.4 * moved and degrees < 0.4 * turned, (mm, moved, degrees, turned)
    assert facts["Engine"] == "ants" and "ANTs" in motion.describe(facts)


def test_a_mismatch_of_tr_is_a_warning_and_no_tr_is_refused(tmp_path: Path) -> None:
    data = phantom.series(phantom.motions(phantom.walk(2)))
    facts, _ = estimate(phantom.save(tmp_path / "a.nii.gz", data, tr=2.5))
    assert facts["RepetitionTime"] == 2.0 and "2.5 s in the NIfTI header" in facts["Warnings"][0]
    facts, _ = estimate(phantom.save(tmp_path / "b.nii.gz", data, tr=2.5), metadata={})
    assert facts["RepetitionTime"] == 2.5 and "header" in facts["Warnings"][0]
    image = nib.Nifti1Image(data, phantom.AFFINE)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 735
    nib.save(image, tmp_path / "c.nii.gz")
    assert estimate(tmp_path / "c.nii.gz", metadata={})[0]["RepetitionTime"] == pytest.approx(0.735)
    nib.save(nib.Nifti1Image(data, phantom.AFFINE), tmp_path / "d.nii.gz")  # no time unit
    with pytest.raises(Refused, match=r"d\.nii\.gz: no repetition time.*-> add RepetitionTime"):
        estimate(tmp_path / "d.nii.gz", metadata={})
    with pytest.raises(Refused, match="no time in seconds"):
        estimate(tmp_path / "a.nii.gz", metadata={"RepetitionTime": 2000})


def test_an_odd_header_is_warned_of(tmp_path: Path) -> None:
    data = phantom.series(phantom.motions(phantom.walk(2)))
    image = nib.Nifti1Image(data, phantom.AFFINE)
    other = phantom.AFFINE.copy()
    other[:3, 3] += 20
    image.set_sform(phantom.AFFINE, 1)
    image.set_qform(other, 1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2
    nib.save(image, tmp_path / "a.nii.gz")
    [warning] = estimate(tmp_path / "a.nii.gz")[0]["Warnings"]
    assert "qform" in warning and "sform" in warning


def test_too_short_empty_and_shapeless_runs_are_refused(tmp_path: Path) -> None:
    one = phantom.series(phantom.motions(np.zeros((1, 6))))
    with pytest.raises(Refused, match=r"1 volumes, motion\.min_volumes is 10"):
        estimate(phantom.save(tmp_path / "a.nii.gz", one), min_volumes=10)
    with pytest.raises(Refused, match=r"no contrast|no brain"):
        estimate(phantom.save(tmp_path / "b.nii.gz", np.ones((20, 20, 20, 3), np.int16)))
    with pytest.raises(Refused, match="too few"):
        estimate(phantom.save(tmp_path / "c.nii.gz", np.ones((20, 20, 1, 3), np.int16)))
    with pytest.raises(Refused, match="no volume 7 in 1"):
        estimate(phantom.save(tmp_path / "d.nii.gz", one), reference=7)


def test_ten_millimetres_and_degrees_at_once_and_uneven_slices(tmp_path: Path) -> None:
    params = np.zeros((8, 6))
    params[3] = [10, -4, 6, 0, np.deg2rad(10), 0]
    params[5:] = [-6, 10, -8, np.deg2rad(10), 0, np.deg2rad(-7)]
    truth = phantom.motions(params)
    data = phantom.series(truth)
    data[:, :, ::2, 4:] *= np.float32(1.1)  # every second slice is brighter from here on
    _, out = estimate(phantom.save(tmp_path / "b.nii.gz", data), reference="first")
    mm, degrees = phantom.error(rigid.read_itk(out["motion_xfm"]), truth)
    assert mm < 0.12 and degrees < 0.12, (mm, degrees)


@pytest.mark.parametrize("volumes", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("reference", ["mean", "median", "best", "first"])
def test_a_few_volumes_are_enough(tmp_path: Path, volumes: int, reference: str) -> None:
    truth = phantom.motions(phantom.walk(volumes))
    data = phantom.series(truth)
    bold = phantom.save(tmp_path / "a.nii.gz", data[..., 0] if volumes == 1 else data)
    facts, out = estimate(bold, reference=reference)
    assert facts["NumberOfVolumes"] == volumes and facts["NumberOfNonSteadyStates"] == 0
    assert phantom.error(rigid.read_itk(out["motion_xfm"]), truth)[0] < 0.05


def test_non_finite_voxels_are_noted(tmp_path: Path) -> None:
    truth = phantom.motions(phantom.walk(4))
    data = phantom.series(truth)
    data[3:5, 3:5, 3:5, 1] = np.nan
    facts, out = estimate(phantom.save(tmp_path / "a.nii.gz", data))
    assert facts["HasNonFinite"] is True
    assert np.isfinite(np.asarray(nib.load(out["boldref"]).dataobj)).all()
    assert phantom.error(rigid.read_itk(out["motion_xfm"]), truth)[0] < 0.02


def spoilt(folder: Path, volumes: int = 30) -> tuple[Path, Any]:
    """Three bright volumes before the steady state, a spike, and two volumes without an image."""
    truth = phantom.motions(phantom.walk(volumes, scale=0.3))
    data = phantom.series(truth)
    data[..., :3] *= np.array([1.6, 1.4, 1.3], np.float32)
    data[..., 10] *= 3
    data[..., 15] = np.nan
    data[..., 20] = 0
    return phantom.save(folder / "b.nii.gz", data), truth


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("mean", "mean of 16 volumes"), ("median", "median of 16 volumes"), ("best", "most typical of 8"),
        ("first", "volume 3"), (5, "volume 5"),
    ],
)  # fmt: skip
def test_the_reference_holds_no_spoilt_volume(tmp_path: Path, how: Any, words: str) -> None:
    bold, truth = spoilt(tmp_path)
    facts, out = estimate(bold, reference=how, reference_volumes=20 if how in ("mean", "median") else 8)
    assert words in facts["ReferenceVolume"], facts["ReferenceVolume"]
    assert facts["NumberOfNonSteadyStates"] == 3 and facts["EmptyVolumes"] == [15, 20]
    assert facts["HasNonFinite"] is False and "15, 20" in facts["Warnings"][0]
    brightness = np.asarray(nib.load(out["boldref"]).dataobj).mean()
    steady = np.asarray(nib.load(bold).dataobj)[..., 25].mean()
    assert brightness == pytest.approx(steady, rel=0.02)
    good = [t for t in range(30) if t not in (15, 20)]
    mm, degrees = phantom.error(rigid.read_itk(out["motion_xfm"])[good], truth[good])
    assert mm < 0.06 and degrees < 0.08, (mm, degrees)


@pytest.mark.parametrize("moved", [False, True])
def test_a_single_band_reference(tmp_path: Path, moved: bool) -> None:
    """With a contrast of its own, and on a grid of its own."""
    truth = phantom.motions(phantom.walk(6))
    affine = phantom.AFFINE.copy()
    affine[:3, 3] += [2.0, -1.5, 3.0] if moved else 0
    grid = np.indices(phantom.SHAPE).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    sharp = 1.7 * phantom.head(grid).reshape(phantom.SHAPE) ** 1.1
    sbref = phantom.save(tmp_path / "x_sbref.nii.gz", sharp.astype(np.float32), affine)
    bold = phantom.save(tmp_path / "b.nii.gz", phantom.series(truth))
    facts, out = estimate(bold, sbref=sbref, reference="sbref")
    assert facts["ReferenceVolume"] == "the run's single-band reference"
    found = rigid.read_itk(out["motion_xfm"])
    assert phantom.error(found, truth)[0] < 0.05
    assert np.abs(found[0][:3, 3]).max() < 0.3  # the head at rest is where sbref has it
    assert estimate(bold, reference="sbref")[0]["ReferenceVolume"].startswith("mean of")


def test_a_reference_of_another_place_is_refused(tmp_path: Path) -> None:
    bold = phantom.save(tmp_path / "b.nii.gz", phantom.series(phantom.motions(phantom.walk(3))))
    far = phantom.AFFINE.copy()
    far[0, 3] += 500
    sbref = phantom.save(tmp_path / "x_sbref.nii.gz", np.ones(phantom.SHAPE, np.float32), far)
    with pytest.raises(Refused, match="less than half of the run's field of view"):
        estimate(bold, sbref=sbref, reference="sbref")


def test_golden(tmp_path: Path, golden: Callable[..., None]) -> None:
    facts, out = estimate(phantom.save(tmp_path / "a.nii.gz", phantom.series(phantom.motions(phantom.walk(3)))))
    golden(motion.STAGE, out, facts, rtol=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_the_brain_mask_is_nilearn_s(seed: int) -> None:
    """A brain, an eye on a thin bridge, noise and a ghost: the same voxels."""
    from nilearn.masking import compute_epi_mask

    rng = np.random.default_rng(seed)
    places = np.indices((30, 34, 22)).reshape(3, -1).T - np.array([15, 18, 11])
    brain = np.square(places / [10, 12, 8]).sum(1) < 1
    eye = np.square((places - [5, -15, 0]) / 2.5).sum(1) < 1
    image = np.where(brain | eye, rng.normal(900, 80, len(places)), rng.exponential(30, len(places)))
    image += np.roll(np.where(brain, 60.0, 0.0), 17 * 22)
    image = image.reshape(30, 34, 22).astype(np.float32)
    theirs = compute_epi_mask(nib.Nifti1Image(image, np.eye(4)), opening=1)
    found = epi_mask(image)
    np.testing.assert_array_equal(found, np.asarray(theirs.dataobj) > 0)
    assert 0.9 * brain.sum() < found.sum() < 1.3 * brain.sum()


def test_an_image_without_a_brain_has_an_empty_mask() -> None:
    assert not epi_mask(np.zeros((8, 8, 8), np.float32))[1:-1].all()
    noise = np.random.default_rng(0).exponential(1, (12, 12, 12)).astype(np.float32)
    assert epi_mask(noise).mean() < 0.9
