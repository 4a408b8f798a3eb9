"""Principal components in place of SC-MBM: what a linear summary of the patterns, which nothing has to learn, is worth.

Shapes are in the names: N training and B other patterns, V voxels, K components.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brainlm_model.decode.scmbm import Size

COMPONENTS = 64  # fewer where there are fewer training patterns


class PCA(nn.Module):
    """An encoder with one token: the first `components` principal components of a pattern. Nothing in it learns.

    `size` is that of the SC-MBM in whose place it stands: patterns are padded in the same way.
    """

    def __init__(self, size: Size, voxels: int, components: int) -> None:
        super().__init__()
        self.size, self.tokens, self.width = size, 1, components
        self.register_buffer("mean_V", torch.zeros(voxels))
        self.register_buffer("axes_KV", torch.zeros(components, voxels))
        self.mean_V: Tensor
        self.axes_KV: Tensor

    def encode(self, x_BV: Tensor) -> Tensor:
        """Tokens (B, 1, K)."""
        return ((x_BV - self.mean_V) @ self.axes_KV.T)[:, None]


def fitted(size: Size, x_NV: Tensor) -> PCA:
    """The principal components of training patterns."""
    components = min(COMPONENTS, len(x_NV) - 1)
    pca = PCA(size, x_NV.shape[1], components)
    pca.mean_V.copy_(x_NV.mean(dim=0))
    _, _, axes = torch.linalg.svd(x_NV - pca.mean_V, full_matrices=False)
    pca.axes_KV.copy_(axes[:components])
    return pca
