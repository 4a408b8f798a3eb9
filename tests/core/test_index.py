"""The index: what is taken from a BIDS dataset, and what is said of the rest."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
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


def test_events_are_inherited_and_stimuli_listed(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids", tasks=("rest", "see"))
    (bids / "task-see_events.tsv").write_text("onset\tduration\n")
    (bids / "sub-01" / "func" / "sub-01_task-see_events.tsv").write_text("onset\tduration\n1\t1\n")
    (bids / "stimuli" / "faces").mkdir(parents=True)
    (bids / "stimuli" / "faces" / "a.png").write_bytes(b"x")
    index = read_index(bids, Select(), tmp_path / "cache.json")
    events = {r.id: list(r.events_files) for r in index.recordings}
    assert events == {
        "sub-01_task-rest": [], "sub-01_task-see": ["sub-01/func/sub-01_task-see_events.tsv"],
        "sub-02_task-rest": [], "sub-02_task-see": ["task-see_events.tsv"],
    }  # fmt: skip
    assert index.stimulus_files["stimuli/faces/a.png"].size == 1 and not any("stimuli" in text for text in index.said())
    (bids / "stimuli" / "faces" / "a.png").write_bytes(b"xx")
    again = read_index(bids, Select(), tmp_path / "cache.json")
    assert again.stimulus_files["stimuli/faces/a.png"].size == 2


@pytest.mark.parametrize(
    ("select", "count"),
    [
        ({"subject": ["01"]}, 4),
        ({"subject": ["sub-01"]}, 4),
        ({"task": ["rest"], "run": ["01"]}, 2),
        ({"run": [1]}, 4),
    ],
)
def test_select(tmp_path: Path, select: dict[str, list[str]], count: int) -> None:
    root = write_bids(tmp_path, tasks=("rest", "nback"), runs=("1", "2"))
    assert len(read_index(root, Select.model_validate(select)).recordings) == count


@pytest.mark.parametrize(
    ("select", "message", "remedy"),
    [
        ({"subject": ["1"]}, "select.subject (--participant-label): no recording of subject 1", "did you mean 01?"),
        ({"subject": ["01", "sub-07"]}, "no recording of subject 07", "subjects: 01, 02"),
        ({"task": ["rest", "nbak"]}, "select.task (--task-id): no recording of task nbak", "did you mean nback?"),
        ({"session": ["x"]}, "no recording of session x", "none, leave it out"),
        ({"run": [3]}, "select.run: no recording of run 3", "runs: 1, 2"),
        ({"subject": ["02"], "run": [2]}, "has subject 02, run 2", "brainlm data index"),
    ],
)
def test_a_label_that_nobody_has_is_named(tmp_path: Path, select: dict[str, Any], message: str, remedy: str) -> None:
    """Also where other labels of the same key are there: those alone would be another run than the one asked for."""
    root = write_bids(tmp_path, tasks=("rest", "nback"), runs=("1", "2"))
    for image in root.glob("sub-02/func/*run-2*"):
        image.unlink()
    with pytest.raises(InputError) as caught:
        read_index(root, Select.model_validate(select))
    assert message in caught.value.message
    assert remedy in caught.value.remedy


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
    said = f"sub-01/func/sub-01_task-other_bold.{ending}: .{ending} is not .nii or .nii.gz (convert it, or rename it)"
    assert read_index(root, Select.model_validate({})).ignored == (said,)
    file.unlink()
    with pytest.raises(InputError, match=rf"no BOLD run found \({re.escape(said)}"):
        read_index(root, Select.model_validate({}))


@pytest.mark.parametrize("label", ["$(touch x)", "`id`", "a;b", "a b", "{a}", "a'b", 'a"b', "a&b", "a\nb", "a*"])
def test_a_name_that_could_be_words_of_a_command_is_left_aside(tmp_path: Path, label: str) -> None:
    root = write_bids(tmp_path, subjects=("01", "02"))
    file = root / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    file.rename(file.with_name(f"sub-01_task-{label}_bold.nii.gz"))
    index = read_index(root, Select.model_validate({}))
    assert [r.id for r in index.recordings] == ["sub-02_task-rest"]
    reason = index.ignored[0]
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
    found = read_index(root, Select.model_validate({}), cache)
    assert len(found.recordings) == 2
    whole = json.loads(cache.read_text())
    del whole["checksum"]
    for key, value in {"recordings": [[]], "metadata": [], "t1w": 1, "of": [], "phenotypes": None}.items():
        for odd in ({**whole, key: value}, {name: kept for name, kept in whole.items() if name != key}):
            for as_cached in (True, False):
                cache.write_text(json.dumps(odd))
                assert read_index(root, Select.model_validate({}), cache, as_cached) == found


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
        (
            "sub-01/func/sub-01_task-rest_echo-2",
            "echo 2 (sub-01/func/sub-01_task-rest_bold",
        ),
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
    index = read_index(root, Select.model_validate({}))
    faults = {r.id: r.fault for r in index.recordings}
    assert faults.keys() == {"sub-01_task-rest", "sub-02_task-rest"} and not faults["sub-01_task-rest"]
    assert "sub-02_task-rest_bold.json" in faults["sub-02_task-rest"] and says in faults["sub-02_task-rest"]


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    bold(root, "sub-02/func/sub-02_task-rest", b"\xef\xbb\xbf" + b'{"RepetitionTime": 2.5}')
    index = read_index(root, Select.model_validate({}))
    assert [r.metadata["RepetitionTime"] for r in index.recordings] == [2.0, 2.5]


@pytest.mark.parametrize(
    ("content", "derived"),
    [
        ('{"DatasetType": "derivative"}', True),
        ('{"DatasetType": "Derivatives"}', True),
        ('{"PipelineDescription": {"Name": "fMRIPrep"}}', True),
        ('{"DatasetType": "raw", "GeneratedBy": [{"Name": "heudiconv"}]}', False),
        ('{"GeneratedBy": [{"Name": "heudiconv"}]}', False),
    ],
)
def test_derivatives_are_no_raw_dataset(tmp_path: Path, content: str, derived: bool) -> None:
    root = write_bids(tmp_path)
    (root / "dataset_description.json").write_text(content)
    if not derived:
        assert len(read_index(root, Select.model_validate({})).recordings) == 2
        return
    with pytest.raises(InputError, match=r"derivatives.*input\.kind: fmriprep"):
        read_index(root, Select.model_validate({}))


@pytest.mark.parametrize(
    ("paths", "taken", "says"),
    [
        (["a_echo-1", "a_echo-2", "a_echo-3"], ["a"], "echo 3 (echo 1 is used; select.echo chooses)"),
        (["a_echo-2", "a_echo-3"], ["a"], "echo 3 (echo 2 is used; select.echo chooses)"),
        (["a_echo-1", "a_echo-01"], ["a"], "the same run as sub-02/func/sub-02_task-a_echo-1_bold.nii.gz"),
        (["a_echo-9", "a_echo-10"], ["a"], "echo 10 (echo 9 is used"),
        (["a_echo-1", "a_echo-2", "a_echo-2_rec-x"], ["a"], "task-a_echo-2_rec-x_bold.nii.gz: another reconstruction"),
        (["a_echo-1_part-mag", "a_echo-1_part-phase"], ["a_part-mag"], "phase image"),
        (["a_part-real", "b"], ["b"], "part-real: not the magnitude"),
        (["a_part-imag", "b"], ["b"], "part-imag: not the magnitude"),
        (["a_run-1", "a_run-01"], ["a_run-1"], "sub-02_task-a_run-01_bold.nii.gz: the same run as"),
        (["a_rec-x_run-1", "a_run-1"], ["a_run-1"], "task-a_rec-x_run-1_bold.nii.gz: another reconstruction"),
        (["a_rec-x", "a_rec-y"], ["a_rec-x"], "task-a_rec-y_bold.nii.gz: another reconstruction"),
        (["a", "a_part-mag"], ["a"], "task-a_part-mag_bold.nii.gz: the same run as"),
        (["a_part-mag", "a_part-phase"], ["a_part-mag"], "phase image"),
        (["a_part-mag_rec-x", "a"], ["a"], "another reconstruction"),
        (["a_acq-x", "a_acq-y"], ["a_acq-x", "a_acq-y"], ""),
        (["a_dir-AP", "a_dir-PA"], ["a_dir-AP", "a_dir-PA"], ""),
        (["a_run-1", "a_run-2"], ["a_run-1", "a_run-2"], ""),
        (["a_chunk-1", "b"], ["b"], "a part of the brain"),
        (["a_hemi-L", "b"], ["b"], "hemi-L: processed already"),
    ],
    ids=str,
)
def test_variants_of_one_run(tmp_path: Path, paths: list[str], taken: list[str], says: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    for path in paths:
        bold(root, f"sub-02/func/sub-02_task-{path}")
    ids, ignored = index_of(root)
    assert ids == ["sub-01_task-rest", *(f"sub-02_task-{name}" for name in taken)]
    assert says in ignored if says else ignored == ""


def test_of_two_variants_the_one_with_content_is_taken(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    plain = bold(root, "sub-02/func/sub-02_task-a")
    shutil.copy(plain, plain.with_suffix(""))
    plain.write_bytes(b"")
    index = read_index(root, Select.model_validate({}))
    assert [Path(r.bold.path).name for r in index.recordings][1:] == ["sub-02_task-a_bold.nii"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sub-01_task-b_bold.NII.GZ", "task-b_bold.NII.GZ: .NII.GZ is not .nii or .nii.gz"),
        ("sub-01_task-b_bold.nii.GZ", "task-b_bold.nii.GZ: .nii.GZ is not .nii or .nii.gz"),
        ("sub-01_task-b_BOLD.nii.gz", "1 images *_BOLD (func): not used"),
        ("sub-01_task-b_bold.nii.gz.part", "task-b_bold.nii.gz.part: .nii.gz.part is not .nii or .nii.gz"),
        ("sub-01_task-b_bold (1).nii.gz", "1 images *_bold (#) (func): not used"),
        ("sub-01_task-b_bold_old.nii.gz", "1 images *_old (func): not used"),
        ("sub-01_task-b.nii.gz", "1 images *_task-b (func): not used"),
        ("rest.nii", "1 images rest* (func): not used"),
        ("bold.nii.gz", "1 images bold* (func): not used"),
        ("f.rest-0001.nii.gz", "1 images f* (func): not used"),
        ("sub-01_task-b.old_epi.nii.gz", "1 images *_task-b (func): not used"),
        (
            "sub-01_task-b.old_bold.nii.gz",
            "task-b.old_bold.nii.gz: .old_bold.nii.gz is not .nii or .nii.gz (convert it, or rename it)",
        ),
        ("task-b_sub-01_bold.nii.gz", "its name does not begin with sub-"),
        ("sub-01_task-b_sbref.nii.gz", "*_sbref (func) of no run that is taken: not used"),
        ("IM-0001.dcm", "1 files *.dcm: no images that are read"),
        ("IM000001", "1 files * without an ending: no images"),
        ("MR.1.3.12.2.1107.5.2.32.35131", "1 files * without an ending: no images"),
        ("1.3.12.2.1107.dcm", "1 files *.dcm: no images"),
        ("a.b.vhdr", "1 files *.vhdr: no images"),
        ("sub-01_task-rest_bold.JSON", "task-rest_bold.JSON: .JSON is not .nii"),
        ("sub-01_task-resting_bold.json", "task-resting_bold.json: of no image (is its name right?)"),
        ("sub-01_task-rest_run-1_bold.json", "task-rest_run-1_bold.json: of no image"),
        (".sub-01_task-b_bold.nii.gz", "hidden, as 1 images"),
    ],
)
def test_every_file_is_said(tmp_path: Path, name: str, says: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    shutil.copy(root / "sub-01/func/sub-01_task-rest_bold.nii.gz", root / "sub-01/func" / name)
    ids, ignored = index_of(root)
    assert ids == ["sub-01_task-rest"] and says in ignored


def test_volumes_by_number_are_one_kind(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    for number in range(4):
        shutil.copy(root / "sub-01/func/sub-01_task-rest_bold.nii.gz", root / f"sub-01/func/f.rest-{number:04d}.nii.gz")
        shutil.copy(root / "sub-01/func/sub-01_task-rest_bold.nii.gz", root / f"sub-01/func/rest-{number:04d}.nii.gz")
    assert index_of(root)[1].splitlines() == ["4 images f* (func): not used", "4 images rest-#* (func): not used"]


def test_folders_beside_the_subjects_are_said_and_not_looked_into(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    for place in ("sourcedata", "derivatives/fmriprep", "code", "nifti"):
        bold(root, f"{place}/sub-09/func/sub-09_task-rest")
    bold(root, "sub-01/derivatives/sub-01_task-rest")
    ids, ignored = index_of(root)
    assert ids == ["sub-01_task-rest"]
    assert "code/, derivatives/, nifti/, sourcedata/: no subject's folder, not looked into" in ignored
    assert "sub-01/derivatives/sub-01_task-rest_bold.nii.gz: not in sub-" in ignored


def test_sessions_of_some_subjects_only(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    bold(root, "sub-01/ses-2/func/sub-01_ses-2_task-rest")
    bold(root, "sub-02/ses-1/func/sub-02_ses-1_task-rest")
    (root / "sub-03/anat").mkdir(parents=True)
    (root / "sub-03/anat/sub-03_T1w.json").write_text("{}")
    ids, ignored = index_of(root)
    assert ids == ["sub-01_ses-2_task-rest", "sub-01_task-rest", "sub-02_ses-1_task-rest"]
    assert ignored == "sub-03: no BOLD run of theirs is taken"


def t1w(root: Path, *names: str) -> None:
    for name in names:
        file = root / f"sub-01/anat/sub-01_{name}T1w.nii.gz"
        if not file.exists():
            shutil.copy(root / "sub-01/anat/sub-01_T1w.nii.gz", file)


def used(root: Path, **select: object) -> tuple[str, str]:
    """The T1w of subject 01, and what is said of the rest."""
    index = read_index(root, Select.model_validate(select))
    (subject,) = index.subjects
    return Path(subject.t1w.path).name if subject.t1w else "", "\n".join(index.ignored)


@pytest.mark.parametrize(
    ("select", "name", "says"),
    [
        ({}, "sub-01_T1w.nii.gz", "acq-a_T1w.nii.gz: another T1w of this subject (sub-01/anat/sub-01_T1w.nii.gz is"),
        ({"acq": "a"}, "sub-01_acq-a_T1w.nii.gz", "sub-01_T1w.nii.gz: another T1w"),
        ({"acq": "a", "run": 2}, "sub-01_acq-a_run-2_T1w.nii.gz", "sub-01_T1w.nii.gz: another T1w"),
        ({"acq": None}, "sub-01_T1w.nii.gz", "acq-a_T1w.nii.gz: another T1w"),
        ({"acq": "zz"}, "sub-01_T1w.nii.gz", "sub-01: none of its T1w has acq-zz of select.t1w"),
    ],
    ids=str,
)
def test_which_of_several_t1w(tmp_path: Path, select: dict[str, str], name: str, says: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    t1w(root, "acq-a_", "acq-a_run-2_", "ce-gadolinium_")
    (subject,) = read_index(root, Select.model_validate({"t1w": select})).subjects
    assert subject.t1w and subject.t1w_next and subject.t1w != subject.t1w_next
    assert used(root, t1w=select)[0] == name
    assert says in used(root, t1w=select)[1]


def test_a_contrast_agent_comes_last(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    t1w(root, "ce-gadolinium_", "run-1_")
    (root / "sub-01/anat/sub-01_T1w.nii.gz").unlink()
    assert used(root)[0] == "sub-01_run-1_T1w.nii.gz"


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "pointer", "link", "rgb"])
def test_the_next_t1w_where_the_first_cannot_be_read(tmp_path: Path, damage: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    t1w(root, "run-2_")
    first = root / "sub-01/anat/sub-01_T1w.nii.gz"
    whole = first.read_bytes()
    first.unlink()
    if damage == "link":
        first.symlink_to("../../.git/annex/objects/nothing")
    elif damage == "rgb":
        nib.save(nib.Nifti1Image(np.zeros((6, 6, 6), [(c, "u1") for c in "RGB"]), np.eye(4)), first)
    else:
        contents = {"empty": b"", "cut": whole[:-30], "text": b"x" * 900, "pointer": b"/annex/objects/MD5E-s1--0\n"}
        first.write_bytes(contents[damage])
    name, ignored = used(root)
    assert name == "sub-01_run-2_T1w.nii.gz"
    assert "sub-01/anat/sub-01_T1w.nii.gz: " in ignored and "another T1w" not in ignored


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"/annex/objects/MD5E-s123--0\n", "pointer of git-annex or git-lfs -> fetch its content: datalad get"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of git-annex or git-lfs"),
        (None, "there is no such file -> fetch its content: datalad get"),
    ],
)
def test_an_image_without_content_is_taken_and_said(tmp_path: Path, content: bytes | None, says: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    file = bold(root, "sub-02/func/sub-02_task-rest")
    file.unlink()
    if content is None:
        file.symlink_to("../nothing")
    else:
        file.write_bytes(content)
    index = read_index(root, Select.model_validate({}))
    assert len(index.recordings) == 2
    assert any(note.startswith("sub-02/func/sub-02_task-rest_bold.nii.gz: ") and says in note for note in index.notes)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("2000", "no time in seconds (is it 2 s, in milliseconds?)"),
        ("0.002", "no time in seconds (is it 2 s, divided by 1000?)"),
        ("2000000", "in microseconds"),
        ("0", "no time in seconds"),
        ("-2", "no time in seconds"),
        ('"2.0"', "no number"),
        ("true", "no number"),
        ("[2.0]", "no number"),
        ("1e999", "not readable JSON"),
        ("1" + "0" * 400, "not readable JSON"),
        ("1" + "0" * 5000, "not readable JSON"),
        ("40", "no time in seconds from 0.05 to 30"),
    ],
)
def test_an_impossible_tr_is_refused_before_anything_runs(tmp_path: Path, value: str, says: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    bold(root, "sub-02/func/sub-02_task-rest", f'{{"RepetitionTime": {value}}}')
    good, bad = read_index(root, Select.model_validate({})).recordings
    assert not good.fault and says in bad.fault and "sub-02/func/sub-02_task-rest_bold." in bad.fault


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"VolumeTiming": [0, 2, 4, 6, 8, 10]}', ""),
        ('{"RepetitionTime": 2, "VolumeTiming": [0, 2, 4, 6, 8, 10]}', ""),
        ('{"RepetitionTime": 2, "VolumeTiming": [0, 3, 6, 9, 12, 15]}', "disagree"),
        ('{"VolumeTiming": [0, 2, 4, 10, 12, 14]}', "not one time for each volume, all equally far apart"),
        ('{"RepetitionTime": 2, "VolumeTiming": [0, 2, 4, 10, 12, 14]}', "all equally far apart"),
        ('{"VolumeTiming": [0, 2000, 4000]}', "milliseconds"),
        ('{"VolumeTiming": [4, 2, 0]}', "equally far apart"),
        ('{"VolumeTiming": [0]}', "equally far apart"),
        ('{"VolumeTiming": "0, 2"}', "equally far apart"),
        ('{"VolumeTiming": {"0": 2}}', "equally far apart"),
        ('{"VolumeTiming": [0, 1' + "0" * 400 + "]}", "a number of 401 digits"),
        ('{"VolumeTiming": [[0, 2], [4, 6]]}', "equally far apart"),
    ],
)
def test_volume_timing(tmp_path: Path, content: str, says: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    bold(root, "sub-02/func/sub-02_task-rest", content)
    fault = read_index(root, Select.model_validate({})).recordings[1].fault
    assert says in fault if says else fault == ""


def test_the_nearer_sidecar_counts(tmp_path: Path) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    bold(root, "sub-02/func/sub-02_task-rest", '{"EchoTime": 0.03}')
    (root / "bold.json").write_text('{"RepetitionTime": 3, "EchoTime": 0.02}')
    (root / "sub-02/sub-02_bold.json").write_text('{"RepetitionTime": 4}')
    index = read_index(root, Select.model_validate({}))
    assert index.recordings[1].metadata == {"RepetitionTime": 4, "EchoTime": 0.03}
    assert not any("counts" in note for note in index.notes)


def test_two_sidecars_of_one_folder(tmp_path: Path) -> None:
    """The one with all entities of the other counts, which is said; where neither has, the run is refused."""
    root = write_bids(tmp_path, subjects=("01",))
    bold(root, "sub-02/func/sub-02_task-a_acq-x")
    (root / "bold.json").write_text('{"RepetitionTime": 2, "TaskName": "a"}')
    (root / "task-a_bold.json").write_text('{"RepetitionTime": 3, "TaskName": "a"}')
    index = read_index(root, Select.model_validate({}))
    assert index.recordings[1].metadata["RepetitionTime"] == 3 and not index.recordings[1].fault
    assert index.notes[0] == "task-a_bold.json: its RepetitionTime counts, not that of bold.json"
    (root / "acq-x_bold.json").write_text('{"RepetitionTime": 2.5}')
    index = read_index(root, Select.model_validate({}))
    assert "task-a_bold.json: another RepetitionTime than acq-x_bold.json" in index.recordings[1].fault


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "pointer"])
def test_a_sidecar_that_is_no_file_is_not_absent(tmp_path: Path, kind: str) -> None:
    root = write_bids(tmp_path, subjects=("01",))
    side = root / "sub-01/func/sub-01_task-rest_bold.json"
    side.unlink()
    if kind == "pipe":
        os.mkfifo(side)
    elif kind == "link":
        side.symlink_to("nothing")
    elif kind == "pointer":
        side.write_text("/annex/objects/MD5E-s1--0.json\n")
    else:
        side.mkdir()
    index = read_index(root, Select.model_validate({}))
    said = "\n".join([*index.ignored, *(r.fault for r in index.recordings)])
    assert "sub-01_task-rest_bold.json" in said


def test_a_refused_recording_is_in_the_manifest_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At planning, by the command, and as its entry; the command line of `index` says it, too."""
    from brainlm_data.cli import main

    root = write_bids(tmp_path / "ds", subjects=("01",))
    bold(root, "sub-02/func/sub-02_task-rest", '{"RepetitionTime": 2000}')
    for part in ("echo-1", "echo-2"):
        bold(root, f"sub-02/func/sub-02_task-m_{part}", '{"RepetitionTime": 2}')
    assert main(["index", str(root)]) == 0
    assert "refused: sub-02_task-rest: sub-02/func/" in capsys.readouterr().out
    out = tmp_path / "out"
    place = ["--bids-dir", str(root), "--outdir", str(out), "--recording", "sub-02_task-rest"]
    assert main(["run", "motion", *place]) == 0
    said = capsys.readouterr().err
    assert "1 recordings will be refused:\n  sub-02_task-rest: sub-02/func/" in said
    assert "echo-2_bold.nii.gz: echo 2 (echo 1 is used; select.echo chooses)" in said
    assert "motion: sub-02_task-rest refused: sub-02/func/sub-02_task-rest_bold.nii.gz: RepetitionTime 2000" in said
    assert "echo 2" in (out / "left_aside.txt").read_text()
