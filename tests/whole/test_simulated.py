"""From raw BIDS to the report on simulated subjects with known truth, killed once on the way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray
from numpy.typing import NDArray

import brainlm_data
import brainlm_model
from brainlm_data.files.tables import read_table
from tests.whole.run import Run

SUBJECTS = ("01", "02", "03", "04")
PREFIX = "sub-{0}/func/sub-{0}_task-rest"


def test_every_recording_arrives(simulated: Run) -> None:
    recordings = pd.read_parquet(simulated.outdir / "recordings.parquet")
    assert list(recordings.id) == [f"sub-{s}_task-rest" for s in SUBJECTS]
    assert set(recordings.split) == {"train", "validation", "test"}
    assert (recordings.n_volumes == 70).all() and (recordings.n_steps == 139).all()
    store = xarray.open_zarr(simulated.outdir / "store.zarr")
    assert store.bold.dtype == np.float32 and store.bold.shape == (4 * 256, 424)  # whole chunks
    assert store.valid.sum() < 4 * (139 - 4)  # the first two volumes, and censored ones, are not valid
    description = json.loads((simulated.outdir / "derivatives/dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative" and description["GeneratedBy"][0]["Version"]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_motion_is_found(simulated: Run, truth: Path, subject: str) -> None:
    names, found = read_table(simulated.file("motion_params", PREFIX.format(subject)))
    known = read_table(truth / f"{PREFIX.format(subject)}_desc-motion_timeseries.tsv")[1]
    assert names == ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
    shared = (known[:, 3:] - known[:, 3:].mean(0)) - (found[:, 3:] - found[:, 3:].mean(0))
    assert np.degrees(np.sqrt((shared**2).mean())) < 0.05  # rotations do not depend on the centre chosen
    assert all(np.corrcoef(found[:, k], known[:, k])[0, 1] > 0.9 for k in (3, 4, 5))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_neural_signal_is_found(simulated: Run, truth: Path, subject: str) -> None:
    found = read_table(simulated.file("parcels_native", PREFIX.format(subject)))[1]
    known = read_table(truth / f"{PREFIX.format(subject)}_desc-neural_timeseries.tsv")[1]
    there = np.isfinite(found).any(1)  # a parcel outside the field of view is NaN in all rows, a dropped volume a row
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(found[there].T, known[there].T, strict=True)]
    chance = [np.corrcoef(a, b)[0, 1] for a, b in zip(found[there].T, known[there][:, ::-1].T, strict=True)]
    assert np.nanmedian(r) > 0.25 > np.nanmedian(chance) + 0.1


def test_report_and_figures(simulated: Run) -> None:
    page = (simulated.outdir / "report.html").read_text()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//[^\"']*\.(js|css|png|svg)", page)  # self-contained
    for words in ("Gaussian", "interpolation", "Methods", "validation"):
        assert words in page
    for figure in ("masked_r2", "training", "reconstruction", "connectivity", "cohort"):
        assert (simulated.outdir / f"figures/{figure}.svg").stat().st_size > 2000
        assert (simulated.outdir / f"figures/{figure}.png").stat().st_size > 2000


def test_the_public_interface(simulated: Run) -> None:
    store = brainlm_data.open_store(simulated.outdir / "store.zarr")
    windows = brainlm_model.WindowDataset(store, split="train", window=80)
    assert windows[0].shape == (424, 80) and str(windows[0].dtype).endswith("float32")
    series = store.series("sub-01_task-rest")
    model = brainlm_model.load(simulated.outdir / "models/tiny")
    first, again = (np.asarray(model.embed(series)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_an_image_that_was_kept_gives_the_series_of_the_store(simulated: Run) -> None:
    """From the 4-D image by way of the card what the pipeline's operators gave on parcels."""
    store = brainlm_data.open_store(simulated.outdir / "store.zarr")
    model = brainlm_model.load(simulated.outdir / "models/tiny")
    for name in ("sub-01_task-rest", "sub-04_task-rest"):
        images = simulated.outdir.glob(f"derivatives/*/func/{name}_*desc-denoised_bold.nii.gz")
        found = brainlm_data.read_series(next(images), model.card.data)
        expected = store.series(name)
        np.testing.assert_array_equal(np.isnan(found.values), np.isnan(expected))
        assert np.nanmax(np.abs(np.subtract(found.values, expected))) < 1e-3 * np.nanstd(expected)
        assert "neither was done again" in "; ".join(found.stated)


def test_no_test_subject_in_the_scaler(simulated: Run) -> None:
    store = brainlm_data.open_store(simulated.outdir / "store.zarr")
    train = store.recordings[store.recordings.split == "train"].id
    centred = [(x - np.nanmean(x, axis=0))[store.valid(i)] for i, x in ((i, store.series(i)) for i in train)]
    with np.load(simulated.outdir / "scaler.npz") as scaler:
        median = np.median(np.concatenate(centred), axis=0)
        good = np.isfinite(median)
        np.testing.assert_allclose(scaler["median"][good], median[good], rtol=1e-3, atol=1e-3)


def _digests(run: Run, *names: str) -> dict[str, bytes]:
    return {name: run.file(name, PREFIX.format("02")).read_bytes() for name in names}


def test_what_is_deleted_or_damaged_comes_back(simulated: Run) -> None:
    """A series is deleted and motion parameters are damaged: both come back, the same bytes; then nothing is left.

    They are those of the second recording of a bundle, made again alone: nothing of the first one was in them.
    """
    before = _digests(simulated, "parcels", "parcels_native", "motion_params", "confounds", "denoise_recipe")
    simulated.file("parcels", PREFIX.format("02")).unlink()
    simulated.file("motion_params", PREFIX.format("02")).write_text("trans_x\n")
    output = simulated("preprocess")
    for rule in ("motion", "resample"):
        assert f"rule {rule}:" in output or f"Rule: {rule})" in output
    assert "Rule: anat)" not in output
    assert _digests(simulated, *before) == before
    simulated()
    assert simulated.planned() == {}


def parcel_means(image: NDArray[np.float32], labels: NDArray[np.int_]) -> NDArray[np.float64]:
    """Means over the voxels that have data, (time, parcel)."""
    there = (np.nan_to_num(image) != 0).any(-1)
    rows = [image[(labels == k) & there].mean(0, dtype=np.float64) for k in range(1, labels.max() + 1)]
    return np.stack(rows, axis=1)


def butterworth(x: NDArray[np.floating], edge: float, kind: str) -> NDArray[np.floating]:
    """Order-5 Butterworth forward and backward along time, by mirroring by hand."""
    from scipy import signal

    steps = min(max(18, int(np.ceil(1 / (edge * 2.0)))), x.shape[-1] - 1)
    mirrored = np.concatenate([x[..., steps:0:-1], x, x[..., -2 : -2 - steps : -1]], axis=-1)
    sections = signal.butter(5, edge, kind, fs=0.5, output="sos")
    for _ in range(2):
        start = signal.sosfilt_zi(sections)[:, None, :] * mirrored[..., 0][None, :, None]
        mirrored = signal.sosfilt(sections, mirrored, axis=-1, zi=start)[0][..., ::-1]
    return mirrored[..., steps:-steps]


@pytest.mark.parametrize("subject", ["01", "04"])
def test_operators_equal_the_explicit_path(simulated: Run, subject: str) -> None:
    """4-D float32 images after each step, the last one parcellated, equal `series = g P X E C H D L`."""
    import nibabel as nib

    prefix = PREFIX.format(subject)
    labels = np.asarray(nib.load(simulated.file("atlas_dseg")).dataobj).astype(int)
    image = np.asarray(nib.load(simulated.file("keep_preproc", prefix)).dataobj, dtype=np.float32)
    raw = read_table(simulated.file("parcels_raw", prefix))[1]
    known = np.isfinite(raw).all(0)
    np.testing.assert_allclose(parcel_means(image, labels)[:, known], raw[:, known], rtol=2e-6)

    recipe = json.loads(simulated.file("filter_recipe", prefix).read_text())
    grand_mean = json.loads(simulated.file("parcels_raw", prefix).with_suffix(".json").read_text())["GrandMean"]
    assert recipe["dropped"] == 2 and recipe["censored"]
    inside = (image != 0).any(-1)
    x = (image[inside] * np.float32(10000 / grand_mean))[:, 2:]  # g, E
    bad = np.array(recipe["censored"]) - 2
    good = np.setdiff1d(np.arange(x.shape[1]), bad)
    for t in bad:  # C
        before, after = good[good < t], good[good > t]
        if not len(before) or not len(after):
            x[:, t] = x[:, after[0] if len(after) else before[-1]]
        else:
            share = np.float32((t - before[-1]) / (after[0] - before[-1]))
            x[:, t] = (1 - share) * x[:, before[-1]] + share * x[:, after[0]]
    x = butterworth(x - x.mean(1, keepdims=True), 0.01, "highpass").astype(np.float32)  # H
    with np.load(simulated.file("denoise_recipe", prefix)) as factors:
        removed = factors["noise"] @ factors["readout"]  # (T, T): what D takes away
    assert np.linalg.matrix_rank(removed) > 0
    x = (x - x @ removed.T).astype(np.float32)  # D
    x = butterworth(x, 0.1, "lowpass").astype(np.float32)  # L
    image[inside, 2:] = x

    series = read_table(simulated.file("parcels_native", prefix))[1]
    assert np.isnan(series[:2]).all()
    explicit = parcel_means(image, labels)[2:, known]
    error = np.abs(explicit - series[2:, known]).max(0) / series[2:, known].std(0)
    assert error.max() < 5e-5
    denoised = np.asarray(nib.load(simulated.file("keep_denoised", prefix)).dataobj)[..., 2:]
    np.testing.assert_allclose(
        parcel_means(denoised, labels)[:, known], series[2:, known], atol=1e-4 * series[2:, known].std()
    )
