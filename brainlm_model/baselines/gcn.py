"""A small graph autoencoder (Kipf & Welling, 2016): two graph convolutions over the connectivity graph of a window.

Nodes are parcels with their series, edges the strongest correlations; it learns to tell edges from the rest by the
inner products of its node embeddings, which are the features. Fitted on windows of training subjects, without labels.
Shapes: R recordings, P parcels, T steps, Z latents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HIDDEN, LATENT, EPOCHS, RATE = 64, 16, 20, 1e-2
EDGES = 0.1  # share of the parcels that a parcel is joined to

Array = NDArray[np.float32]


class Gcn:
    """Two graph convolutions; `features` gives the node embeddings."""

    def __init__(self, steps: int) -> None:
        from torch import nn

        self.first = nn.Linear(steps, HIDDEN, bias=False)
        self.second = nn.Linear(HIDDEN, LATENT, bias=False)

    def embed(self, x_PT: Any, normed_PP: Any) -> Any:
        """Node embeddings (P, Z)."""
        return normed_PP @ self.second((normed_PP @ self.first(x_PT)).relu())

    def loss(self, x_PT: Any, edges_PP: Any) -> Any:
        """Cross-entropy of edges against the rest, weighted so that both count alike."""
        from torch.nn import functional as F

        # P(edge between i and j) = sigmoid(z_i . z_j). Edges are few: each counts (1 - share) / share times as much.
        z_PZ = self.embed(x_PT, normalised(edges_PP))
        share = edges_PP.mean().clamp(1e-6, 1 - 1e-6)
        return F.binary_cross_entropy_with_logits(z_PZ @ z_PZ.T, edges_PP, pos_weight=(1 - share) / share)

    def features(self, x_RPT: Array, known_RP: NDArray[np.bool_]) -> Array:
        """Node embeddings (R, P, Z); zero where a parcel is not known."""
        import torch

        embedded = np.zeros((*x_RPT.shape[:2], LATENT), np.float32)
        with torch.inference_mode():
            for row, (x_PT, known_P) in enumerate(zip(x_RPT, known_RP, strict=True)):
                x = _standard(x_PT[known_P])
                embedded[row, known_P] = self.embed(x, normalised(graph(x))).numpy()
        return embedded


def graph(x_PT: Any) -> Any:
    """Symmetric 0/1 edges (P, P): each parcel and those that it correlates with most; itself too."""
    import torch

    r_PP = x_PT @ x_PT.T
    most = max(1, round(EDGES * (len(r_PP) - 1)))
    nearest = r_PP.fill_diagonal_(-torch.inf).topk(min(most, max(len(r_PP) - 1, 1)), dim=1).indices
    edges = torch.zeros_like(r_PP).scatter(1, nearest, 1.0)
    return torch.maximum(edges, edges.T).fill_diagonal_(1.0)


def normalised(edges_PP: Any) -> Any:
    """Edges divided by the roots of both nodes' degrees."""
    # D^-1/2 A D^-1/2, whose eigenvalues lie within -1 and 1: a parcel with many edges does not become louder than
    # others by them.
    root = edges_PP.sum(1).rsqrt()
    return edges_PP * root[:, None] * root


def fit(x_RPT: Array, known_RP: NDArray[np.bool_], seed: int) -> Gcn:
    """Train on these windows, one graph a step; the same seed gives the same weights."""
    import torch

    from brainlm_model.baselines.descent import gradient_step

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    gcn = Gcn(x_RPT.shape[2])
    optimizer = torch.optim.Adam([*gcn.first.parameters(), *gcn.second.parameters()], RATE)
    windows = [_standard(x_PT[known]) for x_PT, known in zip(x_RPT, known_RP, strict=True)]
    graphs = [graph(x_PT) for x_PT in windows]
    for _ in range(EPOCHS):
        for row in rng.permutation(len(windows)):
            gradient_step(gcn.loss(windows[row], graphs[row]), optimizer)
    return gcn


def _standard(x_PT: Array) -> Any:
    """Each series with mean 0 and norm 1, so that products are correlations."""
    import torch

    x = torch.from_numpy(np.ascontiguousarray(x_PT)).float()
    x = x - x.mean(1, keepdim=True)
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-9)
