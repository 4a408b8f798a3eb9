from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # as a stage runs; same bytes are promised for one thread

import ants
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from brainlm_data.errors import InputError
from brainlm_data.methods import registration as reg
from brainlm_data.methods.rigid import write_itk

SIZE = 4.0
AFFINE = np.array([[SIZE, 0, 0, -60], [0, SIZE, 0, -70], [0, 0, SIZE, -50], [0, 0, 0, 1.0]])
SHAPE = (30, 34, 28)
POINTS = np.random.default_rng(1).uniform(-25, 25, (40, 3))


def blobs(points: NDArray[Any]) -> NDArray[Any]:
    """A head-like image with structure inside, defined everywhere, RAS mm."""
    x, y, z = np.moveaxis(points, -1, 0)
    head = 1 / (1 + np.exp((np.sqrt((x / 42) ** 2 + (y / 50) ** 2 + (z / 38) ** 2) - 1) * 15))
    inner = np.exp(-((x - 12) ** 2 + (y + 8) ** 2 + (z - 6) ** 2) / 150) - 0.8 * np.exp(
        -((x + 16) ** 2 + (y - 18) ** 2 + (z + 8) ** 2) / 120
    )
    return head * (2 + inner + 0.3 * np.sin(x / 9) * np.cos(y / 11) * np.sin(z / 8 + 1))


def image(matrix: NDArray[Any] | None = None, affine: NDArray[Any] = AFFINE, shape: Any = SHAPE) -> NDArray[Any]:
    """The head seen where `matrix` takes the points of a grid."""
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    matrix = np.eye(4) if matrix is None else matrix
    return blobs(points @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)


def moved(points: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def known() -> NDArray[Any]:
    """A map fixed -> moving, asymmetric in every axis, so that a wrong direction or sign cannot pass."""
    matrix = np.eye(4)
    a, b = 0.08, -0.05
    matrix[:3, :3] = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    matrix[:3, 3] = [6, -9, 4]
    return matrix


@pytest.fixture
def pair() -> tuple[Any, Any, Any]:
    """Fixed image, moving image and mask: a fixed point p is the moving point known() p."""
    fixed = reg.to_ants(image(), AFFINE)
    moving = reg.to_ants(image(np.linalg.inv(known())), AFFINE)
    return fixed, moving, fixed.new_image_like((fixed.numpy() > 1).astype(np.float32))


def test_points_go_where_images_come_from(tmp_path: Path) -> None:
    """`map_points` and `ants.apply_transforms` agree: the resampled image at p is the moving one at T(p)."""
    transform = ants.new_ants_transform(dimension=3, transform_type="AffineTransform")
    lps = np.diag([-1.0, -1.0, 1.0])
    ants.set_ants_transform_parameters(
        transform, np.concatenate([(lps @ known()[:3, :3] @ lps).ravel(), lps @ known()[:3, 3]])
    )
    ants.write_transform(transform, str(tmp_path / "t.mat"))
    np.testing.assert_allclose(reg.map_points(POINTS, [tmp_path / "t.mat"]), moved(POINTS, known()), atol=1e-3)
    source = reg.to_ants(image(), AFFINE)
    resampled = ants.apply_transforms(source, source, [str(tmp_path / "t.mat")], "linear").numpy()
    voxels = np.array([[12, 15, 13], [17, 20, 12], [14, 13, 17]])
    at = moved(voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3], known())
    np.testing.assert_allclose(resampled[tuple(voxels.T)], blobs(at), atol=0.05)
    twice = reg.map_points(POINTS, [tmp_path / "t.mat", tmp_path / "t.mat"])
    np.testing.assert_allclose(twice, moved(moved(POINTS, known()), known()), atol=1e-3)
    route = reg.template_to_boldref(POINTS, bold_to_t1w=tmp_path / "t.mat", t1w_to_mni=tmp_path / "t.mat")
    np.testing.assert_allclose(route, twice)
    np.testing.assert_allclose(reg.template_to_boldref(POINTS, bold_to_mni=tmp_path / "t.mat"), moved(POINTS, known()),
                               atol=1e-3)  # fmt: skip
    with pytest.raises(ValueError, match="neither"):
        reg.template_to_boldref(POINTS, bold_to_t1w=tmp_path / "t.mat")


def test_the_order_of_the_route(tmp_path: Path) -> None:
    """Template points go through the T1w first: two translations and a scaling do not commute."""
    for name, scale, shift in (("t1w", 2.0, 0.0), ("bold", 1.0, 5.0)):
        transform = ants.new_ants_transform(dimension=3, transform_type="AffineTransform")
        ants.set_ants_transform_parameters(transform, np.concatenate([scale * np.eye(3).ravel(), [0, 0, shift]]))
        ants.write_transform(transform, str(tmp_path / f"{name}.mat"))
    found = reg.template_to_boldref(np.array([[1.0, 2, 3]]), tmp_path / "bold.mat", tmp_path / "t1w.mat")
    np.testing.assert_allclose(found, [[2, 4, 11]], atol=1e-5)


@pytest.mark.parametrize("kind", ["Rigid", "Affine"])
def test_linear_finds_a_known_map(tmp_path: Path, pair: tuple[Any, Any, Any], kind: Any) -> None:
    fixed, moving, mask = pair
    inverted = moving.new_image_like(4 - moving.numpy())  # another contrast
    reg.linear(fixed, inverted, mask, kind, tmp_path / "t.mat")
    error = reg.map_points(POINTS, [tmp_path / "t.mat"]) - moved(POINTS, known())
    assert np.linalg.norm(error, axis=1).mean() < 0.6
    first = (tmp_path / "t.mat").read_bytes()
    reg.linear(fixed, inverted, mask, kind, tmp_path / "t.mat")
    assert (tmp_path / "t.mat").read_bytes() == first


@pytest.mark.parametrize("shift", [(60, 0, 0), (0, -55, 70)])
def test_linear_survives_a_wrong_header(
    tmp_path: Path, pair: tuple[Any, Any, Any], shift: tuple[float, float, float]
) -> None:
    fixed, moving, mask = pair
    wrong = AFFINE.copy()
    wrong[:3, 3] += shift
    reg.linear(fixed, reg.to_ants(moving.numpy(), wrong), mask, "Rigid", tmp_path / "t.mat")
    error = reg.map_points(POINTS, [tmp_path / "t.mat"]) - moved(POINTS, known()) - shift
    assert np.linalg.norm(error, axis=1).mean() < 1


def test_nonlinear_writes_whole_maps_and_their_inverse(tmp_path: Path, pair: tuple[Any, Any, Any]) -> None:
    fixed, _, mask = pair
    rng = np.random.default_rng(3)
    field = np.stack([gaussian_filter(rng.normal(size=SHAPE), 3) for _ in range(3)], -1)
    field *= 2.5 / field.std()
    points = np.moveaxis(np.indices(SHAPE), 0, -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    moving = reg.to_ants(blobs(moved(points + field, np.linalg.inv(known()))), AFFINE)
    reg.linear(fixed, moving, mask, "Affine", tmp_path / "a.mat")
    for steps in ((0, 0), (40, 20)):
        reg.nonlinear(fixed, moving, mask, tmp_path / "a.mat", tmp_path / "f.h5", tmp_path / "i.h5", steps)
        there = reg.map_points(POINTS, [tmp_path / "f.h5"])
        if not any(steps):  # nothing but the affine start is in the composite
            np.testing.assert_allclose(there, reg.map_points(POINTS, [tmp_path / "a.mat"]), atol=0.02)
        back = reg.map_points(there, [tmp_path / "i.h5"])
        assert np.linalg.norm(back - POINTS, axis=1).mean() < 0.3
    target = np.argwhere(mask.numpy() > 0) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    fit, start = (reg.map_points(target, [tmp_path / n]) for n in ("f.h5", "a.mat"))

    def disagreement(found: NDArray[Any]) -> float:
        """Of intensities at corresponding places."""
        from scipy.ndimage import map_coordinates

        voxels = (found - AFFINE[:3, 3]) / SIZE
        return float(np.std(map_coordinates(moving.numpy(), voxels.T, order=1) - blobs(target)))

    assert disagreement(fit) < 0.5 * disagreement(start)
    low, high = reg.jacobian_range(mask, tmp_path / "f.h5")
    assert 0.2 < low < 1 < high < 4


def test_jacobian_of_a_scaling(tmp_path: Path, pair: tuple[Any, Any, Any]) -> None:
    transform = ants.new_ants_transform(dimension=3, transform_type="AffineTransform")
    ants.set_ants_transform_parameters(transform, np.concatenate([1.1 * np.eye(3).ravel(), np.zeros(3)]))
    ants.write_transform(transform, str(tmp_path / "s.mat"))
    np.testing.assert_allclose(reg.jacobian_range(pair[2], tmp_path / "s.mat"), 1.1**3, rtol=1e-4)


def test_grids_keep_places() -> None:
    """Oblique and sheared affines: a working grid shows at p what the image shows at p."""
    sheared = np.array([[-3.0, 0.4, 0.2, 62], [0.3, 3.1, -0.5, -75], [0.1, 0.6, 3.5, -52], [0, 0, 0, 1.0]])
    shape = (42, 46, 32)
    data = image(affine=sheared, shape=shape)
    for made in (reg.working(data, sheared, 3.0), reg.native(data, sheared)):
        affine = reg.affine_of(made)
        assert np.allclose(affine[:3, :3], np.diag(np.diag(affine[:3, :3])))
        voxels = np.rint((POINTS - affine[:3, 3]) / np.diag(affine)[:3]).astype(int)
        at = voxels @ affine[:3, :3].T + affine[:3, 3]
        assert np.abs(made.numpy()[tuple(voxels.T)] - blobs(at)).max() < 0.12
    straight = reg.native(data, AFFINE)
    np.testing.assert_allclose(reg.affine_of(straight), AFFINE, atol=1e-5)
    home = reg.back_onto(reg.working(data, sheared, 2.0), sheared, shape)
    inner = (slice(8, -8),) * 3
    assert np.abs(home[inner] - data[inner]).mean() < 0.03


def test_gain_tells_right_from_wrong(pair: tuple[Any, Any, Any]) -> None:
    fixed, _, mask = pair
    right = reg.similarity_gain(fixed, fixed.new_image_like(4 - fixed.numpy()), mask)
    wrong = reg.similarity_gain(fixed, fixed.new_image_like(np.roll(fixed.numpy(), (4, -4, 3), (0, 1, 2))), mask)
    assert right > 1.5 > 1.15 > wrong
    assert reg.dice(np.array([True, True, False]), np.array([True, False, False])) == pytest.approx(2 / 3)
    assert reg.correlation(fixed, fixed, mask) == pytest.approx(1)


def test_nothing_is_left_behind(tmp_path: Path, pair: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fixed, moving, mask = pair
    (tmp_path / "out").mkdir()
    reg.linear(fixed, moving, mask, "Rigid", tmp_path / "out" / "t.mat")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_transform_that_cannot_be_read_is_an_error_and_no_segmentation_fault(tmp_path: Path) -> None:
    affine = ants.create_ants_transform(transform_type="AffineTransform", precision="double", dimension=3)
    ants.write_transform(affine, str(tmp_path / "x_xfm.h5"))
    write_itk(tmp_path / "x_xfm.txt", np.eye(4)[None])
    for name, problem in (("x_xfm.h5", "not a readable transform"), ("x_xfm.txt", "not an ITK transform file")):
        file = tmp_path / name
        np.testing.assert_array_equal(reg.map_points(np.ones((2, 3)), [file]), np.ones((2, 3)))
        file.write_bytes(file.read_bytes()[:100])
        with pytest.raises(InputError, match=f"{name}: {problem}"):
            reg.map_points(np.ones((2, 3)), [file])
