"""Two classifiers with nested choice of one setting each: ridge regression of labels, and an attention probe.

Shapes: n and m samples of training and test, F features, P tokens, D width, C conditions, S settings. All conditions
count the same, however many samples they have. What is fitted or chosen sees training samples only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.parcels import known_mean
from brainlm_model.eval.state.samples import Fold, Ints

Array = NDArray[np.float64]
Features = NDArray[np.float32]
Scores = Callable[[Ints, Ints, Ints], Array]  # rows of training, all labels, rows of test -> (S, m, C)
PENALTIES = (100.0, 10.0, 1.0, 0.1, 0.01)  # of ridge, times the mean variance of a sample
# of ridge on times: of one training run the inner folds never have the same times, and would choose none that tells
TIMES = (0.1,)
EPOCHS = (5, 10, 20, 40, 80)  # of the probe: how long it is fitted, as many settings as ridge has
QUERIES = 4
RATE, PLACE_RATE, DECAY = 1e-2, 0.1, 1e-2  # places learn faster: within 80 epochs a query may settle on one of hundreds


def balanced_accuracy(predicted: Ints, labels: Ints) -> float:
    """Mean over the conditions that there are of the share that is right."""
    return float(np.mean([(predicted[labels == c] == c).mean() for c in np.unique(labels)]))


def held_out(learners: Callable[[Fold], Scores], labels: Ints, folds: Sequence[Fold]) -> Ints:
    """(n,) the condition that each sample is told to be while it is held out; -1 where training had fewer than two.

    `learners`: a fold -> scores of every setting, for any of its rows. The setting is the one with the best balanced
    accuracy in the inner folds, the simplest of several.
    """
    told = np.full(len(labels), -1)
    for fold in folds:
        if len(np.unique(labels[fold.train])) < 2:
            continue
        scores = learners(fold)
        outer = scores(fold.train, labels, fold.test)
        inner, checked = [], []
        for fit, check in fold.inner:
            if len(np.unique(labels[fit])) > 1:
                inner.append(scores(fit, labels, check).argmax(2))
                checked.append(check)
        best = len(outer) // 2
        if inner:
            right, predicted = labels[np.concatenate(checked)], np.concatenate(inner, axis=1)
            best = int(np.argmax([balanced_accuracy(row, right) for row in predicted]))
        told[fold.test] = outer[best].argmax(1)
    return told


class Ridge:
    """Ridge regression of the labels' indicators on standardised features, in its dual form: kernels of samples."""

    def __init__(self, x_nF: Features, penalties: Sequence[float] = PENALTIES) -> None:
        self.x, self.penalties = x_nF, penalties

    def __call__(self, fold: Fold) -> Scores:
        """Scores of a fold, whose training samples standardise the features."""
        kernel, place = self._kernel(fold), np.full(len(self.x), -1)
        place[np.concatenate([fold.train, fold.test])] = np.arange(len(kernel))

        def scores(fit: Ints, labels: Ints, test: Ints) -> Array:
            near, far = place[fit], place[test]
            near_nn, far_mn = kernel[np.ix_(near, near)], kernel[np.ix_(far, near)]
            return ridge(near_nn, far_mn, labels[fit], int(labels.max()) + 1, self.penalties)

        return scores

    def _kernel(self, fold: Fold) -> Array:
        """Inner products of training and test samples, one after the other."""
        x_nF = self.x[fold.train].astype(np.float64)
        mean = known_mean(x_nF)
        scale = np.sqrt(known_mean((x_nF - mean) ** 2))
        varies = scale > 1e-6 * np.abs(mean) + 1e-12
        z = (self.x[np.concatenate([fold.train, fold.test])] - mean.astype(np.float32))[:, varies]
        z /= scale[varies].astype(np.float32)
        z = np.nan_to_num(z)  # what is not known is the mean
        kernel: Array = (z @ z.T).astype(np.float64) / max(varies.sum(), 1)
        return kernel


def ridge(
    kernel_nn: Array, kernel_mn: Array, labels_n: Ints, conditions: int, penalties: Sequence[float] = PENALTIES
) -> Array:
    """Scores (S, m, C) under every penalty: min over b of sum_i w_i |y_i - x_i b|^2 + penalty |b|^2.

    The weights w_i make all conditions count the same; y is 1 - 1/C in the column of the label, else -1/C, so that an
    uninformative sample has the same score, 0, for every condition. One that training lacks is never told.
    """
    counted = np.bincount(labels_n, minlength=conditions)
    there = counted > 0
    weight = 1 / (counted[labels_n] * there.sum())  # sums to 1
    # features minus their weighted mean: of kernels, take off weighted means of rows and of columns
    mean_n = kernel_nn @ weight
    centre_nn = kernel_nn - mean_n[:, None] - mean_n[None] + weight @ mean_n
    centre_mn = kernel_mn - (kernel_mn @ weight)[:, None] - mean_n[None] + weight @ mean_n
    root = np.sqrt(weight * len(labels_n))
    target_nC = np.eye(conditions)[labels_n] - there / there.sum()
    a_nn = root[:, None] * centre_nn * root[None]
    size = max(np.trace(a_nn) / len(labels_n), 1e-12)
    penalised = a_nn[None] + size * np.array(penalties)[:, None, None] * np.eye(len(labels_n))
    dual_SnC = np.linalg.solve(penalised, (root[:, None] * target_nC)[None])
    scores: Array = (centre_mn * root[None])[None] @ dual_SnC
    scores[:, :, ~there] = -np.inf
    return scores


class Probe:
    """An attention probe (Bardes et al., 2024, in small): learnt queries that pool the tokens of an event, then linear.

    A query looks at each token by its content and by its place. Fitted with AdamW on all training samples at once.
    """

    def __init__(self, x_nPD: Features, seed: int) -> None:
        self.x, self.seed = x_nPD, seed

    def __call__(self, fold: Fold) -> Scores:
        """Scores of a fold, whose training samples standardise each dimension of each token."""
        import torch

        mean, scale = self.x[fold.train].mean(0), self.x[fold.train].std(0)
        scale = np.where(scale > 1e-6 * np.abs(mean) + 1e-12, scale, np.inf)

        def scores(fit: Ints, labels: Ints, test: Ints) -> Array:
            near, far = (torch.from_numpy((self.x[rows] - mean) / scale) for rows in (fit, test))
            return attended(near, torch.from_numpy(labels[fit]), far, int(labels.max()) + 1, self.seed)

        return scores


def attended(x_nPD: Any, labels_n: Any, x_mPD: Any, conditions: int, seed: int) -> Array:
    """Scores (S, m, C) of an attention probe after each of `EPOCHS`."""
    import torch
    from torch.nn.functional import cross_entropy

    random = torch.Generator().manual_seed(seed)
    _, parcels, width = x_nPD.shape
    query_KD = (torch.randn(QUERIES, width, generator=random) / width**0.5).requires_grad_()
    place_KP = torch.zeros(QUERIES, parcels, requires_grad=True)
    out_CE = torch.zeros(conditions, QUERIES * width, requires_grad=True)
    bias_C = torch.zeros(conditions, requires_grad=True)

    def scores_of(x_BPD: Any) -> Any:
        attention_BPK = (x_BPD @ query_KD.T / width**0.5 + place_KP.T).softmax(1)
        pooled_BE = (attention_BPK.transpose(1, 2) @ x_BPD).flatten(1)
        return pooled_BE @ out_CE.T + bias_C

    counted = torch.bincount(labels_n, minlength=conditions)
    weight_C = torch.where(counted > 0, 1 / counted.clamp(min=1), 0.0)
    learnt: list[dict[str, Any]] = [{"params": [query_KD, out_CE, bias_C]}, {"params": [place_KP], "lr": PLACE_RATE}]
    optimiser = torch.optim.AdamW(learnt, lr=RATE, weight_decay=DECAY)
    found = []
    for epoch in range(1, max(EPOCHS) + 1):
        optimiser.zero_grad()
        cross_entropy(scores_of(x_nPD), labels_n, weight_C).backward()
        optimiser.step()
        if epoch in EPOCHS:
            with torch.no_grad():
                found.append(scores_of(x_mPD).masked_fill(counted == 0, -torch.inf).double().numpy())
    return np.stack(found)
