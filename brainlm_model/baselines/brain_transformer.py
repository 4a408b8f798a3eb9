"""Brain Network Transformer (Kan et al., NeurIPS 2022), written from the paper: attention between parcels' profiles.

A token is a parcel, its content the parcel's row of the correlations: where it lies is not told. A softmax assigns
tokens to fixed orthonormal centres, and what is gathered at each of them is read out.
Shapes: B people, P parcels, K centres.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CENTRES, HIDDEN, LAYERS, HEADS, LAST = 100, 1024, 2, 4, 8
SLOPE = 0.01


class BrainTransformer(nn.Module):
    """Two transformer layers as wide as there are parcels, and the orthonormal clustering readout.

    Heads are as many as divide the number of parcels, four at most. `dropout`: of the transformer's layers.
    """

    def __init__(self, parcels: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoder(layer(parcels, HEADS, dropout), LAYERS, enable_nested_tensor=False)
        self.readout = CentreReadout(parcels, outputs, CENTRES)

    def forward(self, correlations_BPP: Tensor) -> Tensor:
        """Outputs (B, outputs)."""
        return torch.as_tensor(self.readout(self.encoder(correlations_BPP)))


class CentreReadout(nn.Module):
    """Outputs of tokens (B, P, P): what is gathered at fixed orthonormal centres, at most as many as parcels."""

    centres_KP: Tensor

    def __init__(self, parcels: int, outputs: int, centres: int) -> None:
        super().__init__()
        count = min(centres, parcels)
        orthonormal_PK = torch.linalg.qr(torch.randn(parcels, count)).Q
        self.register_buffer("centres_KP", orthonormal_PK.T.contiguous())  # frozen
        self.reduce = nn.Sequential(nn.Linear(parcels, LAST), nn.LeakyReLU(SLOPE))
        self.layers = nn.Sequential(
            nn.Linear(count * LAST, 256), nn.LeakyReLU(SLOPE), nn.Linear(256, 32), nn.LeakyReLU(SLOPE),
            nn.Linear(32, outputs),
        )  # fmt: skip

    def forward(self, tokens_BPP: Tensor) -> Tensor:
        """Outputs (B, outputs)."""
        # of a token the shares that belong to each centre; of a centre the sum of the tokens by their shares
        shares_BPK = (tokens_BPP @ self.centres_KP.T).softmax(2)
        gathered_BKP = shares_BPK.mT @ tokens_BPP
        return torch.as_tensor(self.layers(self.reduce(gathered_BKP).flatten(1)))


def layer(parcels: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    """A transformer layer as wide as there are parcels; heads are as many as divide them, `heads` at most.

    Tokens are dropped, attention's weights are not: torch's fast attention on a CPU has no dropout, and a training step
    takes three quarters of the time so.
    """
    made = nn.TransformerEncoderLayer(parcels, math.gcd(parcels, heads), HIDDEN, dropout, batch_first=True)
    made.self_attn.dropout = 0.0
    return made
