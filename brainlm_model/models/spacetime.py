"""The joint Gaussian over parcels and time: what a hidden patch is, given all visible ones of a window at once.

    Cov(x_pt, x_qs) = S_pq r_shared(t - s) + D_pq r_own(t - s)

D is diagonal: of each parcel's variance, a share `OWN` of what the other parcels do not explain is its own; S, the rest
of the covariance, is shared. Both parts have an autocorrelation of their own, measured on the visible steps of the
window itself, so that any TR and filter fits. Nothing here is trained.

Why two parts: what a parcel has to itself is smoother in time, or less smooth, than what parcels share. With one
autocorrelation for both, time and space would separate, and a hidden patch would have nothing to learn from the other
patches of other parcels.

The conditional expectation is a linear system of as many equations as there are hidden values (up to 40,000 in a
window of 200 parcels and 200 steps). Conjugate gradients solve it without writing it down: on the whole grid of
parcels and steps, covariance and precision are both products of small matrices (`Joint`).
Shapes: B windows, P parcels, N time patches, S steps per patch, T = N S steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

OWN = 0.9  # share of the unexplained variance of a parcel that is its own; .5 to 1 differ by .001 of masked R2
ITERATIONS = 20  # of conjugate gradients; 80 change masked R2 by less than .001
FEW_PAIRS = 1000  # pairs of steps that a lag's correlation is worth against zero
LAGS = 0.25  # of the steps that are seen: correlations further apart cannot be measured on them and are taken as 0
FLOOR = 1e-2  # share of white noise in each part, which bounds how unequal the system's eigenvalues are


class Joint(NamedTuple):
    """Covariance of all parcels and steps of each window, in coordinates in which the own part has unit variance.

    Attributes
    ----------
    scale_BP1: what a value is divided by to be in these coordinates, D^1/2.
    space_BPP: eigenvectors V (columns) of the shared part in space.
    time_BTT, whitener_BTT: A and W with R_own = A A', W = A'^-1 and W' R_shared W diagonal.
    variance_BPT: along each eigenvector in space and in time, the variance: 1 is the own part.
    """

    scale_BP1: Tensor
    space_BPP: Tensor
    time_BTT: Tensor
    whitener_BTT: Tensor
    variance_BPT: Tensor

    def covariance(self, x_BPT: Tensor) -> Tensor:
        """Covariance times a field: V [variance x (V' x A)] A'."""
        along = self.space_BPP.mT @ x_BPT @ self.time_BTT
        return self.space_BPP @ (along * self.variance_BPT) @ self.time_BTT.mT

    def precision(self, x_BPT: Tensor) -> Tensor:
        """The inverse of `covariance`: V [(V' x W) / variance] W'."""
        along = self.space_BPP.mT @ x_BPT @ self.whitener_BTT
        return self.space_BPP @ (along / self.variance_BPT) @ self.whitener_BTT.mT


def joint_expectation(
    covariance_BPP: Tensor, filled_BPNS: Tensor, innovation_BPNS: Tensor, hidden_BPN: Tensor, iterations: int
) -> Tensor:
    """Patches (B, P, N, S): the joint Gaussian's expectation where hidden, the value where visible.

    Where the windows ask for a gradient it passes through the visible values, not through what was measured on them.

    Parameters
    ----------
    covariance_BPP: of the parcels at one step, positive definite.
    filled_BPNS: visible values; where hidden, a first guess.
    innovation_BPNS: of visible values, what the other visible parcels of their step do not predict of them.
    iterations: of conjugate gradients.
    """
    steps = filled_BPNS.shape[3]
    hidden_BPT = hidden_BPN.repeat_interleave(steps, 2)
    filled_BPT, visible_BPT = filled_BPNS.flatten(2), ~hidden_BPT
    with torch.no_grad():
        own_BPT = torch.where(visible_BPT, innovation_BPNS.flatten(2), 0)
        joint = _joint(covariance_BPP, filled_BPT, own_BPT, visible_BPT)
    expected: Tensor = _Expectation.apply(filled_BPT / joint.scale_BP1, hidden_BPT, joint, iterations)
    return torch.where(hidden_BPT, expected * joint.scale_BP1, filled_BPT).unflatten(2, (-1, steps))


class _Expectation(torch.autograd.Function):
    """x_hat_h = -Q_hh^-1 Q_hv x_v for the precision Q of the whole grid, h hidden and v visible values."""

    @staticmethod
    def forward(ctx: Any, filled_BPT: Tensor, hidden_BPT: Tensor, joint: Joint, iterations: int) -> Tensor:
        """From the guess g on:  Q_hh (x_hat - g) = -(Q [x_v, g])_h."""
        ctx.hidden_BPT, ctx.joint, ctx.iterations = hidden_BPT, joint, iterations
        residual_BPT = -joint.precision(filled_BPT)
        return filled_BPT + _solve(joint, residual_BPT, hidden_BPT, iterations)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BPT: Tensor) -> tuple[Tensor, None, None, None]:
        """The transposed map, -Q_vh Q_hh^-1: at the solution the guess does not matter."""
        solved_BPT = _solve(ctx.joint, gradient_BPT, ctx.hidden_BPT, ctx.iterations)
        pulled_BPT = -ctx.joint.precision(solved_BPT)
        return torch.where(ctx.hidden_BPT, 0, pulled_BPT), None, None, None


def _solve(joint: Joint, right_BPT: Tensor, hidden_BPT: Tensor, iterations: int) -> Tensor:
    """Q_hh^-1 right_h, zero where visible, by conjugate gradients with the covariance K_hh as preconditioner.

    K_hh is Q_hh^-1 but for what the visible values explain. The number of iterations is fixed: nothing is looked at on
    the way, so that a GPU is never waited for. A window that is solved stands still.
    """

    def within(field: Callable[[Tensor], Tensor], x_BPT: Tensor) -> Tensor:
        """The part of a matrix between hidden values, times a field that is zero elsewhere."""
        return torch.where(hidden_BPT, field(x_BPT), 0)

    def product(a_BPT: Tensor, b_BPT: Tensor) -> Tensor:
        return (a_BPT * b_BPT).sum((1, 2), keepdim=True)

    residual = torch.where(hidden_BPT, right_BPT, 0)
    solution = torch.zeros_like(residual)
    preconditioned = within(joint.covariance, residual)
    direction, size = preconditioned, product(residual, preconditioned)
    enough = 1e-10 * size  # rounding errors begin here
    for _ in range(iterations):
        image = within(joint.precision, direction)
        curvature = product(direction, image)
        goes_on = (size > enough) & (curvature > 0)
        step = torch.where(goes_on, size / curvature, 0)
        solution = solution + step * direction
        residual = residual - step * image
        preconditioned = within(joint.covariance, residual)
        next_size = product(residual, preconditioned)
        direction = preconditioned + torch.where(goes_on, next_size / size, 0) * direction
        size = next_size
    return solution


def _joint(covariance_BPP: Tensor, filled_BPT: Tensor, own_BPT: Tensor, visible_BPT: Tensor) -> Joint:
    """The covariance over parcels and time that a window's covariance and visible values give.

    `own_BPT`: innovations of the visible values, zero where hidden.
    """
    # 1 / Q_pp of the precision Q is the variance of a parcel that the others do not explain.
    alone_BP = 1 / torch.cholesky_inverse(torch.linalg.cholesky(covariance_BPP)).diagonal(dim1=1, dim2=2)
    scale_BP1 = (OWN * alone_BP).sqrt()[..., None]
    # In units of the own part C becomes D^-1/2 C D^-1/2 = V L V'. The shared part is V max(L - 1, 0) V': where C has
    # less variance than the own part alone, it is raised to it, which keeps the joint covariance positive definite.
    eigenvalues_BP, space_BPP = torch.linalg.eigh(covariance_BPP / scale_BP1 / scale_BP1.mT)
    shared_BP = (eigenvalues_BP - 1).clamp(min=0)
    shared_BPP = (space_BPP * shared_BP[:, None]) @ space_BPP.mT
    seen_BPT = visible_BPT.to(filled_BPT.dtype)
    values_BPT = filled_BPT / scale_BP1 * seen_BPT
    lags_B1 = (LAGS * visible_BPT.any(1).sum(1, keepdim=True)).clamp(min=1)
    r_shared_BTT = _toeplitz(_shared_correlation(values_BPT, seen_BPT, shared_BPP), lags_B1)
    r_own_BTT = _toeplitz(_own_correlation(own_BPT, seen_BPT), lags_B1)
    # R_own = F F' and F^-1 R_shared F^-1' = U G U':  A = F U and W = F^-1' U
    factor = torch.linalg.cholesky(r_own_BTT)
    half = torch.linalg.solve_triangular(factor, r_shared_BTT, upper=False)
    both = torch.linalg.solve_triangular(factor, half.mT, upper=False)
    ratio_BT, axes_BTT = torch.linalg.eigh((both + both.mT) / 2)
    whitener_BTT = torch.linalg.solve_triangular(factor.mT, axes_BTT, upper=True)
    variance_BPT = 1 + shared_BP[..., None] * ratio_BT.clamp(min=0)[:, None]
    return Joint(scale_BP1, space_BPP, factor @ axes_BTT, whitener_BTT, variance_BPT)


def _shared_correlation(values_BPT: Tensor, seen_BPT: Tensor, shared_BPP: Tensor) -> Tensor:
    """Autocorrelation (B, T) of the shared part, from the products of different parcels alone; few pairs shrink it.

    Different parcels have nothing but the shared part in common: E[x_pt x_q,t+k] = S_pq r(k) for p != q. Least squares
    over all pairs that are seen gives  r(k) = sum S_pq x_pt x_q,t+k / sum S_pq^2.
    """
    across_BPP = shared_BPP - torch.diag_embed(shared_BPP.diagonal(dim1=1, dim2=2))
    products = _products(values_BPT, across_BPP @ values_BPT)
    weight = _products(seen_BPT, across_BPP.square() @ seen_BPT)
    pairs = _products(seen_BPT, seen_BPT)
    least = (1e-3 * weight[:, :1]).clamp(min=1e-6)
    return products / torch.maximum(weight, least) * pairs / (pairs + FEW_PAIRS)


def _own_correlation(own_BPT: Tensor, seen_BPT: Tensor) -> Tensor:
    """Autocorrelation (B, T) of what parcels have to themselves, each at unit variance; few pairs shrink it."""
    scale_BP1 = (own_BPT.square().sum(2, keepdim=True) / seen_BPT.sum(2, keepdim=True).clamp(min=1)).sqrt()
    values_BPT = own_BPT / torch.where(scale_BP1 > 0, scale_BP1, 1)
    return _products(values_BPT, values_BPT) / (_products(seen_BPT, seen_BPT) + FEW_PAIRS)


def _products(x_BPT: Tensor, y_BPT: Tensor) -> Tensor:
    """`lagged_products` of the lags of a window (B, T)."""
    steps = x_BPT.shape[2]
    return lagged_products(x_BPT, y_BPT, 2 * steps)[:, :steps]


def lagged_products(x_BPT: Tensor, y_BPT: Tensor, size: int) -> Tensor:
    """Sums (B, size) over parcels and steps of x_t y_t+k for lags k = 0, 1, ...; of both signs of k, the mean.

    `size`: to which the series are padded with zeros: twice their length, and nothing wraps around.
    """
    # the inverse transform of the cross spectrum (Wiener & Khinchin)
    cross = torch.fft.rfft(x_BPT, size).conj() * torch.fft.rfft(y_BPT, size)
    return torch.fft.irfft(cross.real.sum(1), size)


def _toeplitz(correlation_BT: Tensor, lags_B1: Tensor) -> Tensor:
    """Positive definite autocorrelation matrices (B, T, T) from measured correlations by lag.

    The correlations are tapered to zero at `lags` (Tukey-Hanning window); their spectrum is set to zero where it is
    negative, and a floor of white noise is added. A correlation that is nowhere positive becomes white noise.
    """
    steps = correlation_BT.shape[1]
    lag = torch.arange(steps, device=correlation_BT.device)
    taper = torch.where(lag < lags_B1, 0.5 + 0.5 * torch.cos(torch.pi * lag / lags_B1), 0)
    tapered = correlation_BT * taper
    # r(0), ..., r(T - 1), 0, r(T - 1), ..., r(1): a period of 2 T, whose transform is real
    period = torch.cat([tapered, torch.zeros_like(tapered[:, :1]), tapered[:, 1:].flip(1)], dim=1)
    power = torch.fft.rfft(period).real.clamp(min=0)
    smooth = torch.fft.irfft(power, 2 * steps)[:, :steps]
    variance = smooth[:, :1]
    smooth = torch.where(variance > 1e-6, smooth / variance.clamp(min=1e-6), (lag == 0).to(smooth.dtype))
    correlation = (smooth + FLOOR * (lag == 0)) / (1 + FLOOR)
    return correlation[:, (lag[:, None] - lag).abs()]
