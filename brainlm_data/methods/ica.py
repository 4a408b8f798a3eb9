"""Spatial ICA of a voxel sample: PCA by a T x T eigendecomposition, then Picard (Ablin et al., 2018)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods.picard import unmixed

Array = NDArray[np.float64]
Voxels = NDArray[np.float32]
Blocks = Iterable[tuple[NDArray[np.intp], Array]]  # which can be gone through again
FEWEST, MOST = 5, 60
SIXTH, THIRD = 6, 3  # volumes per component, at most and at least
TOLERANCE, PASSES = 1e-4, 300


@dataclass(frozen=True)
class Components:
    """`mixing` (T, k) time courses in the data's order of variance, `z` (k, voxels) unit-variance maps.

    `variance`: share of the (variance-normalized) data that each explains. `converged`: whether Picard was.
    """

    mixing: Array
    z: Voxels
    variance: Array
    converged: bool


@dataclass(frozen=True)
class Principal:
    """Principal components of a voxel sample, from which any number of ICAs can start.

    `values` (T,) second moments in falling order, `vectors` (T, T); `scores` (most, voxels), the first `vectors`' X.
    """

    values: Array
    vectors: Array
    scores: Array

    @property
    def rank(self) -> int:
        """How many components there can be."""
        return min(int((self.values > self.values[0] * 1e-10).sum()), len(self.values) - 1, len(self.scores))


def principal(blocks: Blocks, most: int) -> Principal:
    """PCA of a voxel sample, which is gone through twice.

    Voxels are normalized to unit variance first, as MELODIC does (Beckmann & Smith, 2004).

    Parameters
    ----------
    blocks: (places, series) of some voxels at a time: their numbers, and (T, voxels), each voxel's without mean.
    most: components that an ICA may have.
    """
    # By the T x T second moments X X' / n = V diag(values) V': there are far fewer volumes than voxels.
    moments: Array = np.zeros(())
    voxels = 0
    for places, series in blocks:
        x = _at_unit_variance(series)
        moments = moments + x @ x.T
        voxels += len(places)
    values, vectors = np.linalg.eigh(moments / voxels)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    # An eigenvector's sign is arbitrary: its largest entry becomes positive, so that every machine starts alike.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(vectors))])
    scores = np.empty((min(most, len(vectors)), voxels))
    for places, series in blocks:
        scores[:, places] = vectors[:, :most].T @ _at_unit_variance(series)
    return Principal(values, vectors, scores)


def _at_unit_variance(series: Array) -> Array:
    spread = series.std(0)
    return np.asarray(series / np.where(spread > 0, spread, 1))


def decompose(found: Principal, n_components: int, seed: int = 0) -> Components:
    """ICA with a number of components, from a start by `seed`.

    Components are ordered by the variance that they explain, and their sign makes the map's skewness positive.
    """
    # ICA looks for x = A z: maps z (k, voxels) that are as independent as possible, with time courses A (T, k).
    values, vectors = found.values, found.vectors
    count = min(n_components, found.rank)
    # Whitening: W = diag(values)^-1/2 V' X has uncorrelated rows of unit variance. What is left of ICA is a rotation.
    scale = np.sqrt(values[:count])
    white = (found.scores[:count] / scale[:, None]).astype(np.float32)
    start = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, count)))[0]
    unmixing, z, converged = unmixed(white, start, PASSES, TOLERANCE)
    # z = U W and X = V diag(values)^1/2 W, so A = V diag(values)^1/2 U', as the inverse of a rotation is U'.
    mixing = vectors[:, :count] * scale @ unmixing.T
    # A z = (A diag(size)) (diag(size)^-1 z): the scale goes to the time course, whose square is then its variance.
    size = z.std(1)
    z, mixing = z / size[:, None], mixing * size
    variance = np.square(mixing).sum(0) / values.sum()
    order = np.argsort(-variance, kind="stable")
    sign = np.where((z**3).mean(1) < 0, -1.0, 1.0)[order]
    return Components(mixing[:, order] * sign, z[order] * sign[:, None], variance[order], converged)


def smoother(mask: NDArray[np.bool_], sigma: float) -> Callable[[Voxels], Voxels]:
    """Gaussian smoothing of a volume's voxels inside a mask (x, y, z), by normalized convolution; `sigma` in voxels."""
    from scipy.ndimage import gaussian_filter

    # G * (x m) / (G * m): what lies outside of the mask is left out, where plain smoothing would count it as zero.
    weight = gaussian_filter(mask.astype(np.float32), sigma)[mask]
    image = np.zeros(mask.shape, np.float32)

    def smooth(values: Voxels) -> Voxels:
        image[mask] = values
        return np.asarray(gaussian_filter(image, sigma)[mask] / weight)

    return smooth


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
