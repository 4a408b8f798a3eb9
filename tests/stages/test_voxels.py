"""Stage voxels: the voxels of a region, as the parcel series are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.errors import InputError
from brainlm_data.files.tables import read_table
from brainlm_data.methods.operators import Recipe, Temporal
from brainlm_data.methods.regression import Regression
from brainlm_data.runner.call import call
from brainlm_data.stage import Files
from brainlm_data.stages import voxels
from brainlm_data.stages.voxels import Config, Voxels
from tests.stages import phantom, sampled

VOLUMES = 14


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A run of known motion; its first two volumes are dropped, one is censored, and a trend is regressed out."""
    folder = tmp_path_factory.mktemp("voxels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brainlm_data.methods.sampling.to_boldref", sampled.to_boldref)
        motion = phantom.motions(phantom.walk(VOLUMES))
        data = phantom.series(motion)
        files = sampled.prepare(folder, phantom.save(folder / "b.nii.gz", data), motion, data[..., 0])
        _, out = sampled.run(files, min_coverage=0)
    Recipe(2.0, VOLUMES, 2, (7,), low_hz=0.02).save(folder / "f.json")
    trend = np.linspace(-1, 1, VOLUMES - 2)[:, None]
    Regression.fit(trend, np.zeros((VOLUMES - 2, 0))).save(folder / "d.npz")
    events = folder / "x_events.tsv"
    events.write_text("onset\tduration\ttrial_type\n4\t2\tface\n")
    more = {"filter_recipe": folder / "f.json", "denoise_recipe": folder / "d.npz", "parcels_raw": out["parcels_raw"]}
    return Files({**files, **more, "sub-01/func/x_events.tsv": events}, files.meta)


def write(inputs: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **section: Any) -> tuple[Any, Files]:
    monkeypatch.setattr("brainlm_data.methods.sampling.to_boldref", sampled.to_boldref)
    monkeypatch.setattr("brainlm_data.methods.courses.VALUES", 4000)  # several blocks
    outputs = Files({"voxels": tmp_path / "x_timeseries.npz", "voxel_events": tmp_path / "x_events.tsv"})
    return call(voxels.STAGE, inputs, outputs, Config(**section)), outputs


def test_their_mean_over_a_parcel_is_the_series_of_the_parcel(
    inputs: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Callable[..., None]
) -> None:
    facts, out = write(inputs, tmp_path, monkeypatch, parcels=["P3", "P1*"])
    golden(voxels.STAGE, dict(out), facts)
    names, raw = read_table(inputs["parcels_raw"])
    gain = inputs.facts("parcels_raw")["GrandMean"]
    expected = Temporal.load(inputs["filter_recipe"], inputs["denoise_recipe"], gain).apply(raw)[2:]
    found = Voxels(out["voxels"])
    labels = np.asarray(nib.load(inputs["atlas_dseg"]).dataobj).ravel()[found.places]
    chosen = [int(name[1:]) for name in names if name == "P3" or name.startswith("P1")]
    assert set(labels) == set(chosen) and len(chosen) > 2
    for label in chosen:
        own = found.series(found.places[labels == label]).mean(1)
        np.testing.assert_allclose(own, expected[:, names.index(f"P{label}")], atol=2e-3 * expected.std() + 1e-3)
    assert out["voxel_events"].read_text() == inputs["sub-01/func/x_events.tsv"].read_text()
    assert facts["FirstVolume"] == 2 and facts["NumberOfVoxels"] == len(labels)


def test_a_mask_in_place_of_parcels(inputs: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros(sampled.GRID_SHAPE, np.uint8)
    mask[20:24, 25, 20] = 1
    nib.save(nib.Nifti1Image(mask, sampled.GRID), tmp_path / "mask.nii.gz")
    rest = Files({name: path for name, path in inputs.items() if not name.endswith("events.tsv")}, inputs.meta)
    facts, out = write(rest, tmp_path, monkeypatch, mask=tmp_path / "mask.nii.gz")
    assert facts["NumberOfVoxels"] == 4 and not out["voxel_events"].exists()
    faint = nib.Nifti1Image(mask * np.float32(0.2), sampled.GRID)
    nib.save(faint, tmp_path / "space-MNI_faint.nii.gz")
    with pytest.raises(InputError, match=r"a mask in space MNI, the series are in \w+"):
        write(rest, tmp_path, monkeypatch, mask=tmp_path / "space-MNI_faint.nii.gz")
    nib.save(faint, tmp_path / "faint.nii.gz")
    assert write(rest, tmp_path, monkeypatch, mask=tmp_path / "faint.nii.gz")[0]["NumberOfVoxels"] == 4
    nib.save(nib.Nifti1Image(np.stack([mask] * 2, -1), sampled.GRID), tmp_path / "two.nii.gz")
    with pytest.raises(InputError, match=r"two\.nii\.gz.*not 3-D"):
        write(rest, tmp_path, monkeypatch, mask=tmp_path / "two.nii.gz")


def test_a_name_that_the_atlas_does_not_have(inputs: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"nothing of the atlas is called 'Visual\*' -> its networks are Net"):
        write(inputs, tmp_path, monkeypatch)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", series=np.zeros((3, 2), np.int16))
    with pytest.raises(InputError, match=r"v\.npz.*slope"):
        Voxels(tmp_path / "v.npz")
