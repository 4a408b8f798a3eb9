"""Tables that people type: every value stays with its row and column, or an error names the file and the line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainlm_data.errors import InputError
from brainlm_data.reading.labels import read_labels
from brainlm_data.reading.people import People, beside, read_people
from brainlm_data.reading.table import Table, read_table
from brainlm_data.reading.values import typed_of_people


def table(folder: Path, text: str | bytes, name: str = "people.tsv", of_people: bool = True) -> Table:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(folder / name, text=("id",), of_people=of_people)


PLAIN = "id\tage\tsex\n01\t23\tM\n02\t3\tF\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "id\tage\tsex\n01\t23\tM\t\n02\t3\tF\t\n",  # a tab at the end of rows
        "id\tage\tsex\t\n01\t23\tM\n02\t3\tF\n",  # of the header
        "\ufeffid\tage\tsex\r\n01\t23\tM\r\n\r\n02\t3\tF\r\n\t\t\r\n",  # a mark, Windows, empty lines
        "id\tage\tsex\r01\t23\tM\r02\t3\tF",  # old Macs
        ' id \tage\t"sex"\n 01\t23 \tM\n"02"\t3\t F\n',  # spaces and quotes
        "id\tage\tsex\tempty\n01\t23\tM\t\n02\t3\tF\t\n",
        PLAIN.replace("\t", ","),  # another separator than the name says
        PLAIN.replace("\t", ";"),
        PLAIN.replace("\t", ", "),
        PLAIN.encode("utf-16"),  # with its mark: Excel's "Unicode text"
        "\ufeffid\tage\tsex\n01\t23\tM\n02\t3\tF\n".encode("utf-16-be"),
    ],
)
@pytest.mark.parametrize("name", ["people.tsv", "people.csv"])
def test_values_stay_where_they_are(tmp_path: Path, text: str | bytes, name: str) -> None:
    columns = table(tmp_path, text, name).columns
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
        ("id,age\n1,23,5\n", "line 2 has 3 cells, the header 2 -> cells are separated by commas"),
        ("id\tage\tage\n1\t2\t3\n", "two columns are called age"),
        ("id\t\tage\n1\t2\t3\n", "column 2 has values and no name"),
        ('id\tage\n1\t"2\n3\t4\n', "quotes"),
        ('id\tage\tnote\n1\t2\t"left\n2\t3\tx\n3\t4\tright"\n', "lines 2 to 4 are one quoted cell"),
        ("", "an empty table"),
        ("\n\n", "an empty table"),
        ("id\tname\n1\tZoé\n".encode("latin-1"), "line 2 is not in UTF-8"),
        ("id\tage\n1\t2\n".encode("utf-16")[:-1], "not in UTF-16"),
        ("id\tage\n1\t2\n".encode("utf-16-le"), "line 1 has a NUL character"),
        ("id\tage\n1\t2\0\n", "line 2 has a NUL character"),
    ],
)
def test_what_is_no_table_is_an_error_that_names_file_and_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(InputError, match=r"people\.tsv") as caught:
        table(tmp_path, text)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a file"):
        read_table(tmp_path)
    (tmp_path / "people.tsv").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match="No such file"):
        read_table(tmp_path / "people.tsv")
    (tmp_path / "header.tsv").write_text("id\tage\n")
    assert read_table(tmp_path / "header.tsv").columns == {"id": [], "age": []}


WORDS_AND_NUMBERS = [
    ("None NA nan NaN null", ["None", "NA", "nan", "NaN", "null"]),
    ("1 n/a 3", [1, None, 3]),
    ("1 2 3", [1, 2, 3]),
    ("1.5 -2 1e3 .5", [1.5, -2, 1000, 0.5]),
    ("1 two 3", ["1", "two", "3"]),
    ("1 nan 3", ["1", "nan", "3"]),
    ("1 inf 3", ["1", "inf", "3"]),
    ("1 1e400 3", ["1", "1e400", "3"]),
    ("1 1e-400 3", ["1", "1e-400", "3"]),
    ("1 0e9 3", [1, 0, 3]),
    ("01 02 10", ["01", "02", "10"]),  # codes
    ("12345678901234567890 2", ["12345678901234567890", "2"]),  # more digits than a number keeps
    ("A+ 89+", ["A+", "89+"]),
    ("True False", ["True", "False"]),
    ("1_000 0x1F", ["1_000", "0x1F"]),
]


@pytest.mark.parametrize("of_people", [False, True])
@pytest.mark.parametrize(("cells", "values"), WORDS_AND_NUMBERS)
def test_words_and_numbers(tmp_path: Path, cells: str, values: list[object], of_people: bool) -> None:
    rows = "".join(f"{number}\t{cell}\n" for number, cell in enumerate(cells.split()))
    read = table(tmp_path, f"id\tvalue\n{rows}", of_people=of_people)
    assert read.columns["value"] == values and not read.notes


MISSING = "no numbers, taken as missing, in"


@pytest.mark.parametrize(
    ("cells", "values", "note"),
    [
        ("87 89+ 88", [87, 89, 88], "89+ taken as 89, in 1 of 3 rows"),
        ("89+ 89+ n/a", [89, 89, None], "89+ taken as 89, in 2 of 2 rows"),
        (
            "17 <18 20 >90 >=91 ≤3",
            [17, 18, 20, 90, 91, 3],
            "<18 taken as 18, >90 taken as 90, >=91 taken as 91, ≤3 taken as 3, in 4 of 6",
        ),
        ("042Y 018M 020Y", [42, 1.5, 20], "018M taken as 1.5, 020Y taken as 20, 042Y taken as 42, in 3 of 3 rows"),
        ("23,5 24 25,25", [23.5, 24, 25.25], "23,5 taken as 23.5, 25,25 taken as 25.25, in 2 of 3 rows"),
        ("1 2 3 4 5 6 NA", [1, 2, 3, 4, 5, 6, None], f"{MISSING} 1 of 7 rows: NA (1)"),
        (
            "1 2 3 4 5 89+ ?",
            [1, 2, 3, 4, 5, 89, None],
            f"89+ taken as 89, in 1 of 7 rows; {MISSING} 1 of 7 rows: ? (1)",
        ),
        ("1 2 3 4 5 6 1e999", [1, 2, 3, 4, 5, 6, None], f"{MISSING} 1 of 7 rows: 1e999 (1)"),
        ("1 2 3 4 1,234 5 6", [1, 2, 3, 4, None, 5, 6], f"{MISSING} 1 of 7 rows: 1,234 (1)"),
        ("1 2 1 2 1 unknown", None, ""),  # codes of categories, one of which is a word
        ("1 2 3 4 5 6 a b c", None, "text, though 6 of 9 rows are numbers; the others: a (1), b (1), c (1)"),
        ("<18 >=18", None, ""),  # two categories
        ("26-30 31-35 36+", None, ""),
        ("01 2 3 4 5 6 7", None, "text, though 6 of 7 rows are numbers; the others: 01 (1)"),
        ("01 02 10 11 12 13 14 15 16", None, ""),  # codes
        ("1,234 5,678", None, ""),  # thousands, or not
    ],
)
def test_columns_of_people(cells: str, values: list[object] | None, note: str) -> None:
    texts = [None if cell == "n/a" else cell for cell in cells.split()]
    found, said = typed_of_people("age_at_scan", texts)
    assert found == (texts if values is None else values)
    assert said.startswith(note) and bool(said) == bool(note)


def test_a_dicom_age_is_a_number_in_a_column_of_ages_alone() -> None:
    assert typed_of_people("code", ["042Y", "018M"]) == (["042Y", "018M"], "")


def test_strict_numbers_of_other_tables(tmp_path: Path) -> None:
    for word in ("nan", "inf", "1e999", "89+", "1_0"):
        with pytest.raises(InputError, match=rf"people\.tsv: line 3: fd '{word.replace('+', '.')}' is no number"):
            table(tmp_path, f"fd\n1\n{word}\n", of_people=False).numbers("fd")


# ---- any dialect of a program that writes tables ----

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff"), max_size=6)
CELLS = st.one_of(TEXTS, st.sampled_from(["n/a", "NA", "1", "2.5", 'a "b"', "a, b", "a; b", "a\tb", "007", "89+"]))


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5),
    separator=st.sampled_from(["\t", ",", ";"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    name=st.sampled_from(["a.tsv", "a.csv", "a.txt"]),
)
def test_what_csv_writes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], separator: str, quoting: int, end: str,
    encoding: str, name: str,
) -> None:  # fmt: skip
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([("id", "b", "c"), *rows])
    path = tmp_path_factory.mktemp("csv") / name
    path.write_bytes(stream.getvalue().encode(encoding))
    try:
        columns = read_table(path, text=("id", "b", "c")).columns
    except InputError as error:
        assert name in str(error) and "\n" not in str(error)
        return
    wanted = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    assert [list(row) for row in zip(*columns.values(), strict=True)] == [
        [None if cell in ("", "n/a") else cell for cell in row] for row in wanted
    ]


NUMBERS = st.one_of(st.integers(-(10**14), 10**14), st.floats(allow_nan=False, allow_infinity=False))


@given(values=st.lists(st.one_of(st.none(), NUMBERS), min_size=1), separator=st.sampled_from(["\t", ",", ";"]))
def test_what_pandas_writes_is_read_to_the_same_numbers(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None], separator: str
) -> None:
    path = tmp_path_factory.mktemp("pandas") / "a.tsv"
    frame = pd.DataFrame({"id": [f"sub-{i}" for i in range(len(values))], "value": pd.Series(values, dtype=object)})
    frame.to_csv(path, sep=separator, index=False, na_rep="n/a")
    assert read_table(path).columns["value"] == values
    found = read_table(path, of_people=True)
    assert found.columns["value"] == values and not found.notes


# ---- who is who ----


def people(folder: Path, *ids: str) -> Path:
    path = folder / "people.tsv"
    path.write_text("participant_id\tage\n" + "".join(f"{i}\t{20 + n}\n" for n, i in enumerate(ids)))
    return path


def read(path: Path) -> People:
    return read_people(path, ("participant_id",), ("id",))


def test_labels_with_and_without_sub_and_zeros(tmp_path: Path) -> None:
    found = read(people(tmp_path, "sub-01", "2", " 3 ", "x4"))
    assert [found.find(label).get("age") for label in ("01", "sub-02", "003", "x4", "x04", "5")] == [
        20, 21, 22, 23, None, None,
    ]  # fmt: skip
    assert found.notes() == ["people.tsv: no row for 2 of 6 people (5, x04)"]


def test_a_number_that_two_could_mean_is_nobodys_or_an_error(tmp_path: Path) -> None:
    both = read(people(tmp_path, "1", "01"))
    assert (both.find("1")["age"], both.find("01")["age"], both.find("001")) == (20, 21, {})
    assert "people.tsv: 001 could be any of the rows 01, 1: none was taken" in both.notes()
    for first, second in (("1", "01"), ("01", "1"), ("01", "001")):
        one = read(people(tmp_path, "1"))
        one.find(first)
        with pytest.raises(InputError, match=r"people\.tsv: the row of 1 could be"):
            one.find(second)


def test_rows_of_nobody_are_counted(tmp_path: Path) -> None:
    found = read(people(tmp_path, *"1234567", "n/a", ""))
    found.find("3")
    assert found.notes() == [
        "people.tsv: 6 rows of people who are not here (1, 2, 4, 5, 6, ...)",
        "people.tsv: 2 rows of nobody, without a label (line 9, 10)",
    ]


def test_two_rows_of_one_person_are_named_by_line_where_they_differ(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than one row of 1, lines 2 and 4, which differ in age"):
        read(people(tmp_path, "sub-1", "2", "1"))
    (tmp_path / "people.tsv").write_text("participant_id\tage\n1\t20\n1\t20\n")
    twice = read(tmp_path / "people.tsv")
    assert twice.find("1")["age"] == 20 and twice.notes() == []


def test_a_running_number_is_nobodys_label(tmp_path: Path) -> None:
    (tmp_path / "people.tsv").write_text("id\tparticipant_id\tage\n1\t3\t20\n2\t1\t30\n3\t2\t40\n")
    found = read(tmp_path / "people.tsv")
    assert [found.find(who, f"sub-{who}_task-rest")["age"] for who in "123"] == [30, 40, 20]


def test_rows_of_recordings_come_before_those_of_their_person(tmp_path: Path) -> None:
    path = tmp_path / "people.tsv"
    path.write_text("id\tparticipant_id\tage\nsub-1_ses-1\t1\t20\nsub-1_ses-2\t1\t21\nsub-2_ses-1\t2\t30\n")
    found = read(path)
    assert found.find("1", "sub-1_ses-2")["age"] == 21
    assert found.find("1", "sub-1_ses-3") == {}  # one of two, and nobody knows which
    assert found.find("2", "sub-2_ses-9")["age"] == 30
    assert found.notes()[0] == "people.tsv: no row for 1 of 2 people (1)"


@given(st.sets(st.integers(1, 120), min_size=1, max_size=9), st.sampled_from(["{}", "{:02d}", "sub-{:03d}", " {} "]))
def test_every_spelling_of_a_number_finds_its_row(
    tmp_path_factory: pytest.TempPathFactory, numbers: set[int], spelling: str
) -> None:
    path = people(tmp_path_factory.mktemp("people"), *map(spelling.format, sorted(numbers)))
    found = read(path)
    assert [found.find(f"{number:04d}")["age"] - 20 for number in sorted(numbers)] == list(range(len(numbers)))
    assert found.notes() == []


def test_a_table_of_another_name_is_not_left_out_in_silence(tmp_path: Path) -> None:
    assert beside(tmp_path) is None and beside(tmp_path / "none") is None
    (tmp_path / "participants.json").write_text("{}")
    assert beside(tmp_path) is None
    (tmp_path / "participants.csv").write_text("participant_id\n1\n")
    with pytest.raises(InputError, match=r"participants\.csv: not called participants\.tsv"):
        beside(tmp_path)
    (tmp_path / "participants.tsv").symlink_to("gone")
    assert beside(tmp_path) == tmp_path / "participants.tsv"


def test_labels_of_parcels_are_text_and_their_places_numbers(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("index\tname\tx\tnetwork\n1\t1.50\t-3\tNone\n2\t2.50\tn/a\tNA\n")
    read = read_labels(path)
    assert read["name"].tolist() == ["1.50", "2.50"] and read["network"].tolist() == ["None", "NA"]
    assert read["x"].isna().tolist() == [False, True]
    path.write_text("index\tx\n1\t3\n2\t89+\n")
    with pytest.raises(InputError, match=r"labels\.tsv: line 3: x '89\+' is no number"):
        read_labels(path)
