"""SPDNet (Huang & Van Gool, AAAI 2017), written from the paper: layers that keep matrices positive definite.

    BiMap  X -> W' X W, W with orthonormal columns      ReEig  eigenvalues below EPSILON are raised to it
    LogEig  the matrix logarithm, whose triangle is a vector of a flat space, for a linear layer

Shapes: B people, P parcels, H reduced parcels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

EPSILON = 1e-3
OWN = 0.3  # weight of the identity that makes correlations of few steps positive definite, as in `readout`


class SpdNet(nn.Module):
    """One BiMap from P to `hidden` parcels (P at most), ReEig, LogEig and a linear layer."""

    basis: Any  # typed as any module by its parametrization
    places: Tensor
    weights: Tensor

    def __init__(self, parcels: int, outputs: int, hidden: int) -> None:
        super().__init__()
        reduced = min(hidden, parcels)
        basis = nn.Linear(parcels, reduced, bias=False)
        # Kept orthonormal by its parametrization, so that any optimiser of flat spaces may be used. Not by Householder
        # reflections, torch's default here: with them weight decay makes the basis zero at its first step.
        self.basis = nn.utils.parametrizations.orthogonal(basis, orthogonal_map="cayley")
        rows, columns = torch.triu_indices(reduced, reduced)
        self.register_buffer("places", rows * reduced + columns)
        self.register_buffer("weights", torch.where(rows == columns, 1.0, math.sqrt(2)))  # the vector has X's norm
        self.last = nn.Linear(len(rows), outputs)

    def forward(self, correlations_BPP: Tensor) -> Tensor:
        """Outputs (B, outputs)."""
        parcels = correlations_BPP.shape[-1]
        positive_BPP = (1 - OWN) * correlations_BPP + OWN * torch.eye(parcels)
        basis_HP: Tensor = self.basis.weight
        reduced_BHH = basis_HP @ positive_BPP @ basis_HP.T
        logarithm_BHH = raised_logarithm(reduced_BHH)
        vector_BF = logarithm_BHH.flatten(1)[:, self.places] * self.weights
        return torch.as_tensor(self.last(vector_BF))


def raised_logarithm(x_BHH: Tensor) -> Tensor:
    """Logarithms (B, H, H) of symmetric matrices whose eigenvalues below `EPSILON` are raised to it."""
    return torch.as_tensor(_RaisedLogarithm.apply(x_BHH))


class _RaisedLogarithm(torch.autograd.Function):
    """ReEig and LogEig at once: V log(max(L, EPSILON)) V'.

    The gradient of V f(L) V' is V (K o V' G V) V' with K_ij = (f_i - f_j) / (l_i - l_j), which stays finite where
    eigenvalues are alike (Daleckii & Krein); that of the eigenvectors alone would not.
    """

    @staticmethod
    def forward(ctx: Any, x_BHH: Tensor) -> Tensor:
        values_BH, vectors_BHH = torch.linalg.eigh(x_BHH)
        ctx.save_for_backward(values_BH, vectors_BHH)
        logarithm_BH = values_BH.clamp(min=EPSILON).log()
        return (vectors_BHH * logarithm_BH[:, None]) @ vectors_BHH.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BHH: Tensor) -> Tensor:
        values_BH, vectors_BHH = ctx.saved_tensors
        logarithm_BH = values_BH.clamp(min=EPSILON).log()
        slope_BH = torch.where(values_BH > EPSILON, 1 / values_BH.clamp(min=EPSILON), 0)
        distance_BHH = values_BH[:, :, None] - values_BH[:, None]
        alike = distance_BHH.abs() < 1e-4 * values_BH[:, -1:, None]
        mean_slope_BHH = (slope_BH[:, :, None] + slope_BH[:, None]) / 2
        risen_BHH = logarithm_BH[:, :, None] - logarithm_BH[:, None]
        ratio_BHH = torch.where(alike, mean_slope_BHH, risen_BHH / torch.where(alike, 1, distance_BHH))
        symmetric_BHH = (gradient_BHH + gradient_BHH.mT) / 2
        inner_BHH = ratio_BHH * (vectors_BHH.mT @ symmetric_BHH @ vectors_BHH)
        return vectors_BHH @ inner_BHH @ vectors_BHH.mT
