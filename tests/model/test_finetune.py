"""Fine-tuning on a cohort whose labels are known functions of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import brainlm_model
from brainlm_data import open_store
from brainlm_model.cli import main
from brainlm_model.finetune.rates import layer_rates, parameter_groups
from brainlm_model.finetune.settings import Settings
from brainlm_model.finetune.windows import Windows
from brainlm_model.trained.finetuned import FineTuned
from brainlm_model.trained.head import PredictionHead
from brainlm_model.trained.transform import Transform
from tests.model.people import PARCELS, PATCH, SPLITS, WINDOW, make, trained

FILES = {"model.safetensors", "head.safetensors", "config.json", "scaler.npz", "card.json", "card.md", "log.csv",
         "predictions.tsv", "scores.json", "SHA256SUMS"}  # fmt: skip


LONG = ["--lr", "0.003", "--layer-decay", "1", "--batch-size", "4", "--epochs", "80", "--patience", "80"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("finetune")
    trained(make(home), home / "model", ridge=0.05)
    return home


def tune(home: Path, out: Path, *arguments: str, store: Path | None = None) -> int:
    given = [str(home / "model"), str(store or home / "store.zarr"), "--out", str(out), "--threads", "1"]
    return main(["finetune", *given, "--bootstrap", "100", *arguments])


def log(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "log.csv")


@pytest.fixture(scope="module")
def age(home: Path) -> Path:
    assert tune(home, home / "age", "--column", "age", *LONG) == 0
    return home / "age"


def test_a_planted_label_is_learnt(age: Path) -> None:
    assert {p.name for p in age.iterdir()} == FILES
    table = pd.read_csv(age / "predictions.tsv", sep="\t", dtype={"subject": str})
    assert list(table.columns) == ["id", "subject", "split", "truth", "predicted"]
    assert table["split"].tolist() == SPLITS
    train = table[table["split"] == "train"]
    assert np.corrcoef(train["truth"], train["predicted"])[0, 1] > 0.9
    rows = log(age)
    assert rows["validation_loss"].min() < 0.5 * rows["validation_loss"][0]
    scores = json.loads((age / "scores.json").read_text())
    assert scores["n_subjects"] == 8 and set(scores["methods"]) == {"model", "ridge_on_correlations", "training_mean"}
    model, mean = scores["methods"]["model"], scores["methods"]["training_mean"]
    assert model["r"]["value"] > 0.6 and model["mse"]["value"] < mean["mse"]["value"] and mean["r"]["value"] is None
    test = table[table["split"] == "test"]
    assert model["mse"]["value"] == pytest.approx(((test["truth"] - test["predicted"]) ** 2).mean(), rel=1e-5)
    assert model["r"]["value"] == pytest.approx(np.corrcoef(test["truth"], test["predicted"])[0, 1], rel=1e-5)
    scale = json.loads((age / "config.json").read_text())["finetune"]["transform"]["scale"]
    assert scores["transformed"]["model"]["mse"]["value"] * scale**2 == pytest.approx(model["mse"]["value"], rel=1e-5)


def test_predictions_come_back_in_the_labels_units(home: Path, age: Path) -> None:
    model = brainlm_model.load(age)
    assert isinstance(model, FineTuned)
    store = open_store(home / "store.zarr")
    table = pd.read_csv(age / "predictions.tsv", sep="\t", index_col="id")
    found = model.predict(store)
    np.testing.assert_allclose(list(found.values()), table.loc[list(found), "predicted"], rtol=1e-3)
    one = model.predict(store.series("sub-00_task-rest"))
    assert isinstance(one, float) and 10 < one < 90 and one == pytest.approx(found["sub-00_task-rest"], rel=1e-4)
    assert model.predict((store, "sub-00_task-rest")) == found["sub-00_task-rest"]
    assert model.embed(store.series("sub-00_task-rest")).shape == (16,)
    card = (age / "card.md").read_text()
    assert "fine-tuned" in card and "column age, z-scored by the labels of training subjects" in card
    base, tuned = brainlm_model.load(home / "model").card, brainlm_model.load(age).card
    assert tuned.markdown() == card and tuned.model.base == base.model and tuned.data == base.data is not None


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_frozen_encoder_keeps_its_bytes(home: Path, tmp_path: Path, head: str) -> None:
    arguments = ["--column", "age", "--train", "frozen", "--head", head, "--transform", "minmax"]
    assert tune(home, tmp_path / "out", *arguments, *LONG, "--epochs", "40") == 0
    before, after = (f / "model.safetensors" for f in (home / "model", tmp_path / "out"))
    assert before.read_bytes() == after.read_bytes()
    rows = log(tmp_path / "out")
    fitted = rows["loss"].dropna()
    assert fitted.iloc[-1] < 0.95 * fitted.iloc[0]  # of training: what the frozen features hold is not the head's doing
    one = open_store(home / "store.zarr").series("sub-00_task-rest")
    np.testing.assert_array_equal(
        brainlm_model.load(home / "model").embed(one), brainlm_model.load(tmp_path / "out").embed(one)
    )
    layers = {k for k in load_file(tmp_path / "out" / "head.safetensors") if k.endswith("weight")}
    assert len(layers) == {"linear": 1, "mlp": 3}[head]


def test_full_training_changes_the_encoder_and_leaves_the_decoder(home: Path, age: Path) -> None:
    before, after = (load_file(f / "model.safetensors") for f in (home / "model", age))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"project.weight", "encoder.0.mlp.0.weight", "encoder_norm.weight"} <= changed
    assert not any(name.startswith(("decoder", "head", "prior", "coordinates")) for name in changed)


def test_layers_learn_at_the_documented_rates() -> None:
    names = ["cls", "project.weight", "encoder.0.mlp.0.weight", "encoder.1.mlp.0.weight", "encoder_norm.weight",
             "decoder.0.mlp.0.weight", "head.weight"]  # fmt: skip
    expected = dict(zip(names, [0.125, 0.125, 0.25, 0.5, 1, 1, 1], strict=True))
    assert layer_rates(names, 0.5) == expected
    official = ["network.vit.embeddings.cls_token", "network.vit.encoder.layer.0.output.dense.weight",
                "network.vit.layernorm.bias", "network.decoder.decoder_norm.weight"]  # fmt: skip
    assert list(layer_rates(official, 0.5).values()) == [0.25, 0.5, 1, 1]
    network = torch.nn.ModuleDict({"encoder": torch.nn.ModuleList([torch.nn.Linear(3, 3) for _ in range(2)])})
    groups = parameter_groups(network, PredictionHead("linear", 3, 1), 0.5, 0.1)
    found = {(g["factor"], g["weight_decay"]): sum(p.numel() for p in g["params"]) for g in groups}
    assert found == {(0.25, 0.1): 9, (0.25, 0.0): 3, (0.5, 0.1): 9, (0.5, 0.0): 3, (1.0, 0.1): 3, (1.0, 0.0): 1}


@pytest.mark.parametrize("kind", ["z", "minmax", "logminmax", "none"])
def test_transforms_go_there_and_back(kind: Any) -> None:
    values = np.array([0.0, 3, 8, 40])
    made = Transform.fit(kind, values)
    np.testing.assert_allclose(made.invert(made.apply(values)), values, atol=1e-12)
    expected = {"z": [(0 - 12.75) / values.std(), None], "minmax": [0, 1], "logminmax": [0, 1], "none": [0, 40]}[kind]
    assert made.apply(values)[0] == pytest.approx(expected[0])
    assert expected[1] is None or made.apply(values)[3] == pytest.approx(expected[1])
    if kind == "logminmax":
        assert made.apply(values)[1] == pytest.approx(np.log(4) / np.log(41))


def changed(home: Path, folder: Path, **columns: Any) -> Path:
    """The same store with other labels."""
    folder.mkdir()
    for name in ("store.zarr", "scaler.npz", "card.md"):
        (folder / name).symlink_to(home / name)
    table = pd.read_parquet(home / "recordings.parquet")
    table.assign(**{k: v(table) for k, v in columns.items()}).to_parquet(folder / "recordings.parquet")
    return folder / "store.zarr"


def test_only_training_labels_make_the_transform(home: Path, tmp_path: Path) -> None:
    arguments = ["--column", "age", "--epochs", "1", "--train", "frozen"]
    held_out = changed(home, tmp_path / "a", age=lambda t: t["age"].where(t["split"] == "train", 500.0))
    own = changed(home, tmp_path / "b", age=lambda t: t["age"].where(t["split"] != "train", t["age"] * 2))
    found = []
    for name, store in (("plain", None), ("held_out", held_out), ("own", own)):
        assert tune(home, tmp_path / name, *arguments, store=store) == 0
        found.append(json.loads((tmp_path / name / "config.json").read_text())["finetune"]["transform"])
    assert found[0] == found[1] != found[2]
    table = pd.read_parquet(home / "recordings.parquet")
    train = table.loc[table["split"] == "train", "age"]
    assert found[0]["shift"] == pytest.approx(train.mean()) and found[0]["scale"] == pytest.approx(train.std(ddof=0))


def test_the_same_seed_gives_the_same_bytes(home: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert tune(home, tmp_path / name, "--column", "age", "--epochs", "3", "--seed", seed) == 0
    for file in ("model.safetensors", "head.safetensors", "predictions.tsv", "scores.json", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    assert (tmp_path / "a/head.safetensors").read_bytes() != (tmp_path / "c/head.safetensors").read_bytes()


def test_classes(home: Path, tmp_path: Path) -> None:
    arguments = ["--column", "sex", "--task", "classification", "--head", "linear", *LONG, "--epochs", "50"]
    assert tune(home, tmp_path / "out", *arguments) == 0
    table = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t")
    train = table[table["split"] == "train"]
    assert (train["truth"] == train["predicted"]).mean() > 0.85 and set(table["truth"]) == {"F", "M"}
    np.testing.assert_allclose(table["probability_F"] + table["probability_M"], 1, atol=1e-5)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["methods"]
    test = table[table["split"] == "test"]
    assert scores["model"]["accuracy"]["value"] == pytest.approx((test["truth"] == test["predicted"]).mean())
    assert scores["training_mean"]["auroc"]["value"] == 0.5
    model = brainlm_model.load(tmp_path / "out")
    one = open_store(home / "store.zarr").series("sub-00_task-rest")
    found = model.predict(one, probabilities=True)
    assert sum(found.values()) == pytest.approx(1) and model.predict(one) == max(found, key=found.__getitem__)


def test_early_stopping_keeps_the_best_weights(home: Path, tmp_path: Path) -> None:
    arguments = "--column age --lr 0.5 --epochs 20 --patience 2 --head linear --train frozen"
    assert tune(home, tmp_path / "out", *arguments.split()) == 0
    rows = log(tmp_path / "out")
    best = int(rows["validation_loss"].argmin())
    assert len(rows) < 21 and len(rows) - 1 - best == 2
    table = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t")
    scale = json.loads((tmp_path / "out" / "config.json").read_text())["finetune"]["transform"]["scale"]
    held = table[table["split"] == "validation"]
    loss = (((held["truth"] - held["predicted"]) / scale) ** 2).mean()
    assert loss == pytest.approx(rows["validation_loss"][best], rel=1e-4)


def test_a_store_with_another_scaler_is_scaled_as_the_model_is(home: Path, tmp_path: Path) -> None:
    folder = changed(home, tmp_path / "other").parent
    with np.load(home / "scaler.npz") as arrays:
        median, iqr = arrays["median"], arrays["iqr"]
    (folder / "scaler.npz").unlink()
    np.savez(folder / "scaler.npz", median=median + 3, iqr=iqr * np.linspace(0.5, 2, PARCELS, dtype=np.float32))
    model = brainlm_model.load(home / "model")
    same, other = (
        Windows(open_store(f / "store.zarr"), "test", model, Settings("future", future=PATCH)) for f in (home, folder)
    )
    for a, b in ((same.draw([2, 0], 1), other.draw([2, 0], 1)), (same.every(1), other.every(1))):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert same.every(1).shape[1:] == (PARCELS, WINDOW)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--column height", "no column height"),
        ("--column sex", "'M' is no number|'F' is no number"),
        ("--column site --task classification", "all training subjects are of class A"),
        ("--column age --task classification", "16 classes in 16 training recordings"),
        ("--column note --task classification", "no validation subject with a known note"),
        ("--column age --lr -1", "finetune: lr -1.0"),
        ("--future 15", "the model's patch is 10, its window 40"),
        ("--future 10 --train frozen", "the future needs the whole network"),
    ],
)
def test_errors_are_one_line(home: Path, tmp_path: Path, capsys: Any, arguments: str, message: str) -> None:
    assert tune(home, tmp_path / "out", *arguments.split()) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 2 and any(part in error[0] for part in message.split("|")) and error[1].startswith("  try: ")
    assert not list(tmp_path.iterdir())


def test_no_validation_subjects_and_a_folder_that_is_taken(home: Path, tmp_path: Path, capsys: Any) -> None:
    store = changed(home, tmp_path / "s", split=lambda t: t["split"].replace("validation", "train"))
    assert tune(home, tmp_path / "out", "--column", "age", store=store) == 2
    assert tune(home, tmp_path / "out2", "--future", "10", store=store) == 2
    assert tune(home, home, "--column", "age") == 2
    errors = capsys.readouterr().err
    assert errors.count("no validation subject") == 2 and "has files in it" in errors
