"""The index: what is taken from a BIDS dataset, and what is said of the rest."""

from __future__ import annotations

import os
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
    assert index.phenotypes["sub-02_ses-b_task-rest_run-2"] == {"age": 21}


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
    assert f"sub-01_task-{label}_bold.nii.gz" in reason and "letters and digits" in reason


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


def index_of(root: Path) -> tuple[list[str], str]:
    """Ids of what is taken, and what is said of the rest."""
    index = read_index(root, Select.model_validate({}))
    return [r.id for r in index.recordings], "\n".join(index.ignored)


def bold(root: Path, path: str, content: str | bytes | None = None) -> Path:
    """A run at this place, with a sidecar where there is content for one."""
    file = root / f"{path}_bold.nii.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "sub-01/func/sub-01_task-rest_bold.nii.gz", file)
    if content is not None:
        side = file.with_name(file.name.replace(".nii.gz", ".json"))
        side.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("sub-01/func/sub-02_task-rest", "says sub-02, it lies in sub-01/func/"),
        ("sub-01/ses-1/func/sub-01_task-rest", "names no ses, it lies in sub-01/ses-1/func/"),
        ("sub-01/ses-1/func/sub-01_ses-2_task-rest", "says ses-2, it lies in sub-01/ses-1/func/"),
        ("sub-01/func/sub-01_ses-2_task-rest", "says ses-2"),
        ("sub-01/func/old/sub-01_task-rest", "not in sub-"),
        ("sub-01/anat/sub-01_task-rest", "not in sub-"),
        ("sub-01/sub-01_task-rest", "not in sub-"),
        ("sub-01/func/a/b/c/d/sub-01_task-rest", "deeper than BIDS has folders"),
        ("sub-01/func/sub-01_task-n_back", "'back' in its name"),
        ("sub-01/func/sub-01_task-n-back", "'task-n-back' in its name"),
        ("sub-01/func/sub-01_task-", "'task-' in its name"),
        ("sub-01/func/sub-01_task-a_task-b", "two labels of task"),
        ("sub-01/func/sub-01_task-a_part-real", "part-real"),
        ("sub-01/func/sub-01_task-a_part-imag", "part-imag"),
        ("sub-01/func/sub-01_task-a_part-phase", "phase image"),
        ("sub-01/func/sub-01_task-a_space-T1w_desc-preproc", "space-T1w, desc-preproc: processed already"),
        ("sub-01/func/sub-01_task-a_desc-smooth", "desc-smooth: processed already"),
        ("sub-01/func/sub-01_task-a_chunk-1", "a part of the brain"),
        ("sub-01/func/sub-01_task-rest_rec-a", "another reconstruction of the same run"),
        ("sub-01/func/sub-01_task-a_echo-2", "echo 2"),
        ("sub-CON_02/func/sub-CON_02_task-rest", "sub-CON_02/: not sub- and a label"),
        ("sub-PAT-3/func/sub-PAT-3_task-rest", "sub-PAT-3/: not sub- and a label"),
        ("Sub-03/func/Sub-03_task-rest", "Sub-03/: not sub- and a label"),
        ("sub-01/func/._sub-01_task-rest", "._sub-01_task-rest_bold.nii.gz: hidden"),
        ("sub-01/func/sub-01_task-rest_run-1_echo-1_cbv", "_cbv"),
    ],
)
def test_every_image_is_taken_or_said(tmp_path: Path, path: str, says: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    file = bold(root, path)
    if path.endswith("_cbv"):
        file.rename(file.with_name(file.name.replace("_bold", "")))
    ids, ignored = index_of(root)
    assert ids == ["sub-01_task-rest"]
    assert says in ignored


def test_what_cannot_be_a_file_is_said_and_waits_for_nobody(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    func = root / "sub-02/func"
    func.mkdir(parents=True)
    os.mkfifo(func / "sub-02_task-pipe_bold.nii.gz")
    (func / "sub-02_task-loop_bold.nii.gz").symlink_to("sub-02_task-loop_bold.nii.gz")
    (func / "again").symlink_to(root / "sub-02")
    ids, ignored = index_of(root)
    assert ids == ["sub-01_task-rest"]
    assert all(word in ignored for word in ("task-pipe", "task-loop", "again/: a link to a folder that it lies in"))


def test_the_first_t1w_of_anat_is_taken_and_the_others_are_said(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    good = root / "sub-01/anat/sub-01_T1w.nii.gz"
    for other in ("a_old/sub-01_T1w", "sub-01_run-2_desc-x_T1w", "sub-01_run-3_T1w", "sub-02_T1w"):
        (good.parent / other).parent.mkdir(exist_ok=True)
        shutil.copy(good, good.parent / f"{other}.nii.gz")
    index = read_index(root, Select.model_validate({}))
    assert [Path(s.t1w.path).name for s in index.subjects if s.t1w] == ["sub-01_T1w.nii.gz"]
    assert [s.t1w.path for s in index.subjects if s.t1w and "a_old" in s.t1w.path] == []
    assert len(index.ignored) == 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"RepetitionTime": 2.5,}', "not readable JSON"),
        ('[{"RepetitionTime": 2.5}]', "not a JSON object"),
        ('{"RepetitionTime": 2.5, "a": "ä"}'.encode("latin-1"), "not in UTF-8"),
        ('{"RepetitionTime": NaN}', "NaN is no number"),
        ('{"RepetitionTime": 2.5, "RepetitionTime": 2}', "two values of RepetitionTime"),
        ("[" * 100_000, "nested too deep"),
        ("", "not readable JSON"),
        ('{"RepetitionTime": 2}'.encode("utf-16"), "not in UTF-8"),
        ('{"RepetitionTime": 2\0}', "not readable JSON"),
        ('{"RepetitionTime": 1e999}', "1e999 is beyond the largest number"),
        (f'{{"RepetitionTime": {"9" * 5000}}}', "a number of 5000 digits"),
    ],
)
def test_a_sidecar_that_cannot_be_read_is_not_absent(tmp_path: Path, content: str | bytes, says: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    bold(root, "sub-02/func/sub-02_task-rest", content)
    ids, ignored = index_of(root)
    assert ids == ["sub-01_task-rest"]
    assert "sub-02_task-rest_bold.json" in ignored and says in ignored


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    bold(root, "sub-02/func/sub-02_task-rest", b"\xef\xbb\xbf" + b'{"RepetitionTime": 2.5}')
    index = read_index(root, Select.model_validate({}))
    assert [r.metadata["RepetitionTime"] for r in index.recordings] == [2.0, 2.5]


def test_derivatives_are_no_raw_dataset(tmp_path: Path) -> None:
    root = write_bids(tmp_path)
    (root / "dataset_description.json").write_text('{"DatasetType": "derivative"}')
    with pytest.raises(InputError, match=r"derivatives.*input\.kind: fmriprep"):
        read_index(root, Select.model_validate({}))
