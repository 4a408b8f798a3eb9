from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainlm_data import Card, open_store
from tests.imports.made import PARCELS, pcp, run, signal, write_1d


def test_files_as_they_are_distributed(tmp_path: Path) -> None:
    folder = pcp(tmp_path / "filt_noglobal")
    words = ["--participants", str(folder / "phenotypes.csv"), "--external", "site=C"]
    assert run("pcp", folder, tmp_path / "out", *words) == 0
    table = open_store(tmp_path / "out" / "store.zarr").recordings.set_index("id")
    assert (table["status"] == "done").all() and len(table) == 15
    row = table.loc["B_0051002"]
    assert (row["subject"], row["site"], row["tr_s"], row["mean_fd_mm"]) == ("0051002", "B", 1.5, 0.2)
    assert (row["band_low_hz"], row["band_high_hz"], row["AGE_AT_SCAN"]) == (0.01, 0.1, 27.0)
    assert np.isnan(table.loc["A_0050003", "AGE_AT_SCAN"]) and "Unnamed: 0" not in table
    assert (table["split"] == "external").equals(table["site"] == "C")
    assert "without global signal regression" in (tmp_path / "out" / "card.md").read_text()


def test_bad_files_are_refused_and_good_ones_go_through(tmp_path: Path) -> None:
    folder = pcp(tmp_path / "in")
    short, turned, words, holes, zeros = (f"A_005000{i}" for i in range(5))
    write_1d(folder / f"{short}_rois_cc200.1D", signal(0, 1))
    write_1d(folder / f"{turned}_rois_cc200.1D", signal(0).T)
    (folder / f"{words}_rois_cc200.1D").write_text("#1 #2\nthis is\nnot a table\n")
    values = signal(3)
    values[:, 1], values[:, 4] = 0, 7
    values[20, 2] = np.nan
    write_1d(folder / f"{holes}_rois_cc200.1D", values)
    write_1d(folder / f"{zeros}_rois_cc200.1D", 0 * values)
    write_1d(folder / "B_0051000_rois_cc200.1D", signal(5), [2, 3, 4, 5, 6, 7])
    assert run("pcp", folder, tmp_path / "out", "--tr", "2") == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    table = store.recordings.set_index("id")
    reasons = table.loc[table["status"] == "refused", "reason"]
    said = {short: "1 volumes with data", turned: "(parcel, time)", words: "not a table", zeros: "no parcel has data",
            "B_0051000": "columns are not those"}  # fmt: skip
    assert set(reasons.index) == set(said)
    for name, text in said.items():
        assert text in reasons[name] and f"{name}_rois_cc200.1D" in reasons[name] and "->" in reasons[name]
    assert np.isnan(store.series(holes)).all(0).tolist() == [False, True, True, False, True, False]
    assert np.isfinite(store.series(holes)[:, [0, 3, 5]]).all()
    assert table.loc[holes, ["n_missing_parcels", "coverage_min"]].tolist() == [3, 0.0]
    assert table.loc["B_0051001", "n_missing_parcels"] == 0
    assert table["split"].notna().equals(table["status"] == "done")


def test_labels_are_matched_by_the_numbers_of_the_header(tmp_path: Path) -> None:
    for number in range(4):
        write_1d(tmp_path / "in" / f"A_000{number}_rois_aal.1D", signal(number), [2001, 2002, 2101, 2102, 5, 7])
    numbers = [5, 7, 9, 2001, 2002, 2101, 2102]
    labels = pd.DataFrame({"index": numbers, "name": [f"n{i}" for i in numbers]})
    labels.to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
    words = ["--tr", "2", "--atlas-labels", str(tmp_path / "labels.tsv")]
    assert run("pcp", tmp_path / "in", tmp_path / "out", *words) == 0
    parcels = open_store(tmp_path / "out" / "store.zarr").parcels
    assert parcels["name"].tolist() == ["n2001", "n2002", "n2101", "n2102", "n5", "n7"]
    assert Card.read(tmp_path / "out").content()["atlas"] == "AAL"


def test_what_stops_an_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pcp(tmp_path / "in")
    table = str(folder / "phenotypes.csv")
    cases = [
        ([], "no TR"), (["--participants", table, "--external", "place=A"], "no column place"),
        (["--participants", table, "--external", "site=A,X"], "nobody's site is X"),
        (["--tr", "2", "--external", "site"], "COLUMN=VALUE"), (["--tr", "2", "--test", "2"], "collate.test"),
        (["--tr", "2", "--hz", "0"], "--hz"), (["--tr", "2", "--external", "site=A,B,C"], "no training recording"),
        (["--tr", "2", "--participants", str(folder / "none.csv")], "no such file"),
    ]  # fmt: skip
    for words, said in cases:
        assert run("pcp", folder, tmp_path / "out", *words) == 2
        error = capsys.readouterr().err
        assert said in error and "try: " in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]
    turned = tmp_path / "turned"
    for number in range(6):
        write_1d(turned / f"A_000{number}_rois_cc200.1D", signal(number, 50 + number % 2).T)
    assert run("pcp", turned, tmp_path / "out", "--tr", "2") == 2
    assert f"every series has {PARCELS} rows" in capsys.readouterr().err
