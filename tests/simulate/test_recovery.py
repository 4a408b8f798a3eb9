"""The arithmetic of benchmarks.recovery, on series whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import recovery
from brainlm_data.methods.regression import Regression


def fitted(reasons: list[str], mixing: np.ndarray) -> recovery.Fit:
    noisy = np.array([bool(reason) for reason in reasons])
    return recovery.Fit(Regression.fit(mixing[:, noisy], mixing[:, ~noisy]), {"Ica": True}, mixing, reasons)


def centred(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape)
    return x - x.mean(0)


def test_motion_power() -> None:
    rng = np.random.default_rng(0)
    motion, white = centred(rng, 300, 6), centred(rng, 300, 400)
    assert abs(recovery.motion_power(white, motion)) < 0.01 * (white**2).sum()  # what chance explains is subtracted
    moving = white + motion @ rng.standard_normal((6, 400))
    power = float(((moving - white) ** 2).sum())
    assert recovery.motion_power(moving, motion) == pytest.approx(power, rel=0.05)


def test_unexplained_holds_neither_neural_signal_nor_noise() -> None:
    rng = np.random.default_rng(1)
    neural, noise, rest = centred(rng, 200, 9), centred(rng, 200, 3), centred(rng, 200, 9)
    noise = np.hstack([noise, np.zeros((200, 1))])  # a source that is not there
    left = recovery.unexplained(neural * 2 + noise @ rng.standard_normal((4, 9)) + rest, neural, noise)
    np.testing.assert_allclose(noise.T @ left, 0, atol=1e-9)
    assert (recovery.correlations(left, rest) > 0.95).all()


def test_found_and_called() -> None:
    rng = np.random.default_rng(2)
    source, pair, other = centred(rng, 200, 1), centred(rng, 200, 2), centred(rng, 200, 1)
    mixing = np.hstack([source, pair.sum(1, keepdims=True), other])
    sources = {"spin": [source], "heart": [pair], "none": [np.zeros((200, 1))]}
    counts = recovery.found(mixing, ["motion", "", "csf"], sources)
    assert counts == {
        "found_spin": 1, "called_spin": 1, "found_heart": 1, "called_heart": 0, "found_none": 0, "called_none": 0
    }  # fmt: skip


def test_loss_is_split_exactly_and_has_a_price_by_chance() -> None:
    rng = np.random.default_rng(3)
    neural, mixing = centred(rng, 100, 50), centred(rng, 100, 10)
    mixing[:, 0] += neural[:, 0] * 3
    fit = fitted(["motion", "csf+motion", "csf", "high_frequency+csf", "high_frequency", "", "", "", "", ""], mixing)
    lost = recovery.lost_by_rule(fit, neural)
    whole = 1 - (neural * fit.d.apply(neural)).sum() / (neural**2).sum()
    assert sum(lost.values()) == pytest.approx(whole)
    assert recovery.chance(fit, neural) == pytest.approx(5 / 100, abs=0.02)  # five regressors in a hundred volumes
    assert recovery.removed(neural[:, :1], fit.d.apply(neural[:, :1]))[0] > 0.5
