"""nilearn's load_confounds on our derivatives, as they are: the names that `paths` gives them, and stage confounds' own
table and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nilearn.interfaces.fmriprep import load_confounds, load_confounds_strategy

from brainlm_data.files.tables import read_table
from brainlm_data.paths import artifact_path
from brainlm_data.stage import Facts
from brainlm_data.stages import confounds
from tests.stages import fitted

PREFIX = "sub-01/ses-02/func/sub-01_ses-02_task-rest_run-1"
NAMES = {"space": "MNI152NLin6Asym", "seg": "A424"}
STEADY = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Facts, str]:
    """Facts of the stage, and the image name that users give to nilearn. The image need not exist."""
    folder = tmp_path_factory.mktemp("load")
    facts, files = fitted.run(confounds.STAGE, fitted.recording(folder, noise=15, non_steady=STEADY)[0])
    target = artifact_path("confounds", folder, PREFIX, NAMES)
    target.parent.mkdir(parents=True)
    for ending in (".tsv", ".json"):
        target.with_suffix(ending).write_bytes(files["confounds"].with_suffix(ending).read_bytes())
    return facts, str(artifact_path("keep_preproc", folder, PREFIX, NAMES))


def count(facts: Facts, kinds: str, most: int = 1000) -> int:
    return sum(min(facts["NumberOfCompCor"][kind], most) for kind in kinds)


@pytest.mark.filterwarnings("ignore:Non-steady state volumes are always detected")
@pytest.mark.parametrize(
    ("strategy", "options", "columns"),
    [
        ("motion", {"motion": "basic"}, 6),
        ("motion", {"motion": "derivatives"}, 12),
        ("motion", {"motion": "power2"}, 12),
        ("motion", {"motion": "full"}, 24),
        ("wm_csf", {"wm_csf": "basic"}, 2),
        ("wm_csf", {"wm_csf": "derivatives"}, 4),
        ("wm_csf", {"wm_csf": "power2"}, 4),
        ("wm_csf", {"wm_csf": "full"}, 8),
        ("global_signal", {"global_signal": "basic"}, 1),
        ("global_signal", {"global_signal": "full"}, 4),
        ("compcor", {"compcor": "anat_combined"}, "a"),
        ("compcor", {"compcor": "anat_separated"}, "cw"),
        ("compcor", {"compcor": "temporal"}, "t"),
        ("compcor", {"compcor": "temporal_anat_combined"}, "ta"),
        ("compcor", {"compcor": "temporal_anat_separated"}, "tcw"),
        ("non_steady_state", {}, 0),
    ],
)
def test_strategies(made: tuple[Facts, str], strategy: str, options: dict[str, Any], columns: int | str) -> None:
    facts, image = made
    asked = ("high_pass", "compcor") if strategy == "compcor" else (strategy,)  # nilearn wants both
    chosen, kept = load_confounds(image, strategy=asked, **options)
    chosen = chosen.drop(columns=[c for c in chosen if c.startswith("cosine")])
    expected = columns if isinstance(columns, int) else count(facts, columns)
    assert chosen.shape == (fitted.T, expected) and np.isfinite(chosen.to_numpy()).all()
    # non-steady-state volumes are always left out of nilearn's sample mask
    np.testing.assert_array_equal(kept, np.arange(STEADY, fitted.T))
    if strategy == "compcor":
        few, _ = load_confounds(image, strategy=asked, n_compcor=2, **options)
        assert sum("comp_cor" in c for c in few) == count(facts, str(columns), 2)


def test_high_pass(made: tuple[Facts, str]) -> None:
    chosen, _ = load_confounds(made[1], strategy=("high_pass",))
    assert list(chosen) == [f"cosine{i:02d}" for i in range(chosen.shape[1])]
    assert chosen.shape[1] == int(2 * (fitted.T - STEADY) * fitted.TR / 128) - 1  # nipype's count, one below SPM's


@pytest.mark.parametrize(("fd", "dvars", "scrub"), [(0.5, 1.5, 0), (0.5, 1.5, 20), (0.3, 99.0, 0), (99.0, 1.2, 0)])
def test_scrub(made: tuple[Facts, str], fd: float, dvars: float, scrub: int) -> None:
    """The sample mask leaves out what our own columns flag."""
    _, kept = load_confounds(
        made[1], strategy=("motion", "scrub"), scrub=scrub, fd_threshold=fd, std_dvars_threshold=dvars
    )
    names, table = read_table(Path(made[1]).with_name(f"{PREFIX.rsplit('/', 1)[1]}_desc-confounds_timeseries.tsv"))
    values = dict(zip(names, table.T, strict=True))
    bad = (values["framewise_displacement"] > fd) | (values["std_dvars"] > dvars) | (np.arange(fitted.T) < STEADY)
    expected = np.flatnonzero(~bad)
    if scrub:  # segments of fewer than `scrub` volumes go too
        assert len(kept) < len(expected) and set(kept) < set(expected)
    else:
        np.testing.assert_array_equal(kept, expected)
    if (fd, dvars) == (0.5, 1.5):
        spikes = sum(n.startswith("motion_outlier") for n in names)
        assert spikes == ((values["framewise_displacement"] > fd) | (values["std_dvars"] > dvars)).sum()


@pytest.mark.parametrize("preset", ["simple", "scrubbing", "compcor"])
def test_presets(made: tuple[Facts, str], preset: str) -> None:
    chosen, kept = load_confounds_strategy(made[1], denoise_strategy=preset)
    assert np.isfinite(chosen.to_numpy()).all() and chosen.shape[1] > 20 and len(kept) > 20


def test_ica_aroma_is_not_there(made: tuple[Facts, str]) -> None:
    """fMRIPrep's AROMA columns are no confounds of ours: ICA comes after the filter. nilearn says so."""
    with pytest.raises(ValueError, match="ica_aroma"):
        load_confounds(made[1], strategy=("ica_aroma",), ica_aroma="basic")
    with pytest.raises(ValueError, match="smoothAROMAnonaggr"):
        load_confounds_strategy(made[1], denoise_strategy="ica_aroma")
