"""Com-BrainTF (Bannadabhavi et al., MICCAI 2023), written from the paper: attention within networks, then in all.

A token is a parcel, its content the parcel's row of the correlations, as in the Brain Network Transformer. One layer
looks at each community of parcels by itself, with a prompt of the community's own; what the prompts have gathered
becomes one more token of a second layer, over all parcels.
Shapes: B people, P parcels, C communities, M parcels of a community.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from brainlm_model.baselines.brain_transformer import SLOPE, CentreReadout, layer

HEADS, CENTRES, MIXED = 8, 8, 512


class ComBrain(nn.Module):
    """`communities`: of each parcel, by name (published: seven networks and the rest). `dropout`: of the layers."""

    def __init__(self, parcels: int, outputs: int, communities: Sequence[str], dropout: float) -> None:
        super().__init__()
        names = np.asarray(communities)
        self.members = [torch.from_numpy(np.flatnonzero(names == name)) for name in np.unique(names)]
        self.prompts_CP = nn.Parameter(0.02 * torch.randn(len(self.members), parcels))
        self.within = layer(parcels, HEADS, dropout)
        self.mix = nn.Sequential(
            nn.Linear(len(self.members) * parcels, MIXED), nn.LeakyReLU(SLOPE), nn.Linear(MIXED, parcels)
        )
        self.between = layer(parcels, HEADS, dropout)
        self.readout = CentreReadout(parcels, outputs, CENTRES)

    def forward(self, correlations_BPP: Tensor) -> Tensor:
        """Outputs (B, outputs)."""
        prompts, tokens_BPP = [], torch.empty_like(correlations_BPP)
        for prompt_P, places_M in zip(self.prompts_CP, self.members, strict=True):
            first_B1P = prompt_P.expand(len(correlations_BPP), 1, -1)
            seen = self.within(torch.cat([first_B1P, correlations_BPP[:, places_M]], dim=1))
            prompts.append(seen[:, 0])
            tokens_BPP = tokens_BPP.index_copy(1, places_M, seen[:, 1:])
        whole_B1P = self.mix(torch.cat(prompts, dim=1))[:, None]
        together = self.between(torch.cat([whole_B1P, tokens_BPP], dim=1))
        return torch.as_tensor(self.readout(together[:, 1:]))
