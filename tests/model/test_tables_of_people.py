"""Columns that people have typed, as phenotype, finetune and the report take them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from brainlm_data import Card, InputError
from brainlm_model.eval.phenotype.people import People, people_of, target_of
from brainlm_model.eval.phenotype.stage import warnings
from brainlm_model.finetune.labels import read_labels
from brainlm_model.report.stage import of_tables


def people(subjects: list[str] | None = None, **columns: list[Any]) -> People:
    """A recording of each subject."""
    count = len(next(iter(columns.values())))
    names = subjects or [f"{number:02d}" for number in range(count)]
    table = pd.DataFrame({"id": [f"r{n}" for n in range(count)], "subject": names, "split": "test", **columns})
    return people_of(table, table["id"].tolist(), "all")


def target(
    of: People, column: str, task: str = "auto", confounds: tuple[str, ...] = (), group: str | None = None
) -> Any:
    return target_of(of, column, task, "none", confounds, group, 2)


@pytest.mark.parametrize("cells", ["042Y 043Y 044Y 045Y 046Y 047Y", "09 10 11 12 13 14 15", "<9 1-2 3-4 5-6 7-8 9-10"])
def test_numbers_written_with_something_else_are_no_classes(cells: str) -> None:
    column = people(age=cells.split() * 4)
    with pytest.raises(InputError, match=r"column age is text that looks like numbers: .*task: classification"):
        target(column, "age")
    assert len(target(column, "age", "classification").classes) == len(cells.split())


@pytest.mark.parametrize("cells", ["A B", "1st 2nd", "<18 >=18", "None SSRI", "07 08"])
def test_words_are_classes(cells: str) -> None:
    assert target(people(drug=cells.split() * 4), "drug").classes == sorted(cells.split())


def test_classes_of_long_numbers_stay_apart() -> None:
    assert target(people(code=[1000001.0, 1000002.0] * 4), "code").classes == ["1000001", "1000002"]


def test_who_was_at_two_sites_is_in_no_group() -> None:
    subjects = ["a", "a", "b", "c", "d", "e"]
    for sites, kept in (([1, 3, 1, 1, 3, 3], ["1", "1", "3", "3"]), (["x", "y", "x", "x", "y", "y"], list("xxyy"))):
        of = people(subjects, site=sites, age=[1, 1, 2, 3, 4, 5.5])
        found = target(of, "age", "regression", group="site")
        assert found.groups is not None and found.groups.tolist() == kept
        assert found.left_out == {"recordings with different site": 1}
    of = people(subjects, scanner=["x", "y", "x", "x", "y", "y"], age=[1, 1, 2, 3, 4, 5.5])
    assert target(of, "age", "regression", ("scanner",)).left_out == {"recordings with different scanner": 1}


def test_what_was_taken_for_what_is_said_of_a_column() -> None:
    facts: dict[str, Any] = {
        "SkippedRecordings": [], "PassedOver": {}, "Absent": [], "SubjectsSeenByModel": 0, "Confounds": ["x"],
        "Methods": {}, "Bootstrap": 1000,
        "Columns": [{"Column": "age", "LeftOut": {"no label": 2}, "Note": "89+ taken as 89"}],
    }  # fmt: skip
    lines = warnings(facts)
    assert "age: 89+ taken as 89" in lines and "age: subjects left out: 2 no label" in lines


def test_labels_that_are_missing_are_counted() -> None:
    table = pd.DataFrame({"id": list("abcd"), "status": "done", "split": ["train", "train", "validation", "test"]})
    table["age"] = [20.0, None, 30.0, 89.0]
    said = "89+ taken as 89, in 1 of 3 rows (participants.tsv)"
    store = SimpleNamespace(recordings=table, path=Path("s"), attrs={"card_data": {"columns": {"age": said}}})
    labels = read_labels(store, "age", classify=False)
    assert vars(labels)["values"] == {"a": 20, "c": 30, "d": 89}
    assert labels.notes == ["left out: 1 of 4 recordings have no age", f"age: {said}"]
    store.attrs = {}
    assert read_labels(store, "age", classify=False).notes == ["left out: 1 of 4 recordings have no age"]


def test_the_report_says_what_the_card_says() -> None:
    span = {"low": None, "high": None}
    card = Card.model_validate({
        "made_by": "x", "recordings": 1, "subjects": 1, "atlas": "a", "parcels": 1, "rate_hz": 1, "units": "",
        "stages": [],
        "tr_s": span, "band_low_hz": span, "band_high_hz": span, "warnings": ["participants.tsv: no row for 1"],
        "columns": {"age": "89+ taken as 89"},
        "cohort": {"seed": 0, "subjects": {"external": 1, "train": 1}, "recordings": {"external": 1, "train": 1},
                   "external": {"site": ["A"]}, "external_unknown": {"site": ["7"]}, "left_out": 0, "reasons": {}},
    })  # fmt: skip
    assert of_tables(card) == [
        "participants.tsv: no row for 1",
        "external: the site of 1 subjects is not known (7): they are in the other splits, and may be of a group that is"
        " left out",
        "age: 89+ taken as 89",
    ]
    assert "whole groups" not in card.markdown() and of_tables(card)[1] in card.markdown()
