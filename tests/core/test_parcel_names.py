"""Parcels of two data sets are compared by their names, wherever both say them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainlm_data import InputError, ParcelSeries, compare_store, prepare, read_series
from brainlm_data.dataset.card import Card
from brainlm_data.dataset.parcel_names import check_parcels, order_of
from brainlm_data.files.tables import write_table
from tests.core.test_sources import PARCELS, card, courses

NAMES = ["LH_Vis_1", "LH_Vis_2", "LH_Default_1", "RH_Vis_1", "RH_Vis_2", "RH_Default_1"]
TURNED = NAMES[::-1]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (["a", "b", "c"], ["a", "c", "b"]), (["a", "b", "c"], ["a", "b", "d"]),
        (["A_003", "A_001", "A_002"], ["A_001", "A_002", "A_003"]), (["3", "2", "1"], ["A_001", "A_002", "A_003"]),
        (["ROI2", "ROI3", "ROI5"], ["ROI2", "ROI4", "ROI5"]), (["p0", "p1", "p2"], ["p1", "p0", "p2"]),
        (["L_1", "R_1", "R_2"], ["R_1", "R_2", "L_1"]),  # two prefixes: names of their own
    ],
)  # fmt: skip
def test_other_parcels_and_other_orders_are_refused(found: list[str], wanted: list[str]) -> None:
    for one, other in ((found, wanted), (wanted, found)):
        with pytest.raises(InputError, match=r"^data: parcel \d is .*, the card says .* -> .*--atlas-labels"):
            check_parcels(one, other, "data")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (["a", "b", "c"], ["a", "b", "c"]), ([], ["a", "b", "c"]),
        (["a", "b", "c"], ["A_001", "A_002", "A_003"]),  # an import without names, and one with labels
        (["A_001", "A_002", "A_003"], ["1", "2", "3"]), (["p0", "p1", "p2"], ["A_001", "A_002", "A_003"]),
        (["A_002", "A_004", "A_006"], ["parcel_001", "parcel_002", "parcel_003"]),  # labels of an image, and columns
    ],
)  # fmt: skip
def test_what_cannot_be_compared_goes_on(found: list[str], wanted: list[str]) -> None:
    check_parcels(found, wanted, "data")
    check_parcels(wanted, found, "data")
    assert order_of(found, wanted, "data") is None


@given(st.permutations(NAMES), st.permutations(NAMES))
def test_the_same_names_are_put_in_order(found: list[str], wanted: list[str]) -> None:
    order = order_of(found, wanted, "data")
    assert [found[column] for column in order or range(PARCELS)] == wanted


def named(names: list[str], **more: Any) -> dict[str, Any]:
    """Attributes of a store with these parcels."""
    return {"parcels": {"name": names}, **more}


def test_a_store_is_compared_by_its_own_table() -> None:
    wanted = card(parcel_names=NAMES)
    for attributes in (named(TURNED, card_data=card().content()), named(TURNED)):
        with pytest.raises(InputError, match=r"^s: parcel 1 is RH_Default_1, the card says LH_Vis_1 -> give the same"):
            compare_store(attributes, wanted, "s")
        compare_store(attributes, card(), "s")  # a model of an earlier release
    compare_store(named(NAMES), wanted, "s")
    compare_store(named([f"blocks_{number:03d}" for number in range(1, PARCELS + 1)]), wanted, "s")
    assert "parcel_names" not in card().content()
    assert Card.model_validate(wanted.content()) == wanted


def test_columns_of_a_table_are_put_in_the_order_of_the_card(tmp_path: Path) -> None:
    values, wanted, file = courses(), card(parcel_names=NAMES), tmp_path / "sub-01_timeseries.tsv"
    write_table(file, TURNED, values[:, ::-1])
    found = read_series(file, wanted)
    np.testing.assert_allclose(found.values, values, rtol=1e-6)
    assert found.names == NAMES and "parcels were put in the order of the card's" in found.stated[-1]
    assert read_series(file, card()).names == TURNED  # the card does not say
    file.with_suffix(".json").write_text(json.dumps({"SamplingFrequency": 1.0}))
    np.savez(tmp_path / "scaler.npz", median=np.arange(PARCELS), iqr=np.ones(PARCELS))
    wanted.save(tmp_path / "card.json", tmp_path / "card.md")
    expected = prepare(values, tmp_path / "scaler.npz")
    np.testing.assert_allclose(prepare(file, tmp_path), expected, atol=1e-4)
    write_table(file, ["other", *TURNED[1:]], values)
    for read in (lambda: read_series(file, wanted), lambda: prepare(file, tmp_path)):
        with pytest.raises(InputError, match=r"timeseries\.tsv: parcel 1 is other, the card says LH_Vis_1"):
            read()


def test_a_series_says_its_parcels() -> None:
    values = courses()
    series = ParcelSeries(values, parcels=pd.DataFrame({"name": TURNED, "x": range(PARCELS)}), id="run")
    found = series.in_order_of(NAMES)
    np.testing.assert_array_equal(found.values, values[:, ::-1])
    assert found.parcels is not None and found.parcels["x"].tolist() == list(range(PARCELS))[::-1]
    assert ParcelSeries(courses()).in_order_of(NAMES).parcels is None  # an array has no names
    with pytest.raises(InputError, match="run: parcel 1 is RH_Default_1, the card says a"):
        series.in_order_of(list("abcdef"))
