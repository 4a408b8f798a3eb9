from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from brainlm_data.files.tables import read_table
from brainlm_data.runner.call import call
from brainlm_data.stage import Files
from brainlm_data.stages import keep
from brainlm_data.stages.keep import Config
from tests.stages import phantom, sampled


class Centre:
    """Stands in for the temporal operators: scale by the grand mean, remove each column's mean."""

    def __init__(self, grand_mean: float) -> None:
        self.gain = 10000 / grand_mean

    @classmethod
    def load(cls, filter_recipe: Path, denoise_recipe: Path, grand_mean: float) -> Centre:
        assert filter_recipe.name == "f.json" and denoise_recipe.name == "d.npz"
        return cls(grand_mean)

    def apply(self, x: NDArray[Any]) -> NDArray[Any]:
        return self.gain * (x - x.mean(0))


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setattr("brainlm_data.methods.sampling.to_boldref", sampled.to_boldref)
    module = types.ModuleType("brainlm_data.methods.operators")
    module.Temporal = Centre  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "brainlm_data.methods.operators", module)
    monkeypatch.setattr("brainlm_data.methods.courses.VALUES", 4000)  # several blocks
    params = phantom.walk(4)
    params[3, 2] = -26  # part of the head leaves the field of view
    motion = phantom.motions(params)
    data = phantom.series(motion)
    files = sampled.prepare(tmp_path, phantom.save(tmp_path / "b.nii.gz", data), motion, data[..., 0])
    _, out = sampled.run(files, min_coverage=0)
    recipes = {"filter_recipe": tmp_path / "f.json", "denoise_recipe": tmp_path / "d.npz"}
    recipes["filter_recipe"].write_text("{}")
    recipes["denoise_recipe"].touch()
    return Files({**files, **recipes, "parcels_raw": out["parcels_raw"]}, files.meta)


def write(inputs: Files, images: list[str]) -> tuple[dict[str, Any], Files]:
    folder = inputs["bold"].parent / "kept"
    outputs = Files({name: folder / name / f"{name}.nii.gz" for name in keep.STAGE.outputs})
    return call(keep.STAGE, inputs, outputs, Config(images=images)), outputs


def means(path: Path, inputs: Files) -> NDArray[Any]:
    """Parcel means of a 4-D image over the voxels that it has."""
    image = nib.load(path)
    assert image.get_data_dtype() == np.float32 and image.header.get_zooms() == (2, 2, 2, 2)
    labels = np.asarray(nib.load(inputs["atlas_dseg"]).dataobj)
    data = image.get_fdata(dtype=np.float32)
    there = (data != 0).any(-1)
    columns = []
    for label in np.unique(labels[labels > 0]):
        chosen = (labels == label) & there
        columns.append(data[chosen].mean(0) if chosen.any() else np.full(data.shape[-1], np.nan))
    return np.stack(columns, 1)


def test_images_give_the_parcel_series(inputs: Files) -> None:
    facts, out = write(inputs, ["preproc", "denoised"])
    raw = read_table(inputs["parcels_raw"])[1]
    assert np.isnan(raw).any() or (read_table(inputs["parcels_raw"].parent / "coverage.tsv")[1] < 1).any()
    np.testing.assert_allclose(means(out["keep_preproc"], inputs), raw, rtol=1e-5)
    gain = 10000 / inputs.facts("parcels_raw")["GrandMean"]
    expected = gain * (raw - raw.mean(0))
    np.testing.assert_allclose(means(out["keep_denoised"], inputs), expected, rtol=1e-4, atol=0.02)
    left = sorted(path.name for path in out["keep_preproc"].parent.iterdir())
    assert left == ["keep_preproc.json", "keep_preproc.nii.gz"]  # no scratch file
    assert keep.describe(facts) == "4-D images (denoised, preproc) were written in Phantom space."


@pytest.mark.parametrize("images", [[], ["preproc"], ["denoised"]])
def test_only_what_is_asked_for(inputs: Files, images: list[str]) -> None:
    facts, out = write(inputs, images)
    assert [name for name in ("preproc", "denoised") if out[f"keep_{name}"].exists()] == images
    assert bool(keep.describe(facts)) == bool(images)


@pytest.mark.parametrize(
    ("section", "images"),
    [
        ([], []), (None, []), ({}, []), ("null", []), ({"images": None}, []), ({"images": "null"}, []),
        (["preproc"], ["preproc"]), ("[preproc, denoised]", ["preproc", "denoised"]),
        ({"images": ["denoised"]}, ["denoised"]),
    ],
)  # fmt: skip
def test_section(section: Any, images: list[str]) -> None:
    config = Config.model_validate(section)
    assert config.images == images and config.is_on == bool(images)


@pytest.mark.parametrize("section", [["smoothed"], {"image": ["preproc"]}, 3])
def test_section_that_is_wrong(section: Any) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(section)


def test_golden(inputs: Files, golden: Callable[..., None]) -> None:
    facts, out = write(inputs, ["preproc", "denoised"])
    golden(keep.STAGE, out, facts)
