"""Stage `future`: planted dynamics are forecast, white noise is not, and no forecast sees the future or test people."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from brainlm_data import BrainLMError, ConfigError, open_store
from brainlm_model.baselines import autoregression, forecast, state_space
from brainlm_model.eval.future import data, methods, scores, stage
from brainlm_model.eval.future.stage import Name
from brainlm_model.finetune.settings import Settings
from brainlm_model.stages import PAPER_TASKS
from brainlm_model.trained.load import load
from brainlm_model.training import stage as train
from tests.model.dynamics import DRIVEN, PARCELS, WINDOW, cohort, make
from tests.model.parcel_people import outputs, run

QUICK = {"horizons": [10], "epochs": 6, "network_epochs": 3}
SETTINGS = Settings(task="future", future=10, epochs=1, batch_size=8, windows=2)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def finished(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    run("future", planted, out, **{**QUICK, "horizons": [10, 20], "splits": ["test", "external"]})
    return out


@pytest.fixture(scope="module")
def given(planted: Path) -> methods.ForecastInputs:
    model, store = load(planted / "model"), open_store(planted / "store.zarr")
    return methods.ForecastInputs(model, data.learning(store, 50, model, SETTINGS), 10, SETTINGS, 2)


def table(out: Path, metric: str, horizon: int = 10) -> pd.DataFrame:
    """Rows of a metric by method and step (0: all)."""
    rows = pd.read_csv(out / "future_csv.csv")
    rows = rows[(rows["metric"] == metric) & (rows["horizon"] == horizon)].fillna({"step": 0})
    return rows.set_index(["method", "step"]).sort_index()


def test_planted_dynamics_are_forecast(finished: Path) -> None:
    r2, r, mse = (table(finished, name) for name in ("r2_flat", "r_flat", "mse"))
    for method in ("ar", "var", "state_space"):
        assert r2.loc[(method, 0), "low"] > 0.3, method
        assert r.loc[(method, 1), "value"] > 0.75 and r.loc[(method, 0), "low"] > 0.55, method
    # parcels of the second half are only told by the first: two steps ahead
    assert r2.loc[("var", 1), "value"] > r2.loc[("ar", 1), "high"]
    assert r2.loc[("mean", 0), "value"] == pytest.approx(0, abs=0.05)
    assert r2.loc[("finetuned", 0), "low"] > 0  # the mean of the series, 0, is beaten
    for method in ("ar", "var", "finetuned"):
        assert mse.loc[(method, 1), "value"] < mse.loc[(method, 10), "value"]


def test_the_tables_say_what_was_compared(finished: Path) -> None:
    content = json.loads((finished / "future_json.json").read_text())
    names = Name.__args__
    rows = pd.read_csv(finished / "future_csv.csv")
    assert (
        len(rows) == 6 * len(names) * (11 + 21) and not rows.duplicated(["horizon", "method", "metric", "step"]).any()
    )
    assert set(rows["n_recordings"]) == {15} and content["Skipped"] == ["sub-32_task-rest"]
    assert any("sub-32" in text for text in content["Warnings"])
    compared = content["Comparisons"]
    assert len(compared) == (len(names) - 1) * (11 + 21)
    worst = next(r for r in compared if (r["horizon"], r["against"], r["step"]) == (10, "persistence", None))
    assert worst["verdict"] == "better" and worst["low"] > 0 and worst["p"] <= worst["p_holm"] < 0.05
    alone = {(r["split"], r["horizon"], r["against"]): r for r in content["BySplit"]}
    assert len(alone) == 2 * 2 * (len(names) - 1) and alone["external", 10, "ar"]["n_subjects"] == 3
    overall = next(r for r in compared if (r["horizon"], r["against"], r["step"]) == (10, "ar", None))
    each = [alone[split, 10, "ar"]["difference"] for split in ("test", "external")]
    assert overall["difference"] == pytest.approx((12 * each[0] + 3 * each[1]) / 15)
    marks = rows[rows["model_error"].notna()]
    assert set(marks["metric"]) == {"mse"} and "finetuned" not in set(marks["method"])
    assert {(e["method"], e["metric"], e["cohort"]): e["value"] for e in content["Published"]}[
        "finetuned", "r2_flat", "HCP"
    ] == 0.028
    assert not any(e["comparable"] for e in content["Published"]) and len(content["Summary"]) == 2
    tried = {len(found["tried_mse"]) for name, found in content["Chosen"]["10"].items()
             if name not in {"pretrained", "persistence", "mean"}}  # fmt: skip
    assert tried == {3}  # the same for every method that has settings
    with np.load(finished / "future_arrays.npz") as arrays:
        assert arrays["20/example/ar"].shape == (PARCELS, 20) and arrays["10/truth"].shape == (PARCELS, WINDOW)
        assert list(arrays["splits"]).count("external") == 3
        overall = table(finished, "mse_recording").loc[("ar", 0), "value"]
        assert arrays["10/mse/ar"][:, 0].mean() == pytest.approx(overall, rel=1e-5)
    assert (finished / "future_png.png").stat().st_size > 10_000


def test_white_noise_is_not_forecast(tmp_path: Path) -> None:
    home = cohort(tmp_path / "control", planted=False)
    run("future", home, tmp_path / "out", **{**QUICK, "epochs": 2, "network_epochs": 2})
    r2 = table(tmp_path / "out", "r2_flat").xs(0, level="step")
    assert (r2["low"] <= 0.01).all(), r2
    assert r2["value"].max() < 0.05
    content = json.loads((tmp_path / "out" / "future_json.json").read_text())
    words = {r["against"]: r["verdict"] for r in content["Comparisons"] if r["step"] is None}
    assert words["persistence"] == "better"
    assert words["mean"] != "better"
    assert any("too few for a mark" in text for text in content["Warnings"])  # 12 people, 110 tests


def test_no_forecast_sees_the_future(given: methods.ForecastInputs, planted: Path) -> None:
    store = open_store(planted / "store.zarr")
    held = data.held(store, ["test"], 50, given.model, SETTINGS, 2)
    windows = held.windows(0)
    seen = []
    for name, method in methods.METHODS.items():
        found = method.fit(given, method.settings[-1])
        other = windows.copy()
        other[:, :, -10:] = 9
        first, second = (
            data.score(Fixed(x), lambda past, steps, found=found: keep(seen, found(past, steps)), 10)
            for x in (windows, other)
        )  # fmt: skip
        np.testing.assert_array_equal(seen[-2], seen[-1], err_msg=name)
        assert seen[-1].shape == windows[:, :, -10:].shape and np.isfinite(seen[-1]).all()
        assert (first[:, :, 3] != second[:, :, 3]).all()  # the error is of the future
        unknown = windows[:, :, :-10].copy()
        unknown[:, 3], unknown[:, 5, -1] = np.nan, np.nan
        assert np.isfinite(found(unknown, 10)).all(), name


def test_a_network_from_a_start_is_the_start_before_training(given: methods.ForecastInputs, planted: Path) -> None:
    inputs = replace(given, start="ar_process")
    past = np.random.default_rng(0).standard_normal((2, PARCELS, WINDOW - 10))
    past[0, 3], past[1, 5, -1] = np.nan, np.nan
    started = methods.best(methods.METHODS["ar_process"], inputs)[0](past, 10)
    still = replace(inputs.settings, epochs=1, lr=1e-30)  # too small a rate to change a weight
    for name in ("finetuned", "untrained"):
        found = methods.METHODS[name].fit(replace(inputs, settings=still), {})
        np.testing.assert_allclose(found(past, 10), started, rtol=1e-6, atol=1e-6, err_msg=name)
    learnt = methods.METHODS["finetuned"].fit(inputs, {"lr": 3e-3})
    assert np.abs(learnt(past, 10) - started).max() > 1e-3
    # the future is not looked at, neither by the start nor by the network
    window = torch.from_numpy(np.concatenate([past, np.full((2, PARCELS, 10), 9.0)], axis=2)).float()
    again = methods.forecast(inputs.model.network, window, 10, inputs.begin)
    window[:, :, -10:] = -1
    np.testing.assert_array_equal(methods.forecast(inputs.model.network, window, 10, inputs.begin), again)


def test_an_architecture_without_a_prior_has_no_start(given: methods.ForecastInputs) -> None:
    model = SimpleNamespace(config=SimpleNamespace(prior="zero"))
    assert stage._start(stage.Config(), model) == "prior" and stage._start(stage.Config(), given.model) == "ar_process"
    assert stage._start(stage.Config(start="prior"), given.model) == "prior"
    with pytest.raises(ConfigError, match="no prior"):
        stage._start(stage.Config(start="ar_process"), model)


class Fixed:
    """Windows of one recording."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def __iter__(self):
        yield self.x


def keep(seen: list[np.ndarray], found: np.ndarray) -> np.ndarray:
    seen.append(found)
    return found


def test_test_subjects_do_not_change_what_is_fitted(given: methods.ForecastInputs, tmp_path: Path) -> None:
    model = given.model
    other = data.learning(make(tmp_path, change=("test", "external")), 50, model, SETTINGS)
    changed = methods.ForecastInputs(model, other, 10, SETTINGS, 2)
    past = np.random.default_rng(0).standard_normal((2, PARCELS, WINDOW - 10))
    for name in ("ar", "var", "state_space", "gaussian", "lstm", "latent_ode"):
        found = [methods.best(methods.METHODS[name], g) for g in (given, changed)]
        assert found[0][1] == found[1][1], name
        np.testing.assert_array_equal(found[0][0](past, 10), found[1][0](past, 10), err_msg=name)


def test_finished_methods_are_kept(planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"methods": ["finetuned", "latent_ode", "ar"], "epochs": 1, "network_epochs": 1, "start": "prior"}
    keys = {**QUICK, **few}
    run("future", planted, tmp_path / "a", **keys)
    calls: list[str] = []
    whole = methods.best

    def stopped(method, given):
        calls.append(method.label)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(method, given)

    monkeypatch.setattr(methods, "best", stopped)
    with pytest.raises(KeyboardInterrupt):
        run("future", planted, tmp_path / "b", tmp_path / "work", **keys)
    run("future", planted, tmp_path / "b", tmp_path / "work", **keys)
    assert calls == ["BrainLM, fine-tuned", "latent ODE", "latent ODE", "own past (AR)"]
    for name in ("csv.csv", "json.json", "svg.svg"):
        assert (tmp_path / "a" / f"future_{name}").read_bytes() == (tmp_path / "b" / f"future_{name}").read_bytes()


@pytest.mark.parametrize(("horizons", "words"), [([15], "patch is 10"), ([40], "below 40"), ([10, 10], "repeated")])
def test_an_impossible_horizon_is_refused(planted: Path, tmp_path: Path, horizons: list[int], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run("future", planted, tmp_path, horizons=horizons)
    assert words in str(caught.value) + str(getattr(caught.value, "remedy", ""))
    assert isinstance(caught.value, BrainLMError)


def test_the_weights_of_known_dynamics() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((3, 4000, 2))
    for t in range(1, 4000):
        x[:, t] = x[:, t - 1] @ np.array([[0.9, 0.3], [0.0, 0.5]]) + rng.standard_normal((3, 2))
    windows = [x.transpose(0, 2, 1)[:, :, s : s + 40] for s in range(0, 3960, 20)]
    past = windows[7][:, :, :30]
    expected = np.stack(
        [past[:, :, -1] @ np.linalg.matrix_power([[0.9, 0.3], [0, 0.5]], h) for h in range(1, 6)], axis=2
    )
    read = lambda: iter(windows)  # noqa: E731
    for found in (
        autoregression.fit_var(read, 5, 1, 2, 1e-6)(past, 5),
        state_space.fit_state_space(read, 2, 3, 2)(past, 5),
    ):
        np.testing.assert_allclose(found, expected, atol=0.25)
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    own = autoregression.fit_ar(autoregression.window_moments(read), 5, 1, 1e-6)(past, 5)
    assert own[:, 0, 0] / past[:, 0, -1] == pytest.approx(0.9, abs=0.02)  # the first has no other cause


def test_ridge_and_components_are_sklearns() -> None:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 6)), rng.standard_normal((50, 2))
    found = forecast.ridge(x.T @ x, x.T @ y, 0.1)
    penalty = 0.1 * np.trace(x.T @ x) / 6
    np.testing.assert_allclose(found, Ridge(alpha=penalty, fit_intercept=False).fit(x, y).coef_.T, rtol=1e-8)
    series = rng.standard_normal((2, 5, 300)) * np.arange(1, 6)[:, None]
    flat = series.transpose(1, 0, 2).reshape(5, -1)
    centred = flat - flat.mean(1, keepdims=True)
    basis = forecast.components([centred[None]], 3)
    np.testing.assert_allclose(np.abs((basis * PCA(3).fit(centred.T).components_.T).sum(0)), 1, atol=1e-6)


def test_sign_flips_are_fair() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((30, 200))
    p = scores.sign_flips(np.c_[noise, noise[:, 0] + 3], [str(i) for i in range(30)], 0)
    assert (p[:-1] < 0.05).mean() == pytest.approx(0.05, abs=0.04) and p[-1] < 1e-4
    assert DRIVEN * 2 == PARCELS


def test_golden(finished: Path, golden: Callable[..., None]) -> None:
    golden(PAPER_TASKS["future"], outputs("future", finished), after=[train.STAGE], rtol=0.05)
