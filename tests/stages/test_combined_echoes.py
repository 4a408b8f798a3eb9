"""T2* and the combination of echoes, against signals whose T2* is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from brainlm_data.errors import Refused
from brainlm_data.methods.echoes import T2STAR_S, t2star, weights
from brainlm_data.stage import Files
from brainlm_data.stages import sample
from tests.conftest import SHARED
from tests.stages import phantom, sampled

TIMES = (0.013, 0.030, 0.047)
T2 = st.floats(0.005, 0.3)


def echoes(t2star_s: NDArray[Any], s0: NDArray[Any] | float = 1000.0) -> NDArray[np.float64]:
    """Signals (echoes, ...) without noise."""
    return np.stack([s0 * np.exp(-time / t2star_s) for time in TIMES])


@given(arrays(np.float64, 5, elements=T2), arrays(np.float64, 5, elements=st.floats(1, 1e5)))
def test_t2star_of_signals_without_noise(truth: NDArray[Any], s0: NDArray[Any]) -> None:
    np.testing.assert_allclose(t2star(echoes(truth, s0), TIMES), truth, rtol=1e-6)


@given(arrays(np.float64, (3, 4), elements=st.floats(-10, 1e4)))
def test_whatever_the_signals_weights_are_a_mean(means: NDArray[Any]) -> None:
    fitted = t2star(means, TIMES)
    assert ((fitted >= T2STAR_S[0]) & (fitted <= T2STAR_S[1])).all()
    found = weights(fitted, TIMES)
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-5)
    assert (found >= 0).all() and np.isfinite(found).all()


@given(arrays(np.float64, 4, elements=T2))
def test_contrast_to_noise_is_no_smaller_than_of_any_echo(truth: NDArray[Any]) -> None:
    """A change of R2* changes echo e by TE S_e; the noise of a weighted sum is the root of its squared weights."""
    contrast = echoes(truth) * np.array(TIMES)[:, None]
    found = weights(truth, TIMES)
    together = (found * contrast).sum(0) / np.sqrt((found**2).sum(0))
    assert (together >= contrast.max(0) * (1 - 1e-5)).all()


def test_an_echo_that_is_noise_alone_lengthens_t2star_less() -> None:
    """In drop-out the last echo is at the noise floor; unweighted, the line through the logarithms is too flat."""
    rng, truth, floor = np.random.default_rng(0), np.full(2000, 0.008), 10.0
    clean = echoes(truth)
    noisy = np.hypot(clean + rng.normal(0, floor, clean.shape), rng.normal(0, floor, clean.shape))
    unweighted = -1 / np.polyfit(TIMES, np.log(noisy), 1)[0]
    error, other = (np.abs(np.median(found) - 0.008) for found in (t2star(noisy, TIMES), unweighted))
    assert error < 0.7 * other


def test_nothing_to_fit_is_the_shortest() -> None:
    assert t2star(np.array([[100.0], [0.0], [-1.0]]), TIMES)[0] == T2STAR_S[0]
    assert weights(t2star(np.zeros((3, 1)), TIMES), TIMES)[0] > 0.9


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainlm_data.methods.sampling.to_boldref", sampled.to_boldref)


def prepare(folder: Path, images: list[NDArray[Any]], motion: NDArray[Any]) -> Files:
    """Inputs of stage sample: the first echo is the one on which motion was estimated."""
    paths = {f"sub-1/func/e{n}.nii.gz": phantom.save(folder / f"e{n}.nii.gz", x) for n, x in enumerate(images, 1)}
    first, *_ = paths.values()
    inputs = sampled.prepare(folder, first, motion, images[0][..., 0])
    echo = {"EchoTimes": list(TIMES), "EchoesCombined": [f"bids:raw:{name}" for name in paths]}
    return Files({**inputs, **paths}, {**inputs.meta, "echo": echo})


def test_the_stage_combines_them_as_the_head_moves(tmp_path: Path, route: None) -> None:
    """With one T2* everywhere the combination is the series itself, times the weighted mean of the decays."""
    motion = phantom.motions(phantom.walk(4))
    head = phantom.series(motion, noise=0)
    inputs = prepare(tmp_path, [head * np.float32(np.exp(-time / 0.04)) for time in TIMES], motion)
    facts, out = sampled.run(inputs)
    combined = sampled.series(out)
    plain = tmp_path / "plain"
    plain.mkdir()
    alone = sampled.prepare(plain, phantom.save(plain / "b.nii.gz", head), motion, head[..., 0])
    decay = np.exp(-np.array(TIMES) / 0.04)
    factor = float((weights(np.array([0.04]), TIMES)[:, 0] * decay).sum())
    np.testing.assert_allclose(combined, factor * sampled.series(sampled.run(alone)[1]), rtol=2e-3)
    assert facts["MedianT2star"] == pytest.approx(0.04, rel=1e-3)
    said = sample.describe(facts)
    assert "Echoes (13, 30, 47 ms) were combined" in said and "(median 40 ms)" in said


@pytest.mark.parametrize("fault", ["length", "place"])
def test_echoes_that_do_not_belong_together_are_refused(tmp_path: Path, route: None, fault: str) -> None:
    motion = phantom.motions(phantom.walk(4))
    head = phantom.series(motion)
    inputs = prepare(tmp_path, [head, head, head], motion)
    place = phantom.AFFINE + (np.eye(4) if fault == "place" else 0)
    phantom.save(inputs["sub-1/func/e3.nii.gz"], head[..., :3] if fault == "length" else head, place)
    with pytest.raises(Refused, match=r"e3\.nii\.gz: not on the grid of e1\.nii\.gz"):
        sampled.run(inputs)


def test_t2star_of_a_real_head() -> None:
    """Three echoes of a 3 T scanner: inside the brain T2* is some tens of milliseconds."""
    folder = SHARED / "data" / "echoes"
    if not folder.is_dir():
        pytest.skip("scanner files not at hand: expected data/echoes beside the project")
    means = np.stack([nib.load(folder / f"echo{n}.nii.gz").get_fdata().mean(-1) for n in (1, 2, 3)])
    bright = means[0] > np.percentile(means[0], 80)
    fitted = t2star(means[:, bright], TIMES)
    assert 0.02 < np.median(fitted) < 0.07
