"""Embeddings as a transformer of scikit-learn: in a Pipeline, after a masker of nilearn or on files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from brainlm_data import BrainLMError, InputError, ParcelSeries, scale_series
from brainlm_model.trained import connectivity
from brainlm_model.trained.checkpoint import TrainedModel
from brainlm_model.trained.embedding import BATCH, Kind, is_array, is_several, is_store, rate_of
from brainlm_model.trained.load import load

KINDS = ("cls", "mean", "parcels", *connectivity.KINDS)
FAR = 8.0  # times the spread of the training data, or a part of it: other units


class BrainLMEmbedder(TransformerMixin, BaseEstimator):
    """Recordings -> embeddings, (recording, feature) float32, by the conventions of scikit-learn.

    It learns nothing: the model does the scaling, by its own scaler. What `X` is: a list of recordings, each an array
    (time, parcel) of any length, a `ParcelSeries`, a path of a file that `TrainedModel.embed` reads, or (store, id); an
    array (recording, time, parcel); or one recording.

    Parameters
    ----------
    model: a `TrainedModel`, the folder of one, or "owner/name" on the Hugging Face Hub.
    kind: "cls" or "mean": a feature per dimension of the model; "parcels": of each parcel, NaN for one without data;
        "connectivity" and others: of each pair of parcels (docs/embeddings.md).
    tr: repetition time of arrays and 4-D NIfTI, s; arrays are then resampled to the model's rate. None: arrays have it.
    rescale: True: arrays are in a scanner's units, and brought to the units of the model's data by their own mean (a
        masker must not have removed it). False: they are in those units.
    atlas: label image for 4-D NIfTI, where the atlas does not come with the package.
    batch: windows a forward pass. device: "cpu", "cuda" or "auto".

    Attributes
    ----------
    model_: the `TrainedModel`. n_features_in_: its parcels.

    Examples
    --------
    >>> from brainlm_data import open_store
    >>> from brainlm_model import BrainLMEmbedder
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> store = open_store("results/store.zarr")
    >>> X = [store.series(name) for name in ("sub-00_task-rest", "sub-01_task-rest")]
    >>> make_pipeline(BrainLMEmbedder("results/models/tiny"), Ridge()).fit(X, [20.0, 30.0]).predict(X).shape
    (2,)
    """

    def __init__(
        self,
        model: Any,
        *,
        kind: Kind = "cls",
        tr: float | None = None,
        rescale: bool = False,
        atlas: str | Path | None = None,
        batch: int = BATCH,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.kind = kind
        self.tr = tr
        self.rescale = rescale
        self.atlas = atlas
        self.batch = batch
        self.device = device

    def fit(self, X: Any = None, y: Any = None) -> BrainLMEmbedder:
        """Load the model; `X` and `y` are not looked at."""
        self.model_ = self._loaded()
        self.n_features_in_ = self.model_.config.parcels
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Embed recordings: (recording, feature).

        Raises
        ------
        InputError: what `TrainedModel.embed` refuses, with the number of the recording; an unknown `kind`.
        """
        if self.kind not in KINDS:
            raise InputError(f"kind {self.kind!r}", f"one of {', '.join(KINDS)}")
        model = self._loaded()
        rows = []
        for number, one in enumerate(several := recordings(X), 1):
            of_file: dict[str, Any] = {}
            if isinstance(one, (str, Path)):
                of_file = {"atlas": self.atlas, "tr": self.tr}
            try:
                embedding = model.embed(self._in_units(one, model), self.kind, batch=self.batch, **of_file)
            except BrainLMError as error:
                raise type(error)(f"recording {number} of {len(several)}: {error.message}", error.remedy) from error
            rows.append(np.ravel(embedding))
        return np.stack(rows)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """`cls_000`, `mean_000`, `parcel001_000` or `connectivity_001_002` (of parcels, from 1) and so on."""
        config = self._loaded().config
        if self.kind in connectivity.KINDS:
            pairs = np.triu_indices(config.parcels, 1 if self.kind == "attention" else 0)
            return np.array([f"{self.kind}_{i + 1:03d}_{j + 1:03d}" for i, j in zip(*pairs, strict=True)], dtype=object)
        starts = [f"parcel{number:03d}" for number in range(1, config.parcels + 1)]
        if self.kind != "parcels":
            starts = [self.kind]
        return np.array([f"{start}_{i:03d}" for start in starts for i in range(config.width)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        """Nothing is learnt, so there is nothing to fit."""
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False  # rows are no samples: X is a list of recordings
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        return tags

    def _loaded(self) -> TrainedModel:
        fitted: TrainedModel | None = getattr(self, "model_", None)
        if fitted is not None:
            return fitted
        return self.model if isinstance(self.model, TrainedModel) else load(self.model, self.device)

    def _in_units(self, recording: Any, model: TrainedModel) -> Any:
        """A recording; an array as a series with its rate, in the model's units."""
        if not is_array(recording):
            return recording
        series = ParcelSeries(np.asarray(recording, dtype=np.float64), rate_hz=rate_of(self.tr))
        units = "" if model.card.data is None else model.card.data.units
        if self.rescale and series.values.ndim == 2:
            return scale_series(series, units)
        _warn_of_units(series.values, model, units)
        return series


def recordings(X: Any) -> Sequence[Any]:
    """The recordings in what scikit-learn hands over; one alone is a list of one.

    Raises
    ------
    InputError: a whole store, or nothing.
    """
    if is_store(X):
        raise InputError("X is a whole store", "[(store, id) for id in ...], in the order of y")
    if isinstance(X, tuple) and not (len(X) == 2 and isinstance(X[1], str) and is_store(X[0])):
        X = list(X)
    if hasattr(X, "to_numpy") and getattr(X, "ndim", 0) == 1:  # a column of a table of files
        X = X.to_numpy(dtype=object)
    several = list(X) if is_several(X) else [X]
    if not several:
        raise InputError("X has no recording", "give one or more")
    return several


def _warn_of_units(values: np.ndarray, model: TrainedModel, units: str) -> None:
    """Warn where an array varies by far more or less than what the model was trained on."""
    if values.ndim != 2 or values.shape[1] != len(model.scaler.iqr):
        return  # refused in a moment
    known = np.isfinite(values).any(axis=0) & np.isfinite(model.scaler.iqr)
    if not known.any():
        return
    low, high = np.nanpercentile(np.where(np.isfinite(values), values, np.nan)[:, known], (25, 75), axis=0)
    ratio = float(np.median((high - low) / model.scaler.iqr[known]))
    if not 1 / FAR < ratio < FAR:
        warnings.warn(
            f"an array varies {ratio:.3g} times as much as the model's training data (units: {units or 'not stated'}):"
            " it seems to be in other units; rescale=True brings a scanner's units to them, standardize=True cannot be"
            " undone",
            stacklevel=4,
        )
