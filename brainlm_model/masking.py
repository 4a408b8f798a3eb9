"""Which tokens are hidden. A mask is boolean (batch, parcel, patch); true: masked, to be predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Generator, Tensor

Masking = Literal["random", "future", "mixed"]


def random_mask(batch: int, parcels: int, patches: int, ratio: float, generator: Generator) -> Tensor:
    """Hide the same number of tokens in every window, drawn without replacement: round(ratio x parcels x patches)."""
    import torch

    tokens = parcels * patches
    order = torch.rand(batch, tokens, generator=generator).argsort(dim=1)
    mask = torch.zeros(batch, tokens, dtype=torch.bool)
    mask.scatter_(1, order[:, : round(ratio * tokens)], True)
    return mask.view(batch, parcels, patches)


def future_mask(batch: int, parcels: int, patches: int, ratio: float) -> Tensor:
    """Hide the last round(ratio x patches) time patches of every parcel: at least one, and never all."""
    import torch

    hidden = min(max(round(ratio * patches), 1), patches - 1)
    mask = torch.zeros(batch, parcels, patches, dtype=torch.bool)
    mask[:, :, patches - hidden :] = True
    return mask


def make_mask(kind: Masking, batch: int, parcels: int, patches: int, ratio: float, generator: Generator) -> Tensor:
    """A mask of a kind; `mixed` is a fair coin a batch between random and future."""
    import torch

    if kind == "mixed":
        kind = "random" if torch.rand((), generator=generator) < 0.5 else "future"
    if kind == "future":
        return future_mask(batch, parcels, patches, ratio)
    return random_mask(batch, parcels, patches, ratio, generator)


def generator(*seed: int) -> Generator:
    """A CPU generator seeded by a tuple, for example (seed, step): no state to keep, so a resumed run repeats it."""
    import numpy as np
    import torch

    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
