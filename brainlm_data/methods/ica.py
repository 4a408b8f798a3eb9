"""Spatial ICA of a voxel sample: PCA by a T x T eigendecomposition, then Picard (Ablin et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FEWEST, MOST = 5, 60
SIXTH, THIRD = 6, 3  # volumes per component, at most and at least
TOLERANCE, PASSES = 1e-5, 300


@dataclass(frozen=True)
class Components:
    """`mixing` (T, k) time courses in the data's order of variance, `z` (k, voxels) unit-variance maps.

    `variance`: share of the (variance-normalized) data that each explains. `converged`: whether Picard was.
    """

    mixing: Array
    z: Array
    variance: Array
    converged: bool


@dataclass(frozen=True)
class Principal:
    """Principal components of a voxel sample, from which any number of ICAs can start.

    `data` (T, voxels), each voxel at unit variance; `values` (T,) second moments in falling order, `vectors` (T, T).
    """

    data: Array
    values: Array
    vectors: Array

    @property
    def rank(self) -> int:
        """How many components there can be."""
        return min(int((self.values > self.values[0] * 1e-10).sum()), len(self.data) - 1)


def principal(data: Array) -> Principal:
    """PCA of (T, voxels), each voxel's series without mean.

    Voxels are normalized to unit variance first, as MELODIC does (Beckmann & Smith, 2004).
    """
    spread = data.std(0)
    x = data / np.where(spread > 0, spread, 1)
    # By the T x T second moments X X' / n = V diag(values) V': there are far fewer volumes than voxels.
    values, vectors = np.linalg.eigh(x @ x.T / x.shape[1])
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    # An eigenvector's sign is arbitrary: its largest entry becomes positive, so that every machine starts alike.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(x))])
    return Principal(x, values, vectors)


def decompose(found: Principal, n_components: int, seed: int = 0) -> Components:
    """ICA with a number of components, from a start by `seed`.

    Components are ordered by the variance that they explain, and their sign makes the map's skewness positive.
    """
    import warnings

    from picard import picard

    # ICA looks for x = A z: maps z (k, voxels) that are as independent as possible, with time courses A (T, k).
    x, values, vectors = found.data, found.values, found.vectors
    count = min(n_components, found.rank)
    # Whitening: W = diag(values)^-1/2 V' X has uncorrelated rows of unit variance. What is left of ICA is a rotation.
    scale = np.sqrt(values[:count])
    white = vectors[:, :count].T @ x / scale[:, None]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, count)))[0]
        _, unmixing, z = picard(
            white, whiten=False, centering=False, ortho=True, extended=True, fastica_it=5, w_init=start,
            max_iter=PASSES, tol=TOLERANCE,
        )  # fmt: skip
    converged = not any("did not converge" in str(w.message) for w in caught)
    # z = U W and X = V diag(values)^1/2 W, so A = V diag(values)^1/2 U^-1.
    mixing = vectors[:, :count] * scale @ np.linalg.pinv(unmixing)
    # A z = (A diag(size)) (diag(size)^-1 z): the scale goes to the time course, whose square is then its variance.
    size = z.std(1)
    z, mixing = z / size[:, None], mixing * size
    variance = np.square(mixing).sum(0) / values.sum()
    order = np.argsort(-variance, kind="stable")
    sign = np.where((z**3).mean(1) < 0, -1.0, 1.0)[order]
    return Components(mixing[:, order] * sign, z[order] * sign[:, None], variance[order], converged)


def smooth(data: NDArray[Any], mask: NDArray[np.bool_], sigma: float) -> NDArray[Any]:
    """Gaussian smoothing of (T, voxels) inside a mask (x, y, z), by normalized convolution; `sigma` in voxels."""
    from scipy.ndimage import gaussian_filter

    # G * (x m) / (G * m): what lies outside of the mask is left out, where plain smoothing would count it as zero.
    weight = gaussian_filter(mask.astype(np.float32), sigma)[mask]
    image, out = np.zeros(mask.shape, np.float32), np.empty_like(data)
    for row, values in zip(out, data, strict=True):
        image[mask] = values
        row[:] = gaussian_filter(image, sigma)[mask] / weight
    return out


def optimal_rank(values: Array, steps: int, voxels: int) -> int:
    """Number of components by Gavish and Donoho's optimal hard threshold for singular values (2014), noise unknown.

    Voxels of a smooth image are not independent, so their noise has no flat spectrum and the threshold comes out too
    high. The number is therefore kept between a sixth and a third of the volumes, and between 5 and 60: with fewer,
    motion, heartbeat and neural signal share components (docs/stages/denoise.md has the comparison).
    """
    # For an m x n matrix of white noise, beta = m / n, the threshold that loses least (in mean square) is omega(beta)
    # times the median singular value; omega is Gavish and Donoho's cubic approximation, equation (5).
    beta = min(steps / voxels, 1.0)
    omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
    singular = np.sqrt(values)
    above = int((singular > omega * np.median(singular)).sum())
    most = max(FEWEST, min(MOST, steps // THIRD))
    return int(np.clip(above, min(most, max(FEWEST, steps // SIXTH)), most))
