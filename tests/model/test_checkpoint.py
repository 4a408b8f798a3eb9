import json
from pathlib import Path

import numpy as np
import pytest
import torch

import brainlm_model
from brainlm_data import InputError
from brainlm_model.masking import generator, random_mask
from tests.model.cohort import PARCELS, make, series
from tests.model.test_train import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    run(make(home / "cohort"), home / "model", steps=3)
    return home / "model"


def test_embedding_is_the_same_every_time_and_differs_between_recordings(folder):
    model = brainlm_model.load(folder)
    rng = np.random.default_rng(3)
    one, two = series(rng, 450), series(rng, 450)
    found = model.embed(one)
    assert found.shape == (16,) and found.dtype == np.float32 and np.isfinite(found).all()
    np.testing.assert_array_equal(found, model.embed(one))
    np.testing.assert_array_equal(found, brainlm_model.load(folder).embed(torch.from_numpy(one)))
    assert np.abs(found - model.embed(two)).max() > 1e-4


def test_embedding_is_the_mean_over_windows_up_to_the_end(folder):
    model = brainlm_model.load(folder)
    one = series(np.random.default_rng(3), 450)
    scaled = (one - one.mean(0) - model.scaler.median) / model.scaler.iqr
    windows = torch.from_numpy(np.stack([scaled[s : s + 200].T for s in (0, 200, 250)]))
    with torch.inference_mode():
        expected = model.network.embed(windows).mean(0).numpy()
    np.testing.assert_allclose(model.embed(one), expected, atol=1e-4)


def test_embedding_does_not_depend_on_level(folder):
    model = brainlm_model.load(folder)
    one = series(np.random.default_rng(3), 200)
    np.testing.assert_allclose(model.embed(one), model.embed(one + 500), atol=2e-3)


def test_reconstruct_keeps_what_is_visible(folder):
    model = brainlm_model.load(folder)
    x, mask = torch.randn(2, PARCELS, 200), random_mask(2, PARCELS, 10, 0.75, generator(0))
    found, steps = model.reconstruct(x, mask), mask.repeat_interleave(20, 2)
    assert torch.equal(found[~steps], x[~steps]) and (found[steps] != x[steps]).all()


@pytest.mark.parametrize("shape", [(PARCELS, 300), (300, PARCELS + 1), (300,), (199, PARCELS)])
def test_wrong_series_is_refused_with_its_shape(folder, shape):
    with pytest.raises(InputError, match="embed: "):
        brainlm_model.load(folder).embed(np.zeros(shape, np.float32))


@pytest.mark.parametrize(("value", "message"), [(np.nan, "no parcel has 20 known steps"), (np.inf, "9000 infinite")])
def test_a_series_without_values_is_refused(folder, value, message):
    with pytest.raises(InputError, match=f"embed: {message}"):
        brainlm_model.load(folder).embed(np.full((9000 // PARCELS, PARCELS), value, np.float32))


def test_a_window_without_values_does_not_count(folder):
    model = brainlm_model.load(folder)
    one = series(np.random.default_rng(3), 400)
    half = one.copy()
    half[200:] = np.nan
    np.testing.assert_allclose(model.embed(half), model.embed(one[:200]), atol=1e-4)


def test_incomplete_or_mixed_folders_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"no model\.safetensors, config\.json, scaler\.npz"):
        brainlm_model.load(tmp_path)
    for file in folder.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    content = json.loads((folder / "config.json").read_text())
    for change, message in (({"parcels": 5}, "spatial"), ({"colour": 1}, "unknown keys colour")):
        (tmp_path / "config.json").write_text(json.dumps({**content, "model": {**content["model"], **change}}))
        with pytest.raises(Exception, match=message):
            brainlm_model.load(tmp_path)


def test_nothing_is_pickled(folder):
    assert (folder / "model.safetensors").read_bytes()[8:9] == b"{"
    with np.load(folder / "scaler.npz", allow_pickle=False) as arrays:
        assert set(arrays) >= {"median", "iqr"}
    assert not list(folder.rglob("*.pt")) + list(folder.rglob("*.bin")) + list(folder.rglob("*.pkl"))
