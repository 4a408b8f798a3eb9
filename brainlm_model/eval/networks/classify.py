"""Which network is a parcel in? Two ways of holding parcels out, k nearest neighbours and logistic regression.

Shapes: R recordings, P parcels, F features, n and m rows of training and test, C networks. Labels are numbers from 0;
-1 is a parcel without a network. Everything that is chosen or fitted sees training parcels only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainlm_model.baselines.neighbours import nearest as nearest_rows

Features = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
FOLDS = 5  # a fifth of the parcels is held out: 80 / 20
NEIGHBOURS = (1, 3, 5, 9, 15, 25, 45)
PENALTIES = (0.01, 0.1, 1.0)  # of the logistic regression: C, on standardised features
ROWS = 2000  # test rows whose distances are held at once


@dataclass(frozen=True)
class Outcome:
    """`confusion`: (R, C, C) counts of held-out parcels, true network by predicted one, of each recording."""

    confusion: Ints


def folds(labels_P: Ints, rng: np.random.Generator) -> Ints:
    """A fold for each parcel, the networks spread evenly; -1 where there is no label."""
    fold_P = np.full(len(labels_P), -1)
    for network in np.unique(labels_P[labels_P >= 0]):
        members = np.flatnonzero(labels_P == network)
        # in turn, from a random fold on: else the first folds would get the remainder of every network
        fold_P[rng.permutation(members)] = (np.arange(len(members)) + rng.integers(FOLDS)) % FOLDS
    return fold_P


def shuffled(labels_P: Ints, rng: np.random.Generator) -> Ints:
    """Labels permuted over the parcels that have one."""
    shuffled_P = labels_P.copy()
    has = labels_P >= 0
    shuffled_P[has] = rng.permutation(labels_P[has])
    return shuffled_P


def within(
    x_RPF: Features, known_RP: Bools, ids: Sequence[str], labels_P: Ints, classifier: str, seed: int, shuffle: bool
) -> Outcome:
    """The paper's protocol: in each recording 80 % of its parcels train and 20 % test, drawn again for each."""
    count = int(labels_P.max()) + 1
    confusion = np.zeros((len(ids), count, count), dtype=np.int64)
    for row, name in enumerate(ids):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        fold_P = folds(np.where(known_RP[row], labels_P, -1), rng)
        labels = labels_P
        if shuffle:
            labels = shuffled(labels_P, rng)
        train, test = fold_P > 0, fold_P == 0
        if not (train.any() and test.any()):
            continue
        inner = folds(np.where(train, labels, -1), rng)  # a fifth of the training parcels chooses k or the penalty
        fit, check = train & (inner > 0), train & (inner == 0)
        x_PF = x_RPF[row]
        predicted = CLASSIFIERS[classifier](
            (x_PF[fit], labels[fit]), (x_PF[check], labels[check]), (x_PF[train], labels[train]), x_PF[test], count
        )
        np.add.at(confusion[row], (labels[test], predicted), 1)
    return Outcome(confusion)


def across(
    train: tuple[Features, Bools], test: tuple[Features, Bools], labels_P: Ints, classifier: str, seed: int,
    shuffle: bool,
) -> Outcome:  # fmt: skip
    """The harder one: a fifth of the parcels is held out in all recordings, five times; classifiers see other subjects.

    What a classifier chooses is chosen likewise: fitted on half of the training recordings without an inner fifth of
    the training parcels, checked on that fifth in the other half.
    """
    (x_RPF, known_RP), (y_RPF, seen_RP) = train, test
    count = int(labels_P.max()) + 1
    rng = np.random.default_rng(seed)
    labels = labels_P
    if shuffle:
        labels = shuffled(labels_P, rng)
    fold_P = folds(labels, rng)
    half_R = rng.permutation(len(x_RPF)) % 2 == 0  # a random half of the training recordings
    confusion = np.zeros((len(y_RPF), count, count), dtype=np.int64)
    for fold in range(FOLDS):
        inside, outside = (fold_P >= 0) & (fold_P != fold), fold_P == fold
        inner = folds(np.where(inside, labels, -1), rng)

        def rows(which_R: Bools, which_P: Bools) -> tuple[Features, Ints]:
            chosen = known_RP & which_R[:, None] & which_P
            return x_RPF[chosen], np.broadcast_to(labels, chosen.shape)[chosen]

        everyone = np.ones(len(x_RPF), dtype=bool)
        held_out = seen_RP & outside
        if not held_out.any():
            continue
        predicted = CLASSIFIERS[classifier](
            rows(half_R, inside & (inner > 0)), rows(~half_R, inside & (inner == 0)), rows(everyone, inside),
            y_RPF[held_out], count,
        )  # fmt: skip
        place_R, place_P = np.nonzero(held_out)
        np.add.at(confusion, (place_R, labels[place_P], predicted), 1)
    return Outcome(confusion)


Rows = tuple[Features, Ints]


def nearest(fit: Rows, check: Rows, both: Rows, x_mF: Features, count: int) -> Ints:
    """k nearest neighbours by Euclidean distance; the k of `NEIGHBOURS` that is best on `check`, the smaller of two."""
    best = NEIGHBOURS[0]
    if len(fit[1]) and len(check[1]):
        voted = _votes(fit, check[0], count)
        right = (voted == check[1][:, None]).mean(0)
        best = NEIGHBOURS[int(right.argmax())]
    return _votes(both, x_mF, count, (best,))[:, 0]


def _votes(train: Rows, x_mF: Features, count: int, neighbours: Sequence[int] = NEIGHBOURS) -> Ints:
    """Predictions (m, k) for each number of neighbours; of networks with as many votes the nearer neighbours' wins."""
    x_nF, labels_n = train
    most = min(max(neighbours), len(labels_n))
    # The nearer a neighbour, the more its vote counts, by so little that it decides between equal votes alone.
    weight = 1 + 1e-6 / np.arange(1, most + 1)
    predicted = [np.zeros((0, len(neighbours)), dtype=np.int64)]
    for first in range(0, len(x_mF), ROWS):
        order = nearest_rows(x_nF, x_mF[first : first + ROWS], most)
        ballots = np.zeros((*order.shape, count))
        np.put_along_axis(ballots, labels_n[order][:, :, None], np.broadcast_to(weight[:, None], (*order.shape, 1)), 2)
        votes = ballots.cumsum(1)  # (m, k, C): of the k nearest
        predicted.append(np.stack([votes[:, min(k, most) - 1].argmax(1) for k in neighbours], axis=1))
    return np.concatenate(predicted)


def logistic(fit: Rows, check: Rows, both: Rows, x_mF: Features, count: int) -> Ints:
    """Multinomial logistic regression on standardised features; the penalty of `PENALTIES` that is best on `check`."""
    best = PENALTIES[0]
    if len(np.unique(fit[1])) > 1 and len(check[1]):
        right = [(_logistic(fit, check[0], c) == check[1]).mean() for c in PENALTIES]
        best = PENALTIES[int(np.argmax(right))]
    return _logistic(both, x_mF, best)


def _logistic(train: Rows, x_mF: Features, penalty: float) -> Ints:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    x_nF, labels_n = train
    if len(np.unique(labels_n)) < 2:
        return np.full(len(x_mF), labels_n[0])
    mean, scale = x_nF.mean(0), x_nF.std(0)
    scale = np.where(scale > 1e-6 * np.abs(mean) + 1e-12, scale, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last per mille of the likelihood changes no vote
        fitted = LogisticRegression(C=penalty, max_iter=100, tol=1e-3).fit((x_nF - mean) / scale, labels_n)
    predicted: Ints = fitted.predict((x_mF - mean) / scale)
    return predicted


def majority(fit: Rows, check: Rows, both: Rows, x_mF: Features, count: int) -> Ints:
    """The largest network of the training parcels."""
    return np.full(len(x_mF), np.bincount(both[1], minlength=count).argmax())


CLASSIFIERS: dict[str, Callable[[Rows, Rows, Rows, Features, int], Ints]] = {
    "knn": nearest, "logistic": logistic, "majority": majority
}  # fmt: skip
