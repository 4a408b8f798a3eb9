from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brainlm_data.methods.boundary import Boundary, surface
from brainlm_data.methods.rigid import about
from brainlm_data.methods.rigidfit import Information, Volume, fit, gain, mirror_gain, search

SHAPE, SIZE = (40, 46, 38), 4.0
AFFINE = np.array([[SIZE, 0, 0, -80], [0, SIZE, 0, -92], [0, 0, SIZE, -76], [0, 0, 0, 1.0]])
TRUTH = about(np.array([0.1, -0.07, 0.12]), np.array([5.0, -8.0, 6.0]), np.zeros(3))  # T1w -> BOLD


def white(points: Any) -> Any:
    """A lobed white matter, soft at its rim, in no direction symmetric; T1w points, mm."""
    x, y, z = np.moveaxis(points, -1, 0)
    folds = 0.12 * np.sin(x / 9 + 1) + 0.12 * np.cos(y / 11 + x / 30) + 0.1 * np.sin(z / 8 + y / 25)
    return 1 / (1 + np.exp(14 * (np.sqrt((x / 40) ** 2 + (y / 50) ** 2 + (z / 36) ** 2) + folds - 0.75)))


def brain(points: Any) -> Any:
    x, y, z = np.moveaxis(points, -1, 0)
    return 1 / (1 + np.exp(20 * (np.sqrt((x / 56) ** 2 + (y / 68) ** 2 + (z / 52) ** 2) - 1)))


def volumes(matrix: Any = TRUTH, shape: Any = SHAPE) -> tuple[Volume, Volume, Volume, Volume, Volume]:
    """T1w, its mask, white and grey shares; BOLD, where grey is brighter, seen through `matrix`."""
    points = np.moveaxis(np.indices(SHAPE), 0, -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    inside, core = brain(points), white(points)
    t1w = 600 * inside + 300 * core
    back = np.linalg.inv(matrix)
    places = np.moveaxis(np.indices(shape), 0, -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    places = places @ back[:3, :3].T + back[:3, 3]
    noise = np.random.default_rng(3).normal(0, 15, shape)
    bold = 1000 * brain(places) - 250 * white(places) + noise
    made = (t1w, inside > 0.5, core, inside - core, bold)
    volumes = [Volume(np.asarray(data, np.float32), AFFINE) for data in made]
    return volumes[0], volumes[1], volumes[2], volumes[3], volumes[4]


def distance(first: Any, second: Any) -> float:
    points = np.random.default_rng(1).uniform(-40, 40, (50, 3))
    return float(np.linalg.norm((points @ (first - second)[:3, :3].T) + (first - second)[:3, 3], axis=1).mean())


def test_a_known_place_is_found() -> None:
    t1w, mask, _, _, bold = volumes()
    cost = Information(t1w, mask, bold, 4.0).negative
    start = TRUTH @ about(np.array([0.05, 0.03, -0.06]), np.array([4.0, 3.0, -5.0]), np.zeros(3))
    found = fit(cost, start, np.zeros(3), 8.0, 0.05)
    assert distance(start, TRUTH) > 5
    assert distance(found, TRUTH) < 0.3
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)
    np.testing.assert_array_equal(fit(cost, start, np.zeros(3), 8.0, 0.05), found)


@pytest.mark.parametrize("turn", [(0, 0, 50), (-75, 0, 0), (20, 45, -30)])
def test_search_survives_a_wrong_header(turn: tuple[float, float, float]) -> None:
    wrong = about(np.deg2rad(np.array(turn, float)), np.array([30.0, -40.0, 20.0]), np.zeros(3))
    t1w, mask, _, _, bold = volumes()
    bold = Volume(bold.data, wrong @ AFFINE)
    truth = wrong @ TRUTH
    cost = Information(t1w, mask, bold, 8.0).negative
    found = search(cost, [np.zeros(3), (truth @ [0, 0, 0, 1])[:3]], np.zeros(3))
    assert distance(found, truth) < 2


def test_information_is_of_what_is_inside() -> None:
    """Slices that are not there lower it; nothing is gained by leaving the field of view."""
    t1w, mask, _, _, bold = volumes()
    half = Volume(np.ascontiguousarray(bold.data[:, :, :19]), AFFINE)
    whole, part = Information(t1w, mask, bold, 4.0), Information(t1w, mask, half, 4.0)
    assert 0.2 * whole(TRUTH) < part(TRUTH) < 0.7 * whole(TRUTH)
    away = TRUTH.copy()
    away[0, 3] += 60
    assert part(away) < 0.5 * part(TRUTH)
    away[0, 3] += 1000
    assert part(away) == 0


def test_checks_tell_right_from_wrong() -> None:
    t1w, mask, core, grey, bold = volumes()
    information, cost = Information(t1w, mask, bold, 4.0), Boundary(core, grey, bold)
    moved = TRUTH @ about(np.zeros(3), np.array([7.0, -6.0, 5.0]), np.zeros(3))
    assert gain(information, TRUTH) > 1.5 > gain(information, moved)
    assert 10 * cost(TRUTH) < 0.1 < cost(moved)
    assert mirror_gain(information, TRUTH, np.zeros(3)) > 1.3
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped = Volume(bold.data, mirror @ AFFINE)  # left and right exchanged
    information = Information(t1w, mask, flipped, 4.0)
    found = search(Information(t1w, mask, flipped, 8.0).negative, [np.zeros(3)], np.zeros(3))
    assert mirror_gain(information, found, np.zeros(3)) < 1


def test_surface_lies_between_white_and_grey() -> None:
    _, _, core, grey, _ = volumes()
    inner, outer = surface(core, grey, 500)
    assert 200 < len(inner) <= 500
    np.testing.assert_allclose(np.linalg.norm(inner - outer, axis=1), 4, atol=1e-6)
    middle = white((inner + outer) / 2)
    assert (white(inner) > white(outer)).all() and 0.4 < np.median(middle) < 0.6


def test_boundary_outside_the_field_of_view_says_nothing() -> None:
    _, _, core, grey, bold = volumes()
    away = TRUTH.copy()
    away[0, 3] += 1000
    assert Boundary(core, grey, bold)(away) == 1
