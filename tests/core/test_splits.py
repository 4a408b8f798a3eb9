"""One subject is on one side, always; whole groups can be left out."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainlm_data.dataset.splits import SPLITS, external_subjects, split_subjects, unknown_groups
from brainlm_data.errors import InputError


@given(st.sets(st.text("abc123", min_size=1), min_size=3, max_size=60), st.integers(0, 5))
def test_splits(subjects: set[str], seed: int) -> None:
    splits = split_subjects([*subjects, *subjects], 0.1, 0.1, seed)
    assert set(splits) == subjects
    assert set(splits.values()) == {"train", "validation", "test"}
    assert split_subjects(sorted(subjects), 0.1, 0.1, seed) == splits
    more = split_subjects([*subjects, "another"], 0.1, 0.1, seed)
    assert sum(more[s] != splits[s] for s in subjects) <= 3


RECORDINGS = st.lists(  # (subject, site): a subject can have been at more than one, or at none that is known
    st.tuples(st.text("abc12", min_size=1, max_size=3), st.sampled_from(["A", "B", "C", 1, None])), min_size=1
)


@given(RECORDINGS, st.integers(0, 5), st.floats(0, 0.4), st.floats(0, 0.4))
def test_who_was_at_an_external_site_is_external_and_nobody_else(
    recordings: list[tuple[str, object]], seed: int, validation: float, test: float
) -> None:
    people = [(subject, {"site": site}) for subject, site in recordings]
    there = {str(site) for _, site in recordings if site is not None}
    wanted = sorted(there & {"A", "1"})
    outside = external_subjects(people, {"site": wanted})
    sites = defaultdict(set)
    for subject, site in recordings:
        sites[subject].add(str(site))
    assert outside == {subject for subject in sites if sites[subject] & set(wanted)}
    splits = split_subjects([subject for subject, _ in recordings], validation, test, seed, outside)
    assert set(splits) == set(sites) and set(splits.values()) <= set(SPLITS)
    assert {subject for subject, split in splits.items() if split == "external"} == outside
    alone = split_subjects(set(sites) - outside, validation, test, seed)
    assert alone == {subject: split for subject, split in splits.items() if split != "external"}


def test_a_value_is_what_it_says_and_not_how_it_is_stored() -> None:
    people = [
        ("a", {"site": 2.0}),
        ("b", {"site": 2}),
        ("c", {"site": "2"}),
        ("d", {"site": "03"}),
        ("e", {"site": 2.5}),
    ]
    assert external_subjects(people, {"site": ["2"]}) == {"a", "b", "c"}
    assert external_subjects(people, {}) == set()
    assert external_subjects(people, {"site": ["03", "2.5"]}) == {"d", "e"}
    with pytest.raises(InputError, match="nobody's site is 3"):
        external_subjects(people, {"site": ["3"]})


def test_what_is_not_there_is_named() -> None:
    people = [("a", {"site": "X", "age": 3}), ("b", {"site": "Y", "age": None})]
    with pytest.raises(InputError, match=r"no column place .* there are: age, site"):
        external_subjects(people, {"place": ["X"]})
    with pytest.raises(InputError, match=r"nobody's site is Z, W .* there are: X, Y"):
        external_subjects(people, {"site": ["X", "Z", "W"]})
    with pytest.raises(InputError, match=r"no column site .* there are: none"):
        external_subjects([("a", {})], {"site": ["X"]})


@pytest.mark.parametrize(
    ("sites", "wanted", "alike"),
    [
        (["NYU", "Nyu", "KKI"], "NYU", "Nyu"),
        (["UCLA_1", "ucla 1"], "UCLA_1", "ucla 1"),
        (["01", "1", "2"], "1", "01"),
        (["NYU", "KKI"], "NYU", ""),
        (["-1", "1"], "1", ""),
        (["1", "10"], "1", ""),
    ],
)
def test_another_spelling_of_a_group_is_not_trained_on_in_silence(sites: list[str], wanted: str, alike: str) -> None:
    people = [(str(number), {"site": site}) for number, site in enumerate(sites)]
    if not alike:
        assert external_subjects(people, {"site": [wanted]}) == {str(sites.index(wanted))}
        return
    with pytest.raises(InputError, match=f"site of 1 subjects is {alike}, spelled otherwise than {wanted}"):
        external_subjects(people, {"site": [wanted]})
    assert len(external_subjects(people, {"site": [wanted, alike]})) == 2


def test_who_has_no_group_is_known() -> None:
    people = [("1", {"site": "A"}), ("2", {"site": None}), ("3", {}), ("4", {"site": None}), ("4", {"site": "B"})]
    assert unknown_groups(people, {"site": ["A"]}) == {"site": ["2", "3"]}
    assert unknown_groups(people[:1], {"site": ["A"]}) == {}
