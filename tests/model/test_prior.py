from dataclasses import replace

import numpy as np
import pytest
import torch

from brainlm_model.models.layout import Layout
from brainlm_model.models.masking import generator, random_mask
from brainlm_model.models.prior import PASSES, RIDGES, GaussianPrior, best_ridge, continued, population_covariance


def covariance(parcels: int = 12, seed: int = 0) -> np.ndarray:
    factors = np.random.default_rng(seed).standard_normal((parcels, 3))
    return factors @ factors.T + 0.2 * np.eye(parcels)


def prior_of(sigma: np.ndarray, strength: float) -> GaussianPrior:
    prior = GaussianPrior(len(sigma), strength)
    prior.covariance.copy_(torch.from_numpy(sigma))
    return prior


def test_without_adaptation_it_is_the_textbook_conditional_mean():
    sigma = covariance()
    x = torch.from_numpy(np.random.default_rng(1).multivariate_normal(np.zeros(12), sigma, 20).T.astype(np.float32))
    hidden = torch.zeros(12, 1, dtype=torch.bool)
    hidden[[2, 5, 11]] = True
    found = prior_of(sigma, np.inf)(x[None, :, None], hidden[None]).filled[0, :, 0].numpy()
    h, v = hidden[:, 0].numpy(), ~hidden[:, 0].numpy()
    expected = sigma[np.ix_(h, v)] @ np.linalg.solve(sigma[np.ix_(v, v)], x.numpy()[v])
    np.testing.assert_allclose(found[h], expected, atol=1e-4)
    np.testing.assert_array_equal(found[v], x.numpy()[v])


def test_hidden_values_are_not_looked_at():
    x = torch.randn(2, 12, 5, 20, generator=generator(0))
    hidden = random_mask(2, 12, 5, 0.5, generator(1))
    prior = prior_of(covariance(), 50)
    changed = prior(torch.where(hidden[..., None], x + 1e6, x), hidden)
    for name, found in prior(x, hidden)._asdict().items():
        known = found if name != "filled" else torch.where(hidden[..., None], found, x)
        torch.testing.assert_close(getattr(changed, name), known, msg=name)


def test_adaptation_predicts_a_person_with_another_covariance_better():
    population, person = covariance(seed=0), covariance(seed=1)
    x = np.random.default_rng(2).multivariate_normal(np.zeros(12), person, 200).T.astype(np.float32)
    x_BPNS = torch.from_numpy(x).view(1, 12, 10, 20)
    hidden = random_mask(1, 12, 10, 0.3, generator(3))
    error = {
        strength: float((prior_of(population, strength)(x_BPNS, hidden).filled - x_BPNS)[hidden].square().mean())
        for strength in (np.inf, 20.0)
    }
    assert error[20.0] < 0.6 * error[np.inf]


def test_all_hidden_is_zero_and_nothing_hidden_is_the_input():
    x = torch.randn(1, 12, 5, 20, generator=generator(0))
    prior = prior_of(covariance(), 50)
    everything = torch.ones(1, 12, 5, dtype=torch.bool)
    nothing = prior(x, everything)
    assert not nothing.filled.any() and not nothing.innovation.any()
    torch.testing.assert_close(nothing.spread, torch.ones(1, 12, 5))
    assert torch.equal(prior(x, ~everything).filled, x)


def test_innovation_is_what_the_other_visible_parcels_do_not_predict():
    sigma = covariance()
    x = torch.from_numpy(np.random.default_rng(1).multivariate_normal(np.zeros(12), sigma, 20).T.astype(np.float32))
    hidden = torch.zeros(12, 1, dtype=torch.bool)
    hidden[[2, 5]] = True
    found = prior_of(sigma, np.inf)(x[None, :, None], hidden[None])
    others = [p for p in range(12) if p not in (2, 5, 7)]
    weights = np.linalg.solve(sigma[np.ix_(others, others)], sigma[others, 7])
    np.testing.assert_allclose(found.innovation[0, 7, 0], x[7] - weights @ x.numpy()[others], atol=1e-4)
    left = (sigma[7, 7] - sigma[7, others] @ weights) / sigma[7, 7]
    assert float(found.spread[0, 7, 0]) ** 2 == pytest.approx(left, rel=1e-3)
    assert not found.innovation[0, [2, 5]].any() and float(found.spread[0, 2, 0]) > 0


def test_population_covariance_counts_known_values_only_and_is_invertible():
    rng = np.random.default_rng(0)
    recordings = [rng.multivariate_normal(np.zeros(12), covariance(), 4000) for _ in range(3)]
    recordings[0][:, 4] = np.nan
    recordings[1][:500] = np.nan
    found = population_covariance(recordings, ridge=1e-6)
    np.testing.assert_allclose(found, covariance(), atol=0.35)
    recordings[1][:, 4] = recordings[2][:, 4] = np.nan  # never seen
    assert np.linalg.eigvalsh(population_covariance(recordings, ridge=0.05)).min() > 0.01


def smooth(parcels: int, steps: int, memory: float) -> np.ndarray:
    """Independent first-order autoregressions (parcel, time) of unit variance."""
    rng, x = np.random.default_rng(0), np.zeros((parcels, steps))
    for step in range(1, steps):
        x[:, step] = memory * x[:, step - 1] + np.sqrt(1 - memory**2) * rng.standard_normal(parcels)
    return x.astype(np.float32)


def test_innovations_go_on_into_hidden_patches_as_their_own_autocorrelation_says():
    x = torch.from_numpy(smooth(60, 200, 0.9)).view(60, 10, 20)
    hidden = torch.zeros(60, 10, dtype=torch.bool)
    hidden[::2, 4] = True  # both neighbours visible
    hidden[1::2, 9] = True  # the last: only the one before
    found = continued(torch.where(hidden[..., None], 0, x)[None], hidden[None])[0]
    assert torch.equal(found[~hidden], x[~hidden])
    steps = torch.arange(1, 21)
    ahead = 0.9**steps * x[1::2, 8, -1:]  # what the process itself predicts
    assert float((found[1::2, 9] - ahead).square().mean()) < 0.05
    back = 0.9 ** (21 - steps)
    both = (0.9**steps - back * 0.9**21) / (1 - 0.9**42) * x[::2, 3, -1:] + (back - 0.9**steps * 0.9**21) / (
        1 - 0.9**42
    ) * x[::2, 5, :1]
    assert float((found[::2, 4] - both).square().mean()) < 0.05
    # noise has nothing that goes on
    noise = torch.randn(60, 10, 20, generator=generator(0))
    ahead = continued(torch.where(hidden[..., None], 0, noise)[None], hidden[None])[0]
    assert float(ahead[hidden].square().mean()) < 0.02


def test_without_a_visible_neighbour_nothing_goes_on():
    x = torch.from_numpy(smooth(12, 60, 0.9)).view(12, 3, 20)
    hidden = torch.tensor([[False, True, True]]).repeat(12, 1)
    found = continued(torch.where(hidden[..., None], 0, x)[None], hidden[None])[0]
    assert found[:, 1].abs().sum() > 0 and not found[:, 2].any()
    assert not continued(torch.zeros(1, 12, 3, 20), torch.ones(1, 12, 3, dtype=torch.bool)).any()


def textbook(sigma: np.ndarray, x_PNS: np.ndarray, hidden_PN: np.ndarray, strength: float, passes: int) -> np.ndarray:
    """Expectations of one window in float64, patch by patch and step by step, as in Little & Rubin (2019, ch. 11)."""
    parcels, patches, steps = x_PNS.shape
    covariance = sigma
    for final in [False] * passes + [True]:
        filled, scatter = np.where(hidden_PN[..., None], 0.0, x_PNS), np.zeros_like(sigma)
        for patch in range(patches):
            h, v = np.flatnonzero(hidden_PN[:, patch]), np.flatnonzero(~hidden_PN[:, patch])
            weights = covariance[np.ix_(h, v)] @ np.linalg.inv(covariance[np.ix_(v, v)])
            filled[h, patch] = weights @ x_PNS[v, patch]
            scatter[np.ix_(h, h)] += steps * (covariance[np.ix_(h, h)] - weights @ covariance[np.ix_(v, h)])
        if final:
            return filled
        series = filled.reshape(parcels, -1)
        scatter += series @ series.T
        amplitude = np.trace(scatter) / series.shape[1] / np.trace(sigma)
        covariance = (strength * amplitude * sigma + scatter) / (strength + series.shape[1])
    raise AssertionError


@pytest.mark.parametrize("ratio", [0.15, 0.5, 0.85])
def test_a_batch_gives_what_the_textbook_says_of_each_window(ratio):
    """Fewer hidden than visible parcels, and more; patches of different numbers, one without a visible parcel."""
    sigma = covariance()
    x = np.random.default_rng(5).multivariate_normal(np.zeros(12), sigma, (3, 100)).transpose(0, 2, 1)
    x_BPNS = torch.from_numpy(x.astype(np.float32)).view(3, 12, 5, 20)
    hidden = random_mask(3, 12, 5, ratio, generator(4))
    hidden[1, :, 2] = True
    filled = prior_of(sigma, 30.0)(x_BPNS, hidden).filled
    for window in range(3):
        expected = textbook(sigma, x_BPNS[window].double().numpy(), hidden[window].numpy(), 30.0, PASSES)
        np.testing.assert_allclose(filled[window].numpy(), expected, atol=2e-4)


def test_the_two_ways_to_a_conditional_distribution_agree():
    x_BPNS = torch.randn(2, 12, 5, 20, generator=generator(0))
    hidden = random_mask(2, 12, 5, 0.5, generator(1))
    prior = prior_of(covariance(), 50)
    counted = Layout.of(hidden)
    ways = [
        prior._together(x_BPNS, hidden, replace(counted, hidden_most=most_hidden, visible_most=most_visible))
        for most_hidden, most_visible in ((counted.hidden_most, 12), (12, counted.visible_most))
    ]
    for name, precision, by_covariance in zip(ways[0]._fields, *ways, strict=True):
        torch.testing.assert_close(precision, by_covariance, msg=name, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("peak", range(len(RIDGES)))
def test_the_best_ridge_is_climbed_to_from_anywhere(peak: int, flat: bool) -> None:
    asked = []

    def score(ridge: float) -> float:
        asked.append(ridge)
        return -abs(RIDGES.index(ridge) - peak) * (0.0 if flat else 1.0)

    best, reached = best_ridge(score)
    assert (best, reached) == (0.05 if flat else RIDGES[peak], 0.0)
    assert len(asked) == len(set(asked)) and (flat or peak > 2 or len(asked) <= 3 + peak)
    assert best_ridge(lambda ridge: float("-inf")) == (0.05, float("-inf"))  # nothing could be scored
