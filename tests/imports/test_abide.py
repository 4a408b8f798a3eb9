from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brainlm_data import Card, open_store, prepare
from brainlm_data.dataset.gather import FIRST
from brainlm_data.files.sidecar import digest
from brainlm_model import WindowDataset
from tests.conftest import SHARED
from tests.imports.made import PARCELS, abide, run, signal

REAL = SHARED / "data" / "abide" / "abide_cc200.npz"


@pytest.mark.parametrize("wide", [False, True], ids=["one scale per person", "one scale per parcel"])
def test_a_store_with_its_tables(tmp_path: Path, wide: bool) -> None:
    file = abide(tmp_path / "in", wide)
    assert run("abide", file, tmp_path / "out", "--external", "site=B", "--validation", ".2", "--test", ".2") == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    table = store.recordings.set_index("id")
    assert list(store.recordings.columns[: len(FIRST)]) == list(FIRST)
    assert (table["split"] == "external").equals(table["site"] == "B")
    assert set(table["split"]) == {"train", "validation", "test", "external"}
    row = table.loc["A_0001"]
    assert (row["tr_s"], row["n_volumes"], row["n_steps"], row["mean_fd_mm"], row["age"]) == (2.0, 61, 121, 0.1, 21.0)
    assert row["band_high_hz"] == 0.25 and np.isnan(row["band_low_hz"]) and np.isnan(row["median_tsnr"])
    np.testing.assert_allclose(store.series("A_0001")[::2], signal(1, 61), atol=0.01)  # int16, hence not exactly
    assert store.parcels["name"].tolist()[:2] == ["CC200_001", "CC200_002"]

    training = table.index[table["split"] == "train"]
    pooled = np.concatenate([(s := store.series(i).astype(float)) - s.mean(0) for i in training])
    assert store.scaler is not None
    np.testing.assert_allclose(store.scaler.median, np.median(pooled, 0), atol=1e-4)
    windows = WindowDataset(store, split="external", window=60)
    assert len(windows) == 5 and windows[0].shape == (PARCELS, 60)
    assert np.isfinite(prepare(store.series("B_1000"), store.scaler)).all()

    known = Card.read(tmp_path / "out").content()
    assert (known["tr_s"], known["band_low_hz"], known["atlas"]) == (
        {"low": 1.5, "high": 3.0}, {"low": None, "high": None}, "CC200",
    )  # fmt: skip
    card = (tmp_path / "out" / "card.md").read_text()
    assert "- external: 5 subjects, 5 recordings" in card and "site B." in card and "Not known: Which filters" in card
    facts = json.loads((tmp_path / "out" / "import.json").read_text())
    assert facts["Inputs"]["made_cc200.npz"] == digest(file)
    assert facts["Arguments"]["external"] == ["site=B"] and str(tmp_path) not in json.dumps(facts)


def test_labels_name_the_parcels(tmp_path: Path) -> None:
    labels = pd.DataFrame({"roi": range(1, PARCELS + 1), "x": [-1.0, 1] * 3, "y": 0.0, "z": 0.0, "nvox": 9})
    labels["yeo7"] = [0, 1, 2, 3, 4, 7]
    labels.to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
    words = ["--atlas-labels", str(tmp_path / "labels.tsv")]
    assert run("abide", abide(tmp_path / "in"), tmp_path / "out", *words) == 0
    parcels = open_store(tmp_path / "out" / "store.zarr").parcels
    assert parcels["network"].tolist()[:3] + parcels["hemisphere"].tolist()[:2] == [
        "Unassigned", "Visual", "Somatomotor", "L", "R",
    ]  # fmt: skip
    labels.iloc[:4].to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
    assert run("abide", abide(tmp_path / "in"), tmp_path / "out2", *words) == 2
    assert not (tmp_path / "out2").exists()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"scale": None}, "no array scale"),
    ({"offset": np.arange(4)}, "do not fit together"),
    ({"scale": np.ones((15, 2))}, "do not fit together"),
    ({"offset": np.array([0, 9, 5, *range(60, 73)])}, "do not fit together"),
    ({"file_id": np.full(15, 0x110000, "<u4").view("<U1")}, "cannot be read"),  # characters beyond Unicode
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_arrays_that_do_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    assert run("abide", abide(tmp_path / "in", **change), tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert said in error and "made_cc200.npz" in error and "try: " in error


def test_one_bad_person_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = abide(tmp_path / "in")
    table = pd.read_csv(file.with_suffix(".tsv"), sep="\t")
    table.loc[0, "n_volumes"] = 12
    table.loc[1, "repetition_time_s"] = 2000
    table.loc[2, "repetition_time_s"] = np.nan
    table.drop(index=3).to_csv(file.with_suffix(".tsv"), sep="\t", index=False, na_rep="n/a")
    assert run("abide", file, tmp_path / "out") == 0
    refused = open_store(tmp_path / "out" / "store.zarr").recordings.query("status == 'refused'")
    for reason, said in zip(refused["reason"], ["its table says 12", "2000 s", "no TR", "no row in"], strict=True):
        assert said in reason and reason.startswith("made_cc200.npz: ")
    assert "4 refused" in capsys.readouterr().out
    (tmp_path / "in" / "made_cc200.tsv").unlink()
    assert run("abide", file, tmp_path / "out2") == 2


@pytest.mark.skipif(not REAL.is_file(), reason="ABIDE's series are not at hand")
def test_real_people(tmp_path: Path) -> None:
    assert run("abide", REAL, tmp_path / "out", "--external", "site=KKI,SBL") == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    table = store.recordings.set_index("id")
    assert len(table) == 640 and (table["status"] == "done").all()
    assert set(table.loc[table["split"] == "external", "site"]) == {"KKI", "SBL"}
    assert not set(table.loc[table["split"] != "external", "site"]) & {"KKI", "SBL"}
    with np.load(REAL) as arrays:
        offset, name = arrays["offset"], str(arrays["file_id"][20])
        raw = arrays["data"][offset[20] : offset[21]] * arrays["scale"][20]
    tr_s = table.loc[name, "tr_s"]  # 2.5 s: every fifth step is a volume
    assert tr_s == 2.5
    np.testing.assert_allclose(store.series(name)[::5], raw[::2][: len(store.series(name)[::5])], rtol=1e-5, atol=1e-3)
