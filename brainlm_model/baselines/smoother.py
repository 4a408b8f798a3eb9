"""Ridge regression as a smoother: a linear map from training labels to predictions, found once for all labels.

Its factorisation does not depend on labels. So every strength, every class and every permutation of the labels costs a
matrix product, and a permutation test can refit, choice of the strength included.
Shapes: n training people, m others, Y columns of labels, S strengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.intp]
Splits = Sequence[tuple[Places, Places]]
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # shares of the mean squared singular value


class Smoother:
    """Ridge regression with an intercept, of people `train` and for people `test`.

    Parameters
    ----------
    gram_NN: inner products of all people's features. train, test: places in it.
    """

    def __init__(self, gram_NN: Array, train: Places, test: Places) -> None:
        own_nn, across_mn = gram_NN[np.ix_(train, train)], gram_NN[np.ix_(test, train)]
        # inner products of features without the training people's mean
        level_n = own_nn.mean(axis=0)
        centred_nn = own_nn - level_n - level_n[:, None] + level_n.mean()
        self._axes_nn: Array
        values_n, self._axes_nn = np.linalg.eigh(centred_nn)
        self._values_n = np.maximum(values_n, 0)
        self._unit = float(self._values_n.sum()) / max(len(train) - 1, 1)
        self._across_mn = (across_mn - across_mn.mean(axis=1, keepdims=True) - level_n + level_n.mean()) @ self._axes_nn

    def dual(self, labels_nY: Array, strength: float) -> Array:
        """Weights (n, Y) of the training people: features times them, summed, are the coefficients."""
        # K = U D U':  weights = U (D + penalty)^-1 U' (y - mean), penalty = strength x trace(K) / (n - 1)
        projected_nY = self._axes_nn.T @ (labels_nY - labels_nY.mean(axis=0))
        weights_nY: Array = self._axes_nn @ (self._shrinkage(strength)[:, None] * projected_nY)
        return weights_nY

    def predict(self, labels_nY: Array, strengths: Sequence[float]) -> Array:
        """Predictions (S, m, Y) for people `test`."""
        level_Y = labels_nY.mean(axis=0)
        projected_nY = self._axes_nn.T @ (labels_nY - level_Y)
        predicted = np.empty((len(strengths), len(self._across_mn), labels_nY.shape[1]))
        for place, strength in enumerate(strengths):
            predicted[place] = (self._across_mn * self._shrinkage(strength)) @ projected_nY + level_Y
        return predicted

    def _shrinkage(self, strength: float) -> Array:
        total_n = self._values_n + strength * self._unit
        return np.divide(1, total_n, out=np.zeros_like(total_n), where=total_n > 0)


class Nested:
    """A smoother whose strength is chosen on inner splits of its training people, by squared error.

    Scores of classes are without the intercept: it says how frequent a class is among those who were learnt from.

    Parameters
    ----------
    gram_NN: inner products of all people's features. train, test: places in it.
    splits: (training, validation) places of the inner splits.
    """

    def __init__(
        self, gram_NN: Array, train: Places, test: Places, splits: Splits, strengths: Sequence[float] = STRENGTHS
    ) -> None:
        self.train, self.splits, self.strengths = train, splits, strengths
        self._outer = Smoother(gram_NN, train, test)
        self._inner = [Smoother(gram_NN, part, validation) for part, validation in splits]

    def out_of_fold(self, labels_NY: Array) -> Array:
        """Predictions (S, v, Y) for the validation people of all splits, one split after another."""
        parts = []
        for smoother, (part, _) in zip(self._inner, self.splits, strict=True):
            parts.append(smoother.predict(labels_NY[part], self.strengths))
        return np.concatenate(parts, axis=1)

    def choose(self, labels_NY: Array, outputs: int) -> tuple[NDArray[np.intp], Array]:
        """Place of the best strength of each label (Y / outputs,), and its predictions out of fold (v, Y).

        `outputs`: columns that belong to one label and share a strength: its classes; 1 for numbers.
        """
        validation = np.concatenate([places for _, places in self.splits])
        level_vY = np.concatenate(
            [np.tile(labels_NY[part].mean(axis=0), (len(places), 1)) for part, places in self.splits]
        )
        predicted_SvY = self.out_of_fold(labels_NY)
        error_SY = ((predicted_SvY - labels_NY[validation]) ** 2).mean(axis=1)
        best = error_SY.reshape(len(error_SY), -1, outputs).sum(axis=2).argmin(axis=0)
        of_column = np.repeat(best, outputs)
        chosen_vY = predicted_SvY[of_column, :, np.arange(len(of_column))].T
        return best, chosen_vY - level_vY if outputs > 1 else chosen_vY

    def predict(self, labels_NY: Array, best: NDArray[np.intp]) -> Array:
        """Predictions (m, Y) for people `test`, each label with its strength."""
        of_column = np.repeat(best, labels_NY.shape[1] // len(best))
        predicted_mY = np.empty((len(self._outer._across_mn), labels_NY.shape[1]))
        for place in np.unique(of_column):
            columns = of_column == place
            chosen = self._outer.predict(labels_NY[self.train][:, columns], self.strengths[place : place + 1])
            predicted_mY[:, columns] = chosen[0]
        if labels_NY.shape[1] > len(best):
            predicted_mY -= labels_NY[self.train].mean(axis=0)
        return predicted_mY

    def dual(self, labels_NY: Array, best: int) -> Array:
        """Weights (n, Y) of the training people under one strength."""
        return self._outer.dual(labels_NY[self.train], self.strengths[best])


def spread_of(out_of_fold_vY: Array) -> Array:
    """Deviation (Y,) of scores out of fold, by which those of several fits become comparable; 1 where there is none."""
    spread_Y = out_of_fold_vY.std(axis=0)
    return np.where(spread_Y > 1e-12, spread_Y, 1)


def level_of(out_of_fold_vC: Array, labels_vC: Array) -> Array:
    """Mean (C,) of each class's score where all classes count the same: without it no class is favoured.

    `labels_vC`: 1 where a person is of a class, else 0.
    """
    counts_C = labels_vC.sum(axis=0)
    there = counts_C > 0
    means_CC = (labels_vC.T @ out_of_fold_vC)[there] / counts_C[there, None]
    return np.asarray(means_CC.mean(axis=0))
