"""ICA-AROMA's features and decision rule (Pruim et al., 2015, doi:10.1016/j.neuroimage.2015.02.064), on our masks.

The thresholds are the published ones; they hold for features made the same way: fractions of |z| above 2.3 at the
brain's edge and in CSF, the frequency below which half of the power lies, and the largest correlation with 36 motion
terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HYPERPLANE = (-19.9751070082159, 9.95127547670627, 24.8333160239175)  # constant, max motion correlation, edge fraction
HIGH_FREQUENCY, CSF_FRACTION = 0.35, 0.10
# The published .35 was found at TR 2 s and means .094 Hz there; relative to Nyquist it would fall into the band of rest
# and of block designs at a longer TR. So it never means less than this.
LOWEST_CUT_HZ = 0.09
Z_THRESHOLD = 2.3
SPLITS, SHARE = 1000, 0.9
LOWEST_HZ = 0.01
ROUND_OFF = 1e-9  # of a spread whose whole is 1


@dataclass(frozen=True)
class Features:
    """One value per component: shares of |z| at the edge and in CSF, high-frequency content, motion correlation.

    `cut`: the high-frequency content from which a component is noise (`frequency_cut`); None: the rule is off.
    """

    edge: Array
    csf: Array
    high_frequency: Array
    motion: Array
    cut: float | None = HIGH_FREQUENCY

    @property
    def score(self) -> Array:
        """AROMA's linear discriminant; above 0 is motion."""
        # score = b0 + b1 * motion correlation + b2 * edge fraction: which side of the published hyperplane.
        constant, correlation, edge = HYPERPLANE
        return constant + correlation * self.motion + edge * self.edge

    def reasons(self) -> list[str]:
        """Why each component is noise: `high_frequency`, `csf`, `motion`, joined by +; empty for signal."""
        tests = {
            "high_frequency": self.high_frequency > (np.inf if self.cut is None else self.cut),
            "csf": self.csf > CSF_FRACTION,
            "motion": self.score > 0,
        }
        reasons = []
        for component in range(len(self.edge)):
            reasons.append("+".join(name for name, is_noise in tests.items() if is_noise[component]))
        return reasons


def spatial(z: NDArray[np.floating[Any]], edge: NDArray[np.bool_], csf: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Edge and CSF fractions of z-maps (k, voxels); both masks are (voxels,)."""
    # csf = sum |z| in CSF / sum |z|;  edge = sum |z| at the edge / sum |z| outside of CSF; both over |z| > 2.3 alone.
    strong = np.where(np.abs(z) > Z_THRESHOLD, np.abs(z), 0)
    total = strong.sum(1)
    in_csf = strong[:, csf].sum(1)
    at_edge = strong[:, edge & ~csf].sum(1)
    rest = total - in_csf
    return (
        np.divide(at_edge, rest, out=np.zeros_like(total), where=rest > 0),
        np.divide(in_csf, total, out=np.zeros_like(total), where=total > 0),
    )


def high_frequency(mixing: Array, tr_s: float) -> Array:
    """Where half of each time course's power lies, as a share of the way from .01 Hz to Nyquist; mixing (T, k).

    The frequency at which the cumulated power reaches one half; AROMA's code takes the one whose power is nearest to
    one half, which for a pure oscillation (aliased heartbeat) may be any below it.
    """
    # The least f with (power from .01 Hz to f) >= half of the power from .01 Hz to Nyquist.
    frequency = np.fft.rfftfreq(len(mixing), tr_s)
    power = np.abs(np.fft.rfft(mixing - mixing.mean(0), axis=0)) ** 2
    inside = frequency > LOWEST_HZ
    cumulated = np.cumsum(power[inside], axis=0) / power[inside].sum(0)
    half = (cumulated >= 0.5).argmax(0)
    return (frequency[inside][half] - LOWEST_HZ) / (0.5 / tr_s - LOWEST_HZ)


def frequency_cut(tr_s: float) -> float | None:
    """High-frequency content above which a component is noise, at a TR; None where Nyquist is not above 0.09 Hz.

    The published share of the way to the Nyquist frequency, but never below `LOWEST_CUT_HZ`: a recording that holds no
    higher frequency has nothing by which this rule could tell noise from signal.
    """
    nyquist = 0.5 / tr_s
    if nyquist <= LOWEST_CUT_HZ:
        return None
    return max(HIGH_FREQUENCY, (LOWEST_CUT_HZ - LOWEST_HZ) / (nyquist - LOWEST_HZ))


def motion_terms(motion: Array) -> Array:
    """36 terms (T, 36): six parameters and their differences, each also a volume earlier and later."""
    # 6 parameters + 6 backward differences = 12; those of the volume before and of the volume after make 36.
    derivative = np.vstack([np.zeros((1, motion.shape[1])), np.diff(motion, axis=0)])
    both = np.hstack([motion, derivative])
    zero = np.zeros((1, both.shape[1]))
    return np.hstack([both, np.vstack([zero, both[:-1]]), np.vstack([both[1:], zero])])


def motion_correlation(mixing: Array, terms: Array, seed: int = 0) -> Array:
    """Mean over random 90% splits of the largest |r| with the motion terms, or of the squares with their squares."""
    # Mean over splits of max(max_j |r(a, m_j)|, max_j |r(a^2, m_j^2)|). Squares see motion whose sign a component has
    # not; leaving out a tenth each time keeps one large movement from deciding alone.
    rng = np.random.default_rng(seed)
    steps = len(mixing)
    size = max(3, round(SHARE * steps))
    pairs = [_Sums.of(mixing, terms), _Sums.of(mixing**2, terms**2)]
    total = np.zeros(mixing.shape[1])
    for _ in range(SPLITS):
        left_out = rng.permutation(steps)[size:]
        total += np.max([sums.without(left_out) for sums in pairs], axis=0)
    return total / SPLITS


@dataclass(frozen=True)
class _Sums:
    """What correlations of the columns of `a` (T, k) with those of `b` (T, j) are made of, over all rows.

    Sums over nine tenths of the rows are these less the sums over the tenth that is left out.
    """

    a: Array
    b: Array
    ab: Array

    @classmethod
    def of(cls, a: Array, b: Array) -> _Sums:
        # Neither shift nor scale changes a correlation; without them no digits are lost in the differences below.
        a, b = _unit(a), _unit(b)
        return cls(a, b, a.T @ b)

    def without(self, left_out: NDArray[np.integer]) -> Array:
        """Largest |r| of each column of a with any column of b, over the other rows."""
        a, b = self.a[left_out], self.b[left_out]
        n = len(self.a) - len(left_out)
        # Columns have sum 0 and sum of squares 1 over all rows (or are 0), so over the others the sums are -sum(a) and
        # 1 - sum(a^2), and  n cov = sum(a b) - sum(a) sum(b) / n.
        sum_a, sum_b = a.sum(0), b.sum(0)
        covariance = self.ab - a.T @ b - np.outer(sum_a, sum_b) / n
        spread_a = 1 - np.square(a).sum(0) - sum_a**2 / n
        spread_b = 1 - np.square(b).sum(0) - sum_b**2 / n
        spread = np.sqrt(np.outer(np.maximum(spread_a, 0), np.maximum(spread_b, 0)))
        return np.abs(np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > ROUND_OFF)).max(1)


def _unit(x: Array) -> Array:
    centred = x - x.mean(0)
    norm = np.linalg.norm(centred, axis=0)
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
