"""Connectivity in the subspace of parcels' space where third-order co-moments are largest.

The idea is that of arXiv 2606.04010 (connectivity in a subspace that keeps co-skewness); the paper was not at hand, and
what is done here was derived anew and may differ from it:

1. S_ijk = E[x_i x_j x_k] of a recording's standardized series x (parcel). Unfolded to M (P, P^2), its left singular
   vectors with the largest singular values are the directions that keep most of it (higher-order SVD), and these are
   the eigenvectors of M M' = E[x y' (x.y)^2], where y is an independent copy of x.
2. x and y are two steps of one recording at least `APART` steps apart. So M M' is estimated without S itself
   (time^2 x P and not time x P^3 products), and without the pairs x = y, whose mean is no third moment.
3. M M' is averaged over training people; its leading eigenvectors U (P, k) are the subspace.
4. A person's features are the second moments U' R U of the projected series, R being the correlations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
APART = 10  # steps
SHARES = (0.25, 0.5)  # of the number of parcels: the sizes of subspace that are tried


def third_moments(x_TP: Array) -> Array:
    """M M' (P, P) of a standardized series (time, parcel), from pairs of steps at least `APART` apart; may be 0."""
    steps = len(x_TP)
    # sum over pairs of steps s, t far apart of (x_s . x_t)^2 x_s x_t' = X' (K o K o far) X,  K = X X'.
    weights = (x_TP @ x_TP.T) ** 2
    far = np.abs(np.subtract.outer(np.arange(steps), np.arange(steps))) >= APART
    weights = np.where(far, weights, 0) / max(int(far.sum()), 1)
    return x_TP.T @ weights @ x_TP


def subspace(mean_PP: Array, size: int) -> Array:
    """Leading eigenvectors (P, size) of the mean of `third_moments`."""
    _, vectors = np.linalg.eigh((mean_PP + mean_PP.T) / 2)
    return vectors[:, ::-1][:, :size]


def features(correlations_NPP: Array, moments_NPP: Array, train: NDArray[np.intp], share: float) -> NDArray[np.float32]:
    """(N, k (k + 1) / 2) second moments in the subspace of people `train`; k is `share` of the parcels."""
    parcels = correlations_NPP.shape[1]
    basis = subspace(moments_NPP[train].mean(0, dtype=np.float64), max(round(share * parcels), 1))
    rows, columns = np.triu_indices(basis.shape[1])
    # |A|^2 counts an entry off the diagonal twice; the upper triangle has it once, times sqrt(2).
    twice = np.where(rows == columns, 1, np.sqrt(2))  # distances are those of the whole matrices
    vectors = []
    for r_PP in correlations_NPP:
        projected = basis.T @ r_PP @ basis
        vectors.append((projected[rows, columns] * twice).astype(np.float32))
    return np.stack(vectors)
