"""ICA and AROMA's verdicts on a head whose sources are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from brainlm_data.errors import Refused
from brainlm_data.files.tables import read_table
from brainlm_data.methods import aroma, ica
from brainlm_data.methods.chain import before_regression
from brainlm_data.methods.operators import Recipe, high_pass, low_pass
from brainlm_data.methods.regression import Regression
from brainlm_data.stage import Files
from brainlm_data.stages import confounds, denoise, filter
from tests.stages import fitted


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, dict[str, Any]]:
    files, truth = fitted.recording(tmp_path_factory.mktemp("denoise"))
    files = fitted.run(filter.STAGE, fitted.run(confounds.STAGE, files)[1])[1]
    return files, truth


def filtered(course: NDArray[np.float64]) -> NDArray[np.float64]:
    return high_pass(course[:, None], Recipe(fitted.TR, fitted.T, low_hz=0.01))[:, 0]


def matches(mixing: NDArray[np.float64], truth: dict[str, Any]) -> dict[str, tuple[int, float]]:
    """For each source, the component that follows its filtered course best, and |r|."""
    found = {}
    for kind, course in truth["courses"].items():
        r = np.abs(np.corrcoef(filtered(course), mixing.T)[0, 1:])
        found[kind] = (int(r.argmax()), float(r.max()))
    return found


def test_sources_are_found_and_get_the_right_verdict(prepared: tuple[Files, dict[str, Any]]) -> None:
    files, truth = prepared
    facts, out = fitted.run(denoise.STAGE, files)
    mixing = read_table(out["ica_mixing"])[1]
    table = pd.read_csv(out["ica_metrics"], sep="\t", keep_default_na=False)
    found = matches(mixing, truth)
    reasons = {kind: table["rationale"][place] for kind, (place, _) in found.items()}
    assert len({place for place, _ in found.values()}) == len(fitted.KINDS)  # one component each
    assert all(r > 0.95 for _, r in found.values()), found
    assert "motion" in reasons["motion"] and "csf" in reasons["csf"]
    assert "high_frequency" in reasons["high_frequency"]
    assert [reasons[f"network_{n}"] for n in "abc"] == ["", "", ""]
    assert facts["Converged"] and facts["NumberOfComponents"] == len(table)
    assert facts["NumberOfNoiseComponents"] == (table["classification"] == "rejected").sum()
    maps = nib.load(out["ica_components"])
    assert maps.shape == (*fitted.SHAPE, len(table)) and maps.get_data_dtype() == np.float32
    values = maps.get_fdata()[truth["masks"]["brain"]]
    np.testing.assert_allclose(values.std(0), 1, rtol=1e-4)
    assert ((values**3).mean(0) > 0).all()

    # D takes the noise away and leaves the networks
    d = Regression.load(out["denoise_recipe"])
    for kind, course in truth["courses"].items():
        before = filtered(course)[:, None]
        left = d.apply(before).var() / before.var()
        assert (0.95 < left < 1.05) if kind.startswith("network") else (left < 0.1), (kind, left)


def test_same_bytes_twice(prepared: tuple[Files, dict[str, Any]]) -> None:
    def written() -> dict[str, bytes]:
        _, out = fitted.run(denoise.STAGE, prepared[0], fits=2)
        return {name: out[name].read_bytes() for name in denoise.STAGE.outputs}

    assert written() == written()


def test_golden(prepared: tuple[Files, dict[str, Any]], golden: Callable[..., None]) -> None:
    facts, out = fitted.run(denoise.STAGE, prepared[0], n_components=8, fits=3)
    # components that explain nearly as much change places by round-off, and with them the factors of D, not D itself:
    # that is held by the golden output of parcellate
    ignore = ("noise", "readout")
    golden(denoise.STAGE, out, facts, after=[confounds.STAGE, filter.STAGE], rtol=0.01, ignore=ignore)


@pytest.mark.parametrize("strategy", [None, "none"])
def test_without_ica(prepared: tuple[Files, dict[str, Any]], strategy: str | None) -> None:
    files, _ = prepared
    facts, out = fitted.run(denoise.STAGE, files, strategy=strategy)
    assert (facts["Strategy"], facts["NumberOfComponents"], facts["Confounds"]) == ("none", 0, [])
    x = np.random.default_rng(0).standard_normal((fitted.T, 3))
    np.testing.assert_array_equal(Regression.load(out["denoise_recipe"]).apply(x), x)
    assert read_table(out["ica_mixing"])[1].shape == (fitted.T, 0)
    assert len(pd.read_csv(out["ica_metrics"], sep="\t")) == 0


def test_confounds_by_name(prepared: tuple[Files, dict[str, Any]], tmp_path: Path) -> None:
    files, _ = prepared
    facts, out = fitted.run(denoise.STAGE, files, strategy=None, confounds=["trans_*", "csf"], smooth_mm=0)
    assert len(facts["Confounds"]) == 13 and facts["Confounds"][-1] == "csf"
    assert Regression.load(out["denoise_recipe"]).noise.shape == (fitted.T, 13)
    with pytest.raises(Refused, match="no column motion_99"):
        fitted.run(denoise.STAGE, files, confounds=["motion_99"])
    short = fitted.run(filter.STAGE, fitted.run(confounds.STAGE, fitted.recording(tmp_path)[0])[1], drop=100)[1]
    with pytest.raises(Refused, match="regressors for 40 volumes"):
        fitted.run(denoise.STAGE, short, strategy=None, confounds=["*"])


@pytest.mark.parametrize("section", [{"n_components": 1}, {"n_components": "many"}, {"smooth_mm": -1}, {"strategy": 3}])
def test_impossible_sections(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        denoise.Config(**section)


def test_features() -> None:
    rng = np.random.default_rng(0)
    steps, tr = 200, 2.0
    time = np.arange(steps) * tr
    # high-frequency content: the place between .01 and .25 Hz where half of the power lies
    mixing = np.stack([np.sin(2 * np.pi * f * time) for f in (0.03, 0.13, 0.22)], 1)
    np.testing.assert_allclose(
        aroma.high_frequency(mixing, tr), (np.array([0.03, 0.13, 0.22]) - 0.01) / 0.24, atol=0.01
    )
    # edge and CSF fractions of |z| above 2.3
    edge, csf = np.zeros(100, bool), np.zeros(100, bool)
    edge[:20], csf[20:30] = True, True
    z = np.zeros((3, 100))
    z[0, :5], z[0, 50:55] = 3, -3  # half at the edge
    z[1, 20:24], z[1, 60] = 4, 4  # four fifths in CSF, none at the edge
    z[2] = 2  # nothing above the threshold
    np.testing.assert_allclose(aroma.spatial(z, edge, csf), [[0.5, 0, 0], [0, 0.8, 0]])
    # motion: a component that follows a parameter, its difference, or its square a volume later
    motion = np.cumsum(rng.standard_normal((steps, 6)), 0)
    terms = aroma.motion_terms(motion)
    assert terms.shape == (steps, 36)
    np.testing.assert_array_equal(terms[1:, 12:24], terms[:-1, :12])
    np.testing.assert_array_equal(terms[:-1, 24:], terms[1:, :12])
    np.testing.assert_array_equal(terms[1:, 6:12], np.diff(motion, axis=0))
    mixing = np.stack([motion[:, 2], np.r_[0, np.diff(motion[:, 4])], rng.standard_normal(steps)], 1)
    r = aroma.motion_correlation(mixing, terms)
    assert r[0] == pytest.approx(1) and r[1] == pytest.approx(1) and r[2] < 0.35
    np.testing.assert_array_equal(aroma.motion_correlation(mixing, np.zeros((steps, 36))), 0)  # nobody moved


def test_published_rule() -> None:
    """Pruim et al. (2015): HFC > .35, or CSF > .10, or -19.975 + 9.951 r + 24.833 edge > 0."""
    features = aroma.Features(
        edge=np.array([0.2, 0.2, 0.45, 0.45, 0.7, 0.2]),
        csf=np.array([0.05, 0.11, 0.05, 0.05, 0.2, 0.10]),
        high_frequency=np.array([0.36, 0.1, 0.1, 0.1, 0.5, 0.35]),
        motion=np.array([0.2, 0.2, 0.90, 0.87, 0.9, 0.2]),
    )
    # at an edge fraction of .45, r must be above (19.975 - 11.175) / 9.951 = .884
    assert features.reasons() == ["high_frequency", "csf", "motion", "", "high_frequency+csf+motion", ""]


def test_frequency_rule_holds_at_every_tr() -> None:
    """Published at TR 2 s (.35, .094 Hz), never below .09 Hz, off where there is no higher frequency."""
    assert aroma.frequency_cut(2.0) == aroma.frequency_cut(0.7) == aroma.HIGH_FREQUENCY
    for tr in (2.5, 3.0, 5.0):
        cut = aroma.frequency_cut(tr)
        assert cut is not None and 0.01 + cut * (0.5 / tr - 0.01) == pytest.approx(0.09)
    assert aroma.frequency_cut(7.0) is None
    features = aroma.Features(np.zeros(1), np.zeros(1), np.array([0.99]), np.zeros(1), aroma.frequency_cut(7.0))
    assert features.reasons() == [""]


def test_motion_correlation_is_that_of_the_rows_that_are_left_in() -> None:
    rng = np.random.default_rng(3)
    mixing, motion = rng.standard_normal((50, 4)), np.cumsum(rng.standard_normal((50, 6)), 0)
    terms, splits = aroma.motion_terms(motion), np.random.default_rng(7)
    expected = np.zeros(4)
    for _ in range(aroma.SPLITS):
        rows = splits.permutation(50)[:45]
        both = [np.corrcoef(a[rows].T, b[rows].T)[:4, 4:] for a, b in ((mixing, terms), (mixing**2, terms**2))]
        expected += np.abs(both).max((0, 2)) / aroma.SPLITS
    np.testing.assert_allclose(aroma.motion_correlation(mixing, terms, seed=7), expected, atol=1e-9)


@pytest.mark.parametrize("strategy", ["ica", "24P", "acompcor", "ica+36P", "ica+acompcor"])
@pytest.mark.parametrize("filtering", [{}, {"method": "cosine", "high_hz": 0.1}])
def test_no_parcel_gains_variance(
    prepared: tuple[Files, dict[str, Any]], strategy: str, filtering: dict[str, Any]
) -> None:
    files = fitted.run(filter.STAGE, prepared[0], **filtering)[1]
    facts, out = fitted.run(denoise.STAGE, files, strategy=strategy, fits=1)
    recipe = Recipe.load(files["filter_recipe"])
    x = before_regression(read_table(files["parcels_raw"])[1], recipe)
    x = x[:, ~np.isnan(x).any(0)]
    after = low_pass(Regression.load(out["denoise_recipe"]).apply(x), recipe)
    assert (after.var(0) <= low_pass(x, recipe).var(0) * (1 + 1e-6)).all()
    assert facts["SingularValueLimit"] is None or facts["SingularValueLimit"] >= 1


def test_many_fits_agree_better_than_one(prepared: tuple[Files, dict[str, Any]]) -> None:
    x = np.random.default_rng(0).standard_normal((fitted.T, 200))

    def distance(first: dict[str, Any], second: dict[str, Any]) -> float:
        one, other = (
            Regression.load(fitted.run(denoise.STAGE, prepared[0], **section)[1]["denoise_recipe"]).apply(x)
            for section in (first, second)
        )
        return float(np.square(one - other).mean())

    single = distance({"fits": 1, "n_components": 12}, {"fits": 1, "n_components": 13, "seed": 50})
    assert distance({"n_components": 12}, {"n_components": 13, "seed": 50}) < 0.7 * single


def test_rank_and_smoothing() -> None:
    rng = np.random.default_rng(1)
    signals = rng.standard_normal((100, 22)) @ rng.standard_normal((22, 5000)) * 2
    data = signals + rng.standard_normal((100, 5000))
    values = np.linalg.eigvalsh(data @ data.T / 5000)[::-1]
    assert ica.optimal_rank(values, 100, 5000) == 22
    assert ica.optimal_rank(values[:30], 30, 5000) <= 10  # never more than a third of the volumes
    noise = rng.standard_normal((60, 5000))
    nothing = np.linalg.eigvalsh(noise @ noise.T / 5000)[::-1]
    assert ica.optimal_rank(nothing, 60, 5000) == 10  # a sixth of the volumes at least
    assert ica.optimal_rank(nothing[:20], 20, 5000) == ica.FEWEST
    mask = rng.random((8, 8, 8)) > 0.3
    smooth = ica.smoother(mask, 1.0)
    np.testing.assert_allclose(smooth(np.full(mask.sum(), 7.0)), 7, rtol=1e-5)  # edges do not fade
    x, y = rng.standard_normal((2, mask.sum()))
    np.testing.assert_allclose(smooth(x + 3 * y), smooth(x) + 3 * smooth(y), atol=1e-5)
    assert smooth(x).std() < 0.6 * x.std()


def test_not_converged_is_said(prepared: tuple[Files, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ica, "PASSES", 1)
    facts, _ = fitted.run(denoise.STAGE, prepared[0], fits=1)
    assert not facts["Converged"] and "did not converge" in facts["Warnings"][0]


def test_dropped_and_censored(tmp_path: Path) -> None:
    files, _ = fitted.recording(tmp_path, non_steady=3)
    facts, files = fitted.run(confounds.STAGE, files)
    assert facts["NumberOfNonSteadyStates"] == 3
    facts, files = fitted.run(filter.STAGE, files, censor_fd_mm=0.4)
    assert facts["Dropped"] == 3 and len(facts["Censored"]) >= 3
    _, out = fitted.run(denoise.STAGE, files, fits=1)
    mixing = read_table(out["ica_mixing"])[1]
    assert np.isnan(mixing[:3]).all() and np.isfinite(mixing[3:]).all()
    assert Regression.load(out["denoise_recipe"]).noise.shape[0] == fitted.T - 3
