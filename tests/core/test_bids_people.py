"""What participants, sessions and scans tables say reaches the right recording, or is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainlm_data.bids.index import Index, Select, read_index
from brainlm_data.cli import main
from brainlm_data.errors import InputError
from tests.conftest import write_bids

RUN = "sub-{}_ses-{}_task-rest"


def index(root: Path) -> Index:
    return read_index(root, Select.model_validate({}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two subjects of two sessions."""
    return write_bids(tmp_path / "bids", sessions=("1", "2"))


def write(root: Path, path: str, text: str) -> None:
    (root / path).write_text(text.replace(" ", "\t"))


def test_sessions_and_scans_come_before_participants(root: Path) -> None:
    write(root, "participants.tsv", "participant_id age sex\n1 20 F\nsub-02 30 M\n")
    write(root, "sub-01/sub-01_sessions.tsv", "session_id age mood\nses-1 20 1\nses-02 21 n/a\n")
    write(root, "sub-02/sub-02_sessions.tsv", "session_id mood\n1 3\n3 4\n")
    scans = "filename scanner\nfunc/sub-01_ses-1_task-rest_bold.nii.gz A\nanat/sub-01_ses-1_T1w.nii.gz A\n"
    write(root, "sub-01/ses-1/sub-01_ses-1_scans.tsv", scans + "func/sub-01_ses-1_task-x_bold.nii.gz A\n")
    found = index(root)
    assert dict(found.phenotypes) == {
        RUN.format("01", 1): {"age": 20, "sex": "F", "mood": 1, "scanner": "A"},
        RUN.format("01", 2): {"age": 21, "sex": "F", "mood": None},
        RUN.format("02", 1): {"age": 30, "sex": "M", "mood": 3},
        RUN.format("02", 2): {"age": 30, "sex": "M"},
    }
    assert found.unjoined == (
        "sessions.tsv: age of 1 recordings is its own, not that of participants.tsv",
        "sessions.tsv: no row for 1 of 4 (sub-02 2)",
        "sessions.tsv: 1 rows of what is not here (sub-02 3)",
        "scans.tsv: 1 rows of what is not here (sub-01 func/sub-01_ses-1_task-x_bold.nii.gz)",
    )


def test_a_column_of_sessions_is_of_one_kind_over_all_subjects(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, "sub-01/sub-01_sessions.tsv", "session_id age\nses-1 88\nses-2 89+\n")
    write(root, "sub-02/sub-02_sessions.tsv", "session_id age\nses-1 70\nses-2 71\n")
    found = index(root)
    assert [values["age"] for values in found.phenotypes.values()] == [88, 89, 70, 71]
    assert found.columns == {"age": "89+ taken as 89, in 1 of 4 rows (sessions.tsv)"}
    assert main(["index", str(root)]) == 0
    assert "note: age: 89+ taken as 89" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("sub-01/sub-01_sessions.tsv", "session age\nses-1 20\n", "no column session_id"),
        ("sub-01/sub-01_sessions.tsv", "session_id age\nses-1 20\nses-01 21\n", "two rows of 1, lines 2 and 3, differ"),
        ("sub-01/sub-01_sessions.tsv", "session_id age\nses-1 20 3\n", "line 2 has 3 cells"),
        ("sub-01/ses-1/sub-01_ses-1_scans.tsv", "file scanner\nx A\n", "no column filename"),
        ("participants.tsv", "who age\nsub-01 3\n", "no column participant_id"),
        ("participants.csv", "participant_id age\nsub-01 3\n", "not called participants.tsv"),
    ],
)
def test_a_table_that_cannot_be_meant_is_named(root: Path, path: str, text: str, says: str) -> None:
    (root / "participants.tsv").unlink()
    write(root, path, text)
    with pytest.raises(InputError, match=rf"{path.rsplit('/', 1)[-1]}.*{says}"):
        index(root)


def test_a_link_to_a_table_that_was_not_fetched_is_an_error(root: Path) -> None:
    (root / "participants.tsv").unlink()
    assert not any(index(root).phenotypes.values())
    (root / "participants.tsv").symlink_to("../.git/annex/objects/x")
    with pytest.raises(InputError, match=r"participants\.tsv: cannot be read"):
        index(root)


def test_the_cache_keeps_what_tables_say(root: Path, tmp_path: Path) -> None:
    write(root, "sub-01/sub-01_sessions.tsv", "session_id age\nses-1 88\nses-2 89+\n")
    first = read_index(root, Select.model_validate({}), tmp_path / "index.json")
    again = read_index(root, Select.model_validate({}), tmp_path / "index.json", as_cached=True)
    assert (again.phenotypes, again.columns, again.unjoined) == (
        first.phenotypes,
        first.columns,
        first.unjoined,
    )
    write(root, "sub-01/sub-01_sessions.tsv", "session_id age\nses-1 88\nses-2 87\n")
    edited = read_index(root, Select.model_validate({}), tmp_path / "index.json")
    assert edited.phenotypes[RUN.format("01", 2)]["age"] == 87 and not edited.columns
