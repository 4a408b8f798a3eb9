"""Traits from second-order features: scikit-learn estimators, linear and in closed form.

    from sklearn.pipeline import make_pipeline
    from brainlm_model import LogConnectivity, TraitClassifier

    readout = make_pipeline(LogConnectivity(rate_hz=1.0), TraitClassifier(blocks=3))
    readout.fit(recordings, diagnosis, traitclassifier__groups=site)  # recordings: arrays (time, parcel)

Each block of features (of `LogConnectivity`: the series, its band, and it without its global mean) has a ridge
regression of its own, whose strength is chosen in inner folds, by group where there are groups.
Predictions are averaged.
Shapes: n people, F features (of all blocks), C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, check_cv
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from brainlm_data import InputError
from brainlm_model.baselines.smoother import STRENGTHS, Nested, level_of, spread_of
from brainlm_model.trained.connectivity import COPIES, copies, log_connectivity

Array = NDArray[np.float64]


class Features(np.ndarray[Any, np.dtype[np.float64]]):
    """Features (n, F) of `LogConnectivity`, which know in how many copies they stand side by side.

    `made`: that number, and F: of a part of the columns it says nothing.
    """

    made: tuple[int, int] | None = None

    def __array_finalize__(self, source: Any) -> None:
        self.made = getattr(source, "made", None)


class LogConnectivity(TransformerMixin, BaseEstimator):
    """Recordings -> log(.7 C + .3 I), as `embed(kind="connectivity")` gives it, of three copies, side by side.

    Nothing is fitted, so nothing of other people enters a person's features.

    Parameters
    ----------
    rate_hz: sampling rate of the recordings, for the copy within .01 to .1 Hz; None: the first copy alone.
    """

    def __init__(self, rate_hz: float | None = None) -> None:
        self.rate_hz = rate_hz

    def fit(self, X: Iterable[Array], y: Any = None) -> LogConnectivity:
        """Note the number of parcels. Raises InputError: no recording, or the first is no array (time, parcel)."""
        shape = np.shape(_listed(X)[0])
        if len(shape) != 2:
            raise InputError("recording 0: not an array (time, parcel)", "store.recording(id).values of each recording")
        self.parcels_ = int(shape[1])
        return self

    def transform(self, X: Iterable[Array]) -> Array:
        """Recordings (time, parcel) -> (n, F); NaN at the pairs of a parcel that a recording lacks.

        Raises
        ------
        InputError: another number of parcels than in `fit`; a recording of which nothing can be measured, by its place.
        """
        check_is_fitted(self)
        rows = []
        for number, series in enumerate(_listed(X)):
            if np.ndim(series) != 2 or np.shape(series)[1] != self.parcels_:
                raise InputError(
                    f"recording {number}: shape {np.shape(series)}, not (time, {self.parcels_})",
                    "recordings of one atlas, (time, parcel)",
                )
            try:
                one = np.asarray(series, dtype=np.float64)
                rows.append(log_connectivity(one) if self.rate_hz is None else copies(one, self.rate_hz).ravel())
            except InputError as error:
                raise InputError(f"recording {number}: {error.message}", error.remedy) from error
        features = np.array(rows).view(Features)
        features.made = 1 if self.rate_hz is None else len(COPIES), features.shape[1]
        return features

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """`connectivity_0_1` and so on: the copy and two parcels, counted from 0."""
        check_is_fitted(self)
        rows, columns = np.triu_indices(self.parcels_)
        names = []
        for copy in COPIES[: 1 if self.rate_hz is None else len(COPIES)]:
            names += [f"{copy}_{row}_{column}" for row, column in zip(rows, columns, strict=True)]
        return np.array(names, dtype=object)


def _listed(X: Any) -> list[Any]:
    """The recordings, from a list, an array (recording, time, parcel) or a column of a table; not from an iterator,
    which `fit` would use up.

    Raises InputError where there is none.
    """
    if not hasattr(X, "__len__") or isinstance(X, (str, dict)):
        raise InputError(f"X is a {type(X).__name__}", "a list of recordings, each an array (time, parcel)")
    if not len(X):
        raise InputError("X has no recording", "give one or more")
    return list(X)


class _Readout(BaseEstimator):
    """What both readouts share: blocks, inner folds, and a linear map that is found in closed form."""

    def __init__(
        self, blocks: int = 1, strengths: Sequence[float] = STRENGTHS, cv: Any = 5, random_state: int | None = 0
    ) -> None:
        self.blocks, self.strengths, self.cv, self.random_state = blocks, strengths, cv, random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _check_blocks(self, X: Any) -> None:
        """Raises InputError where `LogConnectivity` made X of another number of copies than there are to be blocks."""
        copies, width = getattr(X, "made", None) or (None, None)
        if copies is None or np.shape(X)[1] != width or self.blocks in (1, copies):
            return
        if copies == 1:
            raise InputError(
                f"blocks={self.blocks}: LogConnectivity made one copy alone, for it knows no sampling rate",
                f"LogConnectivity(rate_hz=...), which makes {len(COPIES)}; or blocks=1",
            )
        raise InputError(f"blocks={self.blocks}: LogConnectivity made {copies} copies", f"blocks={copies}, or blocks=1")

    def _fit(self, x_nF: Array, labels_nY: Array, splits: list[tuple[Any, Any]], classes: int) -> None:
        """Set `coef_` (Y, F), `intercept_` (Y,) and `strengths_` (of each block)."""
        if self.blocks < 1 or x_nF.shape[1] % self.blocks:
            raise InputError(f"blocks={self.blocks}: {x_nF.shape[1]} features are no {self.blocks} blocks of one size",
                             "as many blocks as copies of the features stand side by side")  # fmt: skip
        if not np.size(self.strengths) or not all(strength >= 0 for strength in np.ravel(self.strengths)):
            raise InputError(f"strengths={self.strengths}", "one or more numbers of 0 and more")
        self.fill_ = _known_mean(x_nF)
        # a mean that is no number would be one of training people who all lack the feature
        centred_nF = np.where(np.isnan(x_nF), self.fill_, x_nF) - self.fill_
        everyone = np.arange(len(x_nF))
        validation = np.concatenate([places for _, places in splits])
        coefficients, self.strengths_ = [], []
        level_Y = np.zeros(labels_nY.shape[1])
        for block_nF in np.split(centred_nF, self.blocks, axis=1):
            nested = Nested(block_nF @ block_nF.T, everyone, everyone, splits, self.strengths)
            best, out_of_fold_vY = nested.choose(labels_nY, max(classes, 1))
            block_FY = block_nF.T @ nested.dual(labels_nY, int(best[0]))
            own_level_Y = labels_nY.mean(axis=0)
            if classes:
                spread_Y = spread_of(out_of_fold_vY)
                block_FY = block_FY / spread_Y
                own_level_Y = -level_of(out_of_fold_vY, labels_nY[validation]) / spread_Y  # scores have no intercept
            coefficients.append(block_FY / self.blocks)
            level_Y += own_level_Y / self.blocks
            self.strengths_.append(float(self.strengths[int(best[0])]))
        self.coef_, self.intercept_ = np.concatenate(coefficients).T, level_Y

    def _outputs(self, X: Any) -> Array:
        """(n, Y)"""
        check_is_fitted(self)
        x_nF = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan")
        centred_nF = np.where(np.isnan(x_nF), self.fill_, x_nF) - self.fill_
        outputs: Array = centred_nF @ self.coef_.T + self.intercept_
        return outputs

    def _splits(self, x_nF: Array, y: Array, groups: Any, classes: int) -> list[tuple[Any, Any]]:
        """Inner splits: by group where there are groups, each class evenly where there are classes; else at random."""
        cv = 5 if self.cv is None else self.cv
        if isinstance(cv, Integral):
            if cv < 2:
                raise InputError(f"cv={cv}", "at least two inner folds")
            if groups is not None:
                there = len(np.unique(np.asarray(groups)))
                if there < 2:
                    raise InputError("groups: all are of one group, which inner folds keep together", "groups=None")
                cv = GroupKFold(min(int(cv), there))
            elif classes and np.bincount(y.astype(int)).min() >= cv:
                cv = StratifiedKFold(cv, shuffle=True, random_state=self.random_state)
            else:
                cv = KFold(min(cv, len(y)), shuffle=True, random_state=self.random_state)
        return list(
            check_cv(cv, y.astype(int) if classes else y, classifier=bool(classes)).split(
                x_nF, y.astype(int) if classes else y, groups
            )
        )


class TraitRegressor(RegressorMixin, _Readout):
    """Predicts a number, such as the logarithm of age, from blocks of features.

    Parameters
    ----------
    blocks: equal blocks of columns, each with a ridge regression of its own; the prediction is their mean.
    strengths: from which one is chosen for each block, as shares of its mean squared singular value.
    cv: inner folds: a number (None: 5), a splitter of scikit-learn, or (training, validation) places.
    random_state: of inner folds that are drawn.

    Attributes
    ----------
    coef_: (1, F). intercept_: (1,). strengths_: chosen for each block. fill_: (F,) what stands for NaN.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> TraitRegressor:
        """Fit features (n, F), NaN where unknown, to numbers (n,); `groups`: such as sites, kept together inside."""
        self._check_blocks(X)
        x_nF, y_n = validate_data(
            self, X, y, dtype=np.float64, y_numeric=True, ensure_all_finite="allow-nan", ensure_min_samples=3
        )
        y_n = np.asarray(y_n, dtype=np.float64)
        self._fit(x_nF, y_n[:, None], self._splits(x_nF, y_n, groups, 0), 0)
        return self

    def predict(self, X: Any) -> Array:
        """Numbers (n,)."""
        numbers: Array = self._outputs(X)[:, 0]
        return numbers


class TraitClassifier(ClassifierMixin, _Readout):
    """Predicts a class, such as a diagnosis, from blocks of features. Classes count the same, whatever their size.

    Parameters, and attributes but for `coef_` (C, F) and `intercept_` (C,), as of `TraitRegressor`; `classes_`: sorted.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> TraitClassifier:
        """Fit features (n, F), NaN where unknown, to classes (n,); `groups`: such as sites, kept together inside."""
        self._check_blocks(X)
        x_nF, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=3)
        check_classification_targets(y)
        self.classes_, places_n = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"one class only: {self.classes_[0]}", "labels of at least two classes")
        labels_nC = np.eye(len(self.classes_))[places_n]
        self._fit(
            x_nF,
            labels_nC,
            self._splits(x_nF, places_n.astype(np.float64), groups, len(self.classes_)),
            len(self.classes_),
        )
        return self

    def decision_function(self, X: Any) -> Array:
        """Scores (n, C), in deviations of scores out of fold; of two classes (n,), above 0 for the second."""
        scores_nC = self._outputs(X)
        if len(self.classes_) > 2:
            return scores_nC
        one_n: Array = (scores_nC[:, 1] - scores_nC[:, 0]) / 2
        return one_n

    def predict(self, X: Any) -> NDArray[Any]:
        """The class (n,) with the highest score."""
        scores_nC = self._outputs(X)
        best: NDArray[Any] = self.classes_[scores_nC.argmax(axis=1)]
        return best


def _known_mean(x_nF: Array) -> Array:
    """Mean (F,) of the people who know a feature; 0 where nobody does."""
    known = np.isfinite(x_nF)
    mean: Array = np.where(known, x_nF, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return mean
