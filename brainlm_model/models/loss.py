"""How wrong a reconstruction is. Shapes: B windows, P parcels, T steps, N time patches."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_error(reconstruction_BPT: Tensor, x_BPT: Tensor, scored_BPT: Tensor) -> Tensor:
    """Sum of squared errors over what is scored."""
    return torch.where(scored_BPT, reconstruction_BPT.float() - x_BPT.nan_to_num(), 0).square().sum()


def masked_mse(reconstruction_BPT: Tensor, x_BPT: Tensor, mask_BPN: Tensor) -> Tensor:
    """Mean squared error over masked, known values; zero (not NaN) where nothing is masked."""
    # sum over scored values of (x_hat - x)^2 / how many: visible values cost nothing, as in MAE (He et al., 2022)
    scored = mask_BPN.repeat_interleave(x_BPT.shape[2] // mask_BPN.shape[2], dim=2) & ~x_BPT.isnan()
    return squared_error(reconstruction_BPT, x_BPT, scored) / scored.sum().clamp(min=1)
