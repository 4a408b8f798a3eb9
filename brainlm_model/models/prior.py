"""The conditional Gaussian that a model may start from: what a covariance knows, the network need not learn.

E[hidden | visible] at each step, under a normal distribution with mean 0 whose covariance is the population's,
adapted to the window itself: an inverse-Wishart prior around the population's covariance, worth `strength` steps, and
a few expectation-maximisation passes over what is visible of the window (Little & Rubin, 2019, ch. 11). Two people
differ in their covariance, so the adapted Gaussian predicts an unseen person much better than the population's alone
(docs/model.md has the figures). Nothing here is trained by gradient.

Windows and patches go through together, in rectangles: as many rows as the patch with the most hidden (or visible)
parcels has, the others padded. `Layout` has those sizes, so that nothing waits for a GPU.
Shapes: B windows, P parcels, N time patches, S steps per patch, H hidden and V visible parcels of a patch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_model.models.layout import Layout
from brainlm_model.models.spacetime import FEW_PAIRS as FEW_PAIRS
from brainlm_model.models.spacetime import ITERATIONS, joint_expectation, lagged_products

RIDGES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # that training and the baseline of the same Gaussian choose from
DEFAULT_RIDGE = 0.05  # without validation people
FLOOR = 1e-3  # smallest eigenvalue of the autocorrelation
PASSES = 5  # of expectation-maximisation; eight change masked R2 by less than .005


class Expected(NamedTuple):
    """What the Gaussian says of windows.

    Attributes
    ----------
    filled: patches (B, P, N, S): the expectation where hidden, the value where visible.
    innovation: patches (B, P, N, S): of a visible value, what the other visible parcels of its step do not predict of
        it: the part that a parcel has to itself. Of a hidden one, what time adds to `filled`: how that part goes on
        from the patches before and after (`continued`); of a joint prior, all that the other patches say of it.
    spread: (B, P, N) standard deviation that is left, given the (other) visible parcels; 1 is the parcel's own.
    """

    filled: Tensor
    innovation: Tensor
    spread: Tensor


class GaussianPrior(nn.Module):
    """Fills hidden patches by their expectation given the visible ones.

    Parameters
    ----------
    parcels: number of parcels.
    strength: steps that the population's covariance is worth; infinity: no adaptation to the window.
    joint: one Gaussian over parcels and time (`spacetime.py`) in place of one over parcels that is continued in time.
    """

    covariance: Tensor

    def __init__(self, parcels: int, strength: float, joint: bool = False) -> None:
        super().__init__()
        self.strength, self.joint = strength, joint
        self.register_buffer("covariance", torch.eye(parcels))

    def forward(self, x_BPNS: Tensor, hidden_BPN: Tensor, layout: Layout | None = None) -> Expected:
        """Expectations of windows; what is hidden of `x_BPNS` is not looked at.

        Where the windows ask for a gradient it passes through the expectations, not through what was adapted to them.
        `layout`: how many tokens are visible, where the caller knows it; None: they are counted.
        """
        with torch.autocast(x_BPNS.device.type, enabled=False):  # covariances are factored: eight bits are too few
            if x_BPNS.is_cuda:
                expected = self._together(x_BPNS.float(), hidden_BPN, layout or Layout.of(hidden_BPN))
            else:  # the matrices of one window fit into a CPU's cache, those of a batch do not
                each = []
                for x_PNS, hidden_PN in zip(x_BPNS.float(), hidden_BPN, strict=True):
                    each.append(self._together(x_PNS[None], hidden_PN[None], Layout.of(hidden_PN[None])))
                expected = Expected(*(torch.cat(parts) for parts in zip(*each, strict=True)))
        return Expected(*(part.to(x_BPNS.dtype) for part in expected))

    def _together(self, x_BPNS: Tensor, hidden_BPN: Tensor, layout: Layout) -> Expected:
        """All windows at once: adapt the covariance to each of them, then ask it for what is hidden."""
        x_BNPS = torch.where(hidden_BPN[..., None], 0, x_BPNS).transpose(1, 2)
        sides = _Sides(hidden_BPN.transpose(1, 2), layout)
        with torch.no_grad():
            covariance_BPP = self._adapted(x_BNPS.detach(), sides)
        return _details(covariance_BPP, x_BNPS, sides, self.joint)

    def _adapted(self, x_BNPS: Tensor, sides: _Sides) -> Tensor:
        """Each window's covariance (B, P, P), by expectation-maximisation; the population's where nothing adapts it."""
        batch, patches, _, steps = x_BNPS.shape
        population_PP = self.covariance.float()
        covariance_BPP = population_PP.expand(batch, -1, -1)
        if not np.isfinite(self.strength) or sides.nothing_hidden:
            return covariance_BPP
        hidden_BL = sides.hidden_BNP.flatten(1)
        adapts_B11 = (hidden_BL.any(1) & ~hidden_BL.all(1))[:, None, None]
        length = patches * steps
        for _ in range(PASSES):
            # E step. With x_hat the visible values and the expectations of the hidden ones, and U the conditional
            # covariance of the hidden ones (zero elsewhere), which is the same at all steps of a patch:
            #     E[sum_t x_t x_t' | visible] = sum_t x_hat_t x_hat_t' + sum_n steps U_n
            conditional = sides.given_visible(covariance_BPP, x_BNPS)
            series_BPT = conditional.filled_BNPS.transpose(1, 2).flatten(2)
            scatter_BPP = series_BPT @ series_BPT.mT + steps * conditional.uncertainty()
            # M step: the mode under an inverse-Wishart prior that is worth k steps of covariance a C_0,
            #     C = (k a C_0 + scatter) / (k + T),    a = trace(scatter / T) / trace(C_0)
            # People differ in amplitude: the prior is the population's covariance at this window's amplitude a.
            amplitude_B = scatter_BPP.diagonal(dim1=1, dim2=2).sum(1) / length / population_PP.trace()
            prior_BPP = self.strength * amplitude_B[:, None, None] * population_PP
            adapted_BPP = (prior_BPP + scatter_BPP) / (self.strength + length)
            covariance_BPP = torch.where(adapts_B11, adapted_BPP, covariance_BPP)
        return covariance_BPP


class _Sides:
    """Places of the hidden and of the visible parcels of each patch, as rectangles.

    Attributes
    ----------
    hidden_BNP: which parcels of a patch are hidden; empty_BN: patches without a visible one: nothing is to be solved.
    hidden_BNH, visible_BNV: places; `hidden_exists`, `visible_exists`: which of them are not padding. A padded place is
        one of the other kind, so that within a patch every place comes once.
    """

    def __init__(self, hidden_BNP: Tensor, layout: Layout) -> None:
        parcels = hidden_BNP.shape[2]
        self.hidden_BNP = hidden_BNP
        self.nothing_hidden = layout.fewest == hidden_BNP.shape[1] * parcels
        self.by_precision = layout.hidden_most <= layout.visible_most  # the smaller of two equivalent systems
        visible_first = hidden_BNP.to(torch.uint8).argsort(dim=2, stable=True)
        n_visible_BN1 = (~hidden_BNP).sum(2, keepdim=True)
        self.empty_BN = n_visible_BN1[..., 0] == 0
        # visible_first:  v v v v v h h h    the first `visible_most` places hold every visible parcel, the last
        #                 v v v h h h h h    `hidden_most` every hidden one; what else is there is padding
        place = torch.arange(parcels, device=hidden_BNP.device)
        self.visible_BNV = visible_first[..., : layout.visible_most]
        self.visible_exists = place[: layout.visible_most] < n_visible_BN1
        start = parcels - layout.hidden_most  # hidden parcels stand at the end, so that padding comes first
        self.hidden_BNH = visible_first[..., start:]
        self.hidden_exists = (place[start:] >= n_visible_BN1) & ~self.empty_BN[..., None]

    def given_visible(self, covariance_BPP: Tensor, x_BNPS: Tensor) -> _ByPrecision | _ByCovariance:
        """The conditional distribution of what is hidden, by the cheaper way."""
        return (_ByPrecision if self.by_precision else _ByCovariance)(self, covariance_BPP, x_BNPS)


class _ByPrecision:
    """Hidden given visible parcels by the precision matrix L of all: cheaper where fewer are hidden than visible.

    The inverse of L's part between hidden parcels is their conditional covariance U, and their expectation is
    -U L_hv x_v. Q, the inverse of the visible parcels' covariance, is L_vv - L_vh U L_hv (block inversion).
    """

    def __init__(self, sides: _Sides, covariance_BPP: Tensor, x_BNPS: Tensor) -> None:
        self.sides, self.covariance_BPP = sides, covariance_BPP
        places, exists = sides.hidden_BNH, sides.hidden_exists
        self.precision_BPP = _inverse(covariance_BPP)
        # padding is a block of the identity, which leaves the rest of an inverse as it is
        self.conditional_BNHH = _inverse(_within(self.precision_BPP, places, exists))
        pull_BNPS = self.precision_BPP[:, None] @ x_BNPS  # L_hv x_v: what is hidden is zero in x
        expected = -self.conditional_BNHH @ torch.where(exists[..., None], _rows(pull_BNPS, places), 0)
        self.filled_BNPS = _put(x_BNPS, places, exists, expected)

    def uncertainty(self) -> Tensor:
        """Conditional covariance of the hidden parcels, summed over the patches (B, P, P)."""
        exists, places = self.sides.hidden_exists, self.sides.hidden_BNH
        inside = torch.where(exists[..., None] & exists[..., None, :], self.conditional_BNHH, 0)
        # a patch without a visible parcel has nothing to be conditioned on: its part is the covariance itself
        total_BPP = self.sides.empty_BN.sum(1)[:, None, None] * self.covariance_BPP
        total_BL = total_BPP.view(len(total_BPP), -1)
        for patch in range(places.shape[1]):  # within a patch each place comes once: additions have one order
            place_BH = places[:, patch]
            place_BL = (place_BH[:, :, None] * total_BPP.shape[1] + place_BH[:, None, :]).flatten(1)
            total_BL.scatter_add_(1, place_BL, inside[:, patch].flatten(1))
        return total_BPP

    def variance(self) -> Tensor:
        """Conditional variance (B, N, P) of the hidden parcels."""
        own = self.covariance_BPP.diagonal(dim1=1, dim2=2)[:, None, :, None].expand(*self.sides.hidden_BNP.shape, 1)
        inside = self.conditional_BNHH.diagonal(dim1=2, dim2=3)[..., None]
        return _put(own, self.sides.hidden_BNH, self.sides.hidden_exists, inside)[..., 0]

    def weighted(self) -> Tensor:
        """Q x (B, N, P, S) at the visible parcels: L times the filled values, which is zero at the hidden ones."""
        return self.precision_BPP[:, None] @ self.filled_BNPS

    def diagonal(self) -> Tensor:
        """Diagonal of Q (B, N, P) at the visible parcels."""
        across_BNHP = torch.where(
            self.sides.hidden_exists[..., None], _matrix_rows(self.precision_BPP, self.sides.hidden_BNH), 0
        )
        # diag(L_vh U L_hv)_i = sum_h L_hi (U L)_hi
        taken_BNP = (across_BNHP * (self.conditional_BNHH @ across_BNHP)).sum(2)
        return self.precision_BPP.diagonal(dim1=1, dim2=2)[:, None] - taken_BNP


class _ByCovariance:
    """The same by the covariance of the visible parcels: cheaper where fewer are visible than hidden.

    With C_vv = F F', every parcel's regression on the visible ones is W F^-1, W = C_pv F^-T, and W W' is what they
    explain of the covariance.
    """

    def __init__(self, sides: _Sides, covariance_BPP: Tensor, x_BNPS: Tensor) -> None:
        self.sides, self.covariance_BPP = sides, covariance_BPP
        places, exists = sides.visible_BNV, sides.visible_exists
        factor = torch.linalg.cholesky(_within(covariance_BPP, places, exists))
        identity = torch.eye(factor.shape[-1], device=factor.device).expand_as(factor)
        self.half_BNVV = torch.linalg.solve_triangular(factor, identity, upper=False)  # F^-1
        across_BNVP = torch.where(exists[..., None], _matrix_rows(covariance_BPP, places), 0)
        self.explained_BNVP = self.half_BNVV @ across_BNVP  # W'
        self.whitened_BNVS = self.half_BNVV @ torch.where(exists[..., None], _rows(x_BNPS, places), 0)
        expected = self.explained_BNVP.mT @ self.whitened_BNVS
        self.filled_BNPS = torch.where(sides.hidden_BNP[..., None], expected, x_BNPS)

    def uncertainty(self) -> Tensor:
        """Conditional covariance of the hidden parcels, summed over the patches (B, P, P)."""
        # sum over patches of C_hh - W_h W_h', with zeros at visible parcels. The first term is C times the number of
        # patches in which both parcels are hidden, h' h for the indicator h (N, P).
        hidden_BNP = self.sides.hidden_BNP
        explained = torch.where(hidden_BNP[:, :, None], self.explained_BNVP, 0).flatten(1, 2)
        together = hidden_BNP.float()
        return self.covariance_BPP * (together.mT @ together) - explained.mT @ explained

    def variance(self) -> Tensor:
        """Conditional variance (B, N, P) of the hidden parcels."""
        return self.covariance_BPP.diagonal(dim1=1, dim2=2)[:, None] - self.explained_BNVP.square().sum(2)

    def weighted(self) -> Tensor:
        """Q x (B, N, P, S) at the visible parcels: F^-T (F^-1 x), as Q = C_vv^-1 = F^-T F^-1."""
        values = self.half_BNVV.mT @ self.whitened_BNVS
        return _put(torch.zeros_like(self.filled_BNPS), self.sides.visible_BNV, self.sides.visible_exists, values)

    def diagonal(self) -> Tensor:
        """Diagonal of Q (B, N, P) at the visible parcels; 1 elsewhere."""
        ones = torch.ones_like(self.filled_BNPS[..., :1])
        values = self.half_BNVV.square().sum(2)[..., None]
        return _put(ones, self.sides.visible_BNV, self.sides.visible_exists, values)[..., 0]


def _details(covariance_BPP: Tensor, x_BNPS: Tensor, sides: _Sides, joint: bool) -> Expected:
    """Expectation, innovation and spread.

    Given the other visible ones a visible value has the innovation (Q x) / diag(Q) and the variance 1 / diag(Q).
    """
    conditional = sides.given_visible(covariance_BPP, x_BNPS)
    alone_BNP = 1 / torch.where(sides.hidden_BNP, 1, conditional.diagonal())
    innovation_BNPS = torch.where(sides.hidden_BNP[..., None], 0, conditional.weighted() * alone_BNP[..., None])
    variance_BNP = torch.where(sides.hidden_BNP, conditional.variance().clamp(min=0), alone_BNP)
    spread_BNP = (variance_BNP / covariance_BPP.diagonal(dim1=1, dim2=2)[:, None]).sqrt()
    filled_BPNS, innovation_BPNS = conditional.filled_BNPS.transpose(1, 2), innovation_BNPS.transpose(1, 2)
    hidden_BPN = sides.hidden_BNP.transpose(1, 2)
    if not joint:
        innovation_BPNS = continued(innovation_BPNS, hidden_BPN)
    elif not sides.nothing_hidden:
        expected_BPNS = joint_expectation(covariance_BPP, filled_BPNS, innovation_BPNS, hidden_BPN, ITERATIONS)
        innovation_BPNS = torch.where(hidden_BPN[..., None], expected_BPNS - filled_BPNS, innovation_BPNS)
    return Expected(filled_BPNS, innovation_BPNS, spread_BNP.transpose(1, 2))


def _matrix_rows(matrix_BPP: Tensor, places_BNI: Tensor) -> Tensor:
    """Rows (B, N, I, P) of each window's matrix, by place."""
    window = torch.arange(len(matrix_BPP), device=matrix_BPP.device)[:, None, None]
    return matrix_BPP[window, places_BNI]


def _within(matrix_BPP: Tensor, places_BNI: Tensor, exists_BNI: Tensor) -> Tensor:
    """Square parts (B, N, I, I) of each window's matrix; the identity at places that do not exist."""
    # rows, then columns: a third of the time that one number after another takes
    columns_BNII = places_BNI[:, :, None, :].expand(-1, -1, places_BNI.shape[2], -1)
    part = _matrix_rows(matrix_BPP, places_BNI).gather(3, columns_BNII)
    both = exists_BNI[..., None] & exists_BNI[..., None, :]
    return torch.where(both, part, torch.eye(part.shape[-1], device=part.device))


def _rows(x_BNPS: Tensor, places_BNI: Tensor) -> Tensor:
    """Rows (B, N, I, S) by place."""
    return x_BNPS.gather(2, places_BNI[..., None].expand(-1, -1, -1, x_BNPS.shape[3]))


def _put(target_BNPS: Tensor, places_BNI: Tensor, exists_BNI: Tensor, values_BNIS: Tensor) -> Tensor:
    """`target` with these rows where they exist; what stands at padded places stays."""
    values = torch.where(exists_BNI[..., None], values_BNIS, _rows(target_BNPS, places_BNI))
    return target_BNPS.scatter(2, places_BNI[..., None].expand_as(values), values)


def _inverse(matrix: Tensor) -> Tensor:
    """Inverse of positive definite matrices."""
    factor = torch.linalg.cholesky(matrix)
    if not matrix.is_cuda:
        return torch.cholesky_inverse(factor)
    # on a GPU cholesky_inverse takes one matrix after the other
    identity = torch.eye(matrix.shape[-1], device=matrix.device).expand_as(matrix)
    half = torch.linalg.solve_triangular(factor, identity, upper=False)
    return half.mT @ half


def continued(innovation_BPNS: Tensor, hidden_BPN: Tensor) -> Tensor:
    """Innovations with those of hidden patches predicted from the patch before and the one after, where visible.

    A stationary Gaussian process in time with the autocorrelation of this window's innovations, pooled over parcels: so
    it fits any TR and filter without having been trained on them. Zero where neither neighbour is visible.
    """
    steps = innovation_BPNS.shape[3]
    visible_BPN = ~hidden_BPN
    kernel_B = _autocorrelation(innovation_BPNS.detach(), visible_BPN)
    before = F.pad(visible_BPN, (1, 0))[..., :-1]
    after = F.pad(visible_BPN, (0, 1))[..., 1:]
    filled = innovation_BPNS
    around = F.pad(innovation_BPNS, (0, 0, 1, 1)).unfold(2, 3, 1).transpose(-1, -2).flatten(3)  # (B, P, N, 3 S)
    first = torch.arange(steps, device=kernel_B.device)  # places of the steps of the patch before
    last = first + 2 * steps  # and of the one after
    own = slice(steps, 2 * steps)
    for known, is_before, is_after in (
        (torch.cat([first, last]), True, True), (first, True, False), (last, False, True),
    ):  # fmt: skip
        # E[own | known] = K_own,known K_known,known^-1 known, K being the steps' autocorrelation
        weights = torch.linalg.solve(kernel_B[:, known][:, :, known], kernel_B[:, known, own])
        chosen = hidden_BPN & (before == is_before) & (after == is_after)
        predicted = around[..., known] @ weights[:, None]
        filled = torch.where(chosen[..., None], predicted, filled)
    return filled


def _autocorrelation(innovation_BPNS: Tensor, visible_BPN: Tensor) -> Tensor:
    """Correlation (B, 3 S, 3 S) of the steps of three patches one after another; lags of few pairs shrink to zero."""
    patches, steps = innovation_BPNS.shape[2:]
    seen = visible_BPN.repeat_interleave(steps, 2).float()
    values = innovation_BPNS.flatten(2)
    scale = (values.square().sum(2) / seen.sum(2).clamp(min=1)).sqrt()
    values = values / torch.where(scale > 0, scale, 1)[..., None]
    # r(k) = sum over parcels and steps t that are both seen of x_t x_t+k / (number of such pairs + FEW_PAIRS)
    size = 2 * max(patches, 3) * steps  # no wrapping around
    products = lagged_products(values, values, size)[:, : 3 * steps]
    pairs = lagged_products(seen, seen, size)[:, : 3 * steps]
    correlation = products / (pairs + FEW_PAIRS).clamp(min=1)
    # Of hidden steps and their neighbours no two are further apart than two patches.
    place = torch.arange(3 * steps, device=values.device)
    correlation = torch.where(place < 2 * steps, correlation, 0)
    correlation = correlation / correlation[:, :1].clamp(min=1e-6)
    kernel_BKK = correlation[:, (place[:, None] - place).abs()]  # Toeplitz: K_ij = r(|i - j|)
    # A Toeplitz matrix maps series that are even in time to even ones, and odd ones to odd: two problems of half the
    # size, which a GPU solves for all windows at once (up to 32 rows).
    even, odd = (basis @ _raised(basis.mT @ kernel_BKK @ basis) @ basis.mT for basis in _even_and_odd(kernel_BKK))
    return even + odd


def _even_and_odd(like_BKK: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal bases (K, ceil(K / 2)) and (K, floor(K / 2)) of the series that are even and odd in time."""
    # (e_i + e_K-1-i) / sqrt(2) and (e_i - e_K-1-i) / sqrt(2); where K is odd the middle step is an even series itself
    size = like_BKK.shape[-1]
    identity = torch.eye(size, dtype=like_BKK.dtype, device=like_BKK.device)
    first, mirrored = identity[:, : size // 2], identity.flip(1)[:, : size // 2]
    middle = identity[:, size // 2 : size - size // 2]
    return torch.cat([(first + mirrored) / math.sqrt(2), middle], dim=1), (first - mirrored) / math.sqrt(2)


def _raised(symmetric: Tensor) -> Tensor:
    """Symmetric matrices with their negative eigenvalues at zero, and then all raised by `FLOOR`.

    Gaps in the series can make a correlation indefinite.
    """
    eigenvalues, vectors = torch.linalg.eigh(symmetric)
    return (vectors * (eigenvalues.clamp(min=0) + FLOOR)[..., None, :]) @ vectors.mT


def best_ridge(score: Callable[[float], float]) -> tuple[float, float]:
    """The ridge of `RIDGES` with the highest score, and that score.

    A score rises to one peak and falls: too little regularization follows the training people's noise, too much forgets
    them. So it is climbed from `DEFAULT_RIDGE`, and what lies behind a lower value is not asked for.
    """
    scores: dict[int, float] = {}

    def at(place: int) -> float:
        if not 0 <= place < len(RIDGES):
            return -math.inf
        if place not in scores:
            scores[place] = score(RIDGES[place])
        return scores[place]

    best = RIDGES.index(DEFAULT_RIDGE)
    for step in (1, -1):
        while at(best + step) > at(best):
            best += step
    return RIDGES[best], at(best)


def population_covariance(series: Iterable[np.ndarray], ridge: float) -> np.ndarray:
    """Second moments (parcel, parcel) of recordings (time, parcel), shrunk towards their mean variance.

    Each recording counts by its steps; NaN (no data) is left out pair by pair, which the ridge keeps invertible.
    """
    return shrunk(*second_moments(series), ridge)


def second_moments(series: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Sums (parcel, parcel) of products over the known steps of recordings (time, parcel), and numbers of such steps.

    Scalars of zero where there is no recording. Those of several processes may be added up.
    """
    total, count = np.zeros(()), np.zeros(())
    for recording in series:
        known = np.isfinite(recording)
        values = np.where(known, recording, 0).astype(np.float64)
        total = total + values.T @ values
        count = count + known.T.astype(np.float64) @ known
    return total, count


def shrunk(total: np.ndarray, count: np.ndarray, ridge: float) -> np.ndarray:
    """The covariance that `second_moments` give: positive definite, by a `ridge` of the mean variance."""
    moments = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    level = 1.0
    if np.any(moments):
        level = np.trace(moments) / np.count_nonzero(np.diag(moments))  # mean variance of the parcels that have one
    # V (max(D, 0) + ridge level I) V': the nearest positive semi-definite matrix, and the ridge on its diagonal
    values, vectors = np.linalg.eigh(moments)
    floor = ridge * level
    return (vectors * (np.maximum(values, 0) + floor)) @ vectors.T
