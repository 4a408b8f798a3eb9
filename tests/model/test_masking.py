import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainlm_model.masking import future_mask, generator, make_mask, random_mask


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(1, 12), st.floats(0, 1), st.integers(0, 2**31))
def test_random_mask_hides_exactly_its_share_of_every_window(batch, parcels, patches, ratio, seed):
    mask = random_mask(batch, parcels, patches, ratio, generator(seed))
    assert mask.shape == (batch, parcels, patches) and mask.dtype == torch.bool
    assert mask.flatten(1).sum(1).tolist() == [round(ratio * parcels * patches)] * batch


def test_random_mask_is_seeded_and_differs_between_windows():
    one = random_mask(2, 50, 10, 0.5, generator(3, 7))
    assert torch.equal(one, random_mask(2, 50, 10, 0.5, generator(3, 7)))
    assert not torch.equal(one, random_mask(2, 50, 10, 0.5, generator(3, 8)))
    assert not torch.equal(one[0], one[1])


def test_random_mask_is_uniform_over_tokens():
    mask = random_mask(4000, 5, 4, 0.25, generator(0)).float().mean(0)
    assert mask.min() > 0.22 and mask.max() < 0.28  # 4 standard errors are .027


@pytest.mark.parametrize(("ratio", "hidden"), [(0.2, 2), (0.5, 5), (0.9, 9), (0.01, 1), (0.99, 9)])
def test_future_mask_hides_the_last_patches_of_every_parcel(ratio, hidden):
    mask = future_mask(2, 7, 10, ratio)
    assert not mask[:, :, : 10 - hidden].any() and mask[:, :, 10 - hidden :].all()


def test_mixed_masking_draws_both_kinds():
    future = future_mask(1, 20, 10, 0.5)
    kinds = [torch.equal(make_mask("mixed", 1, 20, 10, 0.5, generator(i)), future) for i in range(40)]
    assert 8 < sum(kinds) < 32
