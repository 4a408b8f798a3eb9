"""Predicting the next steps; and an official network, fine-tuned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, roc_auc_score

import brainlm_model
from brainlm_data import open_store
from brainlm_model.finetune import scores
from brainlm_model.finetune.linear import STRENGTHS, ridge
from brainlm_model.models.official.config import to_hf as hf_fields
from brainlm_model.models.official.convert import NOTICE, to_hf, to_model
from brainlm_model.trained.predict import forecast, future_mask
from tests.model.people import PARCELS, STEPS, WINDOW, make, trained
from tests.model.test_finetune import FILES, log, tune
from tests.model.test_official import BRAINLM, network


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("future")
    trained(make(home), home / "model", masking="random", mask_ratio=0.3)
    return home


@pytest.fixture(scope="module")
def tuned(home: Path) -> Path:
    arguments = "--future 10 --lr 0.003 --layer-decay 1 --epochs 15 --patience 15"
    assert tune(home, home / "tuned", *arguments.split()) == 0
    return home / "tuned"


def test_the_loss_on_the_next_steps_falls(home: Path, tuned: Path) -> None:
    assert {p.name for p in tuned.iterdir()} == FILES - {"head.safetensors"}
    rows = log(tuned)
    assert rows["validation_loss"].min() < rows["validation_loss"][0]
    assert rows["loss"].iloc[-1] < rows["loss"][1]
    found = json.loads((tuned / "scores.json").read_text())
    assert set(found["methods"]) == {"model", "pretrained", "persistence", "mean"}
    steps = found["by_step"]
    assert all(len(values) == 10 for method in steps.values() for values in method.values())
    assert steps["persistence"]["mse"][0] < steps["persistence"]["mse"][9]  # series are smooth
    assert steps["mean"]["r"] == [None] * 10
    for method in found["methods"]:
        assert found["methods"][method]["mse"]["value"] == pytest.approx(np.mean(steps[method]["mse"]), rel=1e-6)
    assert len(pd.read_csv(tuned / "predictions.tsv", sep="\t")) == 8


def test_the_future_is_not_looked_at(home: Path, tuned: Path) -> None:
    model = brainlm_model.load(tuned)
    x = torch.randn(2, PARCELS, WINDOW, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, :, -10:] = 7
    np.testing.assert_array_equal(forecast(model.network, x, 10), forecast(model.network, other, 10))
    mask = future_mask(x, 10, 20)
    assert mask.shape == (2, PARCELS, 4) and not mask[:, :, :2].any() and mask[:, :, 2:].all()


def test_a_forecast_is_in_the_recordings_units(home: Path, tuned: Path) -> None:
    model = brainlm_model.load(tuned)
    series = open_store(home / "store.zarr").series("sub-00_task-rest").copy()
    series[:, 3] = np.nan
    found = model.predict(series)
    assert found.shape == (10, PARCELS) and np.isnan(found[:, 3]).all()
    known = np.delete(found, 3, axis=1)
    assert np.abs(known - 1000).max() < 300  # the recordings' level and amplitude
    history = WINDOW - 10
    level = series.mean(0)
    scaled = ((series - level - model.scaler.median) / model.scaler.iqr)[-history:]
    window = np.concatenate([scaled, np.zeros((10, PARCELS))]).T[None].astype(np.float32)
    expected = forecast(model.network, torch.from_numpy(window), 10)[0].T * model.scaler.iqr + model.scaler.median
    np.testing.assert_allclose(known, np.delete(expected + level, 3, axis=1), rtol=1e-3)
    np.testing.assert_array_equal(model.predict(series[: STEPS - 1]).shape, (10, PARCELS))
    with pytest.raises(Exception, match="at least 30 steps"):
        model.predict(series[:29])


def test_an_official_network_is_fine_tuned_under_its_licence(home: Path, tmp_path: Path, capsys) -> None:
    config = replace(BRAINLM, num_brain_voxels=PARCELS, num_timepoints_per_voxel=WINDOW, timepoint_patching_size=10)
    source = tmp_path / "hf"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(hf_fields(config)))
    save_file({k: v.contiguous() for k, v in network(config).state_dict().items()}, source / "model.safetensors")
    to_model(source, tmp_path / "model", store=home / "store.zarr")
    for name, arguments in (("label", "--column age"), ("future", "--future 10")):
        assert tune(tmp_path, tmp_path / name, *arguments.split(), "--epochs", "2", store=home / "store.zarr") == 0
        assert NOTICE in (tmp_path / name / "card.md").read_text() and NOTICE in capsys.readouterr().out
    value = brainlm_model.load(tmp_path / "label").predict(open_store(home / "store.zarr").series("sub-01_task-rest"))
    assert np.isfinite(value)
    to_hf(tmp_path / "label", tmp_path / "back")
    assert NOTICE in (tmp_path / "back" / "README.md").read_text()


def test_scores_are_those_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(50, 10, 30)
    predicted = truth + rng.normal(2, 8, 30)
    found = scores.numbers({"model": predicted, "other": truth * 0}, truth, [str(i) for i in range(30)], 200, 0)
    model = found["methods"]["model"]
    assert model["r2"]["value"] == pytest.approx(r2_score(truth, predicted))
    assert model["r"]["value"] == pytest.approx(np.corrcoef(truth, predicted)[0, 1])
    assert model["r2"]["low"] < model["r2"]["value"] < model["r2"]["high"]
    assert found["model_against"]["other"]["verdict"] == "better" and found["methods"]["other"]["r"]["value"] is None
    y = rng.integers(0, 3, 40)
    p = rng.dirichlet(np.ones(3), 40) + np.eye(3)[y]
    expected = np.mean([roc_auc_score(y == k, p[:, k]) for k in range(3)])
    assert scores.auroc(p, y, np.ones(40)) == pytest.approx(expected)
    twice = np.ones(40)
    twice[:5] = 2
    repeated = np.concatenate([np.arange(40), np.arange(5)])
    assert scores.auroc(p, y, twice) == pytest.approx(scores.auroc(p[repeated], y[repeated], np.ones(45)))


def test_the_ridge_is_sklearns() -> None:
    rng = np.random.default_rng(0)
    features = {split: rng.standard_normal((n, 50)) for split, n in (("train", 20), ("validation", 8), ("test", 5))}
    weights = rng.standard_normal((50, 2))
    targets = {split: x @ weights + 3 for split, x in features.items()}
    found, strength = ridge(features, targets)
    assert strength in STRENGTHS
    centred = features["train"] - features["train"].mean(0)
    alpha = strength * (centred**2).sum() / 20
    peer = Ridge(alpha=alpha).fit(features["train"], targets["train"])
    np.testing.assert_allclose(found["test"], peer.predict(features["test"]), rtol=1e-6, atol=1e-6)
