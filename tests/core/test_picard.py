"""Picard in single precision against the package of its authors."""

from __future__ import annotations

import numpy as np
import pytest
from picard import picard

from brainlm_data.methods.picard import Rotated, unmixed


def whitened(seed: int, voxels: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Sources with heavy and with light tails, and a whitened mixture of them."""
    rng = np.random.default_rng(seed)
    sources = np.vstack(
        [rng.laplace(size=(4, voxels)), rng.uniform(-1, 1, (2, voxels)), rng.standard_t(5, (2, voxels))]
    )
    mixed = rng.normal(size=(8, 8)) @ (sources - sources.mean(1, keepdims=True))
    values, vectors = np.linalg.eigh(np.cov(mixed, bias=True))
    return sources, (vectors / np.sqrt(values)).T @ mixed


@pytest.mark.parametrize("seed", range(4))
def test_the_same_rotation_as_the_package(seed: int) -> None:
    _, white = whitened(seed)
    start = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 8)))[0]
    _, theirs, _ = picard(
        white, whiten=False, centering=False, ortho=True, extended=True, fastica_it=5, w_init=start, tol=1e-7
    )
    rotation, sources, converged = unmixed(white.astype(np.float32), start, 100, 1e-5)
    assert converged
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(8), atol=1e-10)
    np.testing.assert_allclose(sources, rotation @ white, atol=1e-4)
    np.testing.assert_allclose(np.abs(rotation @ theirs.T).max(1), 1, atol=1e-4)  # up to order and sign


def test_sources_are_found() -> None:
    sources, white = whitened(7, 20000)
    _, found, _ = unmixed(white.astype(np.float32), np.eye(8), 100, 1e-5)
    alike = np.abs(np.corrcoef(np.vstack([found, sources]))[:8, 8:])
    assert (alike.max(1) > 0.97).all() and len({*alike.argmax(1).tolist()}) == 8


def test_too_few_passes_have_not_converged() -> None:
    _, white = whitened(1)
    start = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    assert not unmixed(white.astype(np.float32), start, 1, 1e-12)[2]


def test_moments_are_those_of_tanh() -> None:
    y = np.random.default_rng(0).normal(0, 3, (3, 500)).astype(np.float32)
    y[0, :2] = 200, -200  # far beyond where cosh overflows
    found, exact = Rotated.of(y), y.astype(np.float64)
    np.testing.assert_allclose(found.cross, np.tanh(exact) @ exact.T / 500, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.slope, (1 - np.tanh(exact) ** 2).mean(1), rtol=1e-5)
    size = np.abs(exact)
    np.testing.assert_allclose(found.energy, (size + np.log1p(np.exp(-2 * size)) - np.log(2)).mean(1), rtol=1e-5)
