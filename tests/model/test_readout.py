"""Second-order features and the trait readout, against their definitions and scikit-learn's checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import logm, sqrtm
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from brainlm_data import InputError, prepare
from brainlm_model import BrainLMEmbedder, LogConnectivity, TraitClassifier, TraitRegressor, load
from brainlm_model.cli import main
from brainlm_model.models.brainlm import BrainLM
from brainlm_model.models.config import build
from brainlm_model.trained import connectivity, second_order
from tests.model import traits
from tests.model.people import trained

PARCELS = 6
ROWS, COLUMNS = np.triu_indices(PARCELS)
SCALE = np.where(ROWS == COLUMNS, 1, np.sqrt(2))


def series(seed: int = 0, steps: int = 240) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = np.apply_along_axis(lambda x: np.convolve(x, np.ones(5), "same"), 0, rng.standard_normal((steps, PARCELS)))
    return 50 + smooth @ (np.eye(PARCELS) + 0.4 * rng.standard_normal((PARCELS, PARCELS)))


def test_connectivity_is_the_matrix_logarithm_of_shrunk_correlations() -> None:
    x = series()
    expected = logm(0.7 * np.corrcoef(x, rowvar=False) + 0.3 * np.eye(PARCELS)).real
    np.testing.assert_allclose(connectivity.log_connectivity(x), expected[ROWS, COLUMNS] * SCALE, atol=1e-12)
    raw, band, without = connectivity.copies(x, rate_hz=1.0)
    np.testing.assert_array_equal(raw, connectivity.log_connectivity(x))
    z = (x - x.mean(0)) / x.std(0)
    mean = z.mean(1)
    residual = z - np.outer(mean, mean @ z / (mean @ mean))
    np.testing.assert_allclose(without, connectivity.log_connectivity(residual), atol=1e-10)
    # what lies outside the band changes nothing of the copy within it
    t = (np.arange(240) + 0.5) / 240
    outside = np.cos(np.pi * t * 120)  # .25 Hz
    moved = connectivity.copies(x + 30 * x.std() * outside[:, None], 1.0)[1]
    unscaled = connectivity.of_copy("connectivity_band", x, 1.0)
    np.testing.assert_allclose(unscaled, band)
    np.testing.assert_allclose(moved, band, atol=1e-8)


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_units_and_means_do_not_matter(seed: int, unit: float, mean: float) -> None:
    x = series(seed)
    np.testing.assert_allclose(connectivity.copies(unit * x + mean, 0.5), connectivity.copies(x, 0.5), atol=1e-6)


def test_what_is_not_known() -> None:
    x = series()
    whole, gap = connectivity.copies(x, 1.0), x.copy()
    gap[100:110] = np.nan  # steps without data are left out
    assert np.abs(connectivity.copies(gap, 1.0) - whole).max() < 0.4
    np.testing.assert_allclose(
        connectivity.log_connectivity(gap), connectivity.log_connectivity(np.delete(x, slice(100, 110), 0))
    )
    x[5, 2] = np.nan
    found = connectivity.copies(x, 1.0)
    np.testing.assert_array_equal(np.isnan(found), np.tile((ROWS == 2) | (COLUMNS == 2), (3, 1)))
    others = np.delete(x, 2, axis=1)
    np.testing.assert_allclose(found[:, (ROWS != 2) & (COLUMNS != 2)], connectivity.copies(others, 1.0), atol=1e-10)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x[:2], "2 steps with data"),
        (lambda x: np.where(np.arange(PARCELS) < 1, x, 7.0), "1 parcels are known throughout and vary"),
        (lambda x: np.where(x > np.quantile(x, 0.9), np.inf, x), "infinite values"),
        (lambda x: x[:, 0], "shape"),
    ],
)
def test_what_cannot_be_measured_is_refused(change: Callable[[np.ndarray], np.ndarray], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        connectivity.log_connectivity(change(series()))
    assert caught.value.remedy


def test_a_recording_that_is_too_short_for_the_band() -> None:
    with pytest.raises(InputError, match="do not hold"):
        connectivity.of_copy("connectivity_band", series(steps=8), rate_hz=2.0)
    with pytest.raises(InputError, match="rate is not known"):
        connectivity.of_copy("connectivity_band", series(), None)


def test_adapted_is_the_whitened_mode_under_the_prior() -> None:
    x = series() - 50
    population = np.cov(series(1), rowvar=False)
    amplitude = np.trace(x.T @ x) / 240 / np.trace(population)
    mode = (400 * amplitude * population + x.T @ x) / 640

    def correlations(c: np.ndarray) -> np.ndarray:
        return c / np.sqrt(np.outer(np.diag(c), np.diag(c)))

    whiten = np.linalg.inv(sqrtm(correlations(population)).real)
    expected = logm(whiten @ correlations(mode) @ whiten).real
    np.testing.assert_allclose(connectivity.adapted(x, population), expected[ROWS, COLUMNS] * SCALE, atol=1e-10)
    # a parcel that is not known is what the population says of it: nothing is NaN, and little changes
    x[:, 3] = np.nan
    found = connectivity.adapted(x, population)
    assert np.isfinite(found).all()
    # a recording that is just like the population is nothing special
    like = np.linalg.cholesky(population) @ np.linalg.qr(np.random.default_rng(0).standard_normal((240, PARCELS)))[0].T
    np.testing.assert_allclose(connectivity.adapted(15 * like.T, population), 0, atol=1e-10)
    like[3] = np.nan
    np.testing.assert_allclose(connectivity.adapted(15 * like.T, population), 0, atol=1e-8)


def test_a_parcel_that_does_not_vary_is_not_known_to_adapted() -> None:
    x, population = series() - 50, np.cov(series(1), rowvar=False)
    gone, still = x.copy(), x.copy()
    gone[:, 3], still[:, 3] = np.nan, 2.5
    np.testing.assert_array_equal(connectivity.adapted(still, population), connectivity.adapted(gone, population))
    with pytest.raises(InputError, match="no parcel is known throughout and varies"):
        connectivity.adapted(0 * x + 1, population)
    x[4, 2] = np.inf
    with pytest.raises(InputError, match="adapted: 1 infinite values"):
        connectivity.adapted(x, population)


def test_attention_is_symmetric_and_logarithmic() -> None:
    attention = np.array([[0.2, 0.4, 0.4], [0.1, 0.6, 0.3], [0.5, 0.2, 0.3]])
    np.testing.assert_allclose(connectivity.log_attention(attention), [(np.log(0.3) + np.log(0.2)) / 2])
    attention[2] = np.nan
    assert np.isnan(connectivity.log_attention(attention)).all()


@parametrize_with_checks(
    [TraitRegressor(), TraitClassifier()],
    expected_failed_checks=lambda _: {"check_classifiers_one_label": "an InputError, not a ValueError, says it"},
)
def test_scikit_learn(estimator: object, check: Callable[[object], None]) -> None:
    check(estimator)


def test_one_block_is_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 100)), rng.standard_normal(60)
    found = TraitRegressor(strengths=(0.1,)).fit(x[:40], y[:40]).predict(x[40:])
    centred = x[:40] - x[:40].mean(0)
    alpha = 0.1 * np.trace(centred @ centred.T) / 39
    np.testing.assert_allclose(found, Ridge(alpha=alpha).fit(x[:40], y[:40]).predict(x[40:]), atol=1e-10)


def test_blocks_are_the_copies_that_there_are() -> None:
    """One copy of 6 parcels has 21 features, which could be cut into three: not silently."""
    recordings, y = [series(seed) for seed in range(8)], np.arange(8.0)
    one = LogConnectivity().fit_transform(recordings)
    three = LogConnectivity(rate_hz=0.5).fit_transform(recordings)
    for readout in (TraitRegressor(blocks=3, cv=2), TraitClassifier(blocks=3, cv=2)):
        with pytest.raises(InputError, match=r"blocks=3: LogConnectivity made one copy alone.*rate_hz"):
            readout.fit(one[:6], y[:6] > 2)
        readout.fit(three[:6], y[:6] > 2)
        readout.fit(np.asarray(one), y > 2)  # whose features nobody knows
    with pytest.raises(InputError, match="blocks=7: LogConnectivity made 3 copies -> blocks=3, or blocks=1"):
        TraitRegressor(blocks=7).fit(three, y)
    TraitRegressor(cv=2).fit(three, y)
    TraitRegressor(blocks=3, cv=2).fit(three[:, :21], y)  # some of them


def test_blocks_are_averaged_and_choose_for_themselves() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(80)
    informative = y[:, None] * rng.standard_normal(30) + 0.5 * rng.standard_normal((80, 30))
    noise = rng.standard_normal((80, 30))
    both = TraitRegressor(blocks=2).fit(np.hstack([informative, noise]), y)
    alone = [TraitRegressor().fit(x, y) for x in (informative, noise)]
    assert (
        both.strengths_ == [alone[0].strengths_[0], alone[1].strengths_[0]] and both.strengths_[0] < both.strengths_[1]
    )
    mean = (alone[0].predict(informative) + alone[1].predict(noise)) / 2
    np.testing.assert_allclose(both.predict(np.hstack([informative, noise])), mean, atol=1e-10)
    with pytest.raises(InputError, match="no 7 blocks"):
        TraitRegressor(blocks=7).fit(informative, y)


def test_a_trait_in_the_covariance_is_found_and_a_rare_class_is_not_forgotten() -> None:
    rng = np.random.default_rng(0)
    rare = np.arange(90) % 5 == 0
    recordings = []
    for one in rare:
        x = rng.standard_normal((rng.integers(100, 200), PARCELS))
        x[:, 1] += (1.2 if one else 0.2) * x[:, 0]
        recordings.append(100 + 7 * x)
    recordings[3][:, 5] = np.nan  # a parcel that one person lacks
    readout = make_pipeline(LogConnectivity(rate_hz=0.5), TraitClassifier(blocks=3))
    labels = np.where(rare, "yes", "no")
    scores = cross_val_predict(readout, recordings, labels, cv=3, method="decision_function")
    assert roc_auc_score(rare, scores) > 0.9
    fitted = readout.fit(recordings[:60], labels[:60])
    found = fitted.predict(recordings[60:])
    assert (found[rare[60:]] == "yes").mean() > 0.7 and (found[~rare[60:]] == "no").mean() > 0.7
    names = fitted[0].get_feature_names_out()
    assert len(names) == 3 * len(ROWS) == fitted[1].coef_.shape[1] and names[1] == "connectivity_0_1"
    with pytest.raises(InputError, match="recording 0"):
        fitted.predict([series()[:, :4]])


def test_inner_folds_keep_groups_together() -> None:
    site, x = np.repeat(np.arange(8), 12), np.zeros((96, 2))
    classes = (np.arange(96) % 3 == 0).astype(float)
    for number in (0, 2):
        splits = TraitRegressor(cv=4)._splits(x, classes, site, number)
        assert len(splits) == 4
        assert not any(set(site[train]) & set(site[validation]) for train, validation in splits)
    shares = [classes[validation].mean() for _, validation in TraitClassifier()._splits(x, classes, None, 2)]
    assert np.ptp(shares) < 0.06
    own = [(np.arange(50), np.arange(50, 96))]
    assert TraitRegressor(cv=own).fit(np.eye(96), classes).strengths_[0] in TraitRegressor().strengths


@pytest.mark.parametrize("cv", [4, np.int64(4), None])
def test_any_number_of_inner_folds_keeps_groups_together(cv: object) -> None:
    site = np.repeat(np.arange(8), 12)
    for train, validation in TraitRegressor(cv=cv)._splits(np.zeros((96, 2)), np.zeros(96), site, 0):
        assert not set(site[train]) & set(site[validation])


@pytest.mark.parametrize(
    ("keys", "groups", "said"),
    [
        ({"strengths": (-1.0,)}, None, "strengths"), ({"strengths": ()}, None, "strengths"),
        ({"strengths": (1.0, np.nan)}, None, "strengths"), ({}, np.zeros(20), "all are of one group"),
    ],
)  # fmt: skip
def test_a_penalty_that_is_none_and_groups_that_are_one(keys: dict, groups: object, said: str) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=said):
        TraitRegressor(**keys).fit(rng.standard_normal((20, 5)), rng.standard_normal(20), groups=groups)


def test_recordings_in_any_container_and_errors_by_their_place() -> None:
    recordings = [series(seed) for seed in range(3)]
    expected = LogConnectivity().fit_transform(recordings)
    for same in (np.stack(recordings), pd.Series(recordings, index=[5, 6, 7]), tuple(recordings)):
        np.testing.assert_array_equal(LogConnectivity().fit_transform(same), expected)
    for wrong, said in (
        ([], "no recording"),
        (iter(recordings), "X is a"),
        (None, "X is a"),
        (recordings[0], "0: not"),
    ):
        with pytest.raises(InputError, match=said):
            LogConnectivity().fit(wrong)
    recordings[1] = recordings[1][:2]
    with pytest.raises(InputError, match="recording 1: connectivity: 2 steps"):
        LogConnectivity().fit_transform(recordings)


def test_kinds_of_a_trained_model(tmp_path: Path) -> None:
    """In memory, as a transformer and as files: the same numbers, from the features' definitions."""
    store = traits.make(tmp_path)
    trained(store, tmp_path / "model")
    model = load(tmp_path / "model")
    name = "sub-00_task-rest_run-0"
    x = store.series(name)
    for kind in connectivity.COPIES:
        expected = connectivity.of_copy(kind, x, store.rate_hz)
        np.testing.assert_allclose(model.embed(x, kind), expected, atol=1e-6)
        np.testing.assert_array_equal(model.embed((store, name), kind), model.embed(x, kind))
    covariance = model.network.prior.covariance.numpy()
    expected = connectivity.adapted(prepare(x, model.scaler), covariance)
    np.testing.assert_allclose(model.embed(x, "adapted"), expected, atol=1e-5)
    assert model.embed(x, "attention").shape == (66,)
    assert model.embed(x[:40], "connectivity").shape == (78,)  # shorter than a window
    by_id = model.embed(store, "adapted")
    assert np.isfinite(list(by_id.values())).all()  # one of them lacks a parcel
    for kind in connectivity.KINDS:
        embedder = BrainLMEmbedder(model, kind=kind)  # type: ignore[arg-type]
        assert embedder.transform([x, x]).shape == (2, len(embedder.get_feature_names_out()))
    out = tmp_path / "e.parquet"
    call = ["embed", str(tmp_path / "model"), str(tmp_path / "store.zarr"), "--out", str(out), "--kind", "adapted"]
    assert main(call) == 0
    row = pd.read_parquet(out).set_index("id").filter(like="adapted_").loc[name]
    np.testing.assert_array_equal(row.to_numpy(dtype=np.float32), by_id[name])
    assert main([*call[:4], str(tmp_path / "e.zarr"), "--kind", "connectivity"]) == 0
    opened = xr.open_zarr(tmp_path / "e.zarr")
    first = model.embed((store, str(opened["id"].to_numpy()[0])), "connectivity")
    np.testing.assert_array_equal(opened["connectivity"].isel(recording=0), first)
    with pytest.raises(InputError, match="kind 'clss'"):
        model.embed(x, "clss")  # type: ignore[arg-type]


def test_a_kind_that_the_model_does_not_have() -> None:
    network = BrainLM(build("tiny", PARCELS, prior="zero"), torch.zeros(PARCELS, 3))
    assert "adapted" in second_order.missing(network)
    with pytest.raises(InputError, match="no population covariance"):
        list(second_order.described(network, None, [], "adapted", 1.0))  # type: ignore[arg-type]


def test_what_is_no_array_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="recording 0: not an array"):
        LogConnectivity().fit([("store.zarr", "sub-01_task-rest")])
