"""Networks of other papers on people's correlations: they find what was planted, and their maths is what they say."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import logm
from sklearn.metrics import roc_auc_score

from brainlm_model.baselines import ptgb, small_networks
from brainlm_model.baselines.brain_transformer import BrainTransformer
from brainlm_model.baselines.braingb import BrainGB
from brainlm_model.baselines.com_brain import ComBrain
from brainlm_model.baselines.spdnet import EPSILON, SpdNet, _RaisedLogarithm
from brainlm_model.eval.phenotype import learn
from brainlm_model.eval.phenotype.section import PUBLISHED

PARCELS, PEOPLE, STEPS = 12, 160, 80
COMMUNITIES = ["Visual"] * 4 + ["Default", "Limbic"] * 4


class Given:
    """A `small_networks.Source` of matrices."""

    def __init__(self, matrices: torch.Tensor) -> None:
        self.matrices = matrices

    def draw(self, people: NDArray[np.intp], random: np.random.Generator) -> tuple[torch.Tensor, ...]:
        return (self.matrices[people],)

    def every(self, people: NDArray[np.intp]) -> Iterator[tuple[torch.Tensor, ...]]:
        yield (self.matrices[people],)


@pytest.fixture(scope="module")
def people() -> tuple[torch.Tensor, np.ndarray]:
    """Correlations (people, parcel, parcel); in half of the people four parcels share a course. Who these are."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(PEOPLE) % 2)
    matrices = []
    for label in labels:
        x = rng.standard_normal((STEPS, PARCELS))
        x[:, :4] += (0.3 + 0.5 * label) * rng.standard_normal((STEPS, 1))
        matrices.append(np.corrcoef(x.T))
    return torch.from_numpy(np.array(matrices, np.float32)), labels.astype(float)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_planted_label_is_found_and_one_of_nothing_is_not(name: str, people: tuple[torch.Tensor, np.ndarray]) -> None:
    matrices, labels = people
    train, stop, test = np.split(np.arange(PEOPLE), [90, 120])
    setting = small_networks.SETTINGS[name][0]
    shape = {key: value for key, value in setting.items() if key not in ("lr", "weight_decay")}

    build = partial(learn.published_network(name, matrices[train], COMMUNITIES, 2), **shape)
    source, areas = Given(matrices), []
    for learnt in (labels, np.random.default_rng(3).permutation(labels)):  # the truth, and nothing
        task = small_networks.Fit(learnt, 2, train, stop, 12, 6, 0)
        network = small_networks.fit(build, source, task, setting)
        outputs = small_networks.predict(network, source, test)
        assert outputs.shape == (40, 2)
        areas.append(roc_auc_score(learnt[test], outputs[:, 1] - outputs[:, 0]))
    assert areas[0] > 0.75 and 0.25 < areas[1] < 0.75


@pytest.mark.parametrize(
    "network",
    [
        BrainGB(7, 3, 8),
        BrainTransformer(7, 3, 0.1),
        ComBrain(7, 3, list("abacaaa"), 0.1),
        SpdNet(7, 3, 48),
        ptgb.Ptgb(torch.eye(7), 3),
    ],
)
def test_any_number_of_parcels_and_outputs(network: torch.nn.Module) -> None:
    matrices = torch.eye(7).expand(5, -1, -1)
    outputs = network(matrices)
    assert outputs.shape == (5, 3) and outputs.isfinite().all()
    outputs.sum().backward()
    for weights in network.parameters():
        assert weights.grad is not None and weights.grad.isfinite().all()


def test_centres_are_orthonormal_and_stay() -> None:
    network = BrainTransformer(12, 2, 0.1)
    centres_KP = network.readout.centres_KP
    torch.testing.assert_close(centres_KP @ centres_KP.T, torch.eye(12), atol=1e-5, rtol=0)
    assert not any(name.endswith("centres_KP") for name, _ in network.named_parameters())


def test_the_first_layer_of_com_brain_keeps_to_communities() -> None:
    """Another row of one community changes no token of the others before the second layer."""
    network = ComBrain(12, 2, COMMUNITIES, 0.0).eval()
    seen: list[torch.Tensor] = []
    network.between.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    matrix = torch.rand(1, 12, 12)
    other = matrix.clone()
    other[0, 2] += 1  # of Visual
    with torch.inference_mode():
        outputs = [network(matrix), network(other)]
    changed = (seen[0] - seen[1]).abs().amax(1) > 1e-6
    assert changed.tolist() == [True, *(name == "Visual" for name in COMMUNITIES)]  # the prompt first
    assert not torch.equal(*outputs)


def test_a_basis_of_spdnet_stays_orthonormal_while_it_is_trained() -> None:
    network = SpdNet(12, 2, 5)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.eye(12).expand(3, -1, -1) + 0.1).square().sum().backward()
    optimizer.step()
    weight = network.basis.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(5), atol=1e-5, rtol=0)


def test_the_logarithm_and_its_gradient() -> None:
    """Against SciPy's and by finite differences; eigenvalues that are alike, and one below the floor."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    apart = (basis * [0.5, 1.0, 2.0, 3.0]) @ basis.T
    found = _RaisedLogarithm.apply(torch.from_numpy(apart)[None])[0]
    np.testing.assert_allclose(found.numpy(), logm(apart), atol=1e-10)
    raised = _RaisedLogarithm.apply(torch.from_numpy((basis * [-1.0, 1.0, 2.0, 3.0]) @ basis.T)[None])[0]
    assert float(torch.linalg.eigvalsh(raised)[0]) == pytest.approx(np.log(EPSILON))
    for values in ([0.5, 1.0, 2.0, 3.0], [0.7, 0.7, 0.7, 2.0], [-0.5, 0.4, 0.9, 1.5]):
        x = torch.from_numpy((basis * values) @ basis.T)[None].requires_grad_()
        assert torch.autograd.gradcheck(lambda m: _RaisedLogarithm.apply((m + m.mT) / 2), x, atol=1e-4)


def test_the_autoencoder_of_ptgb_is_the_best_one() -> None:
    """Its error is what the largest eigenvalues leave; a tied linear autoencoder that is trained comes no lower."""
    rng = np.random.default_rng(2)
    rows = torch.from_numpy(rng.standard_normal((5, 100, 100)) * np.linspace(1, 2, 100))
    basis = ptgb.basis_of(rows)
    flat = rows.flatten(0, 1)
    error = (flat - flat @ basis @ basis.T).square().sum()
    assert basis.shape == (100, ptgb.REDUCED)
    torch.testing.assert_close(basis.T @ basis, torch.eye(ptgb.REDUCED, dtype=torch.float64))
    assert float(error) == pytest.approx(float(torch.linalg.eigvalsh(flat.T @ flat)[: -ptgb.REDUCED].sum()))
    weights = basis.clone().requires_grad_()
    (flat - flat @ weights @ weights.T).square().sum().backward()
    assert weights.grad is not None and float(weights.grad.norm()) < 1e-8 * float(error)


def test_pretraining_of_ptgb_makes_near_parcels_alike_and_needs_no_label() -> None:
    """Three blocks of parcels, each a graph of its own: those of a block are within two steps, others never."""
    rng = np.random.default_rng(3)
    block = np.repeat(np.arange(3), 5)
    matrices = []
    for _ in range(40):
        x = rng.standard_normal((60, 15)) + 1.5 * rng.standard_normal((60, 3))[:, block]
        matrices.append(np.corrcoef(x.T))
    correlations = torch.from_numpy(np.array(matrices, np.float32))
    near = ptgb.joined(correlations)
    assert torch.equal(near, near.mT) and bool((near.diagonal(dim1=1, dim2=2) == 1).all())
    torch.manual_seed(0)
    losses = []
    for rounds in (0, 30):
        network = ptgb.pretrained(correlations, 2, rounds).eval()
        losses.append(float(ptgb.contrast(network, correlations).detach()))
        nodes = network.nodes(correlations, near).detach()
        alike = (nodes @ nodes.mT).mean(0).numpy()
        same = block[:, None] == block
    assert losses[1] < 0.8 * losses[0] and alike[same].mean() > alike[~same].mean() + 0.5


def test_they_are_there_only_where_they_are_named() -> None:
    assert set(PUBLISHED) < set(learn.METHODS)
