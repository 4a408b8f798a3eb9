"""BrainGB's graph network (Cui et al., IEEE TMI 2023), written from the paper: message passing over connectivity.

A node is a parcel with its row of the correlations; every pair of parcels is an edge, as heavy as its absolute
correlation. Shapes: B people, P parcels, H hidden, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAST = 8  # features of a node after the last layer
SLOPE = 0.2


class BrainGB(nn.Module):
    """Two layers of weighted message passing; the last features of all nodes, side by side, go to a perceptron."""

    def __init__(self, parcels: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_MessagePassing(parcels, hidden), _MessagePassing(hidden, LAST)])
        self.readout = nn.Sequential(
            nn.Linear(parcels * LAST, 256), nn.LeakyReLU(SLOPE), nn.Linear(256, 32), nn.LeakyReLU(SLOPE),
            nn.Linear(32, outputs),
        )  # fmt: skip

    def forward(self, correlations_BPP: Tensor) -> Tensor:
        """Outputs (B, outputs)."""
        edges_BPP = correlations_BPP.abs()
        nodes_BPF = correlations_BPP
        for layer in self.layers:
            nodes_BPF = layer(nodes_BPF, edges_BPP)
        return torch.as_tensor(self.readout(nodes_BPF.flatten(1)))


class _MessagePassing(nn.Module):
    """Each node gets the sum of what all send it, by the weight of the edge; then all features are normalised."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.message = nn.Linear(features, hidden)
        self.norm = nn.BatchNorm1d(hidden)

    def forward(self, nodes_BPF: Tensor, edges_BPP: Tensor) -> Tensor:
        received_BPH = edges_BPP @ self.message(nodes_BPF)
        normed_BHP = self.norm(received_BPH.transpose(1, 2))
        return nn.functional.leaky_relu(normed_BHP, SLOPE).transpose(1, 2)
