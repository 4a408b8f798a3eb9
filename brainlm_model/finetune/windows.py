"""Windows of one split, scaled as the model wants them: drawn for training, all of them for scoring."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import ParcelSeries
from brainlm_model.trained.embedding import cut
from brainlm_model.windows.dataset import WindowDataset

if TYPE_CHECKING:
    from torch import Tensor

    from brainlm_model.finetune.settings import Settings
    from brainlm_model.trained.checkpoint import TrainedModel


class Windows:
    """Recordings of a split; a store that was scaled by another scaler than the model's is rescaled.

    Parameters
    ----------
    labels: by id; recordings without one are left out. only: ids; None: all.

    Attributes
    ----------
    ids, subjects: of the recordings that have a window and, where labels are given, a label.
    labels: (recording,) float64, or None.
    """

    def __init__(
        self, store: Any, split: str, model: TrainedModel, settings: Settings,
        labels: dict[str, float] | None = None, only: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        config = model.config
        self._data = WindowDataset(
            store, split, config.window, settings.seed, max_invalid=settings.max_invalid, fill=np.nan
        )
        self.config = config
        kept = []
        for place, name in enumerate(self._data.ids):
            has_label = labels is None or name in labels
            if has_label and (only is None or name in only):
                kept.append(place)
        self._index = np.array(kept, dtype=int)
        self.ids = [self._data.ids[place] for place in kept]
        self.subjects = [self._data.subjects[place] for place in kept]
        self.labels = None
        if labels is not None:
            self.labels = np.array([labels[name] for name in self.ids])
        # The store has x = (value - its median) / its iqr. With the model's scaler the same value is
        # (x its iqr + its median - own median) / own iqr = x factor + offset.
        own, theirs = model.scaler, self._data.store.scaler
        assert theirs is not None  # WindowDataset refuses a store without one
        same_median = np.array_equal(own.median, theirs.median, equal_nan=True)
        same_iqr = np.array_equal(own.iqr, theirs.iqr, equal_nan=True)
        self._rescale: tuple[np.ndarray, np.ndarray] | None = None
        if not (same_median and same_iqr):
            self._rescale = theirs.iqr / own.iqr, (theirs.median - own.median) / own.iqr

    def __len__(self) -> int:
        return len(self.ids)

    def draw(self, chosen: Sequence[int], epoch: int) -> Tensor:
        """One window (batch, parcel, step) of each chosen recording, another one every epoch."""
        self._data.set_epoch(epoch)
        return self._scaled(self._data.windows(self._index[list(chosen)].tolist()))

    def every(self, recording: int) -> Tensor:
        """All windows (B, P, T) of a recording, as `embed` cuts them."""
        series = np.array(self._data.series(int(self._index[recording])))
        windows = self._scaled(cut(series, self.config))
        if len(windows):
            return windows
        return self.spread(recording, 1)  # there are gaps where it would be cut

    def spread(self, recording: int, count: int) -> Tensor:
        """See `spread`."""
        return self._scaled(spread(self._data, int(self._index[recording]), count))

    def correlations(self, recording: int) -> np.ndarray:
        """Upper triangle of the correlations between parcels, 0 where one of them is not known."""
        series = ParcelSeries(self._data.series(int(self._index[recording])))
        r_PP = np.nan_to_num(series.connectivity())
        return r_PP[np.triu_indices(len(r_PP), 1)]

    def _scaled(self, x_BPT: Tensor) -> Tensor:
        import torch

        if self._rescale is None:
            return x_BPT
        factor_P, offset_P = (torch.from_numpy(values.astype(np.float32)) for values in self._rescale)
        return x_BPT * factor_P[:, None] + offset_P[:, None]


def spread(data: WindowDataset, index: int, count: int) -> Tensor:
    """`count` windows (B, P, T) spread evenly over a recording's possible places, or as many as there are."""
    import torch

    starts = data.starts(index)
    chosen = np.unique(starts[np.linspace(0, len(starts) - 1, count).round().astype(int)])
    return torch.stack([data.at(index, int(start)) for start in chosen])


def has_split(store: Any, split: str) -> bool:
    """True where a recording of the store that counts is in this split."""
    table = store.recordings[store.recordings["status"] == "done"]
    return bool((table["split"] == split).any())
