"""The scikit-learn transformer: its conventions, what it takes, and that it gives what `embed` gives."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from brainlm_data import BrainLMError, InputError, ParcelSeries, open_store, resample_series, scale_series
from brainlm_model import BrainLMEmbedder, TrainedModel, load
from tests.model.api_example import make_results
from tests.model.cohort import PARCELS, series


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_results(tmp_path_factory.mktemp("embedder")) / "results"


@pytest.fixture(scope="module")
def model(home: Path) -> TrainedModel:
    return load(home / "models" / "tiny")


@pytest.fixture
def arrays() -> list[np.ndarray]:
    """Recordings of unequal length."""
    rng = np.random.default_rng(0)
    return [series(rng, steps) for steps in (200, 260, 410, 230, 300, 220)]


def test_it_gives_what_embed_gives(model, arrays):
    found = BrainLMEmbedder(model).fit_transform(arrays)
    assert found.shape == (6, 16) and found.dtype == np.float32
    for row, array in zip(found, arrays, strict=True):
        np.testing.assert_allclose(row, model.embed(array), atol=1e-5)
    parcels = BrainLMEmbedder(model, kind="parcels").transform(arrays[:1])
    np.testing.assert_allclose(parcels[0], model.embed(arrays[0], "parcels").ravel(), atol=1e-5)


def test_every_form_of_x(home, model, arrays, tmp_path):
    embedder, expected = BrainLMEmbedder(model), model.embed(arrays[0])
    np.save(tmp_path / "a.npy", arrays[0])
    files = [str(tmp_path / "a.npy")] * 2
    same = [arrays[0]] * 2
    ragged = np.empty(2, dtype=object)
    ragged[:] = [arrays[0], arrays[1]]
    for x in (same, tuple(same), np.stack(same), files, np.array(files), pd.Series(files), Path(files[0]), arrays[0]):
        for row in embedder.transform(x):
            np.testing.assert_allclose(row, expected, atol=1e-4)
    np.testing.assert_allclose(embedder.transform(ragged)[0], expected, atol=1e-5)
    store = open_store(home / "store.zarr")
    both = embedder.transform([(store, "sub-08_task-rest"), store.recording("sub-08_task-rest")])
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)


def test_conventions(home, model):
    embedder = BrainLMEmbedder(str(home / "models" / "tiny"), kind="mean", tr=2.0)
    assert clone(embedder).get_params() == embedder.get_params()
    assert embedder.set_params(kind="cls").kind == "cls"
    names = embedder.get_feature_names_out()
    assert names[0] == "cls_000" and len(names) == 16
    assert BrainLMEmbedder(model, kind="parcels").get_feature_names_out()[17] == "parcel002_001"
    assert clone(BrainLMEmbedder(model)).model is model  # shared, not copied
    assert embedder.fit([]).n_features_in_ == PARCELS
    assert "BrainLMEmbedder(" in repr(embedder)


CHECKS = (
    "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types", "check_estimator_repr",
    "check_no_attributes_set_in_init", "check_estimators_overwrite_params", "check_dont_overwrite_parameters",
    "check_estimators_fit_returns_self", "check_readonly_memmap_input", "check_mixin_order",
    "check_do_not_raise_errors_in_init_or_set_params", "check_get_params_invariance", "check_set_params",
    "check_n_features_in_after_fitting",
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
def test_checks_of_scikit_learn(home, check):
    """Those that do not take rows of a table for samples: `check_estimator` itself leaves out all but cloning."""
    getattr(estimator_checks, check)("BrainLMEmbedder", BrainLMEmbedder(str(home / "models" / "tiny")))


def test_check_estimator_says_why_it_stops(home):
    with pytest.warns(UserWarning, match="requires input"):
        estimator_checks.check_estimator(BrainLMEmbedder(str(home / "models" / "tiny")))


def test_fitted_ones_travel_to_other_processes(model, arrays):
    import pickle  # within one program, as joblib does; no file is read so

    embedder = BrainLMEmbedder(model).fit(arrays)
    again = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(again.transform(arrays[:2]), embedder.transform(arrays[:2]))


def test_pipeline_and_cross_validation(model, arrays):
    pipeline = make_pipeline(BrainLMEmbedder(model), LogisticRegression())
    scores = cross_val_score(pipeline, arrays, [0, 1, 0, 1, 0, 1], cv=2, error_score="raise")
    assert scores.shape == (2,)
    table = BrainLMEmbedder(model).set_output(transform="pandas").fit_transform(arrays)
    assert table.columns[0] == "cls_000" and table.shape == (6, 16)


def test_after_a_masker_of_nilearn(model, tmp_path):
    from nilearn.maskers import MultiNiftiLabelsMasker

    labels = np.zeros((8, 6, 4), np.int32)
    labels.reshape(-1)[: 7 * PARCELS] = np.repeat(np.arange(1, PARCELS + 1), 7)
    affine, rng = np.diag([4.0, 4, 4, 1]), np.random.default_rng(0)
    images = []
    for steps in (120, 140):
        data = np.zeros((*labels.shape, steps), np.float32)
        data[labels > 0] = series(rng, steps)[:, labels[labels > 0] - 1].T
        images.append(nib.Nifti1Image(data, affine))
    masker = MultiNiftiLabelsMasker(nib.Nifti1Image(labels, affine), standardize=None)
    pipeline = make_pipeline(masker, BrainLMEmbedder(model, tr=2.0))
    found = pipeline.fit_transform(images)
    assert found.shape == (2, 16)
    expected = resample_series_of(masker.fit_transform(images[0]), 0.5)
    np.testing.assert_allclose(found[0], model.embed(expected), atol=1e-4)
    assert pipeline[1].transform(masker.fit_transform(images[0])).shape == (1, 16)  # one image: one array


def resample_series_of(values: np.ndarray, rate_hz: float) -> np.ndarray:
    return np.asarray(resample_series(ParcelSeries(values, rate_hz=rate_hz), 1.0))


def test_arrays_of_another_rate(model, arrays):
    """A TR moves an array to the model's rate, in `embed` as well as here."""
    slow = arrays[2][::2]
    found = BrainLMEmbedder(model, tr=2.0).transform([slow])[0]
    np.testing.assert_allclose(found, model.embed(slow, tr=2.0), atol=1e-5)
    np.testing.assert_allclose(found, model.embed(resample_series_of(slow, 0.5)), atol=1e-4)
    for tr in (-1.0, 0.0, np.nan):
        with pytest.raises(InputError, match=r"recording 1 of 1: tr .* s -> seconds, above 0"):
            BrainLMEmbedder(model, tr=tr).transform([slow])


def test_units_that_differ_are_said(model, arrays):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BrainLMEmbedder(model).transform(arrays[:1])
    standardized = (arrays[0] - arrays[0].mean(0)) / arrays[0].std(0) / 10
    with pytest.warns(UserWarning, match=r"varies 0\.0\d+ times as much as the model's training data"):
        BrainLMEmbedder(model).transform([standardized])
    raw = BrainLMEmbedder(model, rescale=True).transform([arrays[0]])[0]
    expected = scale_series(ParcelSeries(arrays[0]), model.card.data.units)
    np.testing.assert_allclose(raw, model.embed(np.asarray(expected)), atol=1e-5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([], "no recording"), (np.zeros((30, 3)), r"recording 1 of 1: embed: a series of shape \(30, 3\)"),
        (["missing.npy"], r"recording 1 of 1: missing\.npy: no such file"), ([None], "recording 1 of 1"),
        (np.zeros((2, 10, PARCELS)), "recording 1 of 2: embed: 10 steps"),
    ],
)  # fmt: skip
def test_errors_are_one_line(model, x, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BrainLMError, match=message) as caught:
            BrainLMEmbedder(model).transform(x)
    assert "\n" not in str(caught.value) and "->" in str(caught.value)


def test_what_is_no_list_of_recordings(home, model, arrays):
    with pytest.raises(InputError, match="whole store"):
        BrainLMEmbedder(model).transform(open_store(home / "store.zarr"))
    with pytest.raises(InputError, match="kind 'best' -> one of cls, mean, parcels"):
        BrainLMEmbedder(model, kind="best").transform(arrays)
    with pytest.raises(InputError, match="no model"):
        BrainLMEmbedder(home / "nothing").transform(arrays)


def test_embed_takes_several(home, model, arrays):
    found = model.embed(arrays[:2])
    assert isinstance(found, list) and len(found) == 2
    np.testing.assert_allclose(found[1], model.embed(arrays[1]), atol=1e-5)
    both = model.embed(np.stack([arrays[0], arrays[0]]))
    np.testing.assert_allclose(both[0], model.embed(arrays[0]), atol=1e-5)
    rows = model.embed(arrays[0].tolist())  # one recording, as a list of its rows
    np.testing.assert_allclose(rows, model.embed(arrays[0]), atol=1e-5)
    store = open_store(home / "store.zarr")
    first, second = model.embed([store.recording("sub-08_task-rest"), (store, "sub-09_task-rest")])
    assert repr(first) == f"Embedding: cls (16,), mean (16,), parcels ({PARCELS}, 16), of 2 windows"
    np.testing.assert_allclose(second.cls, model.embed((store, "sub-09_task-rest"), "cls"), atol=1e-5)
    with pytest.raises(InputError, match="recording 2: embed: 10 steps"):
        model.embed([arrays[0], arrays[0][:10]])
    for options, message in (
        ({"split": "test"}, "split 'test' of what is no store"), ({"atlas": "x.nii"}, "atlas is for 4-D NIfTI"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            model.embed(arrays[0], **options)
    with pytest.raises(InputError, match="tr is for"):
        model.embed((store, "sub-09_task-rest"), tr=2.0)


def test_reconstruction_is_drawn(home, model):
    import matplotlib

    matplotlib.use("Agg")
    recording = open_store(home / "store.zarr").recording("sub-08_task-rest")
    recorded, seen, made = model.plot_reconstruction(recording, mask_ratio=0.5, start=30)
    truth, visible, found = (panel.images[0].get_array().filled(np.nan) for panel in (recorded, seen, made))
    hidden = np.isnan(visible)
    assert hidden.mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(found[~hidden], truth[~hidden])
    assert "where hidden" in made.get_title(loc="left")
    assert [label.get_text() for label in recorded.get_yticklabels()] == ["unassigned"]
    with pytest.raises(InputError, match="from step 100, the recording has 260"):
        model.plot_reconstruction(recording, start=100)
    with pytest.raises(InputError, match="mask_ratio 1"):
        model.plot_reconstruction(recording, mask_ratio=1.0)


def test_a_model_says_what_it_is_in_a_line(model):
    said = repr(model)
    assert said.startswith(f"TrainedModel tiny: BrainLM({PARCELS} parcels x 200 steps in patches of 20, width 16")
    assert len(said) < 200 and "\n" not in said and repr(model.network) in said
