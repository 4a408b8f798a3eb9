"""What reruns: config key -> the exact set of rules. The promise that a new filter band repeats no registration."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from tests.conftest import ROOT
from tests.dag.snake import PER_RECORDING
from tests.dag.test_reruns import COLLATE, DENOISE, DISTORTION, QCGROUP, RERUNS, VOXELS
from tests.whole.run import Run

ON_DEMAND = VOXELS | {"events"}  # and what is made of them: the run of these tests asks for neither


@pytest.mark.parametrize("key", ["anat.grid_mm", "filter.high_hz", "keep.images", "train.lr", "threads"])
def test_a_key_reruns_its_stage_and_its_followers(simulated: Run, key: str) -> None:
    """A few of the table, by Snakemake itself; `tests/dag/test_reruns.py` has all of it, in process."""
    value, rules = RERUNS[key]
    section, _, name = key.partition(".")
    change = f"{section}={json.dumps({name: value} if name else value)}"
    assert set(simulated.planned("--config", change)) == rules - ON_DEMAND


def test_an_override_reruns_the_recording_that_it_names(simulated: Run) -> None:
    file = simulated.folder / "overrides.tsv"
    file.write_text("recording\tcomponent\tclassification\n")
    change = f"denoise={json.dumps({'overrides': str(file)})}"
    assert simulated.planned("--config", change) == {}  # no row, nothing to do
    file.write_text(file.read_text() + "sub-02_task-rest\tica_00\taccepted\n")
    assert simulated.planned("--config", change) == dict.fromkeys(DENOISE - ON_DEMAND, 1)
    assert simulated.planned() == {}


def test_a_fieldmap_reruns_what_states_it(simulated: Run) -> None:
    folder = simulated.folder / "bids/sub-01/fmap"
    folder.mkdir()
    try:
        shutil.copy(next((folder.parent / "anat").glob("*_T1w.nii.gz")), folder / "sub-01_dir-AP_epi.nii.gz")
        file = folder / "sub-01_dir-AP_epi.json"
        file.write_text("{}")
        assert simulated.planned() == {}
        file.write_text(json.dumps({"IntendedFor": "bids::sub-01/func/sub-01_task-rest_bold.nii.gz"}))
        assert simulated.planned() == dict.fromkeys(DISTORTION - ON_DEMAND, 1)
    finally:
        shutil.rmtree(folder)


def test_comments_and_key_order_rerun_nothing(simulated: Run) -> None:
    file = simulated.folder / "reordered.yaml"
    keys = yaml.safe_load((ROOT / "config.yaml").read_text()) | simulated.config | {"outdir": str(simulated.outdir)}
    reordered = {k: dict(reversed(v.items())) if isinstance(v, dict) else v for k, v in reversed(keys.items())}
    file.write_text("# a comment\n" + yaml.safe_dump(reordered, sort_keys=False))
    assert simulated.planned("--configfile", str(file)) == {}


def test_a_deleted_or_damaged_manifest_comes_back(simulated: Run) -> None:
    manifest = simulated.outdir / "work/filter/bundle-00001.json"
    content = manifest.read_bytes()
    try:
        manifest.unlink()
        assert simulated.planned()["filter"] == 1
        manifest.write_text("{")
        assert simulated.planned()["filter"] == 1
    finally:
        manifest.write_bytes(content)


def test_a_new_recording_disturbs_no_other(simulated: Run) -> None:
    bids = simulated.folder / "bids"
    try:
        for file in [f for f in (bids / "sub-01").rglob("*") if f.is_file()]:
            new = bids / str(file.relative_to(bids)).replace("sub-01", "sub-09")
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, new)
        jobs = simulated.planned()
        assert jobs == dict.fromkeys(("anat", *PER_RECORDING, "keep", *QCGROUP, *COLLATE), 1)
    finally:
        shutil.rmtree(bids / "sub-09")
