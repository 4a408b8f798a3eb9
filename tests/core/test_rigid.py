from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from brainlm_data.errors import InputError
from brainlm_data.methods import rigid

LAS = np.array([[-3.0, 0, 0, 90], [0, 3, 0, -100], [0, 0, 3.5, -60], [0, 0, 0, 1]])
SHAPE = (64, 60, 36)
CENTRE = np.array([4.0, -12.0, 9.0])


def test_signs_and_order() -> None:
    """What a person knows of MCFLIRT's parameters, for a LAS image (FSL's x runs to the left)."""
    right = rigid.about(np.zeros(3), np.array([2.0, 0, 0]), CENTRE)  # the head moved 2 mm to the right
    np.testing.assert_allclose(rigid.parameters(right[None], LAS, SHAPE, CENTRE)[0], [2, 0, 0, 0, 0, 0], atol=1e-9)
    up = rigid.about(np.zeros(3), np.array([0, 1.0, 3.0]), CENTRE)  # forward and up
    np.testing.assert_allclose(rigid.parameters(up[None], LAS, SHAPE, CENTRE)[0], [0, -1, -3, 0, 0, 0], atol=1e-9)
    for axis, sign in ((0, 1), (1, -1), (2, -1)):
        turned = rigid.about(0.01 * np.eye(3)[axis], np.zeros(3), CENTRE)
        expected = np.zeros(6)
        expected[3 + axis] = 0.01 * sign
        np.testing.assert_allclose(rigid.parameters(turned[None], LAS, SHAPE, CENTRE)[0], expected, atol=1e-9)


def test_as_fmriprep_computes_them() -> None:
    """fMRIPrep 25's FSLMotionParams, from FSL matrices: rotations transposed, Euler XYZ, about the centre.

    It agrees with MCFLIRT to first order, hence small motion.
    """
    rng = np.random.default_rng(0)
    scale = np.diag([3.0, 3.0, 3.5, 1.0])  # LAS: FSL coordinates are scaled voxels
    centre = (scale @ np.linalg.inv(LAS) @ np.append(CENTRE, 1))[:3]
    for _ in range(20):
        matrix = rigid.about(rng.normal(0, 1e-3, 3), rng.normal(0, 0.3, 3), CENTRE)
        voxels = np.linalg.inv(LAS) @ np.linalg.inv(matrix) @ LAS
        fsl = scale @ voxels @ np.linalg.inv(scale)
        turned = fsl[:3, :3].T
        expected = [*(fsl[:3, 3] - turned @ centre + centre), *Rotation.from_matrix(turned).as_euler("XYZ")]
        np.testing.assert_allclose(rigid.parameters(matrix[None], LAS, SHAPE, CENTRE)[0], expected, atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=3), st.lists(st.floats(-20, 20), min_size=3, max_size=3))
def test_parameters_and_matrices_are_inverse(turn: list[float], shift: list[float]) -> None:
    oblique = LAS.copy()
    oblique[:3, :3] = Rotation.from_euler("xyz", [0.2, -0.1, 0.05]).as_matrix() @ LAS[:3, :3]
    matrix = rigid.about(np.array(turn), np.array(shift), CENTRE)[None]
    params = rigid.parameters(matrix, oblique, SHAPE, CENTRE)
    np.testing.assert_allclose(rigid.matrices_of(params, oblique, SHAPE, CENTRE), matrix, atol=1e-9)


def test_parameters_do_not_depend_on_storage() -> None:
    ras = LAS.copy()
    ras[:, 0] *= -1
    ras[0, 3] = 90 - 3 * (SHAPE[0] - 1)
    turned = LAS[:, [1, 2, 0, 3]]
    matrix = rigid.about(np.array([0.02, -0.01, 0.03]), np.array([1.0, 2, 3]), CENTRE)[None]
    plain = rigid.parameters(matrix, LAS, SHAPE, CENTRE)
    np.testing.assert_allclose(rigid.parameters(matrix, ras, SHAPE, CENTRE), plain, atol=1e-9)
    np.testing.assert_allclose(rigid.parameters(matrix, turned, (60, 36, 64), CENTRE), plain, atol=1e-9)


def test_displacement_is_that_of_nipype(tmp_path: Path) -> None:
    from nipype.algorithms.confounds import FramewiseDisplacement

    params = np.cumsum(np.random.default_rng(0).normal(0, 0.01, (12, 6)), 0)
    np.savetxt(tmp_path / "p.txt", params[:, [3, 4, 5, 0, 1, 2]])
    node = FramewiseDisplacement(in_file=str(tmp_path / "p.txt"), parameter_source="FSL")
    node.inputs.out_file = str(tmp_path / "fd.txt")
    node.run(cwd=str(tmp_path))
    np.testing.assert_allclose(rigid.displacement(params)[1:], np.loadtxt(tmp_path / "fd.txt", skiprows=1), rtol=1e-5)


def test_itk_file(tmp_path: Path) -> None:
    import ants

    rng = np.random.default_rng(0)
    matrices = np.stack([rigid.about(rng.normal(0, 0.1, 3), rng.normal(0, 5, 3), CENTRE) for _ in range(3)])
    rigid.write_itk(tmp_path / "all.txt", matrices)
    np.testing.assert_allclose(rigid.read_itk(tmp_path / "all.txt"), matrices, atol=1e-12)
    point = np.array([10.0, -20.0, 30.0])
    for index, matrix in enumerate(matrices):
        rigid.write_itk(tmp_path / "one.txt", matrix[None])
        moved = ants.read_transform(str(tmp_path / "one.txt")).apply_to_point((point * [-1, -1, 1]).tolist())
        np.testing.assert_allclose(np.array(moved) * [-1, -1, 1], (matrix @ np.append(point, 1))[:3], atol=1e-4)
        assert f"#Transform {index}\n" in (tmp_path / "all.txt").read_text()


def test_itk_centre_is_honoured_and_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        "Parameters: 0 -1 0 1 0 0 0 0 1 5 6 7\nFixedParameters: 1 2 3\n"
    )
    lps = np.eye(4)
    lps[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    lps[:3, 3] = np.array([6, 8, 10]) - lps[:3, :3] @ [1, 2, 3]
    np.testing.assert_allclose(rigid.read_itk(path)[0], rigid.LPS @ lps @ rigid.LPS)
    path.write_text("hello")
    with pytest.raises(InputError, match=r"a\.txt: not an ITK transform file"):
        rigid.read_itk(path)
