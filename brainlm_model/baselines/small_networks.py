"""Small networks of a person's label: a perceptron on features, an LSTM and a graph network on recordings.

Plain torch, seeded, a fixed number of epochs, stopped early on people of an inner split. One of `CANDIDATES` settings
is chosen on these people, too. Shapes: B people (or windows), T steps, P parcels, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_model.baselines.descent import BestWeights, gradient_step
from brainlm_model.baselines.traits import balanced

Array = NDArray[np.float64]
BATCH, CLIP = 32, 1.0
NEIGHBOURS = 0.1  # share of the parcels that each is connected with


class Source(Protocol):
    """Inputs of people; each is a tuple of tensors whose first axis is the batch."""

    def draw(self, people: NDArray[np.intp], random: np.random.Generator) -> tuple[Tensor, ...]:
        """One input of each person, another one every time where there are several (windows of a recording)."""

    def every(self, people: NDArray[np.intp]) -> Iterable[tuple[Tensor, ...]]:
        """The inputs by which these people are predicted: outputs are averaged over the sequence."""


class Perceptron(nn.Module):
    """Two layers on features (B, F)."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, outputs))

    def forward(self, x_BF: Tensor) -> Tensor:
        """Outputs (B, outputs)."""
        return self.layers(x_BF)


class Lstm(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber, 1997) over windows (B, T, P); its mean state is read out."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.memory = nn.LSTM(inputs, hidden, batch_first=True)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x_BTP: Tensor) -> Tensor:
        """Outputs (B, outputs)."""
        states_BTH, _ = self.memory(x_BTP)
        return self.last(states_BTH.mean(1))


class Gcn(nn.Module):
    """Graph convolutions (Kipf & Welling, 2017): parcels are nodes, joined to those they correlate with most.

    `nodes`: a node's features are its course in the window ("series") or its correlations with all parcels.
    """

    def __init__(self, steps: int, parcels: int, outputs: int, hidden: int, nodes: str) -> None:
        super().__init__()
        self.nodes = nodes
        features = steps if nodes == "series" else parcels
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x_BTP: Tensor, correlations_BPP: Tensor, graph_BPP: Tensor) -> Tensor:
        """Outputs (B, outputs); `graph_BPP`: see `graph`."""
        nodes_BPF = correlations_BPP
        if self.nodes == "series":
            nodes_BPF = x_BTP.transpose(1, 2)
        hidden_BPH = F.relu(graph_BPP @ self.first(nodes_BPF))
        hidden_BPH = F.relu(graph_BPP @ self.second(hidden_BPH))
        return self.last(hidden_BPH.mean(1))


def graph(correlations_BPP: Tensor) -> Tensor:
    """Normalized adjacency D^-1/2 (A + I) D^-1/2: A holds each parcel's largest positive correlations."""
    # A_ij = r_ij where j is among the strongest NEIGHBOURS of i or i among those of j, else 0. I joins every parcel to
    # itself, so that it keeps its own features, too.
    parcels = correlations_BPP.shape[-1]
    weights = correlations_BPP.clamp(min=0) * (1 - torch.eye(parcels))
    least = weights.topk(max(round(NEIGHBOURS * parcels), 1), dim=-1).values[..., -1:]
    weights = torch.where(weights >= least, weights, 0.0)
    adjacency = torch.maximum(weights, weights.transpose(1, 2)) + torch.eye(parcels)
    scale = adjacency.sum(-1).rsqrt()
    return scale[:, :, None] * adjacency * scale[:, None, :]


@dataclass(frozen=True)
class Fit:
    """What is common to all candidates: targets of people, who trains, who stops."""

    target: Array
    classes: int
    train: NDArray[np.intp]
    stop: NDArray[np.intp]
    epochs: int
    patience: int
    seed: int

    @property
    def outputs(self) -> int:
        """Numbers that a network gives."""
        return max(self.classes, 1)


def fit(make: Callable[[], nn.Module], source: Source, task: Fit, setting: Mapping[str, Any]) -> nn.Module:
    """A network trained with AdamW until the loss on `stop` has not fallen for `patience` epochs; its best weights."""
    torch.manual_seed(task.seed)
    random = np.random.default_rng(task.seed)
    network = make()
    optimizer = torch.optim.AdamW(network.parameters(), lr=setting["lr"], weight_decay=setting["weight_decay"])
    weights = balanced(task.target[task.train], task.classes)
    best = BestWeights(network)
    for _ in range(task.epochs):
        network.train()
        for chosen in batches(random.permutation(len(task.train))):
            people = task.train[chosen]
            loss = _loss(network(*source.draw(people, random)), task.target[people], weights[chosen], task.classes)
            gradient_step(loss, optimizer, CLIP)
        outputs, known = torch.from_numpy(predict(network, source, task.stop)), task.target[task.stop]
        best.update(float(_loss(outputs, known, balanced(known, task.classes), task.classes)))
        if best.waited >= task.patience:
            break
    best.restore()
    return network


def batches(order: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """`BATCH` people each, and the rest; one alone goes with those before it: batch norm has no variance of one."""
    starts = list(range(0, len(order), BATCH))
    if len(starts) > 1 and len(order) % BATCH == 1:
        starts.pop()
    return np.split(order, starts[1:])


def predict(network: nn.Module, source: Source, people: NDArray[np.intp]) -> NDArray[np.float32]:
    """Outputs (people, outputs), averaged over each person's inputs."""
    network.eval()
    outputs = []
    with torch.inference_mode():
        for first in range(0, len(people), 4 * BATCH):
            inputs = source.every(people[first : first + 4 * BATCH])
            outputs.append(torch.stack([network(*x) for x in inputs]).mean(0))
    return torch.cat(outputs).numpy()


def _loss(outputs: Tensor, target: Array, weights: Array, classes: int) -> Tensor:
    weight = torch.from_numpy(weights).float()
    if classes:
        each = F.cross_entropy(outputs, torch.from_numpy(target.astype(np.int64)), reduction="none")
    else:
        each = (outputs[:, 0] - torch.from_numpy(target).float()) ** 2
    return (weight * each).mean()


RATES = ((1e-3, 1e-2), (3e-3, 1e-2), (3e-3, 0.3))  # learning rate and weight decay
SLOW_RATES = ((1e-3, 1e-2), (3e-4, 1e-2), (1e-4, 1e-2))  # down to the one that BrainGB and both transformers publish


def _settings(*shapes: dict[str, Any], rates: Sequence[tuple[float, float]] = RATES) -> tuple[dict[str, Any], ...]:
    """Each shape of a network with each of three rates."""
    settings = []
    for shape in shapes:
        for lr, weight_decay in rates:
            settings.append({**shape, "lr": lr, "weight_decay": weight_decay})
    return tuple(settings)


SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "mlp": _settings({"hidden": 16}, {"hidden": 64}),
    "lstm": _settings({"hidden": 16}, {"hidden": 48}),
    "gcn": _settings({"hidden": 32, "nodes": "series"}, {"hidden": 32, "nodes": "correlations"}),
    "braingb": _settings({"hidden": 64}, {"hidden": 256}, rates=SLOW_RATES),
    "brain_transformer": _settings({"dropout": 0.1}, {"dropout": 0.3}, rates=SLOW_RATES),
    "com_brain": _settings({"dropout": 0.1}, {"dropout": 0.3}, rates=SLOW_RATES),
    "ptgb": _settings({"rounds": 3}, {"rounds": 15}),
    "spdnet": _settings({"hidden": 16}, {"hidden": 48}),
}
