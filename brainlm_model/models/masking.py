"""Which tokens are hidden. A mask is boolean (batch, parcel, patch); true: masked, to be predicted.

Masks are drawn on the host, whatever computes afterwards: the same seed gives the same bytes with and without a GPU.
Where several processes share a batch each makes its own windows' masks (`only`), from the draws of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from brainlm_data import ConfigError

if TYPE_CHECKING:
    from torch import Generator, Tensor

Masking = Literal["random", "future", "parcel", "tube", "mixed"]
MIXED: tuple[Masking, ...] = ("random", "future")  # what `mixed` draws from, one per batch


def random_mask(
    batch: int, parcels: int, patches: int, ratio: float, generator: Generator, only: Sequence[int] | None = None
) -> Tensor:
    """Hide the same number of tokens in every window, drawn without replacement: round(ratio x parcels x patches)."""
    return _drawn(batch, parcels * patches, ratio, generator, only).unflatten(1, (parcels, patches))


def future_mask(batch: int, parcels: int, patches: int, ratio: float) -> Tensor:
    """Hide the last round(ratio x patches) time patches of every parcel: at least one, and never all."""
    import torch

    hidden = min(max(round(ratio * patches), 1), patches - 1)
    mask = torch.zeros(batch, parcels, patches, dtype=torch.bool)
    mask[:, :, patches - hidden :] = True
    return mask


def parcel_mask(
    batch: int, parcels: int, patches: int, ratio: float, generator: Generator, only: Sequence[int] | None = None
) -> Tensor:
    """Hide whole parcels, drawn at random, through the whole window: round(ratio x parcels)."""
    return _drawn(batch, parcels, ratio, generator, only)[:, :, None].repeat(1, 1, patches)


def tube_mask(
    batch: int, parcels: int, patches: int, ratio: float, generator: Generator, place_P3: Tensor,
    only: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """Hide a neighbourhood through the whole window: a parcel drawn at random and those nearest to it.

    With neighbours hidden too, interpolation in space does not help (the tubes of VideoMAE, Tong et al., 2022, with a
    compact cross-section). `place_P3`: coordinates of the parcels, any unit.
    """
    import torch

    centre = _some(torch.randint(parcels, (batch,), generator=generator), only)  # one per window
    distance_BP = torch.cdist(place_P3[centre].double(), place_P3.double())
    order = distance_BP.argsort(dim=1, stable=True)  # the centre itself is the nearest
    mask = torch.zeros(order.shape, dtype=torch.bool)
    mask.scatter_(1, order[:, : round(ratio * parcels)], True)
    return mask[:, :, None].repeat(1, 1, patches)


def make_mask(
    kind: Masking, batch: int, parcels: int, patches: int, ratio: float, generator: Generator,
    place_P3: Tensor | None = None, only: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """A mask of a kind; `mixed` is one of `MIXED` a batch. `tube` needs the parcels' coordinates, and raises without.

    `only`: these rows of the batch alone, the same as in the mask of all; None: all.

    Raises
    ------
    ConfigError: `tube` without coordinates.
    """
    import torch

    if kind == "mixed":
        kind = MIXED[int(torch.rand((), generator=generator) * len(MIXED))]
    if kind == "future":
        return future_mask(batch if only is None else len(only), parcels, patches, ratio)
    if kind == "parcel":
        return parcel_mask(batch, parcels, patches, ratio, generator, only)
    if kind == "tube":
        if place_P3 is None or not bool(place_P3.any()):
            raise ConfigError(
                "masking: tube needs the parcels' coordinates", "an atlas with x, y, z; or masking: parcel"
            )
        return tube_mask(batch, parcels, patches, ratio, generator, place_P3, only)
    return random_mask(batch, parcels, patches, ratio, generator, only)


def _drawn(batch: int, count: int, ratio: float, generator: Generator, only: Sequence[int] | None) -> Tensor:
    """(batch, count), or `only` some rows; true for round(ratio x count) of each, drawn without replacement."""
    import torch

    # the order of random numbers is a random order: its first places are a draw without replacement. Sorting is what
    # takes time, so the numbers are drawn for the whole batch and sorted for the rows that are wanted
    order = _some(torch.rand(batch, count, generator=generator), only).argsort(dim=1)
    mask = torch.zeros(order.shape, dtype=torch.bool)
    return mask.scatter_(1, order[:, : round(ratio * count)], True)


def _some(rows: Tensor, only: Sequence[int] | None) -> Tensor:
    """These rows; None: all."""
    return rows if only is None else rows[list(only)]


def generator(*seed: int) -> Generator:
    """A CPU generator seeded by a tuple, for example (seed, step): no state to keep, so a resumed run repeats it."""
    import numpy as np
    import torch

    # SeedSequence mixes the numbers, so that (1, 2) and (2, 1) have nothing in common; torch takes 63 bits of a seed
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
