"""The conditional Gaussian written plainly: one window after another, one patch after another, as the formulas go.

Same constructor, buffer and calls as `brainlm_model.models.prior.GaussianPrior`; what its speed is measured against
(`benchmarks.prior`), and what it has to agree with.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_model.models.prior import FEW_PAIRS, FLOOR, PASSES, Expected


class PlainPrior(nn.Module):
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

    def forward(self, x_BPNS: Tensor, hidden_BPN: Tensor) -> Expected:
        """Expectations of windows; what is hidden of `x_BPNS` is not looked at.

        Where the windows ask for a gradient it passes through the expectations, not through what was adapted to them.
        """
        with torch.autocast(x_BPNS.device.type, enabled=False):  # covariances are factored: eight bits are too few
            each = [self._window(x, hidden) for x, hidden in zip(x_BPNS.float(), hidden_BPN, strict=True)]
        return Expected(*(torch.stack(part).to(x_BPNS.dtype) for part in zip(*each, strict=True)))

    def _window(self, x_PNS: Tensor, hidden_PN: Tensor) -> Expected:
        adapts = np.isfinite(self.strength) and bool(hidden_PN.any()) and not bool(hidden_PN.all())
        covariance = self.covariance
        for _ in range(PASSES if adapts else 0):
            filled, uncertainty = self._expect(covariance, x_PNS.detach(), hidden_PN)
            series = filled.flatten(1)
            scatter = series @ series.T + uncertainty
            steps = series.shape[1]
            # people differ in amplitude: the prior is the population's covariance at this window's amplitude
            amplitude = scatter.trace() / steps / self.covariance.trace()
            covariance = (self.strength * amplitude * self.covariance + scatter) / (self.strength + steps)
        return self._details(covariance, x_PNS, hidden_PN)

    @staticmethod
    def _expect(covariance: Tensor, x_PNS: Tensor, hidden_PN: Tensor) -> tuple[Tensor, Tensor]:
        """Expectation of the hidden patches, and their conditional covariance summed over the steps (P, P)."""
        filled = x_PNS.clone()
        uncertainty = torch.zeros_like(covariance)
        for patch, hidden, visible in _patterns(hidden_PN):
            if len(hidden):
                expected, conditional = _conditional(covariance, x_PNS[:, patch], hidden, visible)[:2]
                filled[hidden, patch] = expected
                uncertainty[hidden[:, None], hidden] += x_PNS.shape[2] * conditional
        return filled, uncertainty

    @staticmethod
    def _details(covariance: Tensor, x_PNS: Tensor, hidden_PN: Tensor) -> Expected:
        filled, innovation = x_PNS.clone(), torch.zeros_like(x_PNS)
        variance = torch.zeros(hidden_PN.shape, device=x_PNS.device)
        for patch, hidden, visible in _patterns(hidden_PN):
            x_PS = x_PNS[:, patch]
            filled[hidden, patch], conditional, factor = _conditional(covariance, x_PS, hidden, visible)
            variance[hidden, patch] = conditional.diagonal()
            if len(visible):
                precision = torch.cholesky_inverse(factor)
                variance[visible, patch] = alone = 1 / precision.diagonal()
                innovation[visible, patch] = precision @ x_PS[visible] * alone[:, None]
        innovation = continued(innovation, hidden_PN)
        spread = (variance.clamp(min=0) / covariance.diagonal()[:, None]).sqrt()
        return Expected(filled, innovation, spread)


def continued(innovation_PNS: Tensor, hidden_PN: Tensor) -> Tensor:
    """Innovations with those of hidden patches predicted from the patch before and the one after, where visible.

    A stationary Gaussian process in time with the autocorrelation of this window's innovations, pooled over parcels: so
    it fits any TR and filter without having been trained on them. Zero where neither neighbour is visible.
    """
    steps = innovation_PNS.shape[2]
    visible_PN = ~hidden_PN
    kernel = _autocorrelation(innovation_PNS.detach(), visible_PN)
    before = F.pad(visible_PN, (1, 0))[:, :-1]
    after = F.pad(visible_PN, (0, 1))[:, 1:]
    own = torch.arange(steps, 2 * steps, device=kernel.device)
    found = innovation_PNS.clone()
    around = F.pad(innovation_PNS, (0, 0, 1, 1)).unfold(1, 3, 1).transpose(-1, -2).flatten(2)  # (P, N, 3 S)
    for pattern in ((True, True), (True, False), (False, True)):
        known = torch.tensor([pattern[0], False, pattern[1]], device=kernel.device).repeat_interleave(steps)
        weights = torch.linalg.solve(kernel[known][:, known], kernel[known][:, own])
        chosen = hidden_PN & (before == pattern[0]) & (after == pattern[1])
        found[chosen] = around[chosen][:, known] @ weights
    return found


def _autocorrelation(innovation_PNS: Tensor, visible_PN: Tensor) -> Tensor:
    """Correlation (3 S, 3 S) of the steps of three patches one after another; lags of few pairs are shrunk to zero."""
    patches, steps = innovation_PNS.shape[1:]
    seen = visible_PN.repeat_interleave(steps, 1).float()
    values = innovation_PNS.flatten(1)
    scale = (values.square().sum(1) / seen.sum(1).clamp(min=1)).sqrt()
    values = values / torch.where(scale > 0, scale, 1)[:, None]
    size = 2 * max(patches, 3) * steps  # no wrapping around
    power, count = (torch.fft.rfft(x, size).abs().square().sum(0) for x in (values, seen))
    products, pairs = (torch.fft.irfft(x, size)[: 3 * steps] for x in (power, count))
    correlation = products / (pairs + FEW_PAIRS).clamp(min=1)
    correlation[2 * steps :] = 0
    correlation = correlation / correlation[0].clamp(min=1e-6)
    place = torch.arange(3 * steps, device=values.device)
    eigenvalues, vectors = torch.linalg.eigh(correlation[(place[:, None] - place).abs()])
    return (vectors * (eigenvalues.clamp(min=0) + FLOOR)) @ vectors.T  # gaps can make it indefinite


def _patterns(hidden_PN: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each patch with its hidden and its visible parcels."""
    for patch, hidden_P in enumerate(hidden_PN.T):
        yield patch, hidden_P.nonzero().flatten(), (~hidden_P).nonzero().flatten()


def _conditional(covariance: Tensor, x_PS: Tensor, hidden: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Expectation (hidden, S) and covariance (hidden, hidden) of hidden parcels; Cholesky factor of visible ones."""
    left = covariance.index_select(0, hidden)
    within = covariance.index_select(0, visible).index_select(1, visible)
    factor = torch.linalg.cholesky(within)
    half = torch.linalg.solve_triangular(factor, left.index_select(1, visible).T, upper=False)  # (visible, hidden)
    expected = half.T @ torch.linalg.solve_triangular(factor, x_PS[visible], upper=False)
    return expected, left.index_select(1, hidden) - half.T @ half, factor
