"""Embeddings of the official networks: every token in its own parcel, whatever order the encoder had it in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainlm_model.models.official.network import VITMAE_DIVISOR, OfficialNetwork
from tests.model.test_official import BRAINLM, VITMAE, network


def places(parcels: int) -> torch.Tensor:
    return 40 * torch.randn(parcels, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("holes", [False, True])
def test_tokens_of_brainlm_are_in_their_places(holes):
    made = OfficialNetwork(network(BRAINLM), places(5)).eval()
    x = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(2))
    if holes:
        x[0, 2, 5] = x[1, 4] = torch.nan
    with torch.inference_mode():
        found = made.encode(x)
        order = torch.rand(20, generator=torch.Generator().manual_seed(0))  # the fixed one
        for row in range(3):
            tokens_PNS = x[row].unflatten(1, (4, 3))
            hidden = tokens_PNS.isnan().any(-1)
            noise, keep = order + hidden.flatten(), int((~hidden).sum())
            latent, _, _ = made.network.forward_encoder(
                tokens_PNS.nan_to_num()[None], made.coordinates[None], noise[None], keep
            )
            owners = noise.argsort()[:keep] // 4  # of the tokens in the order of the encoder
            torch.testing.assert_close(found.cls_BD[row], latent[0, 0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(found.mean_BD[row], latent[0, 1:].mean(0), atol=1e-5, rtol=1e-4)
            for parcel in range(5):
                expected = latent[0, 1:][owners == parcel].mean(0)
                torch.testing.assert_close(
                    found.parcels_BPD[row, parcel], expected, atol=1e-5, rtol=1e-4, equal_nan=True
                )
    assert torch.isnan(found.parcels_BPD).any() == holes


def test_with_landmarks_a_window_does_not_depend_on_its_batch():
    config = replace(BRAINLM, segment_means_seq_len=21, num_landmarks=7)
    made = OfficialNetwork(network(config), places(5)).eval()
    x = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        together, alone = made.encode(x), [made.encode(row[None]) for row in x]
    for part, pieces in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.equal(part, torch.cat(pieces))


def test_a_parcel_of_a_vitmae_has_the_patches_of_its_row():
    made = OfficialNetwork(network(VITMAE), places(18)).eval()
    x = torch.randn(2, 18, 14, generator=torch.Generator().manual_seed(2))
    x[1, 3] = torch.nan
    with torch.inference_mode():
        found = made.encode(x)
        rows = np.argsort(made.coordinates[:, 1].numpy(), kind="stable").tolist()
        signal = x.nan_to_num()[:, rows] / VITMAE_DIVISOR
        # noise in order: nothing is shuffled; 6 x 6 patches of 4 pixels; the window starts at row 3, column 5
        latent = made.network.forward_encoder(made.network.pad(signal), torch.arange(36.0).expand(2, -1), 36)[0]
        expected = torch.full((2, 18, 8), torch.nan)
        for window, parcel in np.ndindex(2, 18):
            row = (3 + rows.index(parcel)) // 4
            columns = sorted({(5 + step) // 4 for step in range(14)})
            if (window, parcel) != (1, 3):
                expected[window, parcel] = torch.stack([latent[window, 1 + 6 * row + c] for c in columns]).mean(0)
    torch.testing.assert_close(found.parcels_BPD, expected, atol=1e-5, rtol=1e-4, equal_nan=True)
    torch.testing.assert_close(found.mean_BD, expected.nanmean(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.cls_BD, latent[:, 0])
