"""CIFTI series of grayordinates with a dlabel, both written by nibabel: a small mesh, and voxels below it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from brainlm_data import Card, open_store
from brainlm_data.methods.operators import resample
from tests.imports.made import run

VERTICES, VOLUMES, TR = 30, 40, 0.72
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
AREAS = ("L_V1_ROI", "L_V2_ROI", "R_V1_ROI", "R_V2_ROI")
BELOW = ("THALAMUS_LEFT", "THALAMUS_RIGHT")


def models(vertices: int = VERTICES, medial_wall: bool = True, below: bool = True) -> Any:
    """Two hemispheres, of which the medial wall (every fifth vertex) may be left out, and two structures of voxels."""
    kept = np.arange(vertices) % 5 > 0 if medial_wall else np.ones(vertices, bool)
    axes = nib.cifti2.BrainModelAxis
    whole = axes.from_mask(kept, name="cortex_left") + axes.from_mask(kept, name="cortex_right")
    for place, name in enumerate(BELOW if below else ()):
        mask = np.zeros((6, 4, 3), bool)
        mask[3 * place : 3 * place + 2] = True
        whole += axes.from_mask(mask, name=name.lower(), affine=AFFINE)
    return whole


def dlabel(file: Path, vertices: int = VERTICES, below: bool = False, maps: int = 1) -> Path:
    """Glasser's scheme in small: two areas of each hemisphere, on the whole mesh; the medial wall has no label."""
    axis = models(vertices, medial_wall=False, below=below)
    keys = np.zeros(len(axis), np.float32)
    table = {0: ("???", (0.0, 0.0, 0.0, 0.0))}
    for side in (0, 1):
        vertex = np.arange(vertices)
        keys[side * vertices + vertex] = np.where(vertex % 5 == 0, 0, 1 + 2 * side + (vertex >= vertices // 2))
    if below:
        keys[2 * vertices :] = 9
        table[9] = ("thalamus", (1.0, 1.0, 1.0, 1.0))
    table |= {key: (name, (1.0, 0.0, 0.0, 1.0)) for key, name in enumerate(AREAS, 1)}
    label = nib.cifti2.LabelAxis([f"map {n}" for n in range(maps)], [table] * maps)
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Cifti2Image(np.tile(keys, (maps, 1)), header=(label, axis)), file)
    return file


def values(seed: int, count: int) -> NDArray[np.float32]:
    """(time, grayordinates), slow waves around a level."""
    rng = np.random.default_rng(seed)
    time = np.arange(VOLUMES)[:, None] * TR
    waves = np.sin(2 * np.pi * (rng.uniform(0.01, 0.08, count) * time + rng.uniform(0, 1, count)))
    return np.asarray(10_000 + 100 * waves, dtype=np.float32)


def dtseries(
    file: Path, seed: int = 0, data: NDArray[Any] | None = None, axis: Any = None, unit: str = "SECOND"
) -> Path:
    axis = models() if axis is None else axis
    data = values(seed, len(axis)) if data is None else data
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Cifti2Image(data, header=(nib.cifti2.SeriesAxis(0, TR, len(data), unit), axis)), file)
    return file


def hcp(root: Path, who: str, ending: str, run_name: str = "rfMRI_REST1_LR", **more: Any) -> Path:
    folder = root / who / "MNINonLinear" / "Results" / run_name
    return dtseries(folder / f"{run_name}_Atlas{ending}.dtseries.nii", **more)


def expected(data: NDArray[Any]) -> NDArray[np.float64]:
    """Means by hand of the four areas and the two structures, at 1 Hz."""
    kept = np.array([v for v in range(VERTICES) if v % 5])
    area = np.concatenate([1 + 2 * side + (kept >= VERTICES // 2) for side in (0, 1)])
    parcel = np.concatenate([area, np.repeat([5, 6], 24)])
    means = np.stack([data[:, parcel == p].mean(1, dtype=np.float64) for p in range(1, 7)], 1)
    return resample(means, TR, 1.0)


def test_areas_of_the_cortex_and_structures_below_it(tmp_path: Path) -> None:
    for number in range(4):
        hcp(tmp_path / "in", f"10000{number}", "_MSMAll_hp2000_clean_rclean_tclean", seed=number)
    moves = np.zeros((VOLUMES, 12))
    moves[::2, 0] = 0.2
    np.savetxt(next((tmp_path / "in").glob("100001/*/*/*")) / "Movement_Regressors.txt", moves)
    areas = dlabel(tmp_path / "glasser.dlabel.nii")
    assert run("dtseries", tmp_path / "in", tmp_path / "out", "--atlas", str(areas)) == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    names = store.parcels["name"].tolist()
    assert names[:4] == list(AREAS) and len(names) == 4 + 19
    assert store.parcels["hemisphere"].tolist()[:4] == ["L", "L", "R", "R"]
    assert store.parcels.set_index("name").loc["BRAIN_STEM", "hemisphere"] == "n/a"
    found = store.series("sub-100002_task-rest_run-1LR")
    columns = [names.index(name) for name in (*AREAS, *BELOW)]
    np.testing.assert_allclose(found[:, columns], expected(values(2, len(models()))), rtol=1e-5)
    assert np.isnan(np.delete(found, columns, axis=1)).all()  # structures that these files do not have
    rows = store.recordings.set_index("id")
    assert rows.loc["sub-100002_task-rest_run-1LR", "tr_s"] == TR
    assert rows.loc["sub-100002_task-rest_run-1LR", "band_low_hz"] == 1 / 2000
    assert rows.loc["sub-100001_task-rest_run-1LR", "mean_fd_mm"] == pytest.approx(0.2)
    text = (tmp_path / "out" / "card.md").read_text()
    for said in ("not A424's", "HCP's 19 structures", "ICA-FIX has cleaned", "twins and siblings", "23 parcels"):
        assert said in text
    assert Card.read(tmp_path / "out").space == "fsLR"


def test_one_file_of_each_run_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MSMAll before the plain surface registration, the plain cleaning before the second; the others are named."""
    for seed, ending in enumerate(("_MSMAll_hp2000_clean", "_MSMAll_hp2000_clean_rclean_tclean", "_hp2000_clean")):
        hcp(tmp_path / "in", "100000", ending, seed=seed)
    hcp(tmp_path / "in", "100001", "_hp0_clean_rclean_tclean", "tfMRI_WM_RL", seed=5)
    hcp(tmp_path / "in", "100002", "", seed=6)
    dtseries(tmp_path / "in" / "mine.dtseries.nii")
    for number in range(3):
        dtseries(tmp_path / "in" / f"sub-x{number}_task-rest_space-fsLR_den-91k_bold.dtseries.nii", seed=7)
    areas = dlabel(tmp_path / "a.dlabel.nii", below=True)
    assert run("dtseries", tmp_path / "in", tmp_path / "out", "--atlas", str(areas)) == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    assert store.parcels["name"].tolist() == [*AREAS, "thalamus"]
    ids = set(store.recordings["id"])
    assert ids == {"sub-100000_task-rest_run-1LR", "sub-100001_task-wm_run-RL"} | {
        f"sub-x{n}_task-rest_space-fsLR_den-91k_bold" for n in range(3)
    }
    own = store.series("sub-100000_task-rest_run-1LR")
    np.testing.assert_allclose(own[:, :4], expected(values(0, len(models())))[:, :4], rtol=1e-5)
    said = capsys.readouterr().err
    used = "the same run as rfMRI_REST1_LR_Atlas_MSMAll_hp2000_clean.dtseries.nii, which is used"
    assert f"_clean_rclean_tclean.dtseries.nii: of 100000, {used}" in said
    assert "rfMRI_REST1_LR_Atlas.dtseries.nii: not cleaned by ICA-FIX" in said
    assert "mine.dtseries.nii: its name and folders do not say" in said


def test_grayordinates_without_data_count_for_nothing(tmp_path: Path) -> None:
    """Zeros throughout, or NaN in one volume; a parcel with less than half of its own is missing."""
    data = values(0, len(models()))
    data[:, 0] = 0
    data[3, 1] = np.nan
    data[:, 24:33] = 0  # nine of the twelve vertices of R_V1
    for number in range(3):
        dtseries(tmp_path / "in" / f"sub-{number}.dtseries.nii", data=data)
    assert run("dtseries", tmp_path / "in", tmp_path / "out", "--atlas", str(dlabel(tmp_path / "a.dlabel.nii"))) == 0
    store = open_store(tmp_path / "out" / "store.zarr")
    found = store.series("sub-1")
    assert np.isnan(found[:, 2]).all()
    np.testing.assert_allclose(found[:, 0], resample(data[:, 2:12].mean(1, keepdims=True), TR, 1.0)[:, 0], rtol=1e-5)
    assert store.recordings["coverage_min"].iloc[0] == 0  # structures that the files do not have


def test_bad_recordings_are_refused_and_good_ones_go_through(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for number in range(3):
        dtseries(folder / f"sub-0{number}.dtseries.nii", seed=number)
    dtseries(folder / "sub-10.dtseries.nii", axis=models(vertices=20))
    dtseries(folder / "sub-11.dtseries.nii", unit="HERTZ")
    (folder / "sub-12.dtseries.nii").write_bytes((folder / "sub-00.dtseries.nii").read_bytes()[:900])
    assert run("dtseries", folder, tmp_path / "out", "--atlas", str(dlabel(tmp_path / "a.dlabel.nii"))) == 0
    rows = open_store(tmp_path / "out" / "store.zarr").recordings.set_index("id")
    for number, text in {"10": "a mesh of 20 vertices, the dlabel's has 30", "11": "not in seconds",
                         "12": "not a readable CIFTI file"}.items():  # fmt: skip
        assert text in rows.loc[f"sub-{number}", "reason"]
    assert (rows.loc[["sub-00", "sub-01", "sub-02"], "status"] == "done").all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "is no .dlabel.nii"),
        (["--atlas", "A424"], "A424 is of voxels"),
        (["--atlas", "{a}/none.dlabel.nii"], "no such file"),
        (["--atlas", "{a}/two.dlabel.nii"], "2 maps of labels"),
        (["--atlas", "{a}/broken.dlabel.nii"], "not a readable CIFTI file"),
        (["--atlas", "{a}/a.dlabel.nii", "--strategy", "36P"], "are for images"),
        (["--atlas", "{a}/a.dlabel.nii", "--scale", "percent"], "are for images"),
    ],
)
def test_what_stops_it(tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    dtseries(tmp_path / "in" / "sub-01.dtseries.nii")
    whole = dlabel(tmp_path / "a.dlabel.nii")
    dlabel(tmp_path / "two.dlabel.nii", maps=2)
    (tmp_path / "broken.dlabel.nii").write_bytes(whole.read_bytes()[:700])
    assert run("dtseries", tmp_path / "in", tmp_path / "out", *(word.format(a=tmp_path) for word in words)) == 2
    error, *remedy = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and said in "".join([error, *remedy]) and len(remedy) == 1
