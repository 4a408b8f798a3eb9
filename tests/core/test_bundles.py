"""A cohort in bundles: what a change redoes, what a new recording leaves alone, what a broken one or a kill costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainlm_data.files.sidecar import read_record
from brainlm_data.graph.dag import Dag
from brainlm_data.graph.edges import load_job
from brainlm_data.runner.bundle import run_bundle
from tests.conftest import write_bids
from tests.core.test_runner import raw, run
from tests.core.toy import CALLS, STAGES

OLD = [f"{n:02d}" for n in range(1, 6)]
NEW = [f"{n:02d}" for n in range(6, 16)]


def test_ten_new_recordings_redo_no_old_one(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids", subjects=OLD)
    config = raw(bids, tmp_path / "out", bundle_size=3)
    first, _ = run(config)
    receipts = {p: p.stat().st_mtime_ns for p in (first.outdir / "work/receipts").rglob("sub-*.json")}
    listings = {p: p.read_bytes() for p in (first.outdir / "work/listing/recording").iterdir()}
    write_bids(bids, subjects=[*OLD, *NEW])
    for file in bids.rglob("sub-0[1-5]_*"):  # the same bytes; write_bids wrote them again
        file.touch()
    again, _ = run(config)
    expected = [f"{stage} sub-{s}{end}" for stage, end in (("anat", ""), ("motion", "_task-rest")) for s in NEW]
    assert sorted(CALLS) == sorted([*expected, "collate"])
    assert {p: p.stat().st_mtime_ns for p in receipts} == receipts
    assert set(listings) <= set((again.outdir / "work/listing/recording").iterdir())


def test_a_listing_is_only_written_where_it_changed(tmp_path: Path) -> None:
    """Snakemake sees its mtime: bundles without a new recording have no job."""
    bids = write_bids(tmp_path / "bids", subjects=["01", "02"])
    config = raw(bids, tmp_path / "out", bundle_size=2)
    first = Dag(config, STAGES)
    first.prepare()
    folder = first.outdir / "work/listing/recording"
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    source = bids / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    new = bids / "sub-03/func/sub-03_task-rest_bold.nii.gz"
    new.parent.mkdir(parents=True)
    new.write_bytes(source.read_bytes())
    new.with_name("sub-03_task-rest_bold.json").write_text('{"RepetitionTime": 2.0}')
    Dag(config, STAGES).prepare()
    after = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert {name for name in after if after[name] != before.get(name)} == {"bundle-00002.json"}


def test_a_bundle_that_ended_early_goes_on_with_what_is_left(tmp_path: Path) -> None:
    """As a kill leaves it: receipts, no manifest, half a file in scratch. (tests/whole kills a real run.)"""
    bids = write_bids(tmp_path / "bids", subjects=OLD)
    flag = tmp_path / "flag"
    config = raw(bids, tmp_path / "out", bundle_size=5, motion={"crash": str(flag)})
    with pytest.raises(MemoryError):
        run(config)
    dag = Dag(config, STAGES)
    dag.prepare()
    done = {p.stem for p in (dag.outdir / "work/receipts/motion").iterdir()}
    half = dag.outdir / "work/scratch/motion-sub-03_task-rest-1/motion_params/half.tsv"
    half.parent.mkdir(parents=True)
    half.write_text("half")
    flag.touch()
    CALLS.clear()
    (bundle,) = dag.bundles.by_level["recording"]
    manifest = run_bundle(load_job(STAGES, "motion", dag.outdir, bundle, dag["motion"].signature))
    assert [entry["status"] for entry in manifest["units"].values()] == ["done"] * 5
    assert done and not done & {call.split()[1] for call in CALLS} and len(CALLS) == 5 - len(done)
    assert not list(dag.outdir.glob("derivatives/**/half.tsv"))
    assert read_record(dag.outdir / f"work/motion/{bundle}.json") == manifest
