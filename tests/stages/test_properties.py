"""Properties of the operators, for any recipe, any data, any orientation in which a run is stored."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainlm_data.methods.operators import Recipe, Temporal, cosines, drop, fill_censored, high_pass, low_pass, resample
from brainlm_data.methods.regression import Regression
from tests.stages import phantom, sampled

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
ORIENTATIONS = [
    "".join(letters) for order in itertools.permutations(("LR", "PA", "IS")) for letters in itertools.product(*order)
]  # all 48


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Any recipe whose band the recording can hold: an edge of the high-pass has two periods in it."""
    tr, steps = draw(st.floats(0.5, 3.0)), draw(st.integers(80, 220))
    dropped = draw(st.integers(0, 5))
    censored = tuple(sorted(draw(st.sets(st.integers(0, steps - 1), max_size=steps // 6))))
    nyquist, seconds = 0.5 / tr, (steps - dropped) * tr
    low = draw(st.none() | st.floats(2 / seconds, max(2.1 / seconds, 0.15 * nyquist)))
    high = draw(st.none() | st.floats(0.3 * nyquist, 0.6 * nyquist))
    return Recipe(tr, steps, dropped, censored, draw(st.sampled_from(["butterworth", "cosine"])), low, high)


def temporal(recipe: Recipe, seed: int, noise: int = 3, kept: int = 4) -> Temporal:
    """Operators with a D fitted to random courses, filtered as the data are."""
    raw = np.random.default_rng(seed).standard_normal((recipe.n_volumes, noise + kept))
    design = high_pass(fill_censored(drop(raw, recipe), recipe), recipe)
    return Temporal(recipe, Regression.fit(design[:, :noise], design[:, noise:]), 7.0)


def power(x: Array, tr: float, low: float, high: float) -> float:
    """Mean power between two frequencies, of a tapered series: the taper keeps the ends from leaking."""
    frequency = np.fft.rfftfreq(len(x), tr)
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x))[:, None], axis=0)) ** 2
    return float(spectrum[(frequency >= low) & (frequency <= high)].mean())


@given(recipe=recipes(), seed=SEEDS, factor=st.floats(-1e3, 1e3))
@settings(max_examples=40, deadline=None)
def test_linear(recipe: Recipe, seed: int, factor: float) -> None:
    x, y = np.random.default_rng(seed).normal(1000, 50, (2, recipe.n_volumes, 3))
    apply = temporal(recipe, seed).apply
    size = 1 + abs(factor)
    np.testing.assert_allclose(apply(factor * x + y), factor * apply(x) + apply(y), atol=1e-6 * size)
    assert np.nanstd(apply(x)) > 1


@given(recipe=recipes(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_commutes_with_parcellation(recipe: Recipe, seed: int) -> None:
    """Any matrix on the left: overlapping and signed weights too; and resampling, the last operator."""
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(1000, 50, (recipe.n_volumes, 12)), rng.normal(0, 1, (12, 4))
    apply = temporal(recipe, seed).apply
    np.testing.assert_allclose(apply(x) @ weights, apply(x @ weights), atol=1e-5)
    rate = float(rng.uniform(0.3, 2))
    both = resample(apply(x), recipe.tr_s, rate) @ weights, resample(apply(x @ weights), recipe.tr_s, rate)
    np.testing.assert_allclose(*both, atol=1e-5)


@given(recipe=recipes(), seed=SEEDS, level=st.floats(-1e4, 1e4))
@settings(max_examples=40, deadline=None)
def test_constants(recipe: Recipe, seed: int, level: float) -> None:
    """A constant stays one where the operator keeps the mean (C, L, R), and becomes 0 where it does not (H, all)."""
    x = np.full((recipe.n_volumes, 2), level)
    kept = drop(x, recipe)
    close = {"atol": 1e-8 * (1 + abs(level))}
    np.testing.assert_allclose(fill_censored(kept, recipe), kept, **close)
    np.testing.assert_allclose(low_pass(kept, recipe), kept, **close)
    np.testing.assert_allclose(resample(x, recipe.tr_s, 1.0), level, **close)
    np.testing.assert_allclose(high_pass(kept, recipe), 0, **close)
    whole = temporal(recipe, seed).apply(x)
    np.testing.assert_allclose(whole[recipe.dropped :], 0, atol=1e-6 * (1 + abs(level)))
    # and so a constant that is added to any series changes nothing
    y = np.random.default_rng(seed).normal(0, 50, x.shape)
    np.testing.assert_allclose(
        temporal(recipe, seed).apply(x + y), temporal(recipe, seed).apply(y), atol=1e-6 * (1 + abs(level))
    )


@given(recipe=recipes(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_stop_band_is_idempotent(recipe: Recipe, seed: int) -> None:
    """What H and L stop is stopped once and for all: filtering again finds nothing there that it could bring back."""
    x = np.random.default_rng(seed).normal(0, 50, (recipe.n_volumes - recipe.dropped, 3))
    low, high = recipe.band
    once = high_pass(x, recipe)
    twice = high_pass(once, recipe)
    if recipe.method == "cosine" or recipe.low_hz is None:
        np.testing.assert_allclose(twice, once, atol=1e-9)  # projections
        basis = cosines(len(x), recipe.tr_s, recipe.low_hz or 0)
        np.testing.assert_allclose(basis.T @ once, 0, atol=1e-8)
    else:  # a Butterworth filter leaves a little at the ends of a short recording, again and again
        for y in (once, twice):
            assert power(y, recipe.tr_s, 0, low / 2) < 0.1 * power(x, recipe.tr_s, 0, np.inf)  # x is white
            passed = power(y, recipe.tr_s, 2 * low, np.inf) / power(x, recipe.tr_s, 2 * low, np.inf)
            assert abs(passed - 1) < 0.01
    if recipe.high_hz is not None:
        edge = 0.5 * (high + 0.5 / recipe.tr_s)
        first = low_pass(x, recipe)
        for y in (first, low_pass(first, recipe)):
            assert power(y, recipe.tr_s, edge, np.inf) < 0.05 * power(x, recipe.tr_s, 0, np.inf)


@given(recipe=recipes(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_regression_is_a_projection_within_the_band(recipe: Recipe, seed: int) -> None:
    """D D = D, D leaves no noise course and changes no kept one, and H D H = D H where H is a projection."""
    rng = np.random.default_rng(seed)
    operators = temporal(recipe, seed)
    d = operators.regression
    x = high_pass(rng.normal(0, 50, (recipe.n_volumes - recipe.dropped, 3)), recipe)
    once = d.apply(x)
    np.testing.assert_allclose(d.apply(once), once, atol=1e-7)
    np.testing.assert_allclose(d.apply(d.noise), 0, atol=1e-9)
    if recipe.method == "cosine" or recipe.low_hz is None:
        np.testing.assert_allclose(high_pass(once, recipe), once, atol=1e-7)  # nothing that was filtered is back


@given(recipe=recipes(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_what_a_censored_volume_holds_does_not_matter(recipe: Recipe, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(1000, 50, (recipe.n_volumes, 2))
    damaged = x.copy()
    bad = [*recipe.censored, *range(recipe.dropped)]
    damaged[bad] = rng.normal(0, 1e5, (len(bad), 2))
    apply = temporal(recipe, seed).apply
    np.testing.assert_allclose(apply(damaged), apply(x), atol=1e-6)


@pytest.fixture(scope="module")
def head() -> tuple[nib.Nifti1Image, NDArray[Any], Array]:
    """A moving head, its motion, and its parcel means as it was stored first."""
    motion = phantom.motions(phantom.walk(3))
    image = nib.Nifti1Image(phantom.series(motion), phantom.AFFINE)
    return image, motion, parcels(image, motion)


def parcels(image: nib.Nifti1Image, motion: NDArray[Any]) -> Array:
    """Stage sample's parcel means (T, parcels)."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("brainlm_data.methods.sampling.to_boldref", sampled.to_boldref)
        data = image.get_fdata(dtype=np.float32)
        bold = phantom.save(Path(name) / "b.nii.gz", data, image.affine)
        return sampled.series(sampled.run(sampled.prepare(Path(name), bold, motion, data[..., 0]))[1])


@given(codes=st.sampled_from(ORIENTATIONS))
@settings(max_examples=8, deadline=None)
def test_orientation_of_the_stored_image_does_not_matter(
    head: tuple[nib.Nifti1Image, NDArray[Any], Array], codes: str
) -> None:
    """Voxel axes flipped and exchanged, with the affine that goes with them: the same parcel means."""
    image, motion, first = head
    now = nib.orientations.io_orientation(image.affine)
    turned = image.as_reoriented(nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(codes)))
    assert nib.aff2axcodes(turned.affine) == tuple(codes)
    np.testing.assert_allclose(parcels(turned, motion), first, rtol=1e-5)
