from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # as a stage runs; same bytes are promised for one thread

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.methods.rigid import about, read_itk
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import coreg, template
from tests.stages import head
from tests.stages.space import run


@pytest.fixture(scope="module")
def inputs(coarse_head: dict[str, Path]) -> dict[str, Path]:
    """Template, T1w with the true brain mask, BOLD reference and mask."""
    return coarse_head


@pytest.fixture(scope="module")
def rigid(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Facts]:
    return run(coreg.STAGE, inputs, tmp_path_factory.mktemp("coreg"), grid_mm=4)


def error(inputs: dict[str, Path], out: Files, shift: tuple[float, float, float] = (0, 0, 0)) -> Any:
    """Distance between found and true place, in the EPI, of points of the brain; mm."""
    from brainlm_data.methods.registration import map_points

    points = head.brain_points(inputs["template_mask"])
    truth = head.to_epi(head.to_t1w(points)) + shift
    if "bold_to_mni" in out:
        found = map_points(points, [out["bold_to_mni"]])
    else:
        found = map_points(head.to_t1w(points), [out["bold_to_t1w"]])
    return np.linalg.norm(found - truth, axis=1)


def test_through_the_t1w(inputs: dict[str, Path], rigid: tuple[Files, Facts], tmp_path: Path) -> None:
    out, facts = rigid
    assert set(out) == {"bold_to_t1w"} and facts["Route"] == "t1w"
    assert np.median(error(inputs, out)) < 1
    assert (
        facts["SimilarityGain"] > 1.5
        and facts["FieldOfView"] > 0.99
        and not facts["Warnings"]
        and "rigidly" in coreg.describe(facts)
    )
    again, _ = run(coreg.STAGE, inputs, tmp_path, grid_mm=4)
    assert again["bold_to_t1w"].read_bytes() == out["bold_to_t1w"].read_bytes()


def test_the_file_is_plain_itk_text(rigid: tuple[Files, Facts]) -> None:
    from brainlm_data.methods.registration import map_points

    path = rigid[0]["bold_to_t1w"]
    (matrix,) = read_itk(path)
    points = np.random.default_rng(0).uniform(-60, 60, (20, 3))
    np.testing.assert_allclose(points @ matrix[:3, :3].T + matrix[:3, 3], map_points(points, [path]), atol=1e-3)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-5)  # rigid


def test_without_a_t1w(inputs: dict[str, Path], tmp_path: Path) -> None:
    alone = {name: path for name, path in inputs.items() if not name.startswith("t1w")}
    out, facts = run(coreg.STAGE, alone, tmp_path, grid_mm=4)
    assert set(out) == {"bold_to_mni"} and facts["Route"] == "epi"
    assert error(inputs, out).mean() < 4 and "no T1w" in coreg.describe(facts)


def test_a_wrong_header_is_survived(inputs: dict[str, Path], tmp_path: Path) -> None:
    shift = (45.0, -60.0, 50.0)
    files = {**inputs, "boldref": tmp_path / "b.nii.gz", "bold_mask": tmp_path / "m.nii.gz"}
    head.boldref(files["boldref"], files["bold_mask"], shift)
    out, facts = run(coreg.STAGE, files, tmp_path / "o", grid_mm=4)
    assert np.median(error(inputs, out, shift)) < 1.2 and not facts["Warnings"]


def test_a_turned_header_and_missing_slices_are_survived(inputs: dict[str, Path], tmp_path: Path) -> None:
    turn = about(np.deg2rad(np.array([15.0, -10.0, 55.0])), np.zeros(3), np.zeros(3))
    files = rewritten(inputs, tmp_path, turn, slice(16, None))
    out, facts = run(coreg.STAGE, files, tmp_path / "o", grid_mm=4)
    points = head.brain_points(inputs["template_mask"])
    truth = head.to_epi(head.to_t1w(points)) @ turn[:3, :3].T
    found = head.to_t1w(points) @ (matrix := read_itk(out["bold_to_t1w"])[0])[:3, :3].T + matrix[:3, 3]
    assert np.median(np.linalg.norm(found - truth, axis=1)) < 2
    assert not facts["Warnings"] and 0.3 < facts["FieldOfView"] < 0.8


def test_left_and_right_exchanged_are_noticed(inputs: dict[str, Path], tmp_path: Path) -> None:
    files = rewritten(inputs, tmp_path, np.diag([-1.0, 1.0, 1.0, 1.0]))
    _, facts = run(coreg.STAGE, files, tmp_path / "o", grid_mm=4)
    assert facts["MirrorGain"] < 1 and any("left and right" in warning for warning in facts["Warnings"])


def test_without_tissues_the_boundary_is_not_judged(inputs: dict[str, Path], tmp_path: Path) -> None:
    files = {name: path for name, path in inputs.items() if name not in {"t1w_gm", "t1w_wm"}}
    _, facts = run(coreg.STAGE, files, tmp_path, grid_mm=4)
    assert "BoundaryCost" not in facts and not facts["Warnings"]


def rewritten(inputs: dict[str, Path], folder: Path, before: Any, part: slice | None = None) -> dict[str, Path]:
    """Inputs with the BOLD header changed by a matrix, and some slices only."""
    files = dict(inputs)
    for name in ("boldref", "bold_mask"):
        image: Any = nib.load(inputs[name])
        image = image.slicer[:, :, part] if part else image
        files[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), before @ image.affine), files[name])
    return files


def test_a_failure_is_noticed(inputs: dict[str, Path], tmp_path: Path) -> None:
    """A reference of something else: noise within a ball."""
    image: Any = nib.load(inputs["boldref"])
    ball = np.sqrt(((np.indices(image.shape).T - np.array(image.shape) / 2) ** 2).sum(-1)).T < 18
    noise = np.where(ball, np.random.default_rng(2).uniform(500, 1500, image.shape), 10).astype(np.float32)
    files = {**inputs, "boldref": tmp_path / "b.nii.gz", "bold_mask": tmp_path / "m.nii.gz"}
    nib.save(nib.Nifti1Image(noise, image.affine), files["boldref"])
    nib.save(nib.Nifti1Image(ball.astype(np.uint8), image.affine), files["bold_mask"])
    _, facts = run(coreg.STAGE, files, tmp_path / "o", grid_mm=4)
    assert facts["Warnings"], facts["SimilarityGain"]


def test_golden(rigid: tuple[Files, Facts], golden: Callable[..., None]) -> None:
    golden(coreg.STAGE, *rigid, after=[template.STAGE], rtol=0.02)
