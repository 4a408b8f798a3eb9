import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import brainlm_model
from brainlm_data import InputError, open_store
from brainlm_model.models.brainlm import BrainLM
from brainlm_model.models.config import ModelConfig
from brainlm_model.models.masking import generator, random_mask
from tests.model.cohort import PARCELS, make, series
from tests.model.test_train import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    run(make(home / "cohort"), home / "model", steps=3)
    return home / "model"


@pytest.fixture(scope="module")
def store(folder):
    return open_store(folder.parent / "cohort" / "store.zarr")


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


def test_all_kinds_of_an_array(folder):
    model = brainlm_model.load(folder)
    one = series(np.random.default_rng(3), 450)
    one[:, 5] = np.nan
    one[230:240, 6] = np.nan  # of the windows at 0, 200 and 250 the second lacks two patches
    found = model.embed(one, kind="all")
    np.testing.assert_array_equal(found.cls, model.embed(one))
    np.testing.assert_array_equal(found.mean, model.embed(one, kind="mean"))
    np.testing.assert_array_equal(found.parcels, model.embed(one, "parcels"))
    assert found.windows == 3 and found.parcels.shape == (PARCELS, 16) and found.stated == []
    assert np.isnan(found.parcels[5]).all() and np.isfinite(np.delete(found.parcels, 5, 0)).all()
    full = series(np.random.default_rng(3), 200)
    found = model.embed(full, kind="all")
    np.testing.assert_allclose(found.parcels.mean(0), found.mean, atol=1e-5)  # as many tokens in every parcel


@pytest.mark.parametrize("attention", ["axial", "full"])
def test_unknown_tokens_are_left_out_of_the_means(attention):
    torch.manual_seed(0)
    config = ModelConfig(parcels=4, window=12, patch=3, width=8, heads=2, hidden=8, depth=2, attention=attention)
    network, x = BrainLM(config).eval(), torch.randn(2, 4, 12)
    x[0, 1, 4] = x[0, 3] = x[1, 2, 11] = torch.nan
    outputs: list[torch.Tensor] = []  # of the encoder: states of CLS and of tokens
    network.encoder_norm.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with torch.inference_mode():
        encoded = network.encode(x)
        known = ~x.unflatten(2, (-1, 3)).isnan().any(-1)
        for row in range(2):  # alone, a window has no padding
            network.encode(x[row : row + 1])
            states = outputs[-1][0, 1:]  # without CLS
            if attention == "axial":
                states = states[known[row]]
            owner = torch.arange(4)[:, None].expand(4, 4)[known[row]]
            torch.testing.assert_close(encoded.mean_BD[row], states.mean(0))
            for parcel in range(4):
                expected = states[owner == parcel].mean(0)  # NaN of nothing
                torch.testing.assert_close(encoded.parcels_BPD[row, parcel], expected, equal_nan=True)
    torch.testing.assert_close(encoded.cls_BD, network.embed(x))


def test_a_batch_gives_what_one_by_one_gives(folder, store):
    model = brainlm_model.load(folder)
    with pytest.warns(UserWarning, match="sub-05_task-rest left out: embed: 150 steps"):
        together = model.embed(store, batch=5)
    assert len(together) == 9
    for name, found in together.items():
        alone = model.embed((store, name), batch=1)
        assert alone.windows == found.windows == 2
        for kind in ("cls", "mean", "parcels"):
            np.testing.assert_allclose(getattr(found, kind), getattr(alone, kind), atol=1e-5)
        np.testing.assert_array_equal(model.embed(store.series(name), batch=1), alone.cls)
    assert np.isnan(together["sub-03_task-rest"].parcels[7]).all()
    assert "nothing beside it says atlas: taken to be the card's (atlas planted)" in found.stated[0]
    paths = model.embed(store.path, "cls", split="test")
    assert list(paths) == ["sub-08_task-rest", "sub-09_task-rest"]
    np.testing.assert_allclose(paths["sub-08_task-rest"], together["sub-08_task-rest"].cls, atol=1e-5)


def test_files_and_their_names(folder, store, tmp_path):
    model = brainlm_model.load(folder)
    values = store.series("sub-00_task-rest")
    np.save(tmp_path / "x.npy", values)
    found = model.embed(str(tmp_path / "x.npy"))
    np.testing.assert_array_equal(found.cls, model.embed(values))
    assert found.stated
    with pytest.raises(InputError, match="no recording sub-77"):
        model.embed((store.path, "sub-77"))
    with pytest.raises(InputError, match="150 steps"):
        model.embed((store, "sub-05_task-rest"))
    with pytest.raises(InputError, match="no recording with status done in split 'other'"):
        model.embed(store, split="other")


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
        if file.is_file() and file.name != "SHA256SUMS":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    content = json.loads((folder / "config.json").read_text())
    for change, message in (({"parcels": 5}, "spatial"), ({"colour": 1}, "unknown keys colour")):
        (tmp_path / "config.json").write_text(json.dumps({**content, "model": {**content["model"], **change}}))
        with pytest.raises(Exception, match=message):
            brainlm_model.load(tmp_path)


def test_a_model_whose_card_is_words_alone_is_refused(folder, store, tmp_path):
    shutil.copytree(folder, tmp_path / "old", ignore=shutil.ignore_patterns("SHA256SUMS"))
    (tmp_path / "old" / "card.json").unlink()
    with pytest.raises(InputError, match=r"old: card\.md without card\.json, made by an earlier release -> train or"):
        brainlm_model.load(tmp_path / "old")
    (tmp_path / "old" / "card.md").unlink()
    found = brainlm_model.load(tmp_path / "old").embed((store, "sub-00_task-rest"))
    assert "does not say how its data were made" in found.stated[0]
    (tmp_path / "old" / "card.json").write_text("{}")
    with pytest.raises(InputError, match=r"card\.json: .*Field required"):
        brainlm_model.load(tmp_path / "old")


def test_nothing_is_pickled(folder):
    assert (folder / "model.safetensors").read_bytes()[8:9] == b"{"
    with np.load(folder / "scaler.npz", allow_pickle=False) as arrays:
        assert set(arrays) >= {"median", "iqr"}
    assert not list(folder.rglob("*.pt")) + list(folder.rglob("*.bin")) + list(folder.rglob("*.pkl"))
