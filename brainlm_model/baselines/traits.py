"""Classical learners of a person's label from features: ridge, support vectors, nearest neighbours.

Each takes features of training and other people and returns outputs of the others for `CANDIDATES` settings, of which
nested cross-validation chooses one. An output is a number (regression) or a score of each class.
Shapes: n training people, m others, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_model.baselines.neighbours import nearest

Array = NDArray[np.float64]
Setting = Mapping[str, Any]
CANDIDATES = 6  # settings that every method may choose from
MOST_STEPS = 100_000  # of a support vector machine's solver


@dataclass(frozen=True)
class Data:
    """What a learner sees.

    Attributes
    ----------
    train: (n, F). target: (n,) numbers, or places of classes. test: (m, F). classes: 0 for numbers.
    """

    train: Array
    target: Array
    test: Array
    classes: int

    @property
    def weights(self) -> Array:
        """(n,) of mean 1: classes count the same, however many people they have; people do in regression."""
        return balanced(self.target, self.classes)

    @property
    def indicators(self) -> Array:
        """(n, outputs): the numbers, or 1 where a person is of a class and 0 elsewhere."""
        if not self.classes:
            return self.target[:, None]
        return np.eye(self.classes)[self.target.astype(int)]


def balanced(target: Array, classes: int) -> Array:
    """Weights (n,) of mean 1 with which every class counts the same; ones for numbers."""
    if not classes:
        return np.ones(len(target))
    # w_i = n / (C n_c) for a person of class c: the weights of each of the C classes sum to n / C, all of them to n.
    counts = np.bincount(target.astype(int), minlength=classes)
    return len(target) / (np.count_nonzero(counts) * counts[target.astype(int)])


def ridge(data: Data, settings: Sequence[Setting]) -> list[Array]:
    """Ridge regression; of classes on their indicators. `strength` is a share of the mean squared singular value."""
    weights = data.weights[:, None]
    mean, level = (weights * data.train).mean(0), (weights * data.indicators).mean(0)
    # Weighted ridge by one singular value decomposition for all strengths: with W the weights and W^1/2 X = U D V',
    # the coefficients are V D / (D^2 + strength) U' W^1/2 y.
    root = np.sqrt(weights)
    left, singular, right = np.linalg.svd(root * (data.train - mean), full_matrices=False)
    projected = left.T @ (root * (data.indicators - level))
    across = (data.test - mean) @ right.T
    scale = float((singular**2).mean())
    outputs = []
    for setting in settings:
        # of features that do not vary among these people nothing is learnt
        shrunk = np.divide(
            singular, singular**2 + setting["strength"] * scale, out=np.zeros_like(singular), where=singular > 0
        )
        outputs.append(across @ (shrunk[:, None] * projected) + level)
    return outputs


def svm(data: Data, settings: Sequence[Setting]) -> list[Array]:
    """Support vector regression or classification (libsvm), `kernel` linear or rbf; features are scaled as a whole.

    The mean squared distance from the mean is 1 for the linear kernel, so that `penalty` means the same everywhere.
    """
    from sklearn.svm import SVC, SVR

    # One scale for all features: scaling each would make a parcel pair that hardly varies as loud as any other.
    mean = data.train.mean(0)
    scale = np.sqrt(max(float(((data.train - mean) ** 2).sum(1).mean()), 1e-12))
    train, test = (data.train - mean) / scale, (data.test - mean) / scale
    outputs = []
    for setting in settings:
        shared = {"C": setting["penalty"], "kernel": setting["kernel"], "gamma": 0.5, "max_iter": MOST_STEPS}
        if not data.classes:
            outputs.append(SVR(**shared).fit(train, data.target).predict(test)[:, None])
            continue
        machine = SVC(**shared, class_weight="balanced").fit(train, data.target.astype(int))
        decision = machine.decision_function(test)
        if decision.ndim == 1:  # of two classes libsvm gives one score, that of the second
            decision = np.stack([-decision, decision], 1)
        scores = np.full((len(test), data.classes), -1e6)  # of a class without training people
        scores[:, machine.classes_] = decision
        outputs.append(scores)
    return outputs


def knn(data: Data, settings: Sequence[Setting]) -> list[Array]:
    """Mean label, or share of each class relative to its share of the training people, of the nearest `neighbours`."""
    order = nearest(data.train, data.test, max(setting["neighbours"] for setting in settings))
    values = data.indicators
    if data.classes:  # a vote counts more, the fewer training people its class has
        values = data.weights[:, None] * values
    return [values[order[:, : setting["neighbours"]]].mean(1) for setting in settings]


@dataclass(frozen=True)
class Learner:
    """A learner with the settings it may choose from."""

    predict: Callable[[Data, Sequence[Setting]], list[Array]]
    settings: tuple[Setting, ...]


LEARNERS: dict[str, Learner] = {
    "ridge": Learner(ridge, tuple({"strength": strength} for strength in (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0))),
    "svm": Learner(svm, (
        {"kernel": "linear", "penalty": 0.1}, {"kernel": "linear", "penalty": 1.0},
        {"kernel": "linear", "penalty": 10.0},
        {"kernel": "rbf", "penalty": 0.1}, {"kernel": "rbf", "penalty": 1.0}, {"kernel": "rbf", "penalty": 10.0},
    )),
    "knn": Learner(knn, tuple({"neighbours": count} for count in (3, 5, 10, 20, 40, 80))),
}  # fmt: skip
