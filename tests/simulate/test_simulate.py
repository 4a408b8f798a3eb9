"""The simulator keeps its word: valid BIDS, and truth that holds when it is checked with other tools than its own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import map_coordinates

from brainlm_data.bids.index import Select, read_index
from brainlm_data.files.sidecar import digest
from brainlm_data.files.tables import read_table
from brainlm_data.methods import rigid
from brainlm_data.simulate.anatomy import FIELD_ORIGIN, FIELD_SHAPE, FIELD_STEP, Warp
from brainlm_data.simulate.cohort import simulate
from brainlm_data.simulate.kernels import trilinear
from brainlm_data.simulate.plan import Plan
from brainlm_data.simulate.signals import slow_courses
from brainlm_data.simulate.truth import Displacement

SMALL = Plan(Path("unused"), 1, 24, 2.0, (28, 33, 26), 6.5, seed=5, t1w_mm=4.0, tasks=("rest", "wm"))
CLEAN = dataclasses.replace(SMALL, noise=0.0, physio=0.0)
REST, WM = "sub-01_task-rest", "sub-01_task-wm"


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sim") / "ds"
    simulate(dataclasses.replace(SMALL, out=out, subjects=2, volumes=12, no_t1w=("02",)), quiet=True, workers=2)
    return out


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """No noise at all, but much motion, and a T1w that shows where tissue is."""
    out = tmp_path_factory.mktemp("sim") / "ds"
    simulate(dataclasses.replace(CLEAN, out=out, motion_mm=1.0, t1w_mm=2.0), quiet=True)
    return out


def bold(root: Path, recording: str) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(root / "sub-01" / "func" / f"{recording}_bold.nii.gz")
    return np.asarray(image.dataobj, dtype=float), image.affine


def truth(root: Path, name: str) -> Path:
    return root / "truth" / "sub-01" / name


def at(image: np.ndarray, affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values at RAS points (n, 3), by scipy's cubic spline."""
    voxels = np.linalg.inv(affine) @ np.c_[points, np.ones(len(points))].T
    return map_coordinates(image, voxels[:3], order=3, mode="nearest")


def points_of(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    return np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]


def test_the_index_reads_it(noisy):
    index = read_index(noisy, Select())
    assert [r.id for r in index.recordings] == [f"sub-{s}_task-{t}" for s in ("01", "02") for t in ("rest", "wm")]
    assert all(r.metadata["RepetitionTime"] == 2.0 and r.metadata["TaskName"] == r.task for r in index.recordings)
    assert [s.t1w is not None for s in index.subjects] == [True, False]
    assert all(20 <= person["age"] <= 80 and person["sex"] in "MF" for person in index.phenotypes.values())
    image = nib.load(index.recordings[0].bold.path)
    assert image.shape == (*SMALL.shape, 12)
    assert image.header.get_zooms() == (6.5, 6.5, 6.5, 2.0)
    assert image.get_data_dtype() == np.int16
    assert image.header.get_xyzt_units() == ("mm", "sec")


def test_bids_files(noisy):
    description = json.loads((noisy / "dataset_description.json").read_text())
    assert description["DatasetType"] == "raw" and description["GeneratedBy"][0]["Version"]
    assert "truth" in (noisy / ".bidsignore").read_text()
    assert set(json.loads((noisy / "participants.json").read_text())) == {"age", "sex"}
    events = pd.read_csv(noisy / "sub-01" / "func" / f"{WM}_events.tsv", sep="\t")
    assert list(events.columns) == ["onset", "duration", "trial_type"]
    assert not (noisy / "sub-01" / "func" / f"{REST}_events.tsv").exists()


def test_same_seed_same_bytes_for_any_number_of_subjects_or_workers(noisy, tmp_path):
    again = tmp_path / "again"
    simulate(dataclasses.replace(SMALL, out=again, volumes=12), quiet=True)
    for folder in ("sub-01", "truth/sub-01"):
        assert digest(again / folder) == digest(noisy / folder)
    one, two = (nib.load(noisy / f"sub-{s}" / "func" / f"sub-{s}_task-rest_bold.nii.gz").dataobj for s in ("01", "02"))
    assert not np.array_equal(one, two)


def test_the_warp_takes_template_tissue_to_the_same_tissue_of_both_images(clean):
    from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template

    gm, wm = load_mni152_gm_template(resolution=4), load_mni152_wm_template(resolution=4)
    points = points_of(gm.shape, gm.affine)
    inner = (np.abs(points[:, 2] - 20) < 40).ravel()
    grey = points[(gm.get_fdata().ravel() > 0.8) & inner]
    white = points[(wm.get_fdata().ravel() > 0.95) & inner]
    warp = Displacement.load(truth(clean, "anat/sub-01_from-MNI_to-T1w_mode-points_displacement.nii.gz"))
    moved = np.linalg.norm(warp(grey) - grey, axis=1)
    assert 2 < moved.mean() < 30  # the subject is not the template

    t1w = nib.load(clean / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    share = nib.load(truth(clean, "anat/sub-01_label-WM_probseg.nii.gz"))
    assert at(share.get_fdata(), share.affine, warp(white)).mean() > 0.9
    assert at(share.get_fdata(), share.affine, warp(grey)).mean() < 0.25
    values = {n: at(t1w.get_fdata(), t1w.affine, p) for n, p in (("grey", warp(grey)), ("white", warp(white)))}
    assert values["white"].mean() > 1.2 * values["grey"].mean()

    volumes, affine = bold(clean, REST)
    pose = np.load(truth(clean, f"func/{REST}_from-T1w_to-boldref_xfm.npy"))
    values = {n: at(volumes[..., 0], affine, warp(p) @ pose[:3, :3].T + pose[:3, 3])
              for n, p in (("grey", grey), ("white", white))}  # fmt: skip
    assert values["grey"].mean() > 1.1 * values["white"].mean()  # EPI contrast is the other way round
    # a place 8 mm off fits worse: the truth is sharp
    off = at(share.get_fdata(), share.affine, warp(white) + np.array([0, 8, 0])).mean()
    assert off < at(share.get_fdata(), share.affine, warp(white)).mean() - 0.1


def test_warp_and_its_inverse():
    for seed in range(3):
        warp = Warp.draw(np.random.default_rng(seed))
        points = np.random.default_rng(9).uniform([-70, -100, -60], [70, 70, 80], (500, 3))
        inverse = np.linalg.inv(warp.affine)
        z = warp.to_subject(points) @ inverse[:3, :3].T + inverse[:3, 3]
        back = z + trilinear(warp.field, (z - FIELD_ORIGIN) / FIELD_STEP)
        assert np.abs(back - points).max() < 0.001
        assert np.abs(warp.field).max() < 15 and warp.field.shape == (*FIELD_SHAPE, 3)


def test_true_motion_brings_every_volume_back(clean):
    volumes, affine = bold(clean, REST)
    matrices = np.load(truth(clean, f"func/{REST}_desc-motion_xfm.npy"))
    assert np.allclose(matrices[0], np.eye(4))
    head = np.zeros(volumes.shape[:3], bool)
    head[3:-3, 3:-3, 3:-3] = volumes[3:-3, 3:-3, 3:-3, 0] > 200
    places, first = points_of(volumes.shape[:3], affine)[head.ravel()], volumes[..., 0][head]
    far = int(np.linalg.norm(matrices[:, :3, 3], axis=1).argmax())
    assert np.linalg.norm(matrices[far, :3, 3]) > 1.0

    def misfit(matrix: np.ndarray, off: tuple[float, float, float] = (0, 0, 0)) -> float:
        moved = places @ matrix[:3, :3].T + matrix[:3, 3] + np.array(off)
        return float(np.sqrt(np.mean((at(volumes[..., far], affine, moved) - first) ** 2)))

    good = misfit(matrices[far])
    assert good < 0.5 * misfit(np.eye(4)) < 0.5 * misfit(np.linalg.inv(matrices[far]))
    for axis in range(3):
        for side in (-0.7, 0.7):
            assert misfit(matrices[far], tuple(side * (axis == a) for a in range(3))) > good


def test_motion_table_is_the_matrices(clean):
    columns, values = read_table(truth(clean, f"func/{REST}_desc-motion_timeseries.tsv"))
    assert tuple(columns) == rigid.COLUMNS
    facts = json.loads(truth(clean, f"func/{REST}_desc-motion_timeseries.json").read_text())
    volumes, affine = bold(clean, REST)
    back = rigid.matrices_of(values, affine, volumes.shape[:3], np.array(facts["Centre"]))
    assert np.allclose(back, np.load(truth(clean, f"func/{REST}_desc-motion_xfm.npy")), atol=1e-6)
    assert rigid.displacement(values)[1:].mean() == pytest.approx(facts["MeanFramewiseDisplacement"])
    assert 0.3 < facts["MeanFramewiseDisplacement"] < 3.5  # 1 mm times the subject's factor


def test_neural_truth_is_in_the_images_and_nowhere_else(tmp_path):
    """Without motion and noise: parcel means follow the truth, percent for percent; white matter stands still."""
    simulate(dataclasses.replace(CLEAN, out=tmp_path / "ds", motion_mm=0, tasks=("wm",)), quiet=True)
    root = tmp_path / "ds"
    volumes, _ = bold(root, WM)
    labels = np.asarray(nib.load(truth(root, f"func/{WM}_desc-parcels_dseg.nii.gz")).dataobj)
    names, neural = read_table(truth(root, f"func/{WM}_desc-neural_timeseries.tsv"))
    table = pd.read_csv(root / "truth" / "parcels.tsv", sep="\t")
    assert names == list(table["name"])
    r, slope = [], []
    for column, index in enumerate(table["index"]):
        if (labels == index).sum() >= 6:
            mean = volumes[labels == index].mean(0)
            change = 100 * (mean / mean.mean() - 1)
            r.append(np.corrcoef(change, neural[:, column])[0, 1])
            slope.append(np.polyfit(neural[:, column], change, 1)[0])
    assert len(r) > 100 and np.median(r) > 0.95
    assert 0.4 < np.median(slope) < 1.0  # less than all: voxels are partly white matter and fluid
    grey = labels > 0
    still = ~grey & (volumes[..., 0] > 0.3 * np.percentile(volumes, 99))
    assert np.median(volumes[still].std(1) / volumes[still].mean(1)) < 0.3 * np.median(
        volumes[grey].std(1) / volumes[grey].mean(1)
    )


def test_noise_is_where_the_maps_say(tmp_path):
    plan = dataclasses.replace(SMALL, out=tmp_path / "ds", motion_mm=0, noise=0.1, physio=3.0, tasks=("rest",))
    simulate(plan, quiet=True)
    volumes, _ = bold(plan.out, REST)
    maps = np.asarray(nib.load(truth(plan.out, f"func/{REST}_desc-noise_maps.nii.gz")).dataobj)
    names, courses = read_table(truth(plan.out, f"func/{REST}_desc-noise_timeseries.tsv"))
    assert names[:2] == ["cardiac_cos", "cardiac_sin"] and maps.shape == (*SMALL.shape, len(names))
    bright = volumes.mean(-1) > 0.3 * np.percentile(volumes, 99)
    loud = bright & (np.abs(maps[..., :2]).max(-1) > 1.5)
    assert loud.sum() > 30
    expected = maps[loud] @ courses.T
    change = 100 * (volumes[loud] / volumes[loud].mean(1, keepdims=True) - 1)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(change, expected, strict=True)]
    assert np.median(r) > 0.9
    _, neural = read_table(truth(plan.out, f"func/{REST}_desc-neural_timeseries.tsv"))
    assert np.abs(np.corrcoef(courses[:, 0], neural.mean(1))[0, 1]) < 0.7


def test_first_volumes_before_the_steady_state(tmp_path):
    simulate(dataclasses.replace(CLEAN, out=tmp_path / "ds", volumes=6, tasks=("rest",), non_steady=1), quiet=True)
    means = bold(tmp_path / "ds", REST)[0].mean((0, 1, 2))
    assert means[0] > 1.3 * means[1] and np.ptp(means[1:]) < 0.05 * means[1]


def test_slow_courses_are_slow():
    courses = slow_courses(np.random.default_rng(0), 200, 300.0)
    assert courses.std() == pytest.approx(1.0, rel=0.1)
    power = (np.abs(np.fft.rfft(courses, axis=1)) ** 2).mean(0)
    frequency = np.fft.rfftfreq(courses.shape[1], 0.25)
    bands = [power[(frequency >= a) & (frequency < b)].mean() for a, b in ((0.01, 0.03), (0.04, 0.08), (0.2, 0.4))]
    assert bands[0] > 2 * bands[1] and bands[1] > 20 * bands[2]
