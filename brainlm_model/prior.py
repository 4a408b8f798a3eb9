"""The conditional Gaussian that a model may start from: what a covariance knows, the network need not learn.

E[hidden | visible] at each step, under a normal distribution with mean 0 whose covariance is the population's,
adapted to the window itself: an inverse-Wishart prior around the population's covariance, worth `strength` steps, and
a few expectation-maximisation passes over what is visible of the window (Little & Rubin, 2019, ch. 11). Two people
differ in their covariance, so the adapted Gaussian predicts an unseen person much better than the population's alone
(docs/model.md has the figures). Nothing here is trained by gradient.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

PASSES = 5  # of expectation-maximisation; eight change masked R2 by less than .005


class GaussianPrior(nn.Module):
    """Fills hidden patches by their expectation given the visible ones.

    Parameters
    ----------
    parcels: number of parcels.
    strength: steps that the population's covariance is worth; infinity: no adaptation to the window.
    """

    covariance: Tensor

    def __init__(self, parcels: int, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.register_buffer("covariance", torch.eye(parcels))

    @torch.no_grad()
    def forward(self, x_BPNS: Tensor, hidden_BPN: Tensor) -> Tensor:
        """Patches with hidden ones replaced by their expectation; visible ones are returned as they came."""
        filled = [self._window(x, hidden) for x, hidden in zip(x_BPNS.float(), hidden_BPN, strict=True)]
        return torch.stack(filled).to(x_BPNS.dtype)

    def _window(self, x_PNS: Tensor, hidden_PN: Tensor) -> Tensor:
        adapts = np.isfinite(self.strength) and bool(hidden_PN.any()) and not bool(hidden_PN.all())
        covariance = self.covariance
        for _ in range(PASSES if adapts else 0):
            filled, uncertainty = self._expect(covariance, x_PNS, hidden_PN)
            series = filled.flatten(1)
            scatter = series @ series.T + uncertainty
            steps = series.shape[1]
            # people differ in amplitude: the prior is the population's covariance at this window's amplitude
            amplitude = scatter.trace() / steps / self.covariance.trace()
            covariance = (self.strength * amplitude * self.covariance + scatter) / (self.strength + steps)
        return self._expect(covariance, x_PNS, hidden_PN)[0]

    @staticmethod
    def _expect(covariance: Tensor, x_PNS: Tensor, hidden_PN: Tensor) -> tuple[Tensor, Tensor]:
        """Expectation of the hidden patches, and their conditional covariance summed over the steps (P, P)."""
        filled = x_PNS.clone()
        uncertainty = torch.zeros_like(covariance)
        steps = x_PNS.shape[2]
        for patch in range(x_PNS.shape[1]):
            hidden, visible = (i.flatten() for i in (hidden_PN[:, patch].nonzero(), (~hidden_PN[:, patch]).nonzero()))
            if not len(hidden):
                continue
            left = covariance.index_select(0, hidden)
            conditional = left.index_select(1, hidden)
            expected = torch.zeros(len(hidden), steps, dtype=x_PNS.dtype, device=x_PNS.device)
            if len(visible):
                cross = left.index_select(1, visible)
                factor = torch.linalg.cholesky(covariance.index_select(0, visible).index_select(1, visible))
                half = torch.linalg.solve_triangular(factor, cross.T, upper=False)  # (visible, hidden)
                expected = half.T @ torch.linalg.solve_triangular(factor, x_PNS[visible, patch], upper=False)
                conditional = conditional - half.T @ half
            filled[hidden, patch] = expected
            uncertainty[hidden[:, None], hidden] += steps * conditional
        return filled, uncertainty


def population_covariance(series: Iterable[np.ndarray], ridge: float) -> np.ndarray:
    """Second moments (parcel, parcel) of recordings (time, parcel), shrunk towards their mean variance.

    Each recording counts by its steps; NaN (no data) is left out pair by pair, which the ridge keeps invertible.
    """
    total, count = np.zeros(()), np.zeros(())
    for recording in series:
        known = np.isfinite(recording)
        values = np.where(known, recording, 0).astype(np.float64)
        total = total + values.T @ values
        count = count + known.T.astype(np.float64) @ known
    moments = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    level = np.trace(moments) / np.count_nonzero(np.diag(moments)) if np.any(moments) else 1.0
    values, vectors = np.linalg.eigh(moments)
    floor = ridge * level
    return (vectors * (np.maximum(values, 0) + floor)) @ vectors.T
