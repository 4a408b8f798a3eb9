"""Measures of decoded pictures and baselines, each against a plain version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainlm_data import ConfigError, InputError
from brainlm_model.decode import baselines, classifier, extra, pictures


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    seen = rng.random((8, 9, 10))
    return (seen + rng.normal(0, 0.4, seen.shape)).clip(0, 1), seen


def test_pixel_r_is_that_of_numpy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    decoded, seen = pair
    plain = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(decoded, seen, strict=True)]
    np.testing.assert_allclose(pictures.pixel_r(decoded, seen), plain, atol=1e-12)
    assert pictures.pixel_r(np.full_like(seen, 0.3), seen).tolist() == [0.0] * 8


def test_two_way_counts_the_others_that_are_further(pair: tuple[np.ndarray, np.ndarray]) -> None:
    decoded, seen = pair
    stimulus = np.array([0, 1, 2, 3, 4, 5, 6, 6])  # the last two are the same picture
    fold = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    plain = []
    for i in range(8):
        r = [np.corrcoef(decoded[i].ravel(), other.ravel())[0, 1] for other in seen]
        others = [j for j in range(8) if fold[j] == fold[i] and stimulus[j] != stimulus[i]]
        plain.append(sum(r[i] > r[j] for j in others) / len(others))
    np.testing.assert_allclose(pictures.two_way(decoded, seen, stimulus, fold), plain)
    assert pictures.two_way(seen, seen, np.arange(8)).tolist() == [1.0] * 8
    # whoever always paints the same, with or without contrast, is at chance
    for same in (np.repeat(seen[:1], 8, axis=0), np.zeros_like(seen)):
        assert pictures.two_way(same, seen, np.arange(8)).mean() == pytest.approx(0.5)
    with pytest.raises(InputError, match="one test stimulus alone"):
        pictures.two_way(seen[:2], seen[:2], np.array(["a", "a"]))


def test_ssim_is_that_of_the_formula() -> None:
    """A picture of one window: means, variances and covariance of all 49 pixels."""
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 1, 7, 7))
    c1, c2 = 0.01**2, 0.03**2
    cov = np.cov(a.ravel(), b.ravel())  # unbiased, as scikit-image has it
    plain = (2 * a.mean() * b.mean() + c1) * (2 * cov[0, 1] + c2)
    plain /= (a.mean() ** 2 + b.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2)
    assert pictures.ssim(a, b)[0] == pytest.approx(plain)
    colour = np.stack([a, a, a], axis=-1)
    assert pictures.ssim(colour, colour)[0] == pytest.approx(1)
    with pytest.raises(InputError, match="7 x 7"):
        pictures.ssim(a[:, :5], b[:, :5])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12), st.integers(1, 3))
def test_n_way_is_what_many_draws_approach(seed: int, classes: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.random((1, classes))
    true, n = int(rng.integers(classes)), int(rng.integers(2, classes + 1))
    rest = [c for c in range(classes) if c != true]
    hits = []
    for _ in range(1000):
        drawn = rng.choice(rest, n - 1, replace=False)
        hits.append(np.sum(score[0, drawn] >= score[0, true]) < top)
    exact = pictures.n_way(score, np.array([true]), n, top)[0]
    assert abs(np.mean(hits) - exact) < 0.08  # five standard errors of 1,000 draws


def test_n_way_of_more_classes_than_there_are() -> None:
    with pytest.raises(InputError, match="n_way 11 of 10 classes"):
        pictures.n_way(np.ones((1, 10)), np.zeros(1, dtype=int), 11)
    # who scores all classes alike knows none
    assert pictures.n_way(np.ones((1, 10)), np.zeros(1, dtype=int), 5).tolist() == [0.0]


def test_summary_draws_stimuli_not_rows() -> None:
    scores = np.array([0.0, 0.0, 0.0, 1.0])
    stimulus = np.array(["a", "a", "a", "b"])
    found = pictures.summary(scores, stimulus, np.array(["1"] * 4), seed=0)
    assert found["value"] == 0.5
    assert (found["low"], found["high"]) == (0.0, 1.0)
    assert "subjects_low" not in found
    several = pictures.summary(scores, stimulus, np.array(["1", "1", "2", "2"]), seed=0)
    assert several["subjects_low"] == 0.0
    alone = pictures.summary(scores[:1], stimulus[:1], np.array(["1"]), seed=0)
    assert np.isnan(alone["low"])


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(2), 0
    for trial in range(200):
        low, high = pictures.over(rng.normal(0.3, 1, 60), np.arange(60), trial)
        covered += low < 0.3 < high
    assert 180 <= covered <= 199


def test_baselines() -> None:
    rng = np.random.default_rng(3)
    patterns, test = rng.normal(size=(30, 12)), rng.normal(size=(4, 12))
    seen = rng.random((30, 3, 5))
    np.testing.assert_allclose(baselines.mean(seen, 2), np.stack([seen.mean(0)] * 2))
    for row, picture in zip(test, baselines.nearest(patterns, seen, test), strict=True):
        best = max(range(30), key=lambda i: np.corrcoef(row, patterns[i])[0, 1])
        np.testing.assert_array_equal(picture, seen[best])
    # ridge: the normal equations, with the penalty whose leave-one-out error is the smallest
    flat = seen.reshape(30, -1)

    def solved(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        centre = x - x.mean(0)
        weights = np.linalg.solve(centre.T @ centre + penalty * np.eye(12), centre.T @ (y - y.mean(0)))
        return weights, y.mean(0) - x.mean(0) @ weights

    errors = []
    for penalty in baselines.PENALTIES:
        total = 0.0
        for out in range(30):
            weights, start = solved(np.delete(patterns, out, 0), np.delete(flat, out, 0), penalty)
            total += float(((patterns[out] @ weights + start - flat[out]) ** 2).sum())
        errors.append(total)
    weights, start = solved(patterns, flat, baselines.PENALTIES[int(np.argmin(errors))])
    np.testing.assert_allclose(baselines.ridge(patterns, seen, test).reshape(4, -1), test @ weights + start, atol=1e-8)


def test_ridge_finds_a_linear_code() -> None:
    rng = np.random.default_rng(4)
    code, patterns = rng.normal(size=(20, 3 * 5)), rng.normal(size=(60, 20))
    truth = (0.5 + 0.02 * (patterns @ code)).clip(0, 1).reshape(60, 3, 5)
    found = baselines.ridge_pixels(patterns[:50], truth[:50], patterns[50:])
    assert pictures.pixel_r(found, truth[50:]).min() > 0.98


def test_classifier_reads_digits_whatever_their_size_and_place() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = np.arange(0, len(digits.target), 12)
    large = np.zeros((len(rows), 28, 30))
    large[:, 5:21, 9:25] = digits.images[rows].repeat(2, axis=1).repeat(2, axis=2) / 16
    for seen in (large, np.stack([large] * 3, axis=-1), 0.2 + 0.5 * large):
        assert np.mean(classifier.digit_scores(seen).argmax(axis=1) == digits.target[rows]) > 0.95
    assert np.isfinite(classifier.digit_scores(np.zeros((1, 9, 9)))).all()  # no ink at all


def test_an_extra_that_is_not_installed_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"no_such_package is not installed -> pip install 'brainlm-pipeline\[decode"):
        extra.needed("no_such_package.part")
