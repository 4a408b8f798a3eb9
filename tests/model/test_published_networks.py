"""Networks of other papers on people's correlations: they find what was planted, and their maths is what they say."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import logm
from sklearn.metrics import roc_auc_score

from brainlm_model.baselines import small_networks
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
def test_a_planted_label_is_found_in_unseen_people(name: str, people: tuple[torch.Tensor, np.ndarray]) -> None:
    matrices, labels = people
    train, stop, test = np.split(np.arange(PEOPLE), [90, 120])
    setting = small_networks.SETTINGS[name][0]
    shape = {key: value for key, value in setting.items() if key not in ("lr", "weight_decay")}

    def build() -> torch.nn.Module:
        return learn.published_network(name, COMMUNITIES)(PARCELS, 2, **shape)

    task = small_networks.Fit(labels, 2, train, stop, 25, 10, 0)
    source = Given(matrices)
    network = small_networks.fit(build, source, task, setting)
    outputs = small_networks.predict(network, source, test)
    assert outputs.shape == (40, 2) and roc_auc_score(labels[test], outputs[:, 1] - outputs[:, 0]) > 0.75


@pytest.mark.parametrize(
    "network", [BrainGB(7, 3, 8), BrainTransformer(7, 3, 0.1), ComBrain(7, 3, list("abacaaa"), 0.1), SpdNet(7, 3, 48)]
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


def test_they_are_there_only_where_they_are_named() -> None:
    assert set(PUBLISHED) < set(learn.METHODS)
