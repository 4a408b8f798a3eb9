"""The algebra of the temporal operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainlm_data.methods.chain import before_regression, regression_of
from brainlm_data.methods.operators import (
    Recipe,
    Temporal,
    at_rate,
    cosines,
    drop,
    fill_censored,
    high_pass,
    highest_hz,
    invalid_steps,
    low_pass,
    padding,
)
from brainlm_data.methods.operators import resample as to_rate
from brainlm_data.methods.regression import Regression

T, TR = 120, 2.0
RECIPES = [
    Recipe(TR, T, 3, (40, 41, 42, 119), "butterworth", 0.01, 0.1),
    Recipe(TR, T, 0, (), "butterworth", 0.01, None),
    Recipe(TR, T, 2, (2, 60), "cosine", 0.01, 0.15),
    Recipe(TR, T, 1, (), "butterworth", None, None),
]


def temporal(recipe: Recipe, seed: int = 0, noise: int = 4, kept: int = 6) -> Temporal:
    """Operators with a D fitted to random courses, filtered as the data are."""
    raw = np.random.default_rng(seed).standard_normal((recipe.n_volumes, noise + kept))
    design = high_pass(fill_censored(drop(raw, recipe), recipe), recipe)
    return Temporal(recipe, Regression.fit(design[:, :noise], design[:, noise:]), 12.5)


def wave(hz: float, steps: int = T, tr: float = TR, phase: float = 0.3) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * hz * np.arange(steps) * tr + phase)[:, None]


@pytest.mark.parametrize("recipe", RECIPES)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(-100, 100))
@settings(max_examples=15, deadline=None)
def test_linear_and_commutes_with_parcellation(recipe: Recipe, seed: int, factor: float) -> None:
    """T(a x + y) = a T(x) + T(y), and T(x) P = T(x P) for any P: also overlapping, weighted parcels."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(500, 50, (2, T, 15))
    parcels = rng.random((15, 4))
    apply = temporal(recipe, seed % 7).apply
    np.testing.assert_allclose(apply(factor * x + y), factor * apply(x) + apply(y), rtol=1e-8, atol=1e-6)
    np.testing.assert_allclose(apply(x) @ parcels, apply(x @ parcels), rtol=1e-8, atol=1e-6)
    assert np.nanstd(apply(x)) > 1  # not trivially equal


@pytest.mark.parametrize("recipe", RECIPES)
def test_constants_become_zero(recipe: Recipe) -> None:
    out = temporal(recipe).apply(np.full((T, 2), 1000.0))
    assert np.isnan(out[: recipe.dropped]).all()
    np.testing.assert_allclose(out[recipe.dropped :], 0, atol=1e-7)


def test_path_by_parcels_equals_path_by_voxels() -> None:
    """Operators on parcel means = every step on every voxel in float32, parcellated last; to float32 round-off."""
    rng = np.random.default_rng(1)
    shape = (9, 8, 7)
    labels = rng.integers(0, 13, shape)
    drift = 40 * np.linspace(-1, 1, T)
    image = (rng.normal(900, 200, (*shape, 1)) + drift + rng.normal(0, 10, (*shape, T))).astype(np.float32)
    recipe = RECIPES[0]
    operators = temporal(recipe)
    parcel = np.stack([image[labels == i].mean(0, dtype=np.float64) for i in range(1, 13)], 1)
    short = operators.apply(parcel)

    volume = image.reshape(-1, T).T * np.float32(operators.scale)
    for step in (drop, fill_censored, high_pass):
        volume = np.asarray(step(volume.astype(np.float64), recipe), np.float32)
    volume = np.asarray(operators.regression.apply(volume), np.float32)
    volume = np.asarray(low_pass(volume, recipe), np.float32)
    flat = labels.ravel()
    long = np.stack([volume[:, flat == i].mean(1, dtype=np.float64) for i in range(1, 13)], 1)
    # float32 of the scaled image (about 11,000) has steps of .001
    np.testing.assert_allclose(short[recipe.dropped :], long, atol=2e-3)
    assert long.std() > 10


@pytest.mark.parametrize("method", ["butterworth", "cosine"])
def test_band(method: Any) -> None:
    recipe = Recipe(TR, T, 0, (), method, 0.01, 0.1)

    def passed(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return low_pass(high_pass(x, recipe), recipe)

    middle = slice(20, -20)
    for hz in (0.03, 0.06):
        np.testing.assert_allclose(passed(wave(hz))[middle], wave(hz)[middle], atol=0.15)
    for hz in (0.003, 0.16, 0.2):
        once = passed(wave(hz))
        assert once[middle].std() < 0.08 * wave(hz)[middle].std()
        assert passed(once).std() <= 1.001 * once.std()  # a second time, nothing comes back


def test_cosine_high_pass_is_a_projection() -> None:
    recipe, x = Recipe(TR, T, 0, (), "cosine", 0.02), np.random.default_rng(0).standard_normal((T, 3))
    once = high_pass(x, recipe)
    np.testing.assert_allclose(high_pass(once, recipe), once, atol=1e-12)
    basis = cosines(T, TR, 0.02)
    np.testing.assert_allclose(basis.T @ basis, np.eye(9), atol=1e-12)
    np.testing.assert_allclose(basis.T @ once, 0, atol=1e-12)


def test_confounds_bring_no_filtered_frequency_back() -> None:
    """Regressing out an unfiltered confound puts its drift into clean data; a filtered one does not."""
    rng = np.random.default_rng(3)
    recipe = Recipe(TR, T, 0, (), "cosine", 0.02)
    slow = cosines(T, TR, 0.02)
    shared = rng.standard_normal((T, 1))
    confound = shared + 20 * slow[:, :3].sum(1, keepdims=True)
    data = high_pass(shared + 0.3 * rng.standard_normal((T, 5)) + 50 * slow[:, :1], recipe)
    none = np.empty((T, 0))

    def drift(x: NDArray[np.float64]) -> float:
        return float(np.linalg.norm(slow.T @ x) / np.linalg.norm(x))

    assert drift(Regression.fit(high_pass(confound, recipe), none).apply(data)) < 1e-12
    assert drift(Regression.fit(confound - confound.mean(), none).apply(data)) > 0.05


def test_noise_is_removed_and_what_it_shares_with_signal_is_kept() -> None:
    rng = np.random.default_rng(4)
    noise, kept = rng.standard_normal((T, 2)), rng.standard_normal((T, 2))
    noise[:, 0] += kept[:, 0]  # correlated with signal
    d = Regression.fit(noise, kept)
    mixed = 3 * noise + 2 * kept
    np.testing.assert_allclose(d.apply(mixed), 2 * kept, atol=1e-10)
    np.testing.assert_allclose(d.apply(kept), kept, atol=1e-10)  # non-aggressive: signal is untouched
    aggressive = Regression.fit(noise, kept[:, :0])
    assert np.abs(aggressive.apply(kept) - kept).max() > 0.3


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 30), high_hz=st.sampled_from([0.08, 0.1, 0.15]))
@settings(max_examples=25, deadline=None)
def test_no_series_gains_behind_a_low_pass(seed: int, count: int, high_hz: float) -> None:
    """A confound's coefficient is fitted to all frequencies; its slow part must not come in with it."""
    rng = np.random.default_rng(seed)
    recipe = Recipe(TR, T, 2, (50, 51), "butterworth", 0.01, high_hz)
    confounds = before_regression(rng.standard_normal((T, count)), recipe)
    fast, weak = np.zeros((T, count)), 0.3 * rng.standard_normal((T, 40))
    fast[2:] = confounds - low_pass(confounds, recipe)
    series = weak + fast @ rng.standard_normal((count, 40))  # with the fast parts of the confounds alone
    x = before_regression(series, recipe)

    def variance(operator: Regression) -> NDArray[np.float64]:
        return low_pass(operator.apply(x), recipe).var(0)

    before = low_pass(x, recipe).var(0)
    assert (variance(Regression.fit(confounds, confounds[:, :0])) > before).any()
    operator, limits = regression_of("sub-01", confounds, series, recipe)
    assert (variance(operator) <= before * (1 + 1e-6)).all()
    assert limits.singular_value is None and 0 < limits.directions <= count


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # nilearn's advice on confounds
def test_equal_to_nilearn() -> None:
    """The same edge, padding and confounds in nilearn.signal.clean: equal to its round-off."""
    from nilearn.signal import clean

    rng = np.random.default_rng(5)
    x, confounds = rng.normal(0, 10, (T, 6)), rng.standard_normal((T, 3))
    x, confounds = x - x.mean(0), confounds - confounds.mean(0)
    recipe = Recipe(TR, T, 0, (), "butterworth", 0.01, 0.1)

    def theirs(edge_hz: float, **options: Any) -> NDArray[np.float64]:
        return clean(
            x, detrend=False, filter="butterworth", t_r=TR, standardize=None, standardize_confounds=False,
            butterworth__padtype="even", butterworth__padlen=padding(T, TR, edge_hz), **options,
        )  # fmt: skip

    slow = {"high_pass": 0.01, "low_pass": None}
    np.testing.assert_allclose(high_pass(x, recipe), theirs(0.01, **slow), atol=1e-9)
    np.testing.assert_allclose(low_pass(x, recipe), theirs(0.1, high_pass=None, low_pass=0.1), atol=1e-9)
    # confounds are filtered before they are regressed out, there as here
    filtered = high_pass(confounds, recipe)
    ours = Regression.fit(filtered, filtered[:, :0]).apply(high_pass(x, recipe))
    np.testing.assert_allclose(ours, theirs(0.01, confounds=confounds, **slow), atol=1e-9)
    assert np.abs(ours - high_pass(x, recipe)).max() > 0.1


def test_censored_volumes_do_not_matter() -> None:
    x = np.random.default_rng(6).standard_normal((T, 2))
    damaged = x.copy()
    damaged[[0, 40, 41, 42, 119]] = 1e6
    damaged[1] = -1e6  # dropped
    recipe = Recipe(TR, T, 0, (0, 1, 40, 41, 42, 119))
    filled = fill_censored(damaged, recipe)
    np.testing.assert_allclose(filled, fill_censored(x, recipe))
    np.testing.assert_allclose(filled[40:43], x[39] + np.outer([0.25, 0.5, 0.75], x[43] - x[39]))
    np.testing.assert_allclose(filled[[0, 1, 119]], x[[2, 2, 118]])
    good = np.setdiff1d(np.arange(T), recipe.censored)
    np.testing.assert_array_equal(filled[good], x[good])


@pytest.mark.parametrize("steps", [8, 12, 19, 40])
def test_short_runs(steps: int) -> None:
    """Shorter than the filter's usual padding."""
    recipe = Recipe(TR, steps, 0, (), "butterworth", 0.01, 0.1)
    x = np.random.default_rng(0).standard_normal((steps, 2))
    out = low_pass(high_pass(x, recipe), recipe)
    assert np.isfinite(out).all() and np.abs(out).max() < 5 * np.abs(x).max()


def test_missing_parcels_and_files(tmp_path: Path) -> None:
    recipe, d = RECIPES[0], temporal(RECIPES[0]).regression
    recipe.save(tmp_path / "f.json")
    d.save(tmp_path / "d.npz")
    loaded = Temporal.load(tmp_path / "f.json", tmp_path / "d.npz", 800.0)
    assert loaded.recipe == recipe and loaded.scale == 12.5
    x = np.random.default_rng(0).normal(800, 9, (T, 3)).astype(np.float32)
    x[:, 1] = np.nan
    out = loaded.apply(x)
    assert out.dtype == np.float64 and out.shape == x.shape
    assert np.isnan(out[:, 1]).all() and np.isfinite(out[3:, [0, 2]]).all()
    np.testing.assert_array_equal(out[3:, [0, 2]], temporal(recipe).apply(x[:, [0, 2]])[3:])
    assert Temporal.load(tmp_path / "f.json", tmp_path / "d.npz", 800.0, None).scale == 1.0


def test_effective_band() -> None:
    assert Recipe(TR, T).band == (0.0, 0.25)
    assert Recipe(TR, T, 0, (), "butterworth", 0.01, 0.1).band == (0.01, 0.1)
    # cosines come in steps of 1 / (2 x duration): 120 volumes of 2 s have 4/480 Hz below .01 Hz, 30 have none
    assert Recipe(TR, T, 0, (), "cosine", 0.01).band[0] == pytest.approx(4 / 480)
    assert Recipe(TR, 20, 0, (), "cosine", 0.01).band[0] == 0.0


@given(steps=st.integers(4, 500), tr=st.floats(0.3, 3.5), hz=st.sampled_from([0.25, 0.5, 1.0, 2.0]))
@settings(max_examples=60, deadline=None)
def test_resampled_length(steps: int, tr: float, hz: float) -> None:
    """T' = floor((T - 1) TR hz) + 1: the last step is not beyond the last volume, one more would be."""
    out = to_rate(np.ones((steps, 1)), tr, hz)
    last = (len(out) - 1) / hz
    assert last <= (steps - 1) * tr + 1e-6 < last + 1 / hz + 2e-6
    np.testing.assert_allclose(out, 1, atol=1e-9)  # a constant stays one, to the last step


def test_resampling() -> None:
    assert len(to_rate(np.ones((156, 1)), 2.0, 1.0)) == 311
    seconds = np.arange(359)
    for hz, expected, tolerance in ((0.05, 1, 0.002), (0.3, 1, 0.01), (0.6, 0, 0.002), (0.65, 0, 0.002)):
        got = to_rate(wave(hz, 490, 0.735, 0), 0.735, 1.0)[30:330]
        basis = np.exp(2j * np.pi * hz * seconds[30:330])  # .6 Hz shows up at .4 Hz where it aliases
        gain = 2 * abs((basis.conj() * got[:, 0]).mean())
        assert gain == pytest.approx(expected, abs=tolerance), hz
    slow = to_rate(wave(0.05, 100, 2.0, 0.1), 2.0, 1.0)[10:-10]
    np.testing.assert_allclose(slow[:, 0], np.sin(2 * np.pi * 0.05 * np.arange(10, 189) + 0.1), atol=2e-3)


def test_resampling_keeps_the_time_origin() -> None:
    x = wave(0.03, 100)
    x[:3] = np.nan
    out = to_rate(x, TR, 1.0)
    assert np.isnan(out[:6]).all() and np.isfinite(out[6:]).all() and len(out) == 199
    np.testing.assert_allclose(out[6::2], x[3:], atol=1e-9)  # a spline passes through the volumes


@pytest.mark.parametrize("tr", [0.72, float(np.float32(0.72)), 0.719999])
def test_a_rate_is_the_same_where_only_rounding_differs(tr: float) -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    assert at_rate(x, tr, float(f"{1 / 0.72:g}")) is x
    assert highest_hz(tr, float(f"{1 / 0.72:g}")) == 0.5 / tr
    assert invalid_steps(50, float(f"{1 / 0.72:g}"), tr, dropped=2, censored=[10]) == [0, 1, 10]


def test_another_rate_leaves_missing_parcels_missing() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    x[:, 1], x[:2] = np.nan, np.nan
    moved = at_rate(x, 2.0, 0.499, dropped=2)  # a rate that is off by .2 % drifts by a volume in 500
    assert moved is not x and np.isnan(moved[:, 1]).all() and np.isfinite(moved[3:, [0, 2]]).all()
    assert highest_hz(2.0, 0.499) == pytest.approx(0.9 * 0.499 / 2)
