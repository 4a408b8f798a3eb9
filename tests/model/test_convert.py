"""Official checkpoints in and out: exact, safe, with their licence, and of use to the rest of the product."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import brainlm_model
from brainlm_data import InputError, open_store, sum_folder
from brainlm_data.runner.call import call
from brainlm_model.cli import main
from brainlm_model.eval.masked import stage as evaluate
from brainlm_model.models.loss import masked_mse
from brainlm_model.models.official import build, read_network, to_hf, to_model
from brainlm_model.models.official.config import to_hf as hf_fields
from brainlm_model.models.official.files import DEAD
from brainlm_model.models.official.network import VITMAE_DIVISOR
from brainlm_model.trained.checkpoint import save_weights
from tests.conftest import SHARED
from tests.model import results
from tests.model.cohort import PARCELS, make, series
from tests.model.test_official import BRAINLM, VITMAE, network

CONFIG = replace(BRAINLM, num_brain_voxels=PARCELS, num_timepoints_per_voxel=200, timepoint_patching_size=20)
FIELDS = {**hf_fields(CONFIG), "transformers_version": "4.28.0.dev0", "colour": "red"}  # two that nothing needs


def write_hf(folder: Path, weights: dict[str, Any], fields: dict[str, Any] = FIELDS, kind: str = "safetensors") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(fields))
    if kind == "safetensors":
        save_file(weights, folder / "model.safetensors")
    elif kind == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:  # shards
        names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
        halves = [dict(list(weights.items())[i::2]) for i in (0, 1)]
        for name, half in zip(names, halves, strict=True):
            save_file(half, folder / name)
        index = {"weight_map": {key: n for n, half in zip(names, halves, strict=True) for key in half}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def weights() -> dict[str, Any]:
    return network(CONFIG, 3).state_dict()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make(tmp_path / "cohort").path


def xyz_mm(store: Path) -> Any:
    return open_store(store).parcels[["x", "y", "z"]].to_numpy()


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(a[k].dtype == b[k].dtype and a[k].numpy().tobytes() == b[k].numpy().tobytes() for k in b)


@pytest.mark.parametrize("kind", ["safetensors", "bin", "shards"])
def test_round_trip_is_exact(weights, tmp_path, kind):
    weights["vit.layernorm.weight"] = weights["vit.layernorm.weight"].half()  # kept as it is, too
    source = write_hf(tmp_path / "hf", weights, kind=kind)
    assert main(["convert", str(source), str(tmp_path / "ours")]) == 0
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "back"), "--to", "hf"]) == 0
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert set(back) == set(weights) and same(back, weights)
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == FIELDS
    signal, xyz = torch.randn(1, PARCELS, 200), torch.randn(1, PARCELS, 3)
    noise = torch.rand(1, 240)
    with torch.no_grad():
        one, two = (read_network(tmp_path / name)(signal, xyz, noise) for name in ("hf", "back"))
    assert torch.equal(one.logits, two.logits)


@pytest.mark.parametrize("name", ["brainlm_exact", "vitmae_pad"])
def test_exported_keys_and_shapes_are_the_official_ones(tmp_path, name):
    prefix = SHARED / "fixtures" / "brainlm" / name
    if not prefix.with_suffix(".json").is_file():
        pytest.skip("the official code's outputs (fixtures/brainlm) are not at hand")
    content = json.loads(prefix.with_suffix(".json").read_text())
    given = load_file(f"{prefix}.weights.safetensors")  # without the dead ones
    source = write_hf(tmp_path / "hf", given, content["config"])
    to_model(source, tmp_path / "ours")
    to_hf(tmp_path / "ours", tmp_path / "back")
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert {key: list(value.shape) for key, value in back.items()} == content["state_dict_shapes"]
    assert same(back, given)
    for key in set(back) - set(given):  # only what nothing reads, or can be computed
        assert key in DEAD and (key.endswith(".pe") or not back[key].any())


def test_the_licence_travels(weights, tmp_path, capsys):
    source = write_hf(tmp_path / "hf", weights)
    main(["convert", str(source), str(tmp_path / "ours")])
    main(["convert", str(tmp_path / "ours"), str(tmp_path / "back"), "--to", "hf"])
    assert capsys.readouterr().out.count("CC BY-NC-ND 4.0") == 2
    card, readme = (tmp_path / "ours" / "card.md").read_text(), (tmp_path / "back" / "README.md").read_text()
    assert "CC BY-NC-ND 4.0" in card and "scaler.npz: missing" in card and "coordinates: missing" in card
    assert readme.startswith("---\nlicense: cc-by-nc-nd-4.0\n---\n") and card in readme


class Evil:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def test_a_pickle_that_would_run_code_is_refused(weights, tmp_path, capsys):
    proof = tmp_path / "was-here"
    source = write_hf(tmp_path / "hf", {**weights, "vit.layernorm.bias": Evil(proof)}, kind="bin")
    assert main(["convert", str(source), str(tmp_path / "ours")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert not proof.exists() and not (tmp_path / "ours").exists()
    assert [line[:7] for line in lines] == ["error: ", "  try: "] and "pickle" in lines[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w, c: w.pop("decoder.mask_token"), r"missing keys: decoder\.mask_token; extra keys: none"),
        (lambda w, c: w.update(new=torch.zeros(1)), "missing keys: none; extra keys: new"),
        (lambda w, c: w.update({"decoder.mask_token": torch.zeros(1, 1, 9)}), r"mask_token \(1, 1, 9\) instead of"),
        (lambda w, c: c.pop("num_landmarks"), "no num_landmarks"),
        (lambda w, c: c.update(model_type="bert"), "model_type 'bert'"),
        (lambda w, c: c.update(hidden_size="8"), "hidden_size is '8'"),
        (lambda w, c: c.update(num_attention_heads=3), "not a multiple"),
        (lambda w, c: c.update(loss_fn="huber"), "loss_fn"),
        (lambda w, c: c.update(inv_coeff_init_option=True), "inv_coeff_init_option"),
    ],
)
def test_what_does_not_fit_is_named(weights, tmp_path, change, message):
    fields = dict(FIELDS)
    change(weights, fields)
    with pytest.raises(InputError, match=message):
        to_model(write_hf(tmp_path / "hf", weights, fields), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_broken_folders_are_refused(weights, tmp_path, store):
    with pytest.raises(InputError, match=r"config\.json"):
        to_model(tmp_path / "nothing", tmp_path / "ours")
    source = write_hf(tmp_path / "hf", weights)
    with pytest.raises(InputError, match="has files in it"):
        to_model(source, source)
    with pytest.raises(InputError, match="no official architecture"):
        to_hf(source, tmp_path / "back")
    (source / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="download it again"):
        to_model(source, tmp_path / "ours")
    (source / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"none of model\.safetensors"):
        to_model(source, tmp_path / "ours")
    (source / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret.safetensors"}}')
    with pytest.raises(InputError, match="shards lie beside"):
        to_model(source, tmp_path / "ours")
    other = write_hf(tmp_path / "other", network(BRAINLM).state_dict(), hf_fields(BRAINLM))
    with pytest.raises(InputError, match="24 parcels, the model has 5"):
        to_model(other, tmp_path / "ours", store=store)
    with pytest.raises(InputError, match="24 parcels, the model has 5"):
        to_model(other, tmp_path / "ours", scaler=store.parent / "scaler.npz")


def test_without_scaler_or_coordinates_nothing_is_guessed(weights, tmp_path, store):
    source = write_hf(tmp_path / "hf", weights)
    to_model(source, tmp_path / "a")
    with pytest.raises(InputError, match=r"no scaler\.npz"):
        brainlm_model.load(tmp_path / "a")
    to_model(source, tmp_path / "b", scaler=store.parent / "scaler.npz")
    with pytest.raises(InputError, match="no coordinates"):
        brainlm_model.load(tmp_path / "b")


@pytest.fixture
def converted(weights, tmp_path, store) -> Path:
    to_model(write_hf(tmp_path / "hf", weights), tmp_path / "ours", store=store)
    return tmp_path / "ours"


def test_a_converted_model_embeds(converted, store, tmp_path):
    model = brainlm_model.load(converted)
    one, two = (series(np.random.default_rng(seed), 450) for seed in (1, 2))
    assert model.embed(one).shape == (8,) and np.isfinite(model.embed(one)).all()
    np.testing.assert_array_equal(model.embed(one), brainlm_model.load(converted).embed(one))
    assert np.abs(model.embed(one) - model.embed(two)).max() > 1e-4
    # coordinates are raw mm, and matter
    np.testing.assert_allclose(model.network.coordinates.numpy(), xyz_mm(store), rtol=1e-6)
    out = tmp_path / "embeddings.tsv"
    assert main(["embed", str(converted), str(store), "--out", str(out)]) == 0
    assert pd.read_csv(out, sep="\t").shape == (9, 9)


def test_reconstruction_is_the_official_one_where_masked_and_the_input_elsewhere(converted):
    model = brainlm_model.load(converted)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(3, PARCELS, 200, generator=random)
    mask = torch.rand(3, PARCELS, 10, generator=random) < 0.5  # rows differ in their number
    found, steps = model.reconstruct(x, mask), mask.repeat_interleave(20, 2)
    assert torch.equal(found[~steps], x[~steps])
    order = torch.rand(240, generator=torch.Generator().manual_seed(0))
    for b in range(3):
        ratio = (mask[b].sum().item() - 0.5) / 240  # int() in the official code rounds down
        noise = (order + mask[b].flatten())[None]
        with torch.no_grad():
            official = model.network.network(x[b : b + 1], model.network.coordinates[None], noise, ratio)
        assert torch.equal(official.mask[0] == 1, mask[b])
        torch.testing.assert_close(found[b][steps[b]], official.logits[0].flatten(1)[steps[b]], rtol=1e-4, atol=1e-5)
    x[0, 3, 25] = torch.nan  # hidden, and predicted as if it were masked
    again, mask[0, 3, 1] = model.reconstruct(x, mask), True
    torch.testing.assert_close(again[0], model.reconstruct(x.nan_to_num(), mask)[0])
    assert again.isfinite().all()


def test_evaluate_scores_a_converted_model(tmp_path):
    results.simulate(tmp_path)  # one parcel of one subject is not known
    config = replace(CONFIG, num_brain_voxels=results.PARCELS)
    source = write_hf(tmp_path / "hf", network(config).state_dict(), hf_fields(config))
    to_model(source, results.artifact(tmp_path, "model").parent, store=results.artifact(tmp_path, "store"))
    stage = evaluate.STAGE
    section = evaluate.Config(mask_ratios=[0.5], bootstrap=100, windows_per_recording=1, threads=1, device="cpu")
    facts = call(stage, results.files(tmp_path, stage.inputs), results.files(tmp_path, stage.outputs), section)
    assert stage.describe(facts)
    table = pd.read_csv(results.artifact(tmp_path, "masked_csv"))
    values = table[table["metric"] == "r2_flat"].pivot_table(index="method", columns="masking", values="value")
    assert {"model", "untrained", "gaussian"} <= set(values.index) and np.isfinite(values).all(axis=None)
    assert (values.loc["model"] != values.loc["untrained"]).all()


def test_a_fine_tuned_model_is_exported_with_its_new_weights(converted, tmp_path):
    model = brainlm_model.load(converted)
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    x, mask = torch.randn(2, PARCELS, 200), torch.rand(2, PARCELS, 10) < 0.5
    model.network.train()
    masked_mse(model.network(x, mask), x, mask).backward()
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    save_weights(model.network, converted / "model.safetensors")
    sum_folder(converted)
    to_hf(converted, tmp_path / "back")
    back = load_file(tmp_path / "back" / "model.safetensors")
    kept = {key for key, value in back.items() if torch.equal(value, before[f"network.{key}"])}
    assert kept >= set(DEAD) and "coordinates" not in back
    assert all(key.endswith("key.bias") for key in kept - set(DEAD))  # softmax does not depend on it


def test_a_converted_vitmae_embeds_parcels_sorted_by_y(tmp_path, store):
    config = replace(VITMAE, image_size=216, patch_size=24)
    made = network(config, 4)
    fields = {k: v for k, v in hf_fields(config).items() if not k.startswith("num_brain") and "timepoints" not in k}
    source = write_hf(tmp_path / "hf", made.state_dict(), fields)  # like the official one, which says neither
    to_model(source, tmp_path / "ours", store=store)
    model = brainlm_model.load(tmp_path / "ours")
    one = series(np.random.default_rng(3), 200)
    scaled = (one - one.mean(0) - model.scaler.median) / model.scaler.iqr
    rows = np.argsort(xyz_mm(store)[:, 1])
    with torch.no_grad():
        window = torch.from_numpy(scaled.T[rows][None] / VITMAE_DIVISOR).float()
        expected = made(window, mask_ratio=0.0, mode="auto_encode").cls[0]
    np.testing.assert_allclose(model.embed(one), expected.numpy(), rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="squares"):
        model.reconstruct(torch.zeros(1, PARCELS, 200), torch.zeros(1, PARCELS, 1, dtype=torch.bool))


def test_build_refuses_unknown_names():
    with pytest.raises(Exception, match="one of official-5m"):
        build("official-1b")
