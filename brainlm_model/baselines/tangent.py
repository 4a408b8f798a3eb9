"""Tangent-space connectivity: correlations as seen from their geometric mean over training people.

Varoquaux et al., MICCAI 2010; Dadi et al., NeuroImage 2019 found it the best connectivity for predicting traits.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
REFERENCE = 60  # training people, evenly spread, of whom the geometric mean is taken: its cost grows with them
FLOOR = 1e-3  # least eigenvalue of a matrix whose missing values were filled in
BATCH = 32


def features(matrices_NPP: Array, train: NDArray[np.intp]) -> NDArray[np.float32]:
    """(N, P (P + 1) / 2) tangent vectors of symmetric matrices, whose reference is that of people `train`.

    nilearn takes series and not matrices: each matrix enters as its Cholesky factor, P "steps" whose covariance it is.
    """
    from nilearn.connectome import ConnectivityMeasure
    from sklearn.covariance import EmpiricalCovariance

    chosen = train[np.unique(np.linspace(0, len(train) - 1, min(len(train), REFERENCE)).round().astype(int))]
    measure = ConnectivityMeasure(
        cov_estimator=EmpiricalCovariance(assume_centered=True), kind="tangent", vectorize=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a geometric mean that is not exact to seven digits
        measure.fit([_root(matrices_NPP[i]) for i in chosen])
    # A person's vector is the upper triangle of log(G^-1/2 M G^-1/2), G being the geometric mean: near G, differences
    # of positive definite matrices as plain Euclidean ones.
    parts = []
    for first in range(0, len(matrices_NPP), BATCH):
        roots = [_root(matrix) for matrix in matrices_NPP[first : first + BATCH]]
        # nilearn halves the squared length of a matrix; pyriemann, and `connectivity`, keep it
        parts.append((np.sqrt(2) * measure.transform(roots)).astype(np.float32))
    return np.concatenate(parts)


def _root(matrix_PP: Array) -> Array:
    """(P, P) "series" whose second moments are the matrix, made positive definite where it is not."""
    # Rows Y (P, P) with Y'Y / P = M:  Y = sqrt(P) L' for M = L L', or sqrt(P values) V' by eigenvectors where M is not
    # positive definite.
    matrix = np.asarray(matrix_PP, dtype=np.float64)
    try:
        return np.sqrt(len(matrix)) * np.linalg.cholesky(matrix).T
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        return np.sqrt(len(matrix) * np.maximum(values, FLOOR))[:, None] * vectors.T
