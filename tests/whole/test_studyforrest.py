"""A real 3 T recording (studyforrest, one-back on pictures) with the published atlas, from raw to parcel series."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from brainlm_data.files.tables import read_table
from brainlm_data.paths import artifact_path
from tests.whole.run import Run

PREFIX = "sub-02/func/sub-02_task-oneback_run-1"
SPACE, SEG = "MNI152NLin6Asym", "A424"


@pytest.fixture(scope="module")
def real(studyforrest: Path, atlases: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    template = {
        "name": SPACE,
        "path": str(atlases / "MNI152NLin6_res-2x2x2_T1w.nii.gz"),
        "brain": str(atlases / "MNI152NLin6_res-2x2x2_T1w_descr-brain.nii.gz"),
    }
    config = {
        "bids_dir": str(studyforrest),
        "template": template,
        "atlas": {"name": SEG, "path": str(atlases / "A424+2mm.nii.gz")},
        "anat": {"grid_mm": 4.0, "registration": "fast"},
    }
    run = Run(tmp_path_factory.mktemp("real"), config)
    run("preprocess")
    return run


def file(run: Run, artifact: str) -> Path:
    return artifact_path(artifact, run.outdir, PREFIX, {"space": SPACE, "seg": SEG})


def stimulus(events: Path, seconds: int) -> NDArray[np.floating]:
    """Expected response at 1 Hz: pictures shown, convolved with SPM's haemodynamic response."""
    from nilearn.glm.first_level.hemodynamic_models import spm_hrf

    shown = np.zeros(seconds * 10)
    for row in pd.read_csv(events, sep="\t").itertuples():
        shown[int(row.onset * 10) : int((row.onset + row.duration) * 10)] = 1
    return np.convolve(shown, spm_hrf(1.0, oversampling=10))[: seconds * 10 : 10]


def test_series(real: Run) -> None:
    names, series = read_table(file(real, "parcels"))
    assert series.shape == (311, 424) and names[0] == "A424_001"
    facts = json.loads(file(real, "parcels").with_suffix(".json").read_text())
    assert facts["SamplingFrequency"] == 1.0
    missing = np.isnan(series).any(0).mean()
    assert missing < 0.05  # the field of view ends in the cerebellum


def test_visual_parcels_follow_the_pictures(real: Run, studyforrest: Path) -> None:
    series = read_table(file(real, "parcels"))[1]
    expected = stimulus(next(studyforrest.glob("sub-02/func/*events.tsv")), len(series))
    r = np.array([np.corrcoef(x, expected)[0, 1] for x in series.T])
    networks = pd.read_csv(file(real, "atlas_table"), sep="\t").network
    medians = pd.Series(r).groupby(networks.to_numpy()).median()
    assert medians.idxmax() == "Visual" and medians["Visual"] > 0.3
    assert medians["Visual"] > medians.drop("Visual").max() + 0.15


def test_quality(real: Run) -> None:
    metrics = json.loads(file(real, "qc_metrics").read_text())
    assert 0.05 < metrics["mean_fd_mm"] < 0.25 and metrics["median_tsnr"] > 60
    assert metrics["t1w_offset_mm"] < 3 and metrics["epi_offset_mm"] < 3
    page = file(real, "qc_page").read_text()
    assert page.count('class="component') == metrics["n_ica"] > 12 and "coverage_min" in page
