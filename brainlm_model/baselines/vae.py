"""A small variational autoencoder over the series of one parcel (Kingma & Welling, 2014): its latents are features.

Fitted on windows of training subjects, without labels. Shapes: R recordings, P parcels, T steps, Z latents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HIDDEN, LATENT, EPOCHS, BATCH, RATE, BETA = 128, 16, 20, 256, 1e-3, 0.1
MOST_SERIES = 20_000  # for training, drawn by the seed

Array = NDArray[np.float32]


class Vae:
    """Encoder and decoder of one hidden layer each; `features` gives the means of the latents."""

    def __init__(self, steps: int) -> None:
        from torch import nn

        self.encoder = nn.Sequential(nn.Linear(steps, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, steps))

    def loss(self, x_BT: Any) -> Any:
        """Squared error of the reconstruction, plus BETA times the divergence of the latents from a standard normal."""
        import torch

        # Minus the evidence's lower bound, up to BETA. A draw z = mean + sd * eps lets gradients through to mean and
        # sd, and KL(N(mean, sd^2) | N(0, 1)) = (mean^2 + sd^2 - 1 - log sd^2) / 2 per latent.
        mean, log_variance = self.encoder(x_BT).chunk(2, dim=1)
        drawn = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        return ((self.decoder(drawn) - x_BT) ** 2).sum(1).mean() + BETA * divergence.mean()

    def features(self, x_RPT: Array) -> Array:
        """Latents (R, P, Z)."""
        import torch

        with torch.inference_mode():
            latents: Array = self.encoder(torch.from_numpy(x_RPT)).chunk(2, dim=2)[0].numpy()
        return latents


def fit(x_RPT: Array, known_RP: NDArray[np.bool_], seed: int) -> Vae:
    """Train on the known series of these windows; the same seed gives the same weights."""
    import torch

    from brainlm_model.baselines.descent import gradient_step

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    every = x_RPT[known_RP]
    series = torch.from_numpy(every[rng.permutation(len(every))[:MOST_SERIES]])
    vae = Vae(series.shape[1])
    optimizer = torch.optim.Adam([*vae.encoder.parameters(), *vae.decoder.parameters()], RATE)
    for _ in range(EPOCHS):
        for rows in torch.from_numpy(rng.permutation(len(series))).split(BATCH):
            gradient_step(vae.loss(series[rows]), optimizer, clip=1.0)
    return vae
