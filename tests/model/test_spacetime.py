"""The joint Gaussian over parcels and time against the same written densely, and as prior and baseline."""

import numpy as np
import pytest
import torch

from brainlm_model.baselines import spacetime as baseline
from brainlm_model.models import spacetime
from brainlm_model.models.build import build_network
from brainlm_model.models.config import build
from brainlm_model.models.layout import Layout
from brainlm_model.models.masking import future_mask, generator, random_mask
from brainlm_model.models.prior import GaussianPrior

PARCELS, PATCHES, STEPS = 8, 5, 6
LENGTH = PATCHES * STEPS


def covariance() -> np.ndarray:
    factors = np.random.default_rng(0).standard_normal((PARCELS, 2))
    return factors @ factors.T + 0.4 * np.eye(PARCELS)


def process(covariance_PP: np.ndarray, windows: int, steps: int, shared: float, own: float) -> np.ndarray:
    """Windows (B, P, T) whose shared and own parts are autoregressions with these memories."""
    rng = np.random.default_rng(1)
    own_share = 0.9 / np.diag(np.linalg.inv(covariance_PP))
    values, vectors = np.linalg.eigh(covariance_PP - np.diag(own_share))
    parts = []
    for root, memory in (
        (vectors * np.sqrt(np.maximum(values, 0)), shared), (np.diag(np.sqrt(own_share)), own),
    ):  # fmt: skip
        noise = rng.standard_normal((windows, PARCELS, steps))
        for step in range(1, steps):
            noise[:, :, step] = memory * noise[:, :, step - 1] + np.sqrt(1 - memory**2) * noise[:, :, step]
        parts.append(root @ noise)
    return (parts[0] + parts[1]).astype(np.float32)


def prior_of(joint: bool = True, strength: float = 50.0) -> GaussianPrior:
    prior = GaussianPrior(PARCELS, strength, joint)
    prior.covariance.copy_(torch.from_numpy(covariance()))
    return prior


@pytest.fixture(scope="module")
def windows():
    return torch.from_numpy(process(covariance(), 3, LENGTH, 0.8, 0.95)).view(3, PARCELS, PATCHES, STEPS)


def masks():
    some = random_mask(3, PARCELS, PATCHES, 0.4, generator(1))
    some[1, 2] = True  # a parcel of which nothing is seen
    some[2, :, 3] = True  # a patch of which nothing is seen
    return {"random": some, "most": random_mask(3, PARCELS, PATCHES, 0.9, generator(2)),
            "future": future_mask(3, PARCELS, PATCHES, 0.4)}  # fmt: skip


@pytest.mark.parametrize("kind", ["random", "most", "future"])
def test_it_is_the_conditional_mean_of_the_dense_covariance(windows, kind):
    """K = S (x) R_shared + D (x) R_own of all values, E[h | v] = K_hv K_vv^-1 v, all in float64."""
    hidden_BPN = masks()[kind]
    covariance_BPP = torch.from_numpy(covariance()).float().expand(3, -1, -1)
    hidden_BPT = hidden_BPN.repeat_interleave(STEPS, 2)
    seen = torch.where(hidden_BPT, 0, windows.flatten(2)).unflatten(2, (-1, STEPS))
    found = spacetime.joint_expectation(covariance_BPP, seen, seen, hidden_BPN, 60).flatten(2)
    joint = spacetime._joint(covariance_BPP, seen.flatten(2), seen.flatten(2), ~hidden_BPT)
    own = 0.9 / np.diag(np.linalg.inv(covariance()))
    values, vectors = np.linalg.eigh(covariance() / np.sqrt(own) / np.sqrt(own)[:, None])
    shared = (vectors * np.maximum(values - 1, 0)) @ vectors.T * np.sqrt(own) * np.sqrt(own)[:, None]
    for window in range(3):
        time = joint.time_BTT[window].double().numpy()
        # of the first eigenvector in space along which something is shared: what R_shared has along R_own's axes
        ratio = (joint.variance_BPT[window, -1].double().numpy() - 1) / (values[-1] - 1)
        r_own, r_shared = time @ time.T, (time * ratio) @ time.T
        np.testing.assert_allclose(np.diag(r_own), 1, atol=1e-4)  # both are correlations
        np.testing.assert_allclose(np.diag(r_shared), 1, atol=1e-3)
        dense = np.kron(shared, r_shared) + np.kron(np.diag(own), r_own)
        h = hidden_BPT[window].flatten().numpy()
        x = windows[window].flatten().double().numpy()
        expected = dense[np.ix_(h, ~h)] @ np.linalg.solve(dense[np.ix_(~h, ~h)], x[~h])
        np.testing.assert_allclose(found[window].flatten().numpy()[h], expected, atol=5e-3)
        np.testing.assert_array_equal(found[window].flatten().numpy()[~h], x[~h].astype(np.float32))


@pytest.mark.parametrize("nonsense", [1e6, float("nan")])
@pytest.mark.parametrize("kind", ["random", "most", "future"])
def test_hidden_values_are_not_looked_at(windows, kind, nonsense):
    network = network_of()
    hidden_BPN = masks()[kind]
    clean = network(windows.flatten(2), hidden_BPN)
    spoilt = torch.where(hidden_BPN[..., None], nonsense, windows).flatten(2)
    assert torch.equal(network(spoilt, hidden_BPN), clean) and clean.isfinite().all()


def network_of():
    torch.manual_seed(0)
    config = build("tiny", PARCELS, window=LENGTH, patch=STEPS, width=16, heads=2, hidden=16, prior="spacetime")
    network = build_network(config, torch.zeros(PARCELS, 3))
    network.prior.covariance.copy_(torch.from_numpy(covariance()))
    return network.eval()


def test_untrained_the_model_is_the_prior_and_a_gradient_reaches_the_network(windows):
    network, hidden_BPN = network_of(), masks()["random"]
    found = network(windows.flatten(2), hidden_BPN)
    expected = network.prior(windows, hidden_BPN)
    filled = torch.where(hidden_BPN[..., None], expected.filled + expected.innovation, windows).flatten(2)
    torch.testing.assert_close(found, filled, rtol=0, atol=1e-6)
    found.square().sum().backward()
    assert network.head.weight.grad.abs().sum() > 0 and network.gain.grad.abs() > 0


def test_nothing_hidden_is_the_input_and_everything_hidden_is_zero(windows):
    prior, everything = prior_of(), torch.ones(3, PARCELS, PATCHES, dtype=torch.bool)
    assert torch.equal(prior(windows, ~everything).filled, windows)
    nothing = prior(windows, everything)
    assert not nothing.filled.any() and not nothing.innovation.any()


def test_windows_do_not_see_each_other(windows):
    prior, hidden_BPN = prior_of(), masks()["random"]
    together = prior._together(windows, hidden_BPN, Layout.of(hidden_BPN))
    for window in range(3):
        alone = prior(windows[window : window + 1], hidden_BPN[window : window + 1])
        torch.testing.assert_close(alone.innovation[0], together.innovation[window], rtol=1e-3, atol=1e-3)


def test_a_gradient_of_the_input_is_that_of_the_linear_map(windows):
    """E[h | v] is linear in v: its derivative along a direction is its difference, whatever the step."""
    hidden_BPN = masks()["random"][:1]
    covariance_1PP = torch.from_numpy(covariance()).float()[None]
    seen = torch.where(hidden_BPN[..., None], 0, windows[:1])
    hidden_BPT = hidden_BPN.repeat_interleave(STEPS, 2)
    joint = spacetime._joint(covariance_1PP, seen.flatten(2), seen.flatten(2), ~hidden_BPT)
    direction = torch.randn(seen.flatten(2).shape, generator=generator(5)) * ~hidden_BPT
    x_BPT = seen.flatten(2).clone().requires_grad_()
    weight = torch.randn(x_BPT.shape, generator=generator(6)) * hidden_BPT
    value = (spacetime._Expectation.apply(x_BPT, hidden_BPT, joint, 60) * weight).sum()
    value.backward()
    moved = (spacetime._Expectation.apply(x_BPT.detach() + direction, hidden_BPT, joint, 60) * weight).sum()
    assert float((x_BPT.grad * direction).sum()) == pytest.approx(float(moved - value.detach()), rel=1e-2, abs=1e-2)
    assert not x_BPT.grad[hidden_BPT].any()


def errors(x_BPT: np.ndarray, hidden_BPN: torch.Tensor) -> dict[bool, float]:
    """Mean squared error of hidden values by the continued Gaussian and by the joint one."""
    x_BPNS = torch.from_numpy(x_BPT).unflatten(2, (hidden_BPN.shape[2], -1))
    found = {}
    for joint in (False, True):
        expected = prior_of(joint, 500.0)(x_BPNS, hidden_BPN)
        difference = expected.filled + expected.innovation - x_BPNS
        found[joint] = float(difference[hidden_BPN].square().mean())
    return found


def test_what_is_shared_goes_on_in_time_too():
    x_BPT = process(covariance(), 16, 120, 0.97, 0.5)
    future = errors(x_BPT, future_mask(16, PARCELS, 20, 0.05))
    random = errors(x_BPT, random_mask(16, PARCELS, 20, 0.8, generator(3)))
    assert future[True] < 0.8 * future[False] and random[True] < 0.9 * random[False]


def test_where_nothing_goes_on_it_costs_nothing():
    x_BPT = process(covariance(), 16, 120, 0.0, 0.0)
    for hidden_BPN in (future_mask(16, PARCELS, 20, 0.2), random_mask(16, PARCELS, 20, 0.5, generator(3))):
        found = errors(x_BPT, hidden_BPN)
        assert found[True] < 1.06 * found[False]


def test_the_baseline_finds_the_patches_of_a_mask():
    seen_PT = np.ones((3, 60), dtype=bool)
    assert baseline._patch(seen_PT) == 60
    seen_PT[1, 20:40] = False
    seen_PT[2, 50:] = False
    assert baseline._patch(seen_PT) == 10
