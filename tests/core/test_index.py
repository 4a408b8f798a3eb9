"""The index: what is taken from a BIDS dataset, and what is said of the rest."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from brainlm_data.bids.index import Select, read_index
from brainlm_data.errors import InputError
from tests.conftest import write_bids


def test_recordings_and_subjects(tmp_path: Path) -> None:
    root = write_bids(tmp_path, tasks=("rest", "nback"), sessions=("a", "b"), runs=("1", "2"))
    index = read_index(root, Select.model_validate({}))
    assert len(index.recordings) == 16
    first = index.recordings[0]
    assert first.id == "sub-01_ses-a_task-nback_run-1"
    assert first.prefix == "sub-01/ses-a/func/sub-01_ses-a_task-nback_run-1"
    assert first.metadata["RepetitionTime"] == 2.0
    assert [s.id for s in index.subjects] == ["sub-01", "sub-02"]
    assert index.phenotypes["02"] == {"age": 21}


def test_inherited_metadata(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    (root / "sub-01/func/sub-01_task-rest_bold.json").unlink()
    (root / "task-rest_bold.json").write_text('{"RepetitionTime": 0.735}')
    assert read_index(root, Select.model_validate({})).recordings[0].metadata["RepetitionTime"] == 0.735


@pytest.mark.parametrize(
    ("select", "count"),
    [
        ({"subject": ["01"]}, 4),
        ({"subject": ["sub-01"]}, 4),
        ({"task": ["rest"], "run": ["01"]}, 2),
        ({"run": [1]}, 4),
        ({"subject": ["1"]}, 0),
        ({"session": ["x"]}, 0),
    ],
)
def test_select(tmp_path: Path, select: dict[str, list[str]], count: int) -> None:
    root = write_bids(tmp_path, tasks=("rest", "nback"), runs=("1", "2"))
    if count:
        assert len(read_index(root, Select.model_validate(select)).recordings) == count
    else:
        with pytest.raises(InputError, match="accepts none of the 8 recordings"):
            read_index(root, Select.model_validate(select))


def test_cache_holds_until_a_file_changes(tmp_path: Path) -> None:
    root, cache = write_bids(tmp_path / "b"), tmp_path / "index.json"
    read_index(root, Select.model_validate({}), cache)
    stamp = cache.stat().st_mtime_ns
    read_index(root, Select.model_validate({}), cache)
    assert cache.stat().st_mtime_ns == stamp
    shutil.rmtree(root / "sub-02")
    assert len(read_index(root, Select.model_validate({}), cache).recordings) == 1


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        read_index(tmp_path / "nowhere", Select.model_validate({}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no BOLD run found"):
        read_index(tmp_path / "empty", Select.model_validate({}))


def test_content_that_was_not_fetched_is_left_to_the_stage(tmp_path: Path) -> None:
    """DataLad clones hold links to nothing until `datalad get`."""
    root = write_bids(tmp_path, subjects=("01", "02"))
    file = root / "sub-02/func/sub-02_task-rest_bold.nii.gz"
    file.unlink()
    file.symlink_to(".git/annex/objects/nothing")
    assert len(read_index(root, Select.model_validate({})).recordings) == 2


def test_one_run_twice_is_one_recording(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    file = root / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    shutil.copy(file, file.with_suffix(""))
    index = read_index(root, Select.model_validate({}))
    assert len(index.recordings) == 1 and "with and without .gz" in index.ignored[0]


@pytest.mark.parametrize("ending", ["mgz", "img", "dtseries.nii", "nii.bz2"])
def test_other_formats_are_not_taken_and_named(tmp_path: Path, ending: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    file = root / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    file.with_name(f"sub-01_task-other_bold.{ending}").write_bytes(b"x")
    said = f"sub-01/func/sub-01_task-other_bold.{ending}: not .nii or .nii.gz"
    assert read_index(root, Select.model_validate({})).ignored == (said,)
    file.unlink()
    with pytest.raises(InputError, match=rf"no BOLD run found \({re.escape(said)}\)"):
        read_index(root, Select.model_validate({}))


@pytest.mark.parametrize("label", ["$(touch x)", "`id`", "a;b", "a b", "{a}", "a'b", 'a"b', "a&b", "a\nb", "a*"])
def test_a_name_that_could_be_words_of_a_command_is_left_aside(tmp_path: Path, label: str) -> None:
    root = write_bids(tmp_path, subjects=("01", "02"))
    file = root / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    file.rename(file.with_name(f"sub-01_task-{label}_bold.nii.gz"))
    index = read_index(root, Select.model_validate({}))
    assert [r.id for r in index.recordings] == ["sub-02_task-rest"]
    (reason,) = index.ignored
    assert f"sub-01_task-{label}_bold.nii.gz" in reason and "letters, digits" in reason


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"participant_id\tage\nsub-01\t1\nsub-01\t2\n", "more than one row of sub-01"),
        ("participant_id\tname\nsub-01\tZoé\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_a_bad_participants_table(tmp_path: Path, content: bytes, says: str) -> None:
    root = write_bids(tmp_path)
    (root / "participants.tsv").write_bytes(content)
    with pytest.raises(InputError, match=rf"participants\.tsv.*{says}"):
        read_index(root, Select.model_validate({}))


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    root, cache = write_bids(tmp_path / "b"), tmp_path / "index.json"
    cache.write_text("{")
    assert len(read_index(root, Select.model_validate({}), cache).recordings) == 2


def test_a_single_band_reference_belongs_to_its_run(tmp_path: Path) -> None:
    root = write_bids(tmp_path / "ds", subjects=("01", "02"), runs=("1", "2"))
    cache = tmp_path / "cache.json"
    assert all(r.sbref is None for r in read_index(root, Select.model_validate({}), cache).recordings)
    func = root / "sub-01/func"
    shutil.copy(func / "sub-01_task-rest_run-2_bold.nii.gz", func / "sub-01_task-rest_run-2_sbref.nii.gz")
    for _ in range(2):  # read, then from the cache
        found = read_index(root, Select.model_validate({}), cache).recordings
        assert [r.id for r in found if r.sbref] == ["sub-01_task-rest_run-2"]
        assert [Path(r.sbref.path).name for r in found if r.sbref] == ["sub-01_task-rest_run-2_sbref.nii.gz"]
    assert len(found) == 4  # it is no recording itself
