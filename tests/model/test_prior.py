import numpy as np
import pytest
import torch

from brainlm_model.masking import generator, random_mask
from brainlm_model.prior import GaussianPrior, population_covariance


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
