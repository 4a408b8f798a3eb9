"""CIFTI series (written by nibabel) and the BrainLM toolkit's .dat (written as it does, with numpy.savetxt)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainlm_data import Card, open_store
from brainlm_data.methods.operators import resample
from tests.imports.made import PARCELS, run, signal

NAMES = [f"area{i}" for i in range(PARCELS)]


def ptseries(file: Path, values: np.ndarray, names: list[str] = NAMES, tr: float = 0.8, unit: str = "SECOND") -> Path:
    cells = [np.array([[i, 0, 0]]) for i in range(len(names))]
    parcels = nib.cifti2.ParcelsAxis(
        names, cells, [{} for _ in cells], affine=np.eye(4), volume_shape=(len(names), 1, 1)
    )
    axis = nib.cifti2.SeriesAxis(0, tr, len(values), unit)
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Cifti2Image(values.astype(np.float32), header=(axis, parcels)), file)
    return file


def test_parcels_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for number in range(5):
        ptseries(folder / f"sub-{number:02d}_task-rest.ptseries.nii", signal(number))
    turned = ptseries(folder / "sub-05_task-rest.ptseries.nii", signal(5)[:, ::-1], NAMES[::-1])
    ptseries(folder / "sub-06_task-rest.ptseries.nii", signal(6), [*NAMES[:-1], "other"])
    ptseries(folder / "sub-07_task-rest.ptseries.nii", signal(7), unit="HERTZ")
    (folder / "sub-08_task-rest.ptseries.nii").write_bytes(turned.read_bytes()[:700])
    labels = pd.DataFrame({"name": ["unused", *NAMES[::-1]], "x": range(7), "network": "Visual"})
    labels.to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
    assert run("ptseries", folder, tmp_path / "out", "--atlas-labels", str(tmp_path / "labels.tsv")) == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    rows = store.recordings.set_index("id")
    assert store.parcels["name"].tolist() == NAMES and store.parcels["x"].tolist() == [6, 5, 4, 3, 2, 1]
    for number in (0, 5):  # the second was stored in another order
        found = store.series(f"sub-{number:02d}_task-rest")
        np.testing.assert_allclose(found, resample(signal(number).astype(np.float32), 0.8, 1.0), rtol=1e-4)
    assert rows.loc["sub-00_task-rest", "tr_s"] == 0.8 and np.isnan(rows.loc["sub-00_task-rest", "band_low_hz"])
    said = {"06": "columns are not those", "07": "not in seconds", "08": "not a readable CIFTI file"}
    for number, text in said.items():
        assert text in rows.loc[f"sub-{number}_task-rest", "reason"]


def test_the_tr_can_be_given(tmp_path: Path) -> None:
    for number in range(3):
        ptseries(tmp_path / "in" / f"p{number}.ptseries.nii", signal(number))
    assert run("ptseries", tmp_path / "in", tmp_path / "out", "--tr", "2") == 0
    assert (open_store(tmp_path / "out" / "store.zarr").recordings["tr_s"] == 2).all()


def toolkit(file: Path, seed: int, volumes: int = 40) -> np.ndarray:
    """As toolkit/BrainLM_Toolkit.py writes it: (time, 424), NaN made 0, tabs."""
    values = np.tile(signal(seed, volumes), 71)[:, :424] + np.arange(424)
    values[:, 7] = 0
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(file, values, delimiter="\t")
    return values


def test_dat(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    values = [toolkit(folder / f"r{number}.dat", number) for number in range(4)]
    np.savetxt(folder / "r4.dat", values[1].T, delimiter="\t")
    np.savetxt(folder / "r5.dat", np.zeros((424, 424)))
    np.savetxt(folder / "r6.dat", signal(6))
    (folder / "r7.dat").write_bytes(bytes(range(256)))
    places = np.stack([np.arange(1, 425), *(np.full(424, v) for v in (-3.0, 4.0, 5.0))], 1)
    np.savetxt(folder / "A424_Coordinates.dat", places)
    assert run("dat", folder, tmp_path / "out", "--tr", "2") == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    rows = store.recordings.set_index("id")
    np.testing.assert_allclose(store.series("r1")[::2, 6], values[1][:, 6], rtol=1e-5)
    np.testing.assert_array_equal(store.series("r1"), store.series("r4"))
    assert np.isnan(store.series("r1")[:, 7]).all() and rows.loc["r1", "n_missing_parcels"] == 1
    assert "nothing shows which axis" in rows.loc["r5", "reason"] and "not 424 parcels" in rows.loc["r6", "reason"]
    assert "not a table of numbers as text" in rows.loc["r7", "reason"] and "A424_Coordinates" not in rows.index
    assert store.parcels.loc[0, ["x", "y", "z", "network"]].tolist() == [-3, 4, 5, "Visual"]
    facts = Card.read(tmp_path / "out").content()
    assert (facts["atlas"], facts["space"], facts["parcels"]) == ("A424", "MNI152NLin6Asym", 424)


def test_dat_needs_a_tr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toolkit(tmp_path / "in" / "r.dat", 0)
    assert run("dat", tmp_path / "in", tmp_path / "out") == 2
    assert "no TR" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    for kind in ("dat", "ptseries"):
        assert run(kind, tmp_path / "none", tmp_path / "out") == 2
        assert f"no .{kind}" in capsys.readouterr().err
