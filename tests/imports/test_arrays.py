from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainlm_data import open_store
from brainlm_data.imports.arrays import _is_header
from tests.imports.made import PARCELS, run, signal

NAMES = [f"p{i}" for i in range(PARCELS)]


def tsv(file: Path, values: np.ndarray, header: bool = True) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(values, columns=NAMES).to_csv(file, sep="\t", index=False, header=header, na_rep="n/a")


def bids(folder: Path, subjects: int = 6) -> Path:
    """Derivatives as fMRI software names them: two runs of each subject, one of them as .npy, with sidecars."""
    for number in range(subjects):
        func = folder / f"sub-{number:02d}" / "func"
        stems = [f"sub-{number:02d}_task-rest_run-{run}_space-MNI_seg-Six_stat-mean_timeseries" for run in (1, 2)]
        tsv(func / f"{stems[0]}.tsv", signal(2 * number))
        np.save(func / f"{stems[1]}.npy", signal(2 * number + 1))
        for stem in stems:
            (func / f"{stem}.json").write_text(json.dumps({"RepetitionTime": 2.0, "StartTime": 0.5}))
    table = pd.DataFrame(
        {"participant_id": [f"sub-{i:02d}" for i in range(subjects)], "site": [1, 2] * (subjects // 2)}
    )
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    return folder


def test_bids_names_sidecars_and_participants(tmp_path: Path) -> None:
    assert run("arrays", bids(tmp_path / "in"), tmp_path / "out", "--external", "site=2") == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    table = store.recordings.set_index("id")
    assert len(table) == 12 and (table["status"] == "done").all()
    row = table.loc["sub-03_task-rest_run-2"]
    assert row[["subject", "task", "run", "tr_s", "start_time_s", "split"]].tolist() == [
        "03", "rest", "2", 2.0, 0.5, "external",
    ]  # fmt: skip
    assert table.groupby("subject")["split"].nunique().max() == 1
    assert store.parcels["name"].tolist() == NAMES and store.attrs["atlas"] == "unknown"
    np.testing.assert_allclose(store.series("sub-03_task-rest_run-2")[::2], signal(7), rtol=1e-5)
    facts = json.loads((tmp_path / "out" / "import.json").read_text())
    assert len(facts["Inputs"]) == 25 and "participants.tsv" in facts["Inputs"]


def test_a_series_that_was_resampled_says_so(tmp_path: Path) -> None:
    """Stage resample writes the TR as acquired, and its own rate: the second decides."""
    folder = bids(tmp_path / "in")
    for file in folder.rglob("*.json"):
        file.write_text(json.dumps({"RepetitionTime": 2.0, "SamplingFrequency": 1.0}))
    assert run("arrays", folder, tmp_path / "out") == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    assert set(store.recordings["tr_s"]) == {1.0}
    np.testing.assert_allclose(store.series("sub-00_task-rest_run-1"), signal(0), rtol=1e-5)


def test_plain_names_a_table_of_recordings_and_missing_volumes(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        values = signal(number)
        if number == 4:
            values[[0, 1, 30]] = np.nan
        tsv(folder / f"scan{number}.tsv", values, header=number == 0)
    np.save(folder / "words.npy", np.array(["a", "b"]))
    np.save(folder / "cube.npy", np.zeros((4, 4, 4)))
    np.save(folder / "other.npy", signal(9, parcels=5))
    (folder / "broken.npy").write_bytes(b"\x93NUMPY no")
    people = pd.DataFrame({"id": [f"scan{i}" for i in range(6)], "participant_id": [f"sub-{i // 2}" for i in range(6)]})
    people.assign(tr=2.0).to_csv(tmp_path / "people.csv", index=False)
    words = ["--participants", str(tmp_path / "people.csv"), "--test", ".3", "--validation", "0"]
    assert run("arrays", folder, tmp_path / "out", *words) == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    table = store.recordings.set_index("id")
    done = table[table["status"] == "done"]
    assert done["subject"].tolist() == ["0", "0", "1", "1", "2", "2"] and set(done["split"]) == {"train", "test"}
    assert done.groupby("subject")["split"].nunique().max() == 1
    said = {"words": "real numbers", "cube": "not (time, parcel)", "broken": "not an array", "other": "no TR"}
    assert all(text in table.loc[name, "reason"] for name, text in said.items())
    valid = store.valid("scan4")
    assert np.flatnonzero(~valid).tolist() == [0, 1, 2, 3, 59, 60, 61]  # two volumes of 2 s, and less than one from 30
    assert np.isnan(store.series("scan4")[:4]).all() and np.isfinite(store.series("scan4")[4:]).all()
    assert table.loc["scan4", "n_invalid_steps"] == 7 and table.loc["scan4", "n_missing_parcels"] == 0


def test_headers() -> None:
    assert _is_header(["a", "1"]) and _is_header(["1", "2", "5"])
    assert not _is_header(["1", "2", "2"]) and not _is_header(["7"]) and not _is_header(["n/a", "2.5"])


def test_what_stops_an_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bids(tmp_path / "in")
    tsv(folder / "sub-00_task-rest_run-1_stat-coverage_bold.tsv", signal(0))
    assert run("arrays", folder, tmp_path / "out") == 2
    assert "are both recording sub-00_task-rest_run-1" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run("arrays", tmp_path / "empty", tmp_path / "out") == 2
    assert "no .npy or .tsv" in capsys.readouterr().err
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number in range(6):
        np.save(mixed / f"{number}.npy", signal(number, 60 + number, parcels=4 + number))
    assert run("arrays", mixed, tmp_path / "out", "--tr", "2") == 2
    assert "no number of columns in common" in capsys.readouterr().err


def test_series_that_may_be_turned_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        np.save(tmp_path / "in" / f"{number}.npy", signal(number, 8, parcels=20))
    assert run("arrays", tmp_path / "in", tmp_path / "out", "--tr", "2") == 0
    assert "8 rows and 20 columns" in capsys.readouterr().err
    assert "8 rows and 20 columns" in (tmp_path / "out" / "card.md").read_text()


def test_what_is_no_series_is_left_alone_or_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = bids(tmp_path / "in")
    func = folder / "sub-00/func"
    (func / "._sub-00_task-rest.npy").write_bytes(b"Mac OS X")
    (folder / ".git").mkdir()
    np.save(folder / ".git/sub-99_task-rest.npy", signal(0))
    (func / "sub-00_task-link.npy").symlink_to("nothing")
    (func / "sub-00_task-bad.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00{'descr': garbage")
    matrix = np.corrcoef(signal(0).T)
    np.save(func / "sub-00_task-matrix.npy", matrix)
    tsv(func / "sub-00_task-rest_seg-Six_relmat.tsv", matrix)
    np.save(func / "sub-00_task-meta.npy", signal(0))
    (func / "sub-00_task-meta.json").write_text('{"RepetitionTime": 2.0,}')
    assert run("arrays", folder, tmp_path / "out") == 0
    table = open_store(tmp_path / "out" / "store.zarr").recordings.set_index("id")
    refused = table.query("status == 'refused'")["reason"]
    assert sorted(refused.index) == [f"sub-00_task-{name}" for name in ("bad", "link", "matrix", "meta")]
    assert "no such file" in refused["sub-00_task-link"] and "symmetric matrix" in refused["sub-00_task-matrix"]
    assert "not readable JSON" in refused["sub-00_task-meta"]
    assert (table["status"] == "done").sum() == 12 and not any("99" in name for name in table.index)


def test_who_has_no_row_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bids(tmp_path / "in")
    (folder / "participants.tsv").write_text("participant_id\tage\n0\t89+\n1\t80\nsub-02\t81\n77\t82\n")
    assert run("arrays", folder, tmp_path / "out") == 0
    said = capsys.readouterr().err
    for note in ("no row for 3 of 6 people (03, 04, 05)", "1 rows of people who are not here (77)", "89+ taken as"):
        assert note in said
    ages = open_store(tmp_path / "out" / "store.zarr").recordings.groupby("subject")["age"].first()
    assert ages["00"] == 89 and ages["01"] == 80 and np.isnan(ages["05"])
