"""Distortion of simulated runs is what its truth says, and simulated fieldmaps show the field that makes it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from brainlm_data.bids.fieldmaps import readout_s
from brainlm_data.bids.index import Recording, Select, read_index
from brainlm_data.errors import InputError
from brainlm_data.simulate import fieldmaps, movement
from brainlm_data.simulate.anatomy import Head, voxel_points
from brainlm_data.simulate.cohort import atlas, simulate
from brainlm_data.simulate.field import Field
from brainlm_data.simulate.kernels import displaced
from brainlm_data.simulate.plan import FIELDMAPS, Plan
from brainlm_data.simulate.scanner import EPI
from tests.simulate.variants import half_covered, in_another_session, wrong_direction

PLAN = Plan(Path("unused"), 1, 3, 2.0, (40, 48, 36), 4.5, seed=5, t1w_mm=4.0, motion_mm=1.0, noise=0.0, physio=0.0,
            no_t1w=("01",))  # fmt: skip
REST = "sub-01_task-rest"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run without and with distortion, without noise; fieldmaps of every kind."""
    folder = tmp_path_factory.mktemp("distortion")
    simulate(dataclasses.replace(PLAN, out=folder / "flat"), quiet=True)
    simulate(dataclasses.replace(PLAN, out=folder / "bent", distortion_mm=12, fieldmaps=FIELDMAPS), quiet=True)
    return folder / "flat", folder / "bent"


def volumes(root: Path) -> Any:
    return np.asarray(nib.load(root / f"sub-01/func/{REST}_bold.nii.gz").dataobj, dtype=float)


def undistorted(image: Any, voxels: Any) -> Any:
    """true(y) = distorted(y + u(y)) (1 + u'(y)), by scipy's cubic splines; u in voxels along the second axis."""
    grid = np.indices(image.shape, dtype=float)
    grid[1] += voxels
    return map_coordinates(image, grid, order=3, mode="nearest") * (1 + np.gradient(voxels, axis=1))


def r(a: Any, b: Any, where: Any) -> float:
    return float(np.corrcoef(a[where], b[where])[0, 1])


@settings(max_examples=30, deadline=None)
@given(
    st.floats(5, 25), st.floats(5, 25), st.floats(4, 9), st.floats(-0.7, 0.7), st.floats(-0.7, 0.7),
)  # fmt: skip
def test_signal_appears_where_the_field_sends_it(first: float, second: float, width: float, a: float, b: float) -> None:
    """Each voxel's signal comes from where it would be sent to that voxel, and none is lost or made."""
    centres, widths = np.array([[1.0, 80 + first, 1.0], [2.0, 80 + second, 0.0]]), np.array([width, width])
    heights = np.array([a, b]) * width  # slopes of at most .85
    shift, factor = displaced(np.zeros((3, 200, 3), bool), centres, widths, heights)
    j = np.arange(200.0)
    for i, k in ((0, 0), (1, 1), (2, 1)):
        y = j + shift[i, :, k]
        u = np.zeros(200)
        for centre, sd, height in zip(centres, widths, heights, strict=True):
            far = (i - centre[0]) ** 2 + (y - centre[1]) ** 2 + (k - centre[2]) ** 2
            u += height * np.exp(-far / (2 * sd**2))
        assert np.allclose(y + u, j, atol=1e-4) and (np.diff(y) > 0).all()
        signal = np.exp(-((y - 95) ** 2) / 200)
        assert (signal * factor[i, :, k]).sum() == pytest.approx(np.sqrt(200 * np.pi), rel=0.01)


def test_what_is_empty_stays() -> None:
    skip = np.ones((3, 9, 3), bool)
    shift, factor = displaced(skip, np.array([[1.0, 4.0, 1.0]]), np.array([3.0]), np.array([2.0]))
    assert (shift == 0).all() and (factor == 1).all()


def test_the_truth_takes_distortion_back(pair: tuple[Path, Path]) -> None:
    """Also in later volumes, as the field moves with the head."""
    flat, bent = map(volumes, pair)
    field: Any = nib.load(pair[1] / f"truth/sub-01/func/{REST}_desc-distortion_fieldmap.nii.gz")
    assert not (pair[0] / f"truth/sub-01/func/{REST}_desc-distortion_fieldmap.nii.gz").exists()
    mm = np.asarray(field.dataobj)
    assert -12.1 < mm.min() < -11 and mm.max() <= 0  # j-: the signal of a positive field moves backwards
    head = flat[..., 0] > 0.3 * np.percentile(flat[..., 0], 99)
    displaced_mm = head & (mm < -4)
    for t in range(PLAN.volumes):
        true, before = flat[..., t], bent[..., t]
        after = undistorted(before, mm / PLAN.voxel_mm)
        assert r(after, true, head) > 0.985 and r(before, true, head) < 0.95
        assert r(after, true, displaced_mm) > 0.95 and r(before, true, displaced_mm) < 0.8


@pytest.fixture(scope="module")
def made() -> tuple[Plan, Head, Field]:
    plan = dataclasses.replace(PLAN, distortion_mm=12, fieldmaps=FIELDMAPS)
    head = Head.draw(plan, "01", np.zeros_like(atlas()[0].dataobj, np.int16), atlas()[0].affine)
    return plan, head, Field.of(plan, head)


def hz_at(plan: Plan, field: Field, kind: str, affine: Any, shape: tuple[int, ...]) -> Any:
    pose = movement.head_pose(plan, "01", f"01 fieldmap {kind}")
    return field.hz(voxel_points(shape, affine).reshape(-1, 3), pose).reshape(shape)


@pytest.fixture(scope="module")
def images(pair: tuple[Path, Path]) -> dict[str, Any]:
    found = {}
    for file in sorted((pair[1] / "sub-01/fmap").glob("*.nii.gz")):
        found[file.name.removeprefix("sub-01_").removesuffix(".nii.gz")] = nib.load(file)
    return found


def test_the_opposed_pair(made: tuple[Plan, Head, Field], images: dict[str, Any]) -> None:
    """Undistorted by the true field, in opposite directions, they are the same image."""
    plan, _, field = made
    ap, pa = images["dir-AP_epi"], images["dir-PA_epi"]
    voxels = plan.readout_s * hz_at(plan, field, "epi", ap.affine, ap.shape)
    a, b = (np.asarray(image.dataobj, dtype=float) for image in (ap, pa))
    head = b > 0.3 * np.percentile(b, 99)
    moved = head & (voxels > 1)
    assert r(undistorted(a, -voxels), undistorted(b, voxels), head) > 0.98
    assert r(undistorted(a, -voxels), undistorted(b, voxels), moved) > 0.9 > 0.7 > r(a, b, moved)


def test_phases_are_those_of_the_field(made: tuple[Plan, Head, Field], images: dict[str, Any]) -> None:
    """Wrapped where the field is strong."""
    plan, _, field = made
    apart = fieldmaps.ECHOES_S[1] - fieldmaps.ECHOES_S[0]
    for kind, prefix in (("phasediff", ""), ("phases", "acq-two_")):
        magnitude = images[f"{prefix}magnitude1"]
        head = np.asarray(magnitude.dataobj) > 200
        expected = 2 * np.pi * apart * hz_at(plan, field, kind, magnitude.affine, magnitude.shape)
        if kind == "phasediff":
            phase = np.pi / fieldmaps.FULL * np.asarray(images["phasediff"].dataobj, dtype=float)
        else:
            first, second = (np.asarray(images[f"acq-two_phase{n}"].dataobj, dtype=float) for n in (1, 2))
            phase = np.pi / fieldmaps.FULL * (second - first)
        error = np.angle(np.exp(1j * (phase - expected)))[head]
        assert np.sqrt(np.mean(error**2)) < 0.1
        assert (expected[head] > np.pi).any()


def test_the_measured_field(made: tuple[Plan, Head, Field], images: dict[str, Any]) -> None:
    plan, _, field = made
    hz, head = np.asarray(images["fieldmap"].dataobj), np.asarray(images["magnitude"].dataobj) > 200
    expected = hz_at(plan, field, "fieldmap", images["fieldmap"].affine, hz.shape)
    assert np.sqrt(np.mean((hz - expected)[head] ** 2)) < 3 and expected[head].max() > 100


def recording(root: Path) -> Recording:
    index = read_index(root, Select.model_validate({}))
    assert index.ignored == ("truth/: no subject's folder, not looked into",) and not index.notes
    return index.recordings[0]


def test_the_index_takes_every_kind(pair: tuple[Path, Path]) -> None:
    one = recording(pair[1])
    assert [source["kind"] for source in one.fieldmaps] == ["epi", "phasediff", "phases", "fieldmap"]
    assert readout_s(one.phase_encoding, PLAN.shape) == pytest.approx(PLAN.readout_s) and not one.fieldmaps_left
    ap, pa = one.fieldmaps[0]["metadata"]
    assert (ap["PhaseEncodingDirection"], pa["PhaseEncodingDirection"]) == ("j-", "j")
    assert one.phase_encoding["PhaseEncodingDirection"] == "j-"
    assert recording(pair[0]).phase_encoding == {"PhaseEncodingDirection": "j-"}


def test_variants(pair: tuple[Path, Path], tmp_path: Path) -> None:
    root = tmp_path / "bids"
    shutil.copytree(pair[1], root)
    wrong_direction(root)
    assert recording(root).phase_encoding["PhaseEncodingDirection"] == "j"
    half_covered(root)
    in_another_session(root)
    one = recording(root)
    assert one.session == "b" and len(one.fieldmaps) == 4
    assert all(path.startswith("sub-01/ses-a/fmap/") for path in one.fieldmap_files)
    data = np.asarray(nib.load(root / one.fieldmaps[0]["images"][0]).dataobj)
    assert not data[:, :, : data.shape[2] // 2].any() and data.max() > EPI["gm"] / 2


def test_an_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="impossible --fieldmaps b0 -> give some of epi, phasediff, phases, fieldmap"):
        dataclasses.replace(PLAN, fieldmaps=("b0",))
