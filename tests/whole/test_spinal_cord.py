"""Real images of a spinal cord, through the whole chain: what is no brain never becomes parcel series."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from brainlm_data.runner.manifest import read_manifest
from tests.conftest import SHARED
from tests.slurm.cluster import by_hand
from tests.whole.run import Run

CORD = SHARED / "data" / "odd" / "spinal_cord_fmri.nii.gz"
CHAIN = (
    "template", "atlas", "motion", "slicetiming", "coreg", "sample", "confounds", "filter", "denoise", "parcellate",
    "resample", "qc",
)  # fmt: skip


def test_a_spinal_cord_is_refused_in_one_line(tmp_path: Path) -> None:
    if not CORD.is_file():
        pytest.skip("real data not at hand: expected spinal_cord_fmri.nii.gz beside the project")
    name = "sub-01_task-rest"
    func = tmp_path / "bids" / "sub-01" / "func"
    func.mkdir(parents=True)
    (tmp_path / "bids/dataset_description.json").write_text(json.dumps({"Name": "cord", "BIDSVersion": "1.8.0"}))
    shutil.copyfile(CORD, func / f"{name}_bold.nii.gz")
    (func / f"{name}_bold.json").write_text(json.dumps({"TaskName": "rest", "RepetitionTime": 1.13}))
    sections = {"atlas": {"name": "demo424"}, "coreg": {"grid_mm": 4.0}}
    run = Run(tmp_path, {"bids_dir": str(tmp_path / "bids"), **sections})
    by_hand(run, *CHAIN)
    for stage in ("sample", "parcellate", "resample", "qc"):
        entry = read_manifest(run.outdir / "work" / stage / f"{name}.json")["units"][name]
        assert entry["status"] == "refused" and "\n" not in entry["reason"]
        assert "12 ml of brain were found in it -> is it a run of a whole head?" in entry["reason"]
    assert not run.file("parcels", f"sub-01/func/{name}").exists()
