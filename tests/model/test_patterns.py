"""Patterns of published datasets, from files of their shape, and what holds for all patterns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainlm_data import InputError, averaged
from brainlm_model.decode.patterns import Patterns, from_bold5000, from_god, from_mat, from_volumes, together
from tests.conftest import SHARED

RNG = np.random.default_rng(0)


def picture(path: Path, value: int, colour: bool = True) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (12, 16, 3) if colour else (12, 16)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


def trials(n: int = 12, voxels: int = 5) -> Patterns:
    """Trials of `n` stimuli of which the last four are test stimuli, seen twice by each of two people."""
    stimulus = [f"{row:02d}" for row in range(n)] * 2
    test = np.array([int(name) >= n - 4 for name in stimulus])
    stimulus, people = stimulus * 2, ["a"] * 2 * n + ["b"] * 2 * n
    values = RNG.standard_normal((len(stimulus), voxels)) * np.arange(1, voxels + 1) + 7
    return averaged(values, stimulus, ["x"] * len(stimulus), ["1"] * len(stimulus), people, np.r_[test, test])


def test_training_rows_are_z_scored_and_test_repeats_averaged() -> None:
    patterns = trials()
    for subject in "ab":
        own = patterns.rows(patterns.subject == subject)
        assert len(own.of("train")) == 16 and len(own.of("test")) == 4  # 8 stimuli twice, and 4 means
        np.testing.assert_allclose(own.of("train").patterns.mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(own.of("train").patterns.std(0), 1, atol=1e-5)
        assert own.of("test").repeats.tolist() == [2] * 4 and set(own.of("train").repeats.tolist()) == {1}


@given(shift=st.floats(-100, 100), scale=st.floats(0.1, 100), seed=st.integers(0, 99))
def test_test_trials_change_no_training_row(shift: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, names = rng.standard_normal((8, 3)), [str(n) for n in range(8)]
    test = np.arange(8) > 5
    words = ([""] * 8, ["1"] * 8, ["a"] * 8)
    before = averaged(values, names, *words, test).of("train").patterns
    values[test] = shift + scale * values[test]
    np.testing.assert_array_equal(averaged(values, names, *words, test).of("train").patterns, before)


def test_a_voxel_that_does_not_change_is_zero() -> None:
    values = np.c_[np.arange(6.0), np.full(6, 3.0)]
    words = ([""] * 6, ["1"] * 6, ["a"] * 6)
    assert not averaged(values, list("abcdef"), *words, np.arange(6) > 4).patterns[:, 1].any()


def test_saved_patterns_come_back(tmp_path: Path) -> None:
    patterns = replace(trials(), windows=RNG.standard_normal((3, 5)).astype(np.float32))
    patterns.save(tmp_path / "trials.npz")
    again = Patterns.load(tmp_path / "trials.npz")
    np.testing.assert_array_equal(again.patterns, patterns.patterns)
    np.testing.assert_array_equal(again.windows, patterns.windows)
    assert again.stimulus.tolist() == patterns.stimulus.tolist()


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "trials.npz").write_bytes(b"PK\3\4 nothing")
    with pytest.raises(InputError, match=r"trials\.npz"):
        Patterns.load(tmp_path / "trials.npz")
    np.savez(tmp_path / "other.npz", patterns=np.zeros((2, 2), np.float32))
    with pytest.raises(InputError, match="it has no stimulus"):
        Patterns.load(tmp_path / "other.npz")


def test_a_stimulus_is_in_one_split() -> None:
    patterns = trials()
    with pytest.raises(InputError, match="in train and in test"):
        replace(patterns, split=np.where(np.arange(len(patterns)) == 0, "test", patterns.split))
    again = patterns.split_as(np.isin(patterns.stimulus, ["00", "01"]))
    np.testing.assert_allclose(again.of("train").rows(again.of("train").subject == "a").patterns.mean(0), 0, atol=1e-6)
    with pytest.raises(InputError, match="in train and in test"):
        patterns.split_as(np.arange(len(patterns)) == 0)


def test_digits_of_a_mat_file(tmp_path: Path) -> None:
    from scipy.io import savemat

    shown = RNG.integers(0, 255, (6, 784), np.uint8)
    parts = {"fmriTrn": RNG.standard_normal((4, 9)), "fmriTest": RNG.standard_normal((2, 9))}
    parts |= {"labelTrn": [[1], [2], [1], [2]], "labelTest": [[1], [2]], "stimTrn": shown[:4], "stimTest": shown[4:]}
    savemat(tmp_path / "digits.mat", parts)
    patterns = from_mat(tmp_path / "digits.mat")
    assert patterns.split.tolist() == ["train"] * 4 + ["test"] * 2 and patterns.category.tolist() == list("696969")
    np.testing.assert_array_equal(patterns.seen()[5], shown[5].reshape(28, 28).T)
    savemat(tmp_path / "other.mat", {"x": 1})
    with pytest.raises(InputError, match="fmriTrn"):
        from_mat(tmp_path / "other.mat")


def test_god_as_npz(tmp_path: Path) -> None:
    mask = np.arange(10) < 7
    training, single = RNG.standard_normal((6, 10)), RNG.standard_normal((6, 10))
    means, shown = single.reshape(3, 2, 10).mean(0), np.array([4, 2, 0, 1, 3, 5])
    np.savez(tmp_path / "sbj_3.npz", training, single, means, shown, VC=mask, V1=~mask)
    images = RNG.random((6, 20, 24, 3))
    np.savez(tmp_path / "images.npz", train_images=images, test_images=RNG.random((2, 20, 24, 3)))
    patterns = from_god(tmp_path / "sbj_3.npz", pictures=tmp_path / "images.npz", size=10)
    assert patterns.n_voxels == 7 and patterns.of("test").repeats.tolist() == [3, 3]
    assert patterns.stimulus[0] == "train/0004" and patterns.seen().shape == (8, 10, 10, 3)
    assert abs(int(patterns.seen()[0].mean()) - round(255 * images[4, :, 2:22].mean())) < 3
    expected = (training[:, mask] - training[:, mask].mean(0)) / training[:, mask].std(0)
    np.testing.assert_allclose(patterns.of("train").patterns, expected, atol=1e-5)
    with pytest.raises(InputError, match="no region V9"):
        from_god(tmp_path / "sbj_3.npz", roi="V9")
    dark = 200.0 * images  # 0-255, one of them black
    dark[0] = 1
    np.savez(tmp_path / "dark.npz", train_images=dark, test_images=dark[:2])
    patterns = from_god(tmp_path / "sbj_3.npz", pictures=tmp_path / "dark.npz", size=10)
    assert patterns.pictures[patterns.names.tolist().index("train/0000")].max() == 1


def god(folder: Path, **changes: Any) -> Path:
    """sbj_1.npz of 6 training pictures and 2 that were shown 3 times, 10 voxels."""
    single = RNG.standard_normal((6, 10))
    given = {"arr_0": RNG.standard_normal((6, 10)), "arr_1": single, "arr_2": single.reshape(2, 3, 10).mean(1)}
    np.savez(folder / "sbj_1.npz", **given | {"arr_3": np.arange(6), "VC": np.ones(10, bool)} | changes)
    return folder / "sbj_1.npz"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arr_0": np.full((6, 10), np.nan)}, r"sbj_1.npz: numbers that are not finite, in 10 of 10 voxels"),
        ({"VC": np.zeros(10, bool)}, r"sbj_1.npz: no voxel"),
        ({"VC": np.arange(10)}, "VC is no mask"),
        ({"arr_1": np.zeros((7, 10))}, "7 test trials, 2 means"),
        ({"arr_3": np.arange(6) - 1}, "no numbers of pictures"),
        ({"arr_3": np.arange(6) + 1}, r"images.npz: 6 training and 2 test pictures, sbj_1.npz shows 7 and 2"),
        ({"train_images": np.full((6, 9, 9, 3), np.nan)}, "brightness from nan"),
        ({"train_images": np.full((6, 9, 9, 3), -0.5)}, "brightness from -0.5"),
        ({"train_images": np.ones((6, 3, 9, 9))}, "not .pictures, height, width, 3."),
    ],
)
def test_god_that_does_not_belong_together_is_one_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    seen = {"train_images": RNG.random((6, 9, 9, 3)), "test_images": RNG.random((2, 9, 9, 3))}
    np.savez(tmp_path / "images.npz", **seen | {name: value for name, value in changes.items() if name in seen})
    path = god(tmp_path, **{name: value for name, value in changes.items() if name not in seen})
    with pytest.raises(InputError, match=said):
        from_god(path, pictures=tmp_path / "images.npz", size=8)


def test_one_number_that_is_none_empties_no_pattern() -> None:
    """A NaN among the SDs would compare as "does not change" for every voxel."""
    values = RNG.standard_normal((6, 4))
    values[2, 1] = np.nan
    with pytest.raises(InputError, match="in 1 of 4 voxels"):
        averaged(values, list("abcdef"), [""] * 6, ["1"] * 6, ["a"] * 6, np.arange(6) > 4)


def test_people_with_other_numbers_of_voxels_together() -> None:
    first, second = trials(voxels=5), replace(trials(voxels=3), subject=np.array(["c"] * 40))
    both = together([first, second])
    assert both.n_voxels == 5 and len(both) == len(first) + len(second)
    np.testing.assert_array_equal(both.patterns[-1], second.patterns[-1][[0, 1, 2, 0, 1]])
    with pytest.raises(InputError, match="subject a is in two"):
        together([first, first])


@pytest.mark.parametrize("groups", [("dataset", "metadata"), ("dataSet", "metaData")])
def test_god_as_h5(tmp_path: Path, groups: tuple[str, str]) -> None:
    h5py = pytest.importorskip("h5py")
    ids = np.array([1518878.005958, 1518878.007777, 1639765.052902, 2416519.012793, 2416519.012793, 2416519.012793])
    kinds = np.array([1, 1, 1, 2, 2, 3])  # the last one is imagined
    voxels = RNG.standard_normal((6, 4))
    keys = ["ROI_VC", "ROI_V1", "DataType", "stimulus_id", "Run", "voxel_x", "voxel_y", "voxel_z"]
    values = np.full((len(keys), 7), np.nan)
    values[0, :3], values[1, 3] = 1, 1
    values[2, 4] = values[3, 5] = values[4, 6] = 1
    values[5:, :4] = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    with h5py.File(tmp_path / "Subject1.h5", "w") as file:
        file[groups[0]] = np.c_[voxels, kinds, ids, np.arange(6)]
        file[f"{groups[1]}/key"] = [key.encode() for key in keys]
        file[f"{groups[1]}/value"] = values
    for number, name in enumerate(("n01518878_5958", "n01518878_7777", "n01639765_52902", "n02416519_12793")):
        picture(tmp_path / "pictures" / ("training", "test")[number // 3] / f"{name}.JPEG", 40 * number)
    patterns = from_god(tmp_path / "Subject1.h5", pictures=tmp_path / "pictures", size=8)
    assert patterns.n_voxels == 3 and patterns.voxel_ijk.tolist() == [[1, 5, 9], [2, 6, 10], [3, 7, 11]]
    assert patterns.split.tolist() == ["train"] * 3 + ["test"] and patterns.repeats[3] == 2
    assert patterns.category.tolist() == ["n01518878", "n01518878", "n01639765", "n02416519"]
    assert abs(int(patterns.seen()[3].mean()) - 120) < 3
    (tmp_path / "pictures" / "test" / "n02416519_12793.JPEG").unlink()
    with pytest.raises(InputError, match="no picture of n02416519_12793"):
        from_god(tmp_path / "Subject1.h5", pictures=tmp_path / "pictures")


def test_bold5000(tmp_path: Path) -> None:
    names = ["airplanecabin1.jpg", "n01440764_10110.JPEG", "COCO_train2014_000000000036.jpg", "rep_bedroom2.jpg"]
    betas, stimuli = tmp_path / "BOLD5000_GLMsingle_ROI_betas" / "py", tmp_path / "BOLD5000_Stimuli"
    betas.mkdir(parents=True)
    values = RNG.standard_normal((8, 3))
    for side in ("LH", "RH"):
        np.save(betas / f"CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_allses_{side}LOC.npy", values)
    for roi in ("LHLOC", "LHLOCd", "RHOPA"):
        np.save(betas / f"CSI2_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_allses_{roi}.npy", values[:2])
    for session, run in (("CSI1_sess01", "run01"), ("CSI1_sess02", "run01")):
        file = stimuli / "Stimuli_Presentation_Lists" / "CSI1" / session / f"{run}.txt"
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(names) + "\n")
    for name, folder, value in zip(names, ("Scene", "ImageNet", "COCO", "Scene"), (10, 60, 110, 160), strict=True):
        picture(stimuli / "Scene_Stimuli" / "Presented_Stimuli" / folder / name.removeprefix("rep_"), value)
    (stimuli / "Scene_Stimuli" / "repeated_stimuli_113_list.txt").write_text("bedroom2.jpg\nkitchen1.jpg\n")
    patterns = from_bold5000(tmp_path, "CSI1", ["LOC"], size=8)
    assert patterns.n_voxels == 6 and len(patterns.of("train")) == 6 and patterns.of("test").repeats.tolist() == [2]
    assert patterns.category.tolist()[:3] == ["airplanecabin", "n01440764", ""]
    assert patterns.of("test").run[0] == "CSI1_sess01/run01 CSI1_sess02/run01"
    assert abs(int(patterns.of("test").seen().mean()) - 160) < 3
    with pytest.raises(InputError, match=r"0 files CSI1_.*_LHEarlyVis.npy"):
        from_bold5000(tmp_path, "CSI1")
    (stimuli / "Scene_Stimuli" / "repeated_stimuli_113_list.txt").write_text("kitchen1.jpg\n")
    with pytest.raises(InputError, match="CSI1 saw none of its 1 stimuli"):
        from_bold5000(tmp_path, "CSI1", "LOC")
    (stimuli / "Stimuli_Presentation_Lists" / "CSI1").rename(stimuli / "Stimuli_Presentation_Lists" / "CSI2")
    with pytest.raises(InputError, match=r"LHLOC.npy: 2 trials, the presentation lists of CSI2 have 8"):
        from_bold5000(tmp_path, "CSI2", "LOC")
    with pytest.raises(InputError, match=r"0 files CSI2_.*_LHOPA.npy"):
        from_bold5000(tmp_path, "CSI2", "OPA")


def volumes(folder: Path, lines: list[str]) -> tuple[Path, Path, Path]:
    """An image with a voxel that tells faces from houses, drift in each run, and a voxel outside of the mask."""
    import nibabel as nib

    data = RNG.standard_normal((3, 2, 1, 40)) + np.arange(40) * 5.0
    data[0, 0, 0] += [8 * line.startswith("face") for line in lines] if len(lines) == 40 else 0
    mask = np.ones((3, 2, 1), np.uint8)
    mask[2, 1] = 0
    nib.save(nib.Nifti1Image(data.astype(np.float32), np.diag([3.0, 3, 3, 1])), folder / "bold.nii.gz")
    nib.save(nib.Nifti1Image(mask, np.diag([3.0, 3, 3, 1])), folder / "mask.nii.gz")
    (folder / "attributes.txt").write_text("\n".join(lines) + "\n")
    return folder / "bold.nii.gz", folder / "mask.nii.gz", folder / "attributes.txt"


def test_conditions_of_volumes(tmp_path: Path) -> None:
    lines = [f"{('rest', 'face', 'house', 'rest')[row % 4]} {row // 20}" for row in range(40)]
    patterns = from_volumes(*volumes(tmp_path, lines))
    assert patterns.n_voxels == 5 and patterns.windows is not None and patterns.windows.shape == (20, 5)
    assert set(patterns.of("train").run) == {"0"} and set(patterns.of("test").run) == {"1"}
    face = patterns.patterns[patterns.category == "face", 0]
    assert face.min() > patterns.patterns[patterns.category == "house", 0].max()
    assert set(from_volumes(*volumes(tmp_path, lines), test_runs=["0"]).of("test").run) == {"0"}
    with pytest.raises(InputError, match="no run 7 -> there are: 0, 1"):
        from_volumes(*volumes(tmp_path, lines), test_runs=["7"])
    with pytest.raises(InputError, match="39 lines"):
        from_volumes(*volumes(tmp_path, lines[:39]))


def test_categories_of_real_volumes_are_far_above_chance() -> None:
    from sklearn.linear_model import RidgeClassifier

    folder = SHARED / "data" / "haxby"
    if not folder.is_dir():
        pytest.skip("real data not at hand: expected the haxby folder beside the project")
    files = [folder / name for name in ("bold.nii.gz", "mask.nii.gz", "attributes_literal.txt")]
    patterns = from_volumes(*files)
    right = []
    for run in ("0", "5", "11"):
        fold = patterns.split_as(patterns.run == run)
        training, test = fold.of("train"), fold.of("test")
        told = RidgeClassifier(alpha=300).fit(training.patterns, training.category).predict(test.patterns)
        right.append((told == test.category).mean())
    assert np.mean(right) > 0.5  # of eight categories: chance is .125
