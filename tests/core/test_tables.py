"""Tables that people type: every value stays with its row and column, or an error names the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainlm_data.errors import InputError
from brainlm_data.reading.people import read_people
from brainlm_data.reading.table import Table, read_table


def table(folder: Path, text: str | bytes, name: str = "people.tsv") -> Table:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(folder / name, text=("id",))


@pytest.mark.parametrize(
    "text",
    [
        "id\tage\tsex\n01\t23\tM\n02\t3\tF\n",
        "id\tage\tsex\n01\t23\tM\t\n02\t3\tF\t\n",  # a tab at the end of rows
        "id\tage\tsex\t\n01\t23\tM\n02\t3\tF\n",  # of the header
        "\ufeffid\tage\tsex\r\n01\t23\tM\r\n\r\n02\t3\tF\r\n\t\t\r\n",  # a mark, Windows, empty lines
        "id\tage\tsex\r01\t23\tM\r02\t3\tF",  # old Macs
        ' id \tage\t"sex"\n 01\t23 \tM\n"02"\t3\t F\n',  # spaces and quotes
        "id\tage\tsex\tempty\n01\t23\tM\t\n02\t3\tF\t\n",
    ],
)
def test_values_stay_where_they_are(tmp_path: Path, text: str) -> None:
    columns = table(tmp_path, text).columns
    assert {name: columns[name] for name in ("id", "age", "sex")} == {
        "id": ["01", "02"], "age": [23, 3], "sex": ["M", "F"],
    }  # fmt: skip


@pytest.mark.parametrize("separator", [",", ";"])
def test_comma_and_semicolon(tmp_path: Path, separator: str) -> None:
    text = 'id,note\n1,"a, b"\n'.replace(",", separator, 1).replace("1,", f"1{separator}")
    assert table(tmp_path, text, "people.csv").columns == {"id": ["1"], "note": ["a, b"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id\tage\n1\t2\n2\n", "line 3 has 1 cells, the header 2"),
        ("id\tage\n1\t2\t3\n", "line 2 has 3 cells, the header 2"),
        ("id\tage\n\n1\t2\n2 \t3\t4\n", "line 4 has 3 cells"),
        ("id\tage\tage\n1\t2\t3\n", "two columns are called age"),
        ("id\t\tage\n1\t2\t3\n", "column 2 has values and no name"),
        ('id\tage\n1\t"2\n3\t4\n', "quotes"),
        ("", "an empty table"),
        ("\n\n", "an empty table"),
        ("id\tname\n1\tZoé\n".encode("latin-1"), "line 2 is not in UTF-8"),
        ("id\tage\n1\t2\n".encode("utf-16"), "in UTF-16"),
    ],
)
def test_what_is_no_table_is_an_error_that_names_file_and_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(InputError, match=r"people\.tsv") as caught:
        table(tmp_path, text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        ("None NA nan NaN null", ["None", "NA", "nan", "NaN", "null"]),
        ("1 n/a 3", [1, None, 3]),
        ("1 2 3", [1, 2, 3]),
        ("1.5 -2 1e3 .5", [1.5, -2, 1000, 0.5]),
        ("1 two 3", ["1", "two", "3"]),
        ("1 nan 3", ["1", "nan", "3"]),
        ("1 inf 3", ["1", "inf", "3"]),
        ("01 02 10", ["01", "02", "10"]),  # codes
        ("87 89+ 88", [87, 89, 88]),
        ("89+ 89+", [89, 89]),
        ("A+ 89+", ["A+", "89+"]),
        ("True False", ["True", "False"]),
        ("1_000 0x1F", ["1_000", "0x1F"]),
    ],
)
def test_words_and_numbers(tmp_path: Path, cells: str, values: list[object]) -> None:
    rows = "".join(f"{number}\t{cell}\n" for number, cell in enumerate(cells.split()))
    read = table(tmp_path, f"id\tvalue\n{rows}")
    assert read.columns["value"] == values
    assert bool(read.notes) == (89 in values)
    if read.notes:
        count = f"{cells.split().count('89+')} of {len(values)}"
        assert read.notes == (f"people.tsv: value: 89+ taken as the number, in {count} rows",)


def people(folder: Path, *ids: str) -> Path:
    path = folder / "people.tsv"
    path.write_text("participant_id\tage\n" + "".join(f"{i}\t{20 + n}\n" for n, i in enumerate(ids)))
    return path


def test_labels_with_and_without_sub_and_zeros(tmp_path: Path) -> None:
    found = read_people(people(tmp_path, "sub-01", "2", " 3 ", "x4"), ("participant_id",))
    assert [found.find(label).get("age") for label in ("01", "sub-02", "003", "x4", "x04", "5")] == [
        20, 21, 22, 23, None, None,
    ]  # fmt: skip
    assert found.notes() == ["people.tsv: no row for 2 of 6 people (5, x04)"]


def test_a_number_that_two_could_mean_is_nobodys_or_an_error(tmp_path: Path) -> None:
    both = read_people(people(tmp_path, "1", "01"), ("participant_id",))
    assert (both.find("1")["age"], both.find("01")["age"], both.find("001")) == (20, 21, {})
    for first, second in (("1", "01"), ("01", "1"), ("01", "001")):
        one = read_people(people(tmp_path, "1"), ("participant_id",))
        one.find(first)
        with pytest.raises(InputError, match=r"people\.tsv: the row of 1 could be"):
            one.find(second)


def test_rows_of_nobody_are_counted(tmp_path: Path) -> None:
    found = read_people(people(tmp_path, *"1234567"), ("participant_id",))
    found.find("3")
    assert found.notes() == ["people.tsv: 6 rows of people who are not here (1, 2, 4, 5, 6, ...)"]


def test_two_rows_of_one_person_are_named_by_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than one row of 1, lines 2 and 4"):
        read_people(people(tmp_path, "sub-1", "2", "1"), ("participant_id",))
