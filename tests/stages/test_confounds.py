"""Confounds against nipype, and against what nilearn expects of fMRIPrep's tables."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from brainlm_data.files.sidecar import write_facts
from brainlm_data.methods import nuisance, rigid
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import confounds
from tests.stages import fitted


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Facts, Files]:
    files, _ = fitted.recording(tmp_path_factory.mktemp("confounds"), noise=15)
    return fitted.run(confounds.STAGE, files, n_compcor=5)


def table(files: Files) -> pd.DataFrame:
    return pd.read_csv(files["confounds"], sep="\t", na_values=["n/a"])


def test_framewise_displacement_is_nipype_s(made: tuple[Facts, Files], tmp_path: Path) -> None:
    from nipype.algorithms.confounds import FramewiseDisplacement

    params = pd.read_csv(made[1]["motion_params"], sep="\t").to_numpy()
    np.savetxt(tmp_path / "motion.par", np.hstack([params[:, 3:], params[:, :3]]))  # FSL's order
    node = FramewiseDisplacement(
        in_file=str(tmp_path / "motion.par"), parameter_source="FSL", radius=50, out_file=str(tmp_path / "fd.txt")
    )
    node.run()
    fd = table(made[1])["framewise_displacement"].to_numpy()
    assert np.isnan(fd[0])
    np.testing.assert_allclose(fd[1:], np.loadtxt(tmp_path / "fd.txt", skiprows=1), rtol=1e-5)
    assert made[0]["MeanFramewiseDisplacement"] == pytest.approx(fd[1:].mean())


def yule_walker(x: NDArray[np.float64], order: int, rxx: None = None) -> tuple[NDArray[np.float64], float]:
    """Stands in for nitime's, the one thing that nipype's DVARS needs beyond numpy."""
    x = x - x.mean()
    rho = (x[1:] @ x[:-1]) / (x @ x)
    return np.array([rho]), float((x @ x) / len(x) * (1 - rho**2))


def test_dvars_is_nipype_s(made: tuple[Facts, Files], monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("nitime.algorithms")
    module.AR_est_YW = yule_walker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nitime", types.ModuleType("nitime"))
    monkeypatch.setitem(sys.modules, "nitime.algorithms", module)
    from nipype.algorithms.confounds import compute_dvars

    standardized, plain, _ = compute_dvars(
        str(made[1]["voxel_sample"]), str(made[1]["sample_mask"]), remove_zerovariance=True
    )
    found = table(made[1])
    np.testing.assert_allclose(found["dvars"][1:], plain, rtol=1e-4)
    np.testing.assert_allclose(found["std_dvars"][1:], standardized, rtol=1e-4)


@pytest.mark.parametrize(("prefix", "column", "threshold"), [("c", 2, 0.9), ("w", 1, 0.9)])
def test_compcor_is_nipype_s(made: tuple[Facts, Files], prefix: str, column: int, threshold: float) -> None:
    from nipype.algorithms.confounds import compute_noise_components

    data = nib.load(made[1]["voxel_sample"]).get_fdata()
    chosen = nib.load(made[1]["sample_probseg"]).get_fdata()[..., column] > threshold
    mask = nib.Nifti1Image(chosen.astype(np.uint8), np.eye(4))
    theirs, basis, facts = compute_noise_components(data, [mask], 5, "cosine", 0, 128, fitted.TR)
    found = table(made[1])
    ours = found[[f"{prefix}_comp_cor_{i:02d}" for i in range(5)]].to_numpy()
    np.testing.assert_allclose(np.abs((ours * theirs).sum(0)), 1, atol=1e-4)
    metadata = made[1].facts("confounds")[f"{prefix}_comp_cor_00"]
    assert metadata["VarianceExplained"] == pytest.approx(facts["variance_explained"][0], rel=1e-3)
    cosines = found.filter(like="cosine").to_numpy()
    assert cosines.shape == basis.shape  # the same space: one projection takes the other away
    np.testing.assert_allclose(cosines @ (cosines.T @ basis), basis, atol=1e-8)


def test_tcompcor_takes_nipype_s_voxels(made: tuple[Facts, Files], tmp_path: Path) -> None:
    from nipype.algorithms.confounds import TCompCor

    node = TCompCor(
        realigned_file=str(made[1]["voxel_sample"]), mask_files=[str(made[1]["sample_mask"])], num_components=5,
        pre_filter="cosine", repetition_time=fitted.TR, high_pass_cutoff=128, percentile_threshold=0.02,
        components_file=str(tmp_path / "t.tsv"),
    )  # fmt: skip
    result = node.run(cwd=str(tmp_path))
    theirs = np.loadtxt(result.outputs.components_file, skiprows=1)
    ours = table(made[1])[[f"t_comp_cor_{i:02d}" for i in range(5)]].to_numpy()
    np.testing.assert_allclose(np.abs((ours[:, :2] * theirs[:, :2]).sum(0)), 1, atol=1e-3)


def test_signals_and_motion_terms(made: tuple[Facts, Files]) -> None:
    found = table(made[1])
    data = nib.load(made[1]["voxel_sample"]).get_fdata()
    csf = nib.load(made[1]["sample_probseg"]).get_fdata()[..., 2] > 0.9
    np.testing.assert_allclose(found["csf"], data[csf].mean(0), rtol=1e-5)
    assert found["global_signal"].mean() == pytest.approx(1000, rel=1e-3)
    both = nib.load(made[1]["sample_probseg"]).get_fdata()[..., 1:3].max(-1) > 0.9
    np.testing.assert_allclose(found["csf_wm"], data[both].mean(0), rtol=1e-5)
    for name in ("trans_x", "rot_z", "csf", "white_matter", "global_signal"):
        np.testing.assert_allclose(
            found[f"{name}_derivative1"][1:], np.diff(found[name]), atol=1e-5 * found[name].abs().max()
        )
        np.testing.assert_allclose(found[f"{name}_power2"], found[name] ** 2, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(
            found[f"{name}_derivative1_power2"], found[f"{name}_derivative1"] ** 2, rtol=1e-4, atol=1e-10
        )
    undefined = [c for c in found if found[c].isna().any()]
    assert all(np.isnan(found[c][0]) and not found[c][1:].isna().any() for c in undefined)
    assert {"dvars", "std_dvars", "framewise_displacement", "rot_x_derivative1"} <= set(undefined)


def test_rms_displacement_is_fsl_s() -> None:
    """FSL's rmsdiff: sqrt(R^2 / 5 tr(A^T A) + |t + A c|^2), M = T2 T1^-1 - 1 = [A t], here with the centre as c."""
    params = np.random.default_rng(0).normal(0, 1, (5, 6)) * [1, 2, 1, 0.02, 0.01, 0.03]
    centre, shape = np.array([3.0, -20.0, 15.0]), (40, 48, 36)
    affine = np.diag([-3.0, 3.0, 3.5, 1.0])
    affine[:3, 3] = [60, -70, -50]
    matrices = np.linalg.inv(rigid.matrices_of(params, affine, shape, centre))  # moved -> reference
    m = matrices[1:] @ np.linalg.inv(matrices[:-1]) - np.eye(4)
    t = m[:, :3, 3] + m[:, :3, :3] @ centre
    expected = np.sqrt(
        80**2 / 5 * np.trace(m[:, :3, :3].swapaxes(1, 2) @ m[:, :3, :3], axis1=1, axis2=2) + (t**2).sum(1)
    )
    found = rigid.rms_displacement(params)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], expected, rtol=1e-9)


def test_half_of_the_variance_is_fmriprep_s_number(tmp_path: Path) -> None:
    from nipype.algorithms.confounds import compute_noise_components

    made = fitted.run(confounds.STAGE, fitted.recording(tmp_path, noise=15)[0])
    data = nib.load(made[1]["voxel_sample"]).get_fdata()
    tissue = nib.load(made[1]["sample_probseg"]).get_fdata()
    csf, wm = tissue[..., 2] > 0.9, tissue[..., 1] > 0.9
    for kind, mask in {"c": csf, "w": wm, "a": csf | wm}.items():
        image = nib.Nifti1Image(mask.astype(np.uint8), np.eye(4))
        theirs, _, facts = compute_noise_components(data, [image], 0.5, "cosine", 0, 128, fitted.TR)
        assert made[0]["NumberOfCompCor"][kind] == theirs.shape[1]
        last = made[0]["confounds"][f"{kind}_comp_cor_{theirs.shape[1] - 1:02d}"]
        assert last["Mask"] == {"c": "CSF", "w": "WM", "a": "combined"}[kind]
        assert (
            last["CumulativeVarianceExplained"] >= 0.5 > last["CumulativeVarianceExplained"] - last["VarianceExplained"]
        )
        np.testing.assert_allclose(last["SingularValue"], facts["singular_value"][theirs.shape[1] - 1], rtol=1e-3)


def test_few_voxels_of_an_eroded_tissue() -> None:
    """Of 300 voxels of CSF an erosion leaves 60 or 40: the second is too few, so the 50 purest are taken."""
    rng = np.random.default_rng(0)
    tissue = np.zeros(1000, np.float32)
    tissue[:300] = rng.uniform(0.55, 1, 300)
    for left, is_eroded in ((60, True), (40, False)):
        eroded = np.where(np.arange(1000) < left, np.float32(0.8), np.float32(0.1))
        chosen, found = nuisance.region(tissue, eroded, 0.5)
        assert found is is_eroded
        assert chosen.sum() == (60 if is_eroded else 49)
        assert is_eroded or tissue[chosen].min() > np.sort(tissue)[-51]
    assert nuisance.region(tissue[-100:], tissue[-100:], 0.5)[0].sum() == 0


def test_outliers(made: tuple[Facts, Files]) -> None:
    """fMRIPrep's spikes: one column a volume with FD > .5 mm or std_dvars > 1.5."""
    found = table(made[1])
    flagged = (found["framewise_displacement"] > 0.5) | (found["std_dvars"] > 1.5)
    spikes = found.filter(regex="^motion_outlier").to_numpy()
    np.testing.assert_array_equal(spikes, np.eye(fitted.T)[:, flagged])
    assert made[0]["NumberOfMotionOutliers"] == flagged.sum() > 0


def test_every_column_is_described(made: tuple[Facts, Files]) -> None:
    meanings = made[0]["confounds"]
    assert set(meanings) == set(table(made[1])) and all(m["Description"] for m in meanings.values())
    assert meanings["trans_x_derivative1_power2"] == {
        "Description": "translation, difference to the volume before, squared", "Units": "mm^2"
    }  # fmt: skip
    assert made[0]["SamplingFrequency"] == 0.5


def test_non_steady_states(tmp_path: Path) -> None:
    from nipype.algorithms.confounds import is_outlier

    files, _ = fitted.recording(tmp_path, non_steady=4)
    facts, files = fitted.run(confounds.STAGE, files, n_compcor=2)
    mean = nib.load(files["voxel_sample"]).get_fdata()[..., :50].mean((0, 1, 2))
    assert facts["NumberOfNonSteadyStates"] == 4 == is_outlier(mean)
    found = table(files)
    flags = found.filter(like="non_steady_state_outlier").to_numpy()
    np.testing.assert_array_equal(flags, np.eye(fitted.T)[:, :4])
    assert (found[["a_comp_cor_00", "cosine00"]][:4] == 0).to_numpy().all()  # fitted without those volumes
    assert "4 volumes" in confounds.describe(facts)


def test_a_constant_signal_has_no_outliers() -> None:
    assert nuisance.non_steady(np.ones(60)) == 0
    assert nuisance.non_steady(np.r_[2.0, np.random.default_rng(0).normal(1, 0.01, 60)]) == 1


def test_golden(made: tuple[Facts, Files], golden: Callable[..., None]) -> None:
    golden(confounds.STAGE, made[1], made[0])


def breathing(tr_s: float, seconds: float = 400) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Motion parameters of a head that breathes 15 times per minute by .4 mm, and of one that jumps twice by 1 mm."""
    time = np.arange(0, seconds, tr_s)
    breath, jumps = np.zeros((2, len(time), 6))
    breath[:, 1] = 0.4 * np.sin(2 * np.pi * 15 / 60 * time)
    for at in (0.3, 0.7):
        jumps[int(at * len(time)) :, 2] += 1
    return breath, jumps


@pytest.mark.parametrize(("how", "tr_s"), [("notch", 0.5), ("notch", 0.8), ("notch", 1.4), ("lowpass", 0.8)])
def test_breathing_goes_and_jumps_stay(how: Any, tr_s: float) -> None:
    breath, jumps = breathing(tr_s)
    plain = rigid.displacement(breath)[1:].mean()
    clean = nuisance.without_breathing(breath, tr_s, how, (12, 18))
    assert rigid.displacement(clean)[1:].mean() < {"notch": 0.1, "lowpass": 0.3}[how] * plain
    both = rigid.displacement(nuisance.without_breathing(breath + jumps, tr_s, how, (12, 18)))
    largest = np.sort(np.argsort(np.nan_to_num(both))[-2:])
    assert np.abs(largest - [int(at * len(jumps)) for at in (0.3, 0.7)]).max() <= 1
    assert both[largest].min() > 0.3  # a low-pass spreads them


def test_the_notch_is_that_of_xcp_d() -> None:
    """`xcp_d.utils.confounds.filter_motion` with its defaults but for the band, step by step."""
    from scipy.signal import filtfilt, iirnotch

    motion = np.random.default_rng(0).standard_normal((200, 6)).cumsum(0)
    stopband_hz = np.array([12, 18]) / 60
    freq_to_remove = np.mean(stopband_hz)
    b, a = iirnotch(freq_to_remove, freq_to_remove / np.abs(np.diff(stopband_hz))[0], fs=1 / 0.8)
    theirs = filtfilt(b, a, motion, axis=0, padtype="constant", padlen=len(motion) - 1)
    np.testing.assert_allclose(nuisance.without_breathing(motion, 0.8, "notch", (12, 18)), theirs)


@pytest.mark.parametrize(
    ("tr_s", "band", "holds"),
    [(0.72, (12, 18), True), (1.49, (12, 18), True), (1.5, (12, 18), False), (2, (12, 18), False),
     (1.4, (18, 26), False)],
)  # fmt: skip
def test_where_breathing_is_not_aliased(tr_s: float, band: tuple[float, float], holds: bool) -> None:
    assert nuisance.holds_breathing(tr_s, band) is holds


def test_filtered_displacement_in_the_table(tmp_path: Path) -> None:
    """At TR .8 s it is a column with a description, and in the methods text; at TR 2 s, or switched off, it is not."""
    files, _ = fitted.recording(tmp_path)
    assert nuisance.FILTERED_FD not in table(fitted.run(confounds.STAGE, files, n_compcor=0)[1])
    for name in ("voxel_sample", "motion_params"):
        write_facts(files[name], files.facts(name) | {"RepetitionTime": 0.8})
    facts, made = fitted.run(confounds.STAGE, files, n_compcor=0)
    motion = pd.read_csv(files["motion_params"], sep="\t").to_numpy()
    expected = rigid.displacement(nuisance.without_breathing(motion, 0.8, "notch", (12, 18)))
    np.testing.assert_allclose(table(made)[nuisance.FILTERED_FD], expected, rtol=1e-4, atol=1e-6)
    assert facts["MeanFilteredFramewiseDisplacement"] == pytest.approx(np.nanmean(expected))
    assert facts["confounds"][nuisance.FILTERED_FD]["Units"] == "mm"
    assert "also after a notch at 12 to 18 breaths per minute" in confounds.describe(facts)
    off, made = fitted.run(confounds.STAGE, files, n_compcor=0, fd_filter=None)
    assert (
        nuisance.FILTERED_FD not in table(made) and "FdFilter" not in off and "breaths" not in confounds.describe(off)
    )


def test_a_band_of_breathing_has_two_ends() -> None:
    with pytest.raises(ValueError, match="the first must be positive and below the second"):
        confounds.Config(fd_filter_bpm=[18, 12])
