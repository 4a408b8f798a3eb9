import numpy as np
import pytest

from benchmarks import masked_baselines
from brainlm_model.baselines import gaussian, interpolation, lagged, mean, pca, spacetime
from brainlm_model.eval.statistics import masked_r2
from tests.conftest import SHARED

MODULES = {"mean": mean, "interpolation": interpolation, "gaussian": gaussian, "pca": pca, "lagged": lagged,
           "spacetime": spacetime}  # fmt: skip
PARCELS, STEPS, PATCH = 12, 40, 10


def covariance(rng: np.random.Generator) -> np.ndarray:
    loadings = rng.normal(size=(PARCELS, 3))
    return loadings @ loadings.T + 0.2 * np.eye(PARCELS)


@pytest.fixture
def people():
    """Recordings (parcel, time) of one covariance, and that covariance."""
    rng = np.random.default_rng(0)
    truth = covariance(rng)
    return [rng.multivariate_normal(np.zeros(PARCELS), truth, 400).T.astype(np.float32) for _ in range(8)], truth


@pytest.fixture
def case(people):
    """Windows of two other people with 40% of their patches masked, and a parcel that is not known in one of them."""
    rng = np.random.default_rng(1)
    x = np.stack([rng.multivariate_normal(np.zeros(PARCELS), people[1], STEPS).T for _ in range(2)]).astype(np.float32)
    x[1, 4] = np.nan
    return x, np.repeat(rng.random((2, PARCELS, STEPS // PATCH)) < 0.4, PATCH, axis=2)


@pytest.mark.parametrize("name", MODULES)
def test_every_baseline_keeps_to_the_interface(name, people, case):
    x, mask = case
    predictor = MODULES[name].fit(people[0])
    found = predictor.predict(x, mask)
    seen = ~mask & np.isfinite(x)
    assert found.shape == x.shape and np.isfinite(found).all()
    np.testing.assert_array_equal(found[seen], x[seen])
    peeked = predictor.predict(np.where(mask, 1e6, x).astype(np.float32), mask)
    np.testing.assert_array_equal(peeked, found)  # masked values are never looked at
    one = predictor.predict(x[1:], mask[1:])
    np.testing.assert_allclose(one[0], found[1], rtol=1e-5)  # windows do not see each other


@pytest.mark.parametrize("name", MODULES)
def test_with_nothing_visible_zero_is_predicted(name, people):
    x = np.ones((1, PARCELS, STEPS), dtype=np.float32)
    assert (MODULES[name].fit(people[0]).predict(x, np.ones(x.shape, dtype=bool)) == 0).all()


def test_mean_and_interpolation_by_hand():
    x = np.array([[[1, 2, 9, 4, 9], [3, 4, 5, 6, 7]]], dtype=float)
    mask = np.array([[[0, 0, 1, 0, 1], [1, 0, 0, 0, 0]]], dtype=bool)
    np.testing.assert_array_equal(mean.fit([]).predict(x, mask), [[[1, 2, 5, 4, 7], [1, 4, 5, 6, 7]]])
    # a straight line inside, the nearest value held outside
    np.testing.assert_array_equal(interpolation.fit([]).predict(x, mask), [[[1, 2, 3, 4, 4], [4, 4, 5, 6, 7]]])


@pytest.mark.parametrize("visible", [3, 9])  # one side of each of the two equal forms
def test_gaussian_is_the_textbook_formula(people, visible):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1, PARCELS, 5))
    mask = np.ones_like(x, dtype=bool)
    mask[:, :visible] = False
    model = gaussian.fit(people[0], ridge=0.05)
    c, known, hidden = model.covariance, slice(0, visible), slice(visible, None)
    expected = c[hidden, known] @ np.linalg.inv(c[known, known]) @ x[0, known]
    np.testing.assert_allclose(model.predict(x, mask)[0, hidden], expected, rtol=1e-8)


def test_gaussian_reaches_what_theory_allows(people):
    rng = np.random.default_rng(3)
    series, truth = people
    x = rng.multivariate_normal(np.zeros(PARCELS), truth, 5000).T[None]
    mask = np.zeros_like(x, dtype=bool)
    mask[:, :6] = True
    known = slice(6, None)
    left = truth[:6, :6] - truth[:6, known] @ np.linalg.inv(truth[known, known]) @ truth[known, :6]
    found = gaussian.fit(series, ridge=1e-6).predict(x, mask)
    reached = masked_r2.r2(masked_r2.sums(x, found, mask).sum(axis=0))
    assert reached == pytest.approx(1 - np.trace(left) / np.trace(truth[:6, :6]), abs=0.02)


def test_pca_is_the_gaussian_where_its_rank_is_that_of_the_data(people):
    rng = np.random.default_rng(3)
    series, truth = people
    x = rng.multivariate_normal(np.zeros(PARCELS), truth, 500).T[None]
    mask = np.zeros_like(x, dtype=bool)
    mask[:, :4] = True
    full = gaussian.fit(series, ridge=1e-6).predict(x, mask)
    np.testing.assert_allclose(pca.fit(series, rank=3).predict(x, mask), full, atol=0.15)
    reached = [masked_r2.r2(masked_r2.sums(x, pca.fit(series, r).predict(x, mask), mask).sum(axis=0)) for r in (1, 3)]
    assert reached[1] > reached[0] + 0.1
    assert pca.fit_tuned(series, [(x, mask)]).rank == 5  # of the ranks that it tries, the nearest to three
    few = [s[:4] for s in series]
    assert (
        pca.fit_tuned(few, [(x[:, :4], mask[:, :4] & (np.arange(4) < 2)[:, None])]).rank == 3
    )  # four parcels have no five components


def test_lags_help_where_series_are_smooth_and_cost_nothing_where_they_are_not(people):
    rng = np.random.default_rng(5)
    noise = [rng.normal(size=(PARCELS, 600)) for _ in range(6)]
    smooth = [np.apply_along_axis(np.convolve, 1, s, np.ones(6) / 6, "same") for s in noise]
    mask = np.repeat(rng.random((1, PARCELS, 40)) < 0.3, PATCH, axis=2)

    def r2(kind, series):
        held = series[-1][None, :, : mask.shape[2]]
        return masked_r2.r2(masked_r2.sums(held, kind.fit(series[:-1]).predict(held, mask), mask).sum(axis=0))

    assert r2(lagged, smooth) > r2(gaussian, smooth) + 0.05
    assert r2(lagged, people[0]) == pytest.approx(r2(gaussian, people[0]), abs=0.01)


def test_second_moments_leave_gaps_out(people):
    whole = gaussian.second_moments(people[0])
    np.testing.assert_allclose(whole, np.cov(np.concatenate(people[0], axis=1), bias=True), atol=0.02)
    gappy = [s.copy() for s in people[0]]
    gappy[0][3, :200] = np.nan
    gappy[1][7] = np.nan
    found = gaussian.second_moments(gappy)
    np.testing.assert_allclose(found, whole, atol=0.3)
    assert np.linalg.eigvalsh(found).min() > -1e-9


def test_the_ridge_is_chosen_on_other_people(people):
    rng = np.random.default_rng(4)
    few = [rng.multivariate_normal(np.zeros(PARCELS), people[1], 14).T]  # 14 steps for 12 parcels: needs a large ridge
    held = [(s[None, :, :STEPS], np.repeat(rng.random((1, PARCELS, 4)) < 0.5, PATCH, axis=2)) for s in people[0]]
    assert gaussian.fit_tuned(few, held).ridge > gaussian.fit_tuned(people[0][:4], held[4:]).ridge


def test_real_people_put_the_linear_bar_where_it_is_published(capsys, monkeypatch):
    """The table of docs/metrics.md on a quarter of ABIDE: bounds allow for the smaller training set."""
    folder = SHARED / "data" / "abide"
    if not folder.is_dir():
        pytest.skip("real data not at hand: expected the ABIDE folder beside the project")
    monkeypatch.setattr("sys.argv", ["masked_baselines", "--abide", str(folder), "--people", "160"])
    assert masked_baselines.main() == 0
    flat = capsys.readouterr().out.split("r2_flat")[1].split("r2_recording")[0]
    rows = {line.split()[0]: [float(v) for v in line.replace("]", "[").split("[")[0:-1:2] for v in v.split()[-1:]]
            for line in flat.splitlines()[1:] if line.strip()}  # fmt: skip
    assert rows["gaussian"] == pytest.approx([0.61, 0.56, 0.48, 0.37], abs=0.06)
    assert rows["mean"] == pytest.approx([0.23, 0.23, 0.22, 0.20], abs=0.06)
    assert max(rows["interpolation"]) < -0.3


def test_the_benchmark_says_that_data_are_absent(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["masked_baselines", "--abide", str(tmp_path)])
    assert masked_baselines.main() == 0
    assert "skipped: no" in capsys.readouterr().out
