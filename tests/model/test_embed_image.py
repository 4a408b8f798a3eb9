"""Three lines from a preprocessed 4-D image to its embedding."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr

import brainlm_model
from brainlm_data import InputError, read_series
from brainlm_data.files.sums import sum_folder
from brainlm_model.cli import main
from tests.core.test_sources import card
from tests.model.cohort import PARCELS, make, series
from tests.model.test_train import run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose card has facts, its atlas, and an image of a recording of 24 slabs of one voxel's thickness."""
    home = tmp_path_factory.mktemp("image")
    run(make(home / "cohort"), home / "model", steps=1)
    labels = np.repeat(np.arange(1, PARCELS + 1, dtype=np.int32), 12).reshape(PARCELS, 4, 3)
    nib.save(nib.Nifti1Image(labels, np.diag([2.0, 2, 2, 1])), home / "slabs.nii.gz")
    data = card(home / "slabs.nii.gz", parcels=PARCELS, atlas="slabs", band_high_hz=0.5)
    made = json.loads((home / "model" / "card.json").read_text())
    (home / "model" / "card.json").write_text(json.dumps({**made, "data": data.content()}))
    sum_folder(home / "model")
    for number, steps in ((1, 240), (2, 150)):
        values = series(np.random.default_rng(number), steps)
        made = nib.Nifti1Image(
            np.broadcast_to(values.T[:, None, None], (PARCELS, 4, 3, steps)), np.diag([2.0, 2, 2, 1])
        )
        made.header.set_xyzt_units("mm", "sec")
        made.header["pixdim"][4] = 1.0
        nib.save(made, home / f"sub-{number:02d}_task-rest_space-MNI152NLin6Asym_bold.nii.gz")
    return home


def image(home: Path, number: int) -> Path:
    return home / f"sub-{number:02d}_task-rest_space-MNI152NLin6Asym_bold.nii.gz"


def test_an_image_is_embedded(home: Path) -> None:
    model = brainlm_model.load(home / "model")
    e = model.embed(image(home, 1), atlas=home / "slabs.nii.gz")
    assert e.cls.shape == e.mean.shape == (16,) and e.parcels.shape == (PARCELS, 16) and e.windows == 2
    assert np.isfinite(e.parcels).all() and "high-pass 0.01 Hz" in "; ".join(e.stated)
    read = read_series(image(home, 1), model.card.data, home / "slabs.nii.gz")
    np.testing.assert_array_equal(e.cls, model.embed(read.values))
    with pytest.raises(InputError, match="does not come with this package"):
        model.embed(image(home, 1))


def test_the_command_lists_what_it_cannot_embed(home: Path, tmp_path: Path, capsys) -> None:
    broken = tmp_path / "sub-03_task-rest_space-MNI152NLin6Asym_bold.nii.gz"
    broken.write_bytes(image(home, 1).read_bytes()[:3000])
    shutil.copy(home / "slabs.nii.gz", tmp_path / "a.nii.gz")
    sources = [str(path) for path in (image(home, 1), image(home, 2), broken)]
    arguments = ["--out", str(tmp_path / "e.zarr"), "--atlas", str(tmp_path / "a.nii.gz")]
    assert main(["embed", str(home / "model"), *sources, *arguments]) == 0
    found = xr.open_zarr(tmp_path / "e.zarr").load()
    assert found.sizes["recording"] == 1 and found["subject"].item() == "01" and found["task"].item() == "rest"
    printed = capsys.readouterr().out
    assert "left out: sub-02" in printed and "150 steps" in printed
    assert "left out: sub-03" in printed and "truncated" in printed
