import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error, r2_score

from brainlm_model.eval.statistics import masked_r2
from brainlm_model.eval.statistics.subjects import subject_draws


def cohort(seed: int = 0, recordings: int = 7, parcels: int = 5, steps: int = 40):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(recordings, parcels, steps)) * rng.uniform(0.5, 2, (1, parcels, 1)) + rng.normal()
    predicted = truth + rng.normal(size=truth.shape) * rng.uniform(0.2, 2)
    scored = rng.random(truth.shape) < 0.6
    return truth, predicted, scored, np.stack([masked_r2.sums(*a) for a in zip(truth, predicted, scored, strict=True)])


EVERYONE = np.ones((1, 7))


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_each_reading_is_that_of_sklearn(seed):
    truth, predicted, scored, sums = cohort(seed)
    flat = masked_r2.r2_flat(sums, EVERYONE)[0]
    np.testing.assert_allclose(flat, r2_score(truth[scored], predicted[scored]), rtol=1e-9)
    np.testing.assert_allclose(masked_r2.mse(sums, EVERYONE)[0], mean_squared_error(truth[scored], predicted[scored]))
    each = [r2_score(t[s], p[s]) for t, p, s in zip(truth, predicted, scored, strict=True)]
    np.testing.assert_allclose(masked_r2.r2_recording(sums, EVERYONE)[0], np.mean(each), rtol=1e-9)
    columns = [r2_score(truth[:, i][scored[:, i]], predicted[:, i][scored[:, i]]) for i in range(truth.shape[1])]
    np.testing.assert_allclose(masked_r2.r2_parcel(sums, EVERYONE)[0], np.mean(columns), rtol=1e-9)


def test_a_bad_prediction_is_not_clipped_at_zero():
    truth = np.array([[1.0, 2.0, 3.0]])
    sums = masked_r2.sums(truth, -truth, np.ones_like(truth, dtype=bool))[None]
    found = masked_r2.r2_flat(sums, np.ones((1, 1)))[0]
    assert found == pytest.approx(r2_score(truth[0], -truth[0]))
    assert found < -20


def test_what_is_not_scored_does_not_count():
    truth, predicted, scored, sums = cohort()
    truth[~scored], predicted[~scored] = np.nan, 1e9
    again = np.stack([masked_r2.sums(*a) for a in zip(truth, predicted, scored, strict=True)])
    np.testing.assert_array_equal(again, sums)


def test_a_prediction_that_is_not_a_number_is_an_error_and_no_score():
    with pytest.raises(ValueError, match="not finite"):
        masked_r2.sums(np.zeros((1, 2)), np.array([[0, np.nan]]), np.ones((1, 2), dtype=bool))


def test_a_parcel_that_never_varies_has_no_r2_and_spoils_no_mean():
    truth, predicted, scored, _ = cohort()
    truth[:, 2] = 3.0
    sums = np.stack([masked_r2.sums(*a) for a in zip(truth, predicted, scored, strict=True)])
    assert np.isnan(masked_r2.r2(sums.sum(0)[2]))
    assert np.isfinite(masked_r2.r2_parcel(sums, EVERYONE)[0])


def test_a_draw_takes_a_subject_with_all_its_recordings():
    weights = subject_draws(["a", "b", "a", "c"], 200, seed=1)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    np.testing.assert_array_equal(weights, subject_draws(["a", "b", "a", "c"], 200, seed=1))
    assert not np.array_equal(weights, subject_draws(["a", "b", "a", "c"], 200, seed=2))


def test_a_weight_of_two_is_the_recording_twice():
    *_, sums = cohort()
    weights = np.array([[2.0, 1, 0, 1, 1, 1, 1]])
    listed = np.concatenate([sums[:1], sums[:2], sums[3:]])
    for metric in masked_r2.METRICS.values():
        np.testing.assert_allclose(metric(sums, weights)[0], metric(listed, EVERYONE)[0])


def test_intervals_are_as_wide_as_people_differ():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        levels = np.clip(rng.normal(0.5, 0.1, 30), 0, 0.95)  # the true mean R2 of recordings is .5
        sums = np.stack([[np.array([100.0, 0.0, 100.0, 100 * (1 - level)])] for level in levels])
        found = masked_r2.estimate("r2_recording", sums, subject_draws([str(i) for i in range(30)], 300, trial))
        covered += found.low <= 0.5 <= found.high
    assert 85 <= covered <= 100


def test_one_subject_has_a_value_and_no_interval():
    *_, sums = cohort()
    found = masked_r2.estimate("r2_flat", sums, subject_draws(["a"] * 7, 100, 0))
    assert np.isfinite(found.value) and np.isnan(found.low) and np.isnan(found.high)


def test_a_paired_comparison_sees_what_separate_intervals_do_not():
    rng = np.random.default_rng(3)
    names = [str(i) for i in range(12)]
    level = rng.uniform(0.1, 0.8, 12)  # people differ by far more than the methods do

    def sums(r2):
        return np.stack([[np.array([100.0, 0.0, 100.0, 100 * (1 - value)])] for value in r2])

    better, other = sums(level + 0.02), sums(level)
    draws = subject_draws(names, 500, 0)
    assert masked_r2.estimate("r2_flat", better, draws).low < masked_r2.estimate("r2_flat", other, draws).high
    found = masked_r2.compare(better, other, names, draws)
    assert found.verdict == "better" and found.ahead == 12 and found.firm
    assert found.difference.value == pytest.approx(0.02)
    assert masked_r2.compare(other, better, names, draws).verdict == "worse"
    noise = rng.normal(0, 0.05, 12)
    assert masked_r2.compare(sums(level + noise - noise.mean()), other, names, draws).verdict == "not distinguishable"


def test_few_subjects_are_never_firm():
    *_, sums = cohort()
    assert not masked_r2.compare(sums, sums, list("aabbcce"), subject_draws(list("aabbcce"), 100, 0)).firm
