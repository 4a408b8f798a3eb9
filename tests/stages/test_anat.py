from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # as a stage runs; same bytes are promised for one thread

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.errors import Refused
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import anat, template
from tests.stages import head
from tests.stages.space import run

GRID_MM = 5.0  # coarse: seconds


@pytest.fixture(scope="module")
def space(bundled: tuple[Files, Facts]) -> dict[str, Path]:
    return dict(bundled[0])


@pytest.fixture(scope="module")
def whole(space: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Facts]:
    folder = tmp_path_factory.mktemp("anat")
    t1w = head.t1w(folder / "t1w.nii.gz")
    return run(anat.STAGE, {**space, "t1w": t1w}, folder / "o", grid_mm=GRID_MM, resolution="t1w")


def error(space: dict[str, Path], out: Files) -> Any:
    """Distance between found and true place of template points, mm."""
    from brainlm_data.methods.registration import map_points

    points = head.brain_points(space["template_mask"])
    return np.linalg.norm(map_points(points, [out["t1w_to_mni"]]) - head.to_t1w(points), axis=1)


def test_template_points_find_their_place(space: dict[str, Path], whole: tuple[Files, Facts]) -> None:
    from brainlm_data.methods.registration import map_points

    out, facts = whole
    assert error(space, out).mean() < 2.0
    points = head.brain_points(space["template_mask"])
    back = map_points(map_points(points, [out["t1w_to_mni"]]), [out["mni_to_t1w"]])
    assert np.linalg.norm(back - points, axis=1).mean() < 0.5
    assert facts["TemplateCorrelation"] > 0.8 and not facts["Warnings"] and facts["GridMm"] == GRID_MM
    assert 0 < facts["JacobianRange"][0] < 1 < facts["JacobianRange"][1]


def test_outputs_are_on_the_grid_of_the_t1w(space: dict[str, Path], whole: tuple[Files, Facts], tmp_path: Path) -> None:
    out, facts = whole
    raw = nib.load(head.t1w(tmp_path / "t.nii.gz"))
    images = {name: nib.load(out[name]) for name in anat.STAGE.outputs if name.startswith("t1w_") and "mni" not in name}
    for image in images.values():
        assert image.shape == raw.shape
        np.testing.assert_allclose(image.affine, raw.affine, atol=1e-5)
    mask = images["t1w_mask"].get_fdata() > 0
    shares = np.stack([images[name].get_fdata() for name in anat.TISSUES])
    assert mask.sum() * 27 / 1000 == pytest.approx(facts["BrainVolumeMl"], rel=0.1)
    np.testing.assert_allclose(shares.sum(0)[mask], 1, atol=0.01)
    assert (shares[:, ~mask] == 0).all()
    np.testing.assert_array_equal(images["t1w_dseg"].get_fdata() > 0, mask)
    corrected, before = images["t1w_preproc"].get_fdata(), raw.get_fdata()
    mean = [np.average(corrected[mask], weights=share[mask]) for share in shares]
    assert mean[1] > 1.1 * mean[0] and mean[0] > 1.1 * mean[2]  # white, grey, fluid
    deep = mask & (shares[1] > 0.9)
    assert corrected[deep].std() / corrected[deep].mean() < 0.7 * before[deep].std() / before[deep].mean()


def test_a_defaced_head_and_the_same_bytes_again(
    space: dict[str, Path], whole: tuple[Files, Facts], tmp_path: Path
) -> None:
    t1w = head.t1w(tmp_path / "t.nii.gz", defaced=True)
    out, facts = run(anat.STAGE, {**space, "t1w": t1w}, tmp_path / "o", grid_mm=GRID_MM, registration="fast")
    assert error(space, out).mean() < 3.0 and not facts["Warnings"]
    again, _ = run(anat.STAGE, {**space, "t1w": t1w}, tmp_path / "p", grid_mm=GRID_MM, registration="fast")
    for name in anat.STAGE.outputs:
        assert out[name].read_bytes() == again[name].read_bytes(), name


def test_affine_only(space: dict[str, Path], tmp_path: Path, whole: tuple[Files, Facts]) -> None:
    t1w = head.t1w(tmp_path / "t.nii.gz")
    out, facts = run(anat.STAGE, {**space, "t1w": t1w}, tmp_path / "o", grid_mm=GRID_MM, registration="affine")
    assert error(space, whole[0]).mean() < error(space, out).mean() < 4.5
    assert "SyN" not in anat.describe(facts) and "SyN" in anat.describe(whole[1])
    # by default, on a grid of 2 mm that holds the same tissues
    for name in ("t1w_preproc", "t1w_mask", "t1w_dseg", *anat.TISSUES):
        image = nib.load(out[name])
        np.testing.assert_array_equal(image.affine[:3, :3], 2 * np.eye(3))
        assert out.facts(name)["Resolution"] == "2 mm, isotropic"
    mask, labels = nib.load(out["t1w_mask"]).get_fdata() > 0, nib.load(out["t1w_dseg"]).get_fdata()
    assert mask.sum() * 8 / 1000 == pytest.approx(facts["BrainVolumeMl"], rel=0.1)
    np.testing.assert_array_equal(labels > 0, mask)
    np.testing.assert_allclose(sum(nib.load(out[name]).get_fdata()[mask] for name in anat.TISSUES), 1, atol=0.01)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((20, 20, 20), np.int16), "no contrast"),
        (np.ones((20, 20, 20, 3), np.int16), "not a 3-D head"),
        (np.ones((20, 20, 2), np.int16), "not a 3-D head"),
    ],
)
def test_refusals(space: dict[str, Path], tmp_path: Path, data: Any, message: str) -> None:
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "t.nii.gz")
    with pytest.raises(Refused, match=message):
        run(anat.STAGE, {**space, "t1w": tmp_path / "t.nii.gz"}, tmp_path / "o")


def test_a_truncated_file_is_refused(space: dict[str, Path], tmp_path: Path) -> None:
    path = head.t1w(tmp_path / "t.nii.gz")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(Refused, match=r"t\.nii\.gz: truncated"):
        run(anat.STAGE, {**space, "t1w": path}, tmp_path / "o")


def test_the_next_t1w_where_the_first_is_damaged(tmp_path: Path) -> None:
    """One bit of the checksum, which the index does not look at."""
    first, following = head.t1w(tmp_path / "first.nii.gz"), tmp_path / "next.nii.gz"
    shutil.copy(first, following)
    known = anat.readable(Files({"t1w": first}, {}))
    assert known[0] == first and known[3] == []
    content = bytearray(first.read_bytes())
    content[-6] ^= 1
    first.write_bytes(content)
    path, data, _, warnings = anat.readable(Files({"t1w": first, "t1w_next": following}, {}))
    assert path == following
    assert "first.nii.gz: corrupt gzip data" in warnings[0] and "next.nii.gz was used" in warnings[0]
    np.testing.assert_array_equal(data, known[1])
    with pytest.raises(Refused, match=r"first\.nii\.gz: corrupt"):
        anat.readable(Files({"t1w": first}, {}))


def test_iterations_by_grid() -> None:
    assert anat.iterations(anat.Config(grid_mm=4)) == (40, 25, 8)
    assert anat.iterations(anat.Config(grid_mm=2)) == (40, 25, 20, 3)
    assert anat.iterations(anat.Config(grid_mm=2, registration="fast")) == (40, 25, 20, 0)
    assert not any(anat.iterations(anat.Config(registration="affine")))


def test_golden(whole: tuple[Files, Facts], golden: Callable[..., None]) -> None:
    golden(anat.STAGE, *whole, after=[template.STAGE], rtol=0.02)
