"""Every format is read again, by another reader than the one that wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from brainlm_data import open_store, prepare
from brainlm_data.cli import main
from brainlm_data.dataset.store import Store
from brainlm_data.files.sidecar import digest
from tests.imports.made import PARCELS, run, signal


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Eight people; one parcel is missing in one of them, one starts late, one is refused."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "in").mkdir()
    for number in range(9):
        values = signal(number, 50 + number)
        if number == 2:
            values[:, 3] = 0
        if number == 3:
            values[:4] = np.nan
        np.save(folder / "in" / f"sub-{number:02d}_task-rest.npy", values[:1] if number == 8 else values)
    ages = {
        "participant_id": [f"sub-{i:02d}" for i in range(9)],
        "age": [20.5, *range(30, 37), None],
        "sex": [*"MFMFMFMF", None],
    }
    pd.DataFrame(ages).to_csv(folder / "people.tsv", sep="\t", index=False)
    labels = pd.DataFrame({"index": range(1, PARCELS + 1), "name": [f"p{i}" for i in range(PARCELS)]})
    labels[["x", "y", "z"]] = np.arange(3 * PARCELS).reshape(PARCELS, 3) * 2.0
    labels.to_csv(folder / "labels.tsv", sep="\t", index=False)
    words = ["--tr", "2", "--participants", str(folder / "people.tsv"), "--atlas-labels", str(folder / "labels.tsv")]
    assert run("arrays", folder / "in", folder / "out", *words) == 0
    return open_store(folder / "out" / "store.zarr")


def export(store: Store, out: Path, to: str, *words: str) -> int:
    return main(["export", str(store.path), str(out), "--to", to, *words])


def arrow(folder: Path) -> tuple[pa.Table, dict[str, Any]]:
    """As `datasets.load_from_disk` does: the files that state.json names, as Arrow streams."""
    state = json.loads((folder / "state.json").read_text())
    assert state["_format_type"] is None and state["_fingerprint"] and state["_split"] is None
    [file] = [folder / item["filename"] for item in state["_data_files"]]
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_stream(source).read_all(), json.loads((folder / "dataset_info.json").read_text())


def test_hf_as_the_official_code_reads_it(store: Store, tmp_path: Path) -> None:
    assert export(store, tmp_path / "hf", "hf") == 0
    coordinates, _ = arrow(tmp_path / "hf" / "Brain_Region_Coordinates")
    assert coordinates.column_names == ["Index", "X", "Y", "Z"]
    assert coordinates.schema.types == [pa.float32()] * 4
    np.testing.assert_array_equal(
        np.stack([coordinates[axis] for axis in "XYZ"], 1), store.parcels[["x", "y", "z"]].to_numpy()
    )
    rows = store.recordings.set_index("id")
    seen = []
    for split, name in {"train": "train", "validation": "val", "test": "test"}.items():
        table, info = arrow(tmp_path / "hf" / name)
        assert set(info["features"]) == set(table.column_names)
        inner = info["features"]["Raw_Recording"]["feature"]["feature"]
        assert inner == {"dtype": "float32", "_type": "Value"}
        assert json.loads(table.schema.metadata[b"huggingface"])["info"]["features"] == info["features"]
        for row in table.to_pylist():
            recording = row["Filename"]
            seen.append(recording)
            assert rows.loc[recording, "split"] == split and row["Patient ID"] == rows.loc[recording, "subject"]
            assert row["age"] == rows.loc[recording, "age"] and row["sex"] == rows.loc[recording, "sex"]
            own = store.series(recording)
            own = own[int(np.isfinite(own).any(1).argmax()) :]
            np.testing.assert_array_equal(np.asarray(row["Raw_Recording"], np.float32), np.nan_to_num(own))
            scaled = np.asarray(row["Voxelwise_RobustScaler_Normalized_Recording"], np.float32)
            np.testing.assert_allclose(scaled, prepare(own, store.scaler, fill=0), rtol=1e-6)
            centred = np.asarray(row["Subtract_Mean_Normalized_Recording"])
            np.testing.assert_allclose(centred.mean(0), 0, atol=1e-5)
            assert np.isfinite(scaled).all() and scaled.shape == own.shape
    assert sorted(seen) == sorted(rows.index[rows["status"] == "done"]) and len(seen) == 8


def test_hf_by_the_package_itself(store: Store, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the package datasets is no dependency: not installed")
    assert export(store, tmp_path / "hf", "hf") == 0
    train = datasets.load_from_disk(str(tmp_path / "hf" / "train"))
    first = train[0]
    np.testing.assert_array_equal(
        np.asarray(first["Raw_Recording"], np.float32), np.nan_to_num(store.series(first["Filename"]))
    )


def test_hf_needs_places_and_a_scaler(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        np.save(tmp_path / "in" / f"p{number}.npy", signal(number))
    assert run("arrays", tmp_path / "in", tmp_path / "out", "--tr", "2") == 0
    bare = open_store(tmp_path / "out" / "store.zarr")
    for to in ("hf", "cifti"):
        assert export(bare, tmp_path / to, to) == 2
        assert "x, y, z" in capsys.readouterr().err
    (tmp_path / "out" / "scaler.npz").unlink()
    assert export(bare, tmp_path / "hf", "hf") == 2
    assert "scaler.npz: gone" in capsys.readouterr().err
    assert not (tmp_path / "hf").exists() and not list(tmp_path.glob(".*"))


def test_npy(store: Store, tmp_path: Path) -> None:
    assert export(store, tmp_path / "npy", "npy") == 0
    bold = np.load(tmp_path / "npy" / "bold.npy", mmap_mode="r")
    valid = np.load(tmp_path / "npy" / "valid.npy", mmap_mode="r")
    index = pd.read_csv(tmp_path / "npy" / "index.tsv", sep="\t", na_values=["n/a"])
    assert len(index) == 8 and len(bold) == index["n_steps"].sum() == len(valid)
    for row in index.itertuples():
        span = slice(row.first, row.first + row.n_steps)
        np.testing.assert_array_equal(bold[span], store.series(row.id))
        np.testing.assert_array_equal(valid[span], store.valid(row.id))
    for name in ("card.json", "card.md"):
        assert (tmp_path / "npy" / name).read_text() == (store.path.parent / name).read_text()


def test_cifti_and_back(store: Store, tmp_path: Path) -> None:
    assert export(store, tmp_path / "cifti", "cifti") == 0
    file = tmp_path / "cifti" / "sub-02_task-rest.ptseries.nii"
    image = nib.load(file)
    series, parcels = (image.header.get_axis(i) for i in (0, 1))
    assert series.unit == "SECOND" and series.step == 1.0 and list(parcels.name) == [f"p{i}" for i in range(PARCELS)]
    assert image.nifti_header["intent_code"] == 3004  # CIFTI-2: ConnParcelSries
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), store.series("sub-02_task-rest"))
    centre = nib.affines.apply_affine(parcels.affine, parcels.voxels[4])[0]
    np.testing.assert_array_equal(centre, store.parcels.loc[4, ["x", "y", "z"]].astype(float))
    assert run("ptseries", tmp_path / "cifti", tmp_path / "back") == 0
    back = open_store(tmp_path / "back" / "store.zarr")
    for name in ("sub-00_task-rest", "sub-02_task-rest", "sub-03_task-rest"):
        np.testing.assert_allclose(back.series(name), store.series(name), rtol=1e-5, atol=1e-4)


def test_cifti_with_the_voxels_of_an_atlas(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.repeat(np.arange(PARCELS + 1, dtype=np.int16), 5).reshape(-1, 5, 1)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "labels.nii.gz")
    assert export(store, tmp_path / "cifti", "cifti", "--atlas", str(tmp_path / "labels.nii.gz")) == 0
    axis = nib.load(tmp_path / "cifti" / "sub-00_task-rest.ptseries.nii").header.get_axis(1)
    assert [len(v) for v in axis.voxels] == [5] * PARCELS
    nib.save(nib.Nifti1Image(labels[:-1], np.eye(4)), tmp_path / "less.nii.gz")
    assert export(store, tmp_path / "no", "cifti", "--atlas", str(tmp_path / "less.nii.gz")) == 2
    assert "lacks labels" in capsys.readouterr().err


@pytest.mark.parametrize("to", ["hf", "npy", "cifti"])
def test_whole_or_not_at_all_and_the_same_bytes(
    store: Store, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(store, tmp_path / "a", to) == 0 == export(store, tmp_path / "b", to)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    facts = json.loads((tmp_path / "a" / "export.json").read_text())
    for name, sha in facts["Files"].items():
        assert digest(tmp_path / "a" / name) == sha
    assert export(store, tmp_path / "a", to) == 2 and "--force" in capsys.readouterr().err
    assert export(store, tmp_path / "a", to, "--force") == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.txt").write_text("mine")
    assert export(store, tmp_path / "mine", to, "--force") == 2
    assert (tmp_path / "mine" / "x.txt").read_text() == "mine"
    assert export(store, store.path.parent, to, "--force") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "mine"]
