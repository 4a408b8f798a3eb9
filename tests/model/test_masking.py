import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainlm_data import ConfigError
from brainlm_model.models.masking import future_mask, generator, make_mask, parcel_mask, random_mask, tube_mask
from brainlm_model.training.stage import Config


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


@pytest.mark.parametrize("kind", ["random", "future", "parcel", "tube", "mixed"])
def test_a_share_of_a_batch_has_the_masks_that_it_has_in_the_whole(kind):
    place = torch.randn(12, 3, generator=generator(5))
    whole, mine = (make_mask(kind, 6, 12, 5, 0.4, generator(3), place, only) for only in (None, [4, 1]))
    assert torch.equal(mine, whole[[4, 1]])


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


@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.5, 1.0])
def test_parcels_and_tubes_are_hidden_through_the_window(ratio):
    place = torch.randn(30, 3, generator=generator(5))
    masks = parcel_mask(3, 30, 4, ratio, generator(1)), tube_mask(3, 30, 4, ratio, generator(1), place)
    for mask in masks:
        assert mask.shape == (3, 30, 4) and (mask == mask[:, :, :1]).all()
        assert mask[:, :, 0].sum(1).tolist() == [round(ratio * 30)] * 3


def test_a_tube_is_a_neighbourhood():
    place = torch.randn(60, 3, generator=generator(5))
    hidden = tube_mask(8, 60, 2, 0.2, generator(1), place)[:, :, 0]
    for row in hidden:
        farthest = torch.cdist(place[row], place[row]).max(1).values
        nearest = torch.cdist(place[row], place[~row]).min(1).values
        assert (farthest <= nearest).any()  # there is one to which all of them are nearer than any other parcel
    assert not torch.equal(hidden[0], hidden[1])
    with pytest.raises(ConfigError, match="coordinates"):
        make_mask("tube", 1, 6, 2, 0.5, generator(0), torch.zeros(6, 3))


def test_the_ratio_is_drawn_or_rises():
    drawn = Config(mask_ratio=[0.2, 0.5, 0.9], steps=11)
    assert [drawn.ratio_at(3, draw) for draw in (0.0, 0.4, 0.99)] == [0.2, 0.5, 0.9]
    ramp = Config(mask_ratio=[0.2, 0.5, 0.9], mask_schedule="ramp", steps=11)
    assert [ramp.ratio_at(progress, 0.7) for progress in (0, 0.5, 1)] == pytest.approx([0.2, 0.5, 0.9])
    assert Config(mask_ratio=0.75, mask_schedule="ramp").ratio_at(0.7, 0.1) == 0.75
