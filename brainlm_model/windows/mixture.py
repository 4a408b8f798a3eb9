"""Windows of several stores as one dataset: UK Biobank with HCP, for example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from brainlm_data import InputError
from brainlm_model.windows.dataset import WindowDataset

if TYPE_CHECKING:
    from torch import Generator, Tensor


def _other_atlas(first: WindowDataset, other: WindowDataset) -> bool:
    """Whether two stores say different atlases, by name or by the sha256 of the image."""
    for key in ("atlas", "atlas_sha256"):
        said = {str(part.store.attrs.get(key, "")) for part in (first, other)}
        if len(said - {"", "unknown"}) > 1:
            return True
    return False


class Mixture:
    """Several datasets of one atlas and window, each scaled by its own store's scaler.

    An epoch has as many windows as there are recordings; `weights` says how many windows of each dataset there are for
    one of the first. Within a dataset every recording comes once before any comes twice.

    Parameters
    ----------
    parts: datasets; the first one is the run's own, and has the parcels' coordinates.
    weights: one a dataset, above 0; only their ratios matter.

    Raises
    ------
    InputError: another number of parcels, another atlas, other parcels or another order of them.
    """

    def __init__(self, parts: Sequence[WindowDataset], weights: Sequence[float]) -> None:
        first = parts[0]
        for other in parts[1:]:
            if other.parcels != first.parcels or _other_atlas(first, other):
                raise InputError(
                    f"{other.store.path}: its {other.parcels} parcels are not those of {first.store.path}",
                    "train.stores: stores that were made with the same atlas",
                )
            other.store.check_parcels(first.store)
        self.parts, self.weights = list(parts), list(weights)
        self.parcels, self.coordinates, self.store = first.parcels, first.coordinates, first.store
        self.ids = [name for part in parts for name in part.ids]
        # the same label in two datasets is two people
        self.subjects = [f"{number}/{name}" for number, part in enumerate(parts) for name in part.subjects]
        self.skipped = {name: reason for part in parts for name, reason in part.skipped.items()}
        self._bounds = np.cumsum([0, *(len(part) for part in parts)])

    @property
    def content(self) -> list[tuple[int, str]]:
        """Number and digest of the recordings of each dataset."""
        return [each for part in self.parts for each in part.content]

    def __len__(self) -> int:
        return len(self.ids)

    def set_epoch(self, epoch: int) -> None:
        """Draw other windows."""
        for part in self.parts:
            part.set_epoch(epoch)

    def order(self, random: Generator) -> list[int]:
        """The recordings of an epoch, a dataset's share of them as its weight says."""
        import torch

        share = torch.tensor(self.weights, dtype=torch.float64)
        which = torch.multinomial(share, len(self), replacement=True, generator=random)
        indices = torch.empty(len(self), dtype=torch.int64)
        for number, part in enumerate(self.parts):
            places = (which == number).nonzero().flatten()
            order = [index for _ in range(-(-len(places) // len(part))) for index in part.order(random)]
            indices[places] = torch.tensor(order[: len(places)], dtype=torch.int64) + int(self._bounds[number])
        return indices.tolist()

    def windows(self, indices: Sequence[int]) -> Tensor:
        """The windows (batch, parcel, window) of several recordings in this epoch."""
        import torch

        chosen = np.asarray(indices)
        which = np.searchsorted(self._bounds, chosen, side="right") - 1
        batches = [
            self.parts[number].windows((chosen[which == number] - self._bounds[number]).tolist())
            for number in np.unique(which)
        ]
        back = np.argsort(np.argsort(which, kind="stable"), kind="stable")
        return torch.cat(batches)[torch.from_numpy(back)]

    def series(self, index: int) -> np.ndarray:
        """The whole scaled recording (time, parcel), NaN where nothing is known."""
        number = int(np.searchsorted(self._bounds, index, side="right") - 1)
        return self.parts[number].series(index - int(self._bounds[number]))

    def __iter__(self) -> Iterator[Tensor]:
        return (self.windows([index])[0] for index in range(len(self)))
