"""Which files of an import folder are taken, and what is said of the rest, by the reading of names alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from brainlm_data.cli import main
from brainlm_data.errors import InputError
from brainlm_data.imports import Options, read
from brainlm_data.imports.series import resampled
from tests.imports.made import signal


def series(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, signal(1))


def taken(folder: Path) -> tuple[list[str], str]:
    source = read("arrays", folder, Options(tr_s=2.0))
    return [one.id for one in source.series], "\n".join(source.left_aside)


def test_a_name_that_its_folder_contradicts_is_left_aside(tmp_path: Path) -> None:
    series(tmp_path / "sub-01/sub-01_task-rest.npy", tmp_path / "sub-03/sub-02_task-rest.npy")
    series(tmp_path / "sub-04/ses-1/sub-04_ses-2_task-rest.npy", tmp_path / "sub-05/ses-1/sub-05_ses-1_task-rest.npy")
    ids, said = taken(tmp_path)
    assert ids == ["sub-01_task-rest", "sub-05_ses-1_task-rest"]
    assert "sub-02_task-rest.npy: its name says sub-02, it lies in sub-03/" in said
    assert "sub-04_ses-2_task-rest.npy: its name says ses-2, it lies in ses-1/" in said


def test_links_to_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    series(tmp_path / "elsewhere/sub-02/sub-02_task-rest.npy", tmp_path / "in/sub-01/sub-01_task-rest.npy")
    (tmp_path / "in/sub-02").symlink_to(tmp_path / "elsewhere/sub-02")
    (tmp_path / "in/sub-01/again").symlink_to(tmp_path / "in")
    (tmp_path / "in/.git").mkdir()
    series(tmp_path / "in/.git/sub-09_task-rest.npy", tmp_path / "in/._sub-01_task-rest.npy")
    ids, said = taken(tmp_path / "in")
    assert ids == ["sub-01_task-rest", "sub-02_task-rest"]
    assert said == "sub-01/again/: a link to a folder that it lies in"


def test_other_files_are_counted(tmp_path: Path) -> None:
    series(tmp_path / "sub-01_task-rest.npy")
    for name in ("sub-02_task-rest.NPY", "a.mat", "b.mat", "sub-03_task-rest.nii.gz", "sub-01_task-rest.json"):
        (tmp_path / name).write_text("{}")
    ids, said = taken(tmp_path)
    assert ids == ["sub-01_task-rest"]
    listed = ["1 files *.NPY: of another kind", "1 files *.nii.gz: of another kind", "2 files *.mat: of another kind"]
    assert sorted(said.splitlines()) == listed


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series(tmp_path / "sub-01_task-rest.npy", tmp_path / "locked/sub-02_task-rest.npy")
    scan = os.scandir

    def refusing(folder: Path) -> object:
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    assert taken(tmp_path) == (["sub-01_task-rest"], "locked/: cannot be read (Permission denied)")


@pytest.mark.parametrize("tr_s", [2000, 0.002, -1, 0])
def test_an_impossible_tr_is_refused(tmp_path: Path, tr_s: float) -> None:
    series(tmp_path / "sub-01_task-rest.npy")
    (one,) = read("arrays", tmp_path, Options(tr_s=tr_s)).series
    with pytest.raises(Exception, match="no time in seconds"):
        resampled(one, 1.0)


def test_values_beyond_float32_are_refused(tmp_path: Path) -> None:
    values = signal(1).astype(np.float64)
    values[3, 2] = 1e200
    np.save(tmp_path / "sub-01_task-rest.npy", values)
    (one,) = read("arrays", tmp_path, Options(tr_s=2.0)).series
    with pytest.raises(Exception, match="beyond those of 32-bit floats"):
        resampled(one, 1.0)


def test_two_files_of_one_recording_are_both_named(tmp_path: Path) -> None:
    series(tmp_path / "a/sub-01_task-rest.npy", tmp_path / "b/sub-01_task-rest.npy")
    with pytest.raises(InputError, match=r"a/sub-01_task-rest\.npy and b/sub-01_task-rest\.npy are both recording"):
        taken(tmp_path)


def test_the_index_of_a_folder_to_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series(tmp_path / "sub-01_task-rest.npy", tmp_path / "sub-03/sub-02_task-rest.npy")
    (tmp_path / "sub-01_task-rest.json").write_text('{"RepetitionTime": 2.0}')
    (tmp_path / "a.mat").write_text("")
    assert main(["index", str(tmp_path), "--kind", "arrays"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "recording\ttr_s", "sub-01_task-rest\t2.0", "ignored: 1 files *.mat: of another kind",
        "ignored: sub-02_task-rest.npy: its name says sub-02, it lies in sub-03/",
    ]  # fmt: skip
