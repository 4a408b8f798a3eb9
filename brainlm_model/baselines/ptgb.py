"""PTGB (Yang et al., CHIL 2023), written from the paper: a graph network pretrained without labels, then fine-tuned.

    rows of the correlations -> 64 numbers by a tied linear autoencoder, one per atlas -> four graph convolutions
    pretraining   parcels of one person within two steps of each other are to be alike, all others are not
    fine-tuning   the sum over all parcels, for a label

The paper pretrains on several cohorts in turn (meta-learning). Here it is the training people of one cohort, so that
nothing is known of others. Shapes: N training people, B people, P parcels, D 64 or P where that is less, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_model.baselines.descent import gradient_step

REDUCED, WIDTHS = 64, (64, 32, 32, 8)
STRONGEST = 0.025  # share of the parcels that each is joined with: within two steps there are about as many as 15 %
BATCH, RATE = 32, 1e-3


class Ptgb(nn.Module):
    """`basis_PD`: orthonormal columns, see `basis_of`."""

    basis_PD: Tensor

    def __init__(self, basis_PD: Tensor, outputs: int) -> None:
        super().__init__()
        self.register_buffer("basis_PD", basis_PD)  # of the atlas: not trained with the label
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        inputs = basis_PD.shape[1]
        for width in WIDTHS:
            self.layers.append(nn.Linear(inputs, width, bias=False))
            self.norms.append(nn.BatchNorm1d(width))
            inputs = width
        self.last = nn.Sequential(nn.BatchNorm1d(inputs), nn.Linear(inputs, outputs))

    def forward(self, correlations_BPP: Tensor) -> Tensor:
        """Outputs (B, outputs)."""
        nodes_BPH = self.nodes(correlations_BPP, joined(correlations_BPP))
        return torch.as_tensor(self.last(nodes_BPH.sum(1)))

    def nodes(self, correlations_BPP: Tensor, adjacency_BPP: Tensor) -> Tensor:
        """What the last layer says of each parcel, (B, P, H)."""
        # Kipf & Welling's D^-1/2 A D^-1/2: the mean over a parcel and its neighbours
        scale_BP = adjacency_BPP.sum(2).rsqrt()
        graph_BPP = scale_BP[:, :, None] * adjacency_BPP * scale_BP[:, None]
        nodes_BPH = correlations_BPP @ self.basis_PD
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            nodes_BPH = norm((graph_BPP @ layer(nodes_BPH)).mT).mT
            if number < len(WIDTHS) - 1:
                nodes_BPH = F.relu(nodes_BPH)
        return nodes_BPH


def pretrained(correlations_NPP: Tensor, outputs: int, rounds: int) -> Ptgb:
    """A network for a label that has seen the correlations of training people `rounds` times, and no label."""
    network = Ptgb(basis_of(correlations_NPP), outputs)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for _ in range(rounds):
        for chosen in torch.randperm(len(correlations_NPP)).split(BATCH):
            gradient_step(contrast(network, correlations_NPP[chosen]), optimizer)
    return network


def basis_of(correlations_NPP: Tensor) -> Tensor:
    """The tied linear autoencoder of parcels' rows, (P, D), in closed form.

    With orthonormal columns |X - X W W'|^2 is least for the eigenvectors of X'X with the largest eigenvalues.
    """
    rows = correlations_NPP.flatten(0, 1).double()
    _, vectors = torch.linalg.eigh(rows.T @ rows)  # in rising order
    return vectors[:, -REDUCED:].flip(1).to(correlations_NPP.dtype).contiguous()


def joined(correlations_BPP: Tensor) -> Tensor:
    """Adjacency (B, P, P), 1 or 0: each parcel, itself, and those that are among its strongest or it among theirs."""
    parcels = correlations_BPP.shape[-1]
    itself = torch.eye(parcels)
    strength = correlations_BPP.masked_fill(itself.bool(), -torch.inf)
    strongest = strength.topk(max(round(STRONGEST * parcels), 1), dim=-1).indices
    picked = torch.zeros_like(correlations_BPP).scatter(2, strongest, 1.0)
    return torch.maximum(torch.maximum(picked, picked.mT), itself)


def contrast(network: Ptgb, correlations_BPP: Tensor) -> Tensor:
    """Jensen-Shannon contrast of pairs of parcels of a person: within two steps of the graph, or further apart.

    -E log sigmoid(h_i . h_j) over the near pairs - E log sigmoid(-h_i . h_j) over the others.
    """
    adjacency_BPP = joined(correlations_BPP)
    nodes_BPH = network.nodes(correlations_BPP, adjacency_BPP)
    alike_BPP = nodes_BPH @ nodes_BPH.mT
    others_PP = 1 - torch.eye(alike_BPP.shape[-1])  # a parcel with itself is no pair
    near_BPP = (adjacency_BPP @ adjacency_BPP > 0) * others_PP
    far_BPP = others_PP - near_BPP
    as_far_BPP = F.softplus(alike_BPP)
    as_near_BPP = as_far_BPP - alike_BPP  # softplus(-x) = softplus(x) - x
    # of few parcels all may be near: then nothing is far
    far = (as_far_BPP * far_BPP).sum() / far_BPP.sum().clamp(min=1)
    return (as_near_BPP * near_BPP).sum() / near_BPP.sum() + far
