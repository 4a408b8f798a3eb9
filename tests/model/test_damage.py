"""Damage at rest: the cache of training, step checkpoints, and the files of a model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import brainlm_model
from brainlm_data import InputError, Scaler, sum_folder
from brainlm_model import WindowDataset
from brainlm_model.models.brainlm import BrainLM
from brainlm_model.models.config import ModelConfig
from brainlm_model.trained.checkpoint import config_json, save_weights
from brainlm_model.training import state
from tests.model.cohort import make


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cohort")
    make(home)
    windows(home)
    return home


def windows(home: Path) -> np.ndarray:
    data = WindowDataset(home / "store.zarr", "train", 100)
    return data.windows(range(len(data))).numpy()


def flip(file: Path, share: float = 0.5) -> None:
    content = bytearray(file.read_bytes())
    content[int(share * len(content))] ^= 1
    file.write_bytes(content)


# ---- the cache ----


def test_a_flipped_bit_of_the_cache_is_refused_and_the_cache_made_anew(cohort: Path) -> None:
    expected, file = windows(cohort), cohort / ".store.zarr.flat.npy"
    flip(file, 0.3)
    with pytest.raises(InputError, match=r"flat.npy: damaged at recording sub-0\d_task-rest -> run the same command"):
        windows(cohort)
    np.testing.assert_array_equal(windows(cohort), expected)


def test_what_is_not_read_is_not_checked(cohort: Path) -> None:
    """A start reads no more of the cache than it needs: here another split's recordings."""
    flip(cohort / ".store.zarr.flat.npy", 0.99)  # of test
    before = (cohort / ".store.zarr.flat.npy").stat().st_mtime_ns
    windows(cohort)
    assert (cohort / ".store.zarr.flat.npy").stat().st_mtime_ns == before
    test = WindowDataset(cohort / "store.zarr", "test", 100)
    with pytest.raises(InputError, match="damaged at recording sub-09"):
        test.series(1)


@pytest.mark.parametrize("name", [".store.zarr.flat.npy", ".store.zarr.flat.npz"])
@pytest.mark.parametrize("damage", ["cut", "empty", "folder", "delete", "header"])
def test_a_cache_that_cannot_be_read_is_made_anew(cohort: Path, name: str, damage: str) -> None:
    expected, file = windows(cohort), cohort / name
    content = file.read_bytes()
    if damage in ("folder", "delete"):
        file.unlink()
        if damage == "folder":
            (file / "x").mkdir(parents=True)
    else:
        huge = content.replace(b"'shape': (", b"'shape': (9", 1)  # claims more rows than there are
        file.write_bytes({"cut": content[:-9], "empty": b"", "header": huge}[damage])
    np.testing.assert_array_equal(windows(cohort), expected)
    assert file.is_file()


# ---- step checkpoints ----


def checkpoints(folder: Path) -> torch.nn.Linear:
    """Two checkpoints of a network, at steps 1 and 2; their weights are the step's number."""
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    for step in (1, 2):
        torch.nn.init.constant_(network.weight, step)
        network(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        torch.nn.init.constant_(network.weight, step)
        log = [{"step": n, "loss": 0.5} for n in range(step)]
        state.save(folder, state.snapshot({"seed": 0}, network, optimizer, {}, log, []))
    return network


def resumed(folder: Path) -> tuple[float, int]:
    network = torch.nn.Linear(3, 2)
    torch.nn.init.constant_(network.weight, 0)
    checkpoint = state.load(folder)
    assert checkpoint is not None
    checkpoint.put(network, torch.optim.AdamW(network.parameters()))
    return network.weight[0, 0].item(), len(checkpoint.log)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(tmp_path: Path, damage: str, capsys: Any) -> None:
    checkpoints(tmp_path)
    assert resumed(tmp_path) == (2, 2)
    last, content = tmp_path / state.NAME, (tmp_path / state.NAME).read_bytes()
    last.unlink()
    if damage == "folder":
        last.mkdir()
    else:
        last.write_bytes({"flip": content, "cut": content[:-9], "empty": b""}[damage])
    if damage == "flip":
        flip(last, 0.95)
    assert resumed(tmp_path) == (1, 1)
    assert "step.safetensors: " in (said := capsys.readouterr().err) and "the checkpoint before it is used" in said
    assert not last.exists() and resumed(tmp_path) == (1, 1)
    flip(tmp_path / state.BEFORE, 0.95)
    with pytest.raises(InputError, match=r"step-before.safetensors: damaged .* -> delete .* the same command"):
        resumed(tmp_path)


def test_a_kill_between_two_moves_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoints(tmp_path)
    (tmp_path / state.NAME).unlink()
    assert resumed(tmp_path) == (1, 1)


# ---- a model ----


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    network = BrainLM(ModelConfig(parcels=4, window=12, patch=3, width=8, heads=2, hidden=8, depth=1))
    save_weights(network, folder / "model.safetensors")
    (folder / "config.json").write_text(config_json(network, {"Seed": 0}))
    Scaler(np.zeros(4, np.float32), np.ones(4, np.float32)).save(folder / "scaler.npz")
    return folder


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "scaler.npz"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder", "other"])
@pytest.mark.parametrize("summed", [True, False])
def test_damage_of_a_model_is_one_line(trained: Path, tmp_path: Path, file: str, damage: str, summed: bool) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    if summed:
        sum_folder(folder)
    brainlm_model.load(folder)
    place, content = folder / file, (folder / file).read_bytes()
    place.unlink()
    if damage == "folder":
        place.mkdir()
    else:
        place.write_bytes({"flip": content, "cut": content[:-20], "empty": b"", "other": b"{}"}[damage])
    if damage == "flip":
        if not summed:
            return  # nothing says what they were: a model of an earlier release
        flip(place)
    with pytest.raises(InputError, match=rf"{file}: ") as error:
        brainlm_model.load(folder)
    assert "\n" not in str(error.value) and error.value.remedy


@pytest.mark.parametrize(("value", "words"), [(torch.nan, "NaN or infinite"), (torch.inf, "NaN or infinite")])
def test_weights_that_are_no_numbers(trained: Path, tmp_path: Path, value: float, words: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    network = brainlm_model.load(folder).network
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    next(iter(weights.values())).view(-1)[0] = value
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=rf"model.safetensors: .*{words}"):
        brainlm_model.load(folder)


def test_what_was_there_and_is_gone_is_missed(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    (folder / "card.json").write_text('{"model": {"name": "x", "title": "x"}}')
    sum_folder(folder)
    brainlm_model.load(folder)
    (folder / "card.json").unlink()
    with pytest.raises(InputError, match=r"card.json: gone"):  # else nothing would be compared with its data
        brainlm_model.load(folder)
