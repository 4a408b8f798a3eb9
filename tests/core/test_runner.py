"""The runner: receipts, refusals, crashes, sidecars, repairs."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import write_json
from brainlm_data.graph.dag import Dag
from brainlm_data.graph.edges import load_job
from brainlm_data.paths import receipt_path
from brainlm_data.runner.bundle import Job, _forget, run_bundle
from brainlm_data.runner.manifest import COHORT, describe_output
from tests.conftest import write_bids
from tests.core.toy import CALLS, STAGES


def run(raw: dict[str, Any]) -> tuple[Dag, dict[str, Any]]:
    """Every stage over every bundle, as the rules would."""
    CALLS.clear()
    dag = Dag(raw, STAGES)
    manifests: dict[str, Any] = {}
    for stage in STAGES:
        node = dag[stage.name]
        for bundle in dag.bundles[stage.level]:
            wildcards = type("W", (), {"bundle": bundle})
            job = load_job(STAGES, stage.name, dag.outdir, bundle, node.signature(wildcards), node.repairs(wildcards))
            manifests[f"{stage.name}/{bundle}"] = run_bundle(job)
    return dag, manifests


def raw(bids: Path, out: Path, **extra: Any) -> dict[str, Any]:
    return {"bids_dir": str(bids), "outdir": str(out), **extra}


def test_outputs_sidecars_and_manifests(bids: Path, tmp_path: Path) -> None:
    _, manifests = run(raw(bids, tmp_path / "out"))
    func = tmp_path / "out/derivatives/sub-01/func"
    sidecar = json.loads((func / "sub-01_task-rest_desc-motion_timeseries.json").read_text())
    assert sidecar["Units"] == "mm"
    assert sidecar["RepetitionTime"] == 2.0
    assert sidecar["Parameters"] == {"gain": 1.0, "refuse": "", "crash": ""}
    raw_file, image = (
        "bids:raw:sub-01/func/sub-01_task-rest_bold.nii.gz",
        "bids::sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
    )
    assert sidecar["Sources"] == [image, raw_file]
    assert len(sidecar["SourceDigests"][raw_file]) == 64
    assert manifests["motion/sub-01_task-rest"]["units"]["sub-01_task-rest"]["methods"] == {
        "anat": "Anatomy.",
        "motion": "TR 2.0 s.",
    }
    card = (tmp_path / "out/card.md").read_text().splitlines()
    assert card[0] == "sub-01_task-rest done ['motion_params']  TR 2.0 s."
    assert not list((tmp_path / "out/work/scratch").iterdir())


@pytest.mark.parametrize("bundle_size", [1, 3])
def test_receipts_skip_what_is_done(bids: Path, tmp_path: Path, bundle_size: int) -> None:
    first, _ = run(raw(bids, tmp_path / "out", bundle_size=bundle_size))
    assert len(CALLS) == 5
    before = (first.outdir / "card.md").read_bytes()
    run(raw(bids, tmp_path / "out", bundle_size=bundle_size))
    assert CALLS == []
    run(raw(bids, tmp_path / "out", bundle_size=bundle_size, motion={"gain": 2}))
    assert sorted(CALLS) == ["collate", "motion sub-01_task-rest", "motion sub-02_task-rest"]
    assert (first.outdir / "card.md").read_bytes() == before


@pytest.mark.parametrize("bundle_size", [1, 3])
def test_what_a_file_says_of_one_recording_reruns_that_one(bids: Path, tmp_path: Path, bundle_size: int) -> None:
    config = raw(bids, tmp_path / "out", bundle_size=bundle_size)
    first, manifests = run(config)
    receipts = {p: p.stat().st_mtime_ns for p in (first.outdir / "work/receipts").rglob("*.json")}
    marked = config | {"motion": {"marks": {"sub-02_task-rest": "x"}}}
    again, _ = run(marked)
    assert CALLS == ["motion sub-02_task-rest"]  # collate's inputs are the same bytes
    changed = {p.stem for p, mtime in receipts.items() if p.stat().st_mtime_ns != mtime}
    assert changed == {"sub-02_task-rest"}
    planned = {b: again["motion"].signature(type("W", (), {"bundle": b})) for b in again.bundles["recording"]}
    same = [b for b, signature in planned.items() if signature == first["motion"].signature()]
    assert same == [b for b in planned if "sub-02_task-rest" not in manifests[f"motion/{b}"]["units"]]
    run(marked)
    assert CALLS == []
    write_bids(bids, subjects=("01", "02", "03"))
    run(marked)
    assert CALLS == ["anat sub-03", "motion sub-03_task-rest", "collate"]  # keys with an underscore do not count
    run(config)
    assert CALLS == ["motion sub-02_task-rest"]


def test_bundle_size_changes_no_bytes(bids: Path, tmp_path: Path) -> None:
    one, _ = run(raw(bids, tmp_path / "one"))
    two, _ = run(raw(bids, tmp_path / "two", bundle_size=2))
    files = sorted(p.relative_to(one.outdir) for p in (one.outdir / "derivatives").rglob("*.tsv"))
    assert files
    for file in files:
        assert (one.outdir / file).read_bytes() == (two.outdir / file).read_bytes()


def test_a_refused_recording_does_not_stop_its_neighbour(bids: Path, tmp_path: Path) -> None:
    _, manifests = run(raw(bids, tmp_path / "out", bundle_size=2, motion={"refuse": "sub-01_task-rest"}))
    (units,) = [m["units"] for name, m in manifests.items() if name.startswith("motion")]
    assert units["sub-01_task-rest"]["status"] == "refused"
    assert units["sub-02_task-rest"]["status"] == "done"
    card = (tmp_path / "out/card.md").read_text()
    assert "sub-01_task-rest refused [] sub-01_task-rest_bold.nii.gz: bad -> mend it" in card


def test_a_crash_leaves_no_manifest_and_keeps_what_was_done(bids: Path, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    config = raw(bids, tmp_path / "out", bundle_size=2, motion={"crash": str(flag)})
    with pytest.raises(MemoryError):
        run(config)
    assert not list((tmp_path / "out/work/motion").glob("*.json"))
    flag.touch()
    run(config)
    assert CALLS == ["motion sub-02_task-rest", "collate"]  # the first one's receipt still held


def test_a_damaged_output_is_noticed_and_comes_back(bids: Path, tmp_path: Path) -> None:
    config = raw(bids, tmp_path / "out")
    dag, _ = run(config)
    wildcards = type("W", (), {"bundle": "sub-01_task-rest"})
    target = dag.outdir / "derivatives/sub-01/func/sub-01_task-rest_desc-motion_timeseries.tsv"
    good = target.read_bytes()
    assert dag["motion"].repairs(wildcards) == 0
    target.write_bytes(b"x" * len(good))
    assert Dag(config, STAGES)["motion"].repairs(wildcards) == 1
    run(config)
    assert target.read_bytes() == good
    assert Dag(config, STAGES)["motion"].repairs(wildcards) == 1  # stays, so that nothing reruns
    os.utime(target, ns=(1, 1))
    assert Dag(config, STAGES)["motion"].repairs(wildcards) == 1  # touched, not changed
    target.unlink()
    assert Dag(config, STAGES)["motion"].repairs(wildcards) == 2


def test_without_t1w_the_optional_input_is_absent(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids", t1w=False)
    dag, _ = run(raw(bids, tmp_path / "out"))
    assert CALLS == ["motion sub-01_task-rest", "motion sub-02_task-rest", "collate"]
    text = (dag.outdir / "derivatives/sub-01/func/sub-01_task-rest_desc-motion_timeseries.tsv").read_text()
    assert text.endswith("False\n")


def test_bundles_are_only_ever_appended_to(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids", subjects=("02", "03"), tasks=("rest", "nback"))
    config = raw(bids, tmp_path / "out", bundle_size=2)
    before = Dag(config, STAGES).bundle_of
    assert before == {"sub-02": "bundle-00001", "sub-03": "bundle-00002"}
    write_bids(tmp_path / "bids", subjects=("01", "02", "03"), tasks=("rest", "nback"))
    after = Dag(config, STAGES).bundle_of
    assert after["sub-02"] == "bundle-00001"
    assert after["sub-03"] == "bundle-00002"
    assert after["sub-01"] == "bundle-00003"


def test_a_missing_upstream_manifest_is_one_line(bids: Path, tmp_path: Path) -> None:
    dag = Dag(raw(bids, tmp_path / "out"), STAGES)
    job = load_job(STAGES, "collate", dag.outdir, "cohort", dag["collate"].signature())
    with pytest.raises(InputError, match=r"stage motion has not run yet.*run it first"):
        run_bundle(job)


def test_a_refusal_removes_what_an_earlier_config_made(bids: Path, tmp_path: Path) -> None:
    config = raw(bids, tmp_path / "out")
    run(config)
    made = tmp_path / "out/derivatives/sub-01/func/sub-01_task-rest_desc-motion_timeseries.tsv"
    assert made.exists()
    run(config | {"motion": {"refuse": "sub-01_task-rest"}})
    assert not made.exists() and not made.with_suffix(".json").exists()
    run(config)
    assert made.exists()


def test_a_fact_in_a_sidecar_is_an_input(bids: Path, tmp_path: Path) -> None:
    """anat writes the same image at any grid_mm, but says another number beside it: motion must run again."""
    run(raw(bids, tmp_path / "out"))
    run(raw(bids, tmp_path / "out", anat={"grid_mm": 3.0}))
    assert "motion sub-01_task-rest" in CALLS


def test_a_run_by_hand_with_other_values_is_found_and_undone(bids: Path, tmp_path: Path) -> None:
    config = raw(bids, tmp_path / "out")
    dag, _ = run(config)
    wildcards = type("W", (), {"bundle": "sub-01_task-rest"})
    assert dag["motion"].repairs(wildcards) == 0
    other = Dag(config | {"motion": {"gain": 3}}, STAGES)
    run_bundle(load_job(STAGES, "motion", dag.outdir, "sub-01_task-rest", other["motion"].signature(wildcards)))
    assert Dag(config, STAGES)["motion"].repairs(wildcards) == 1
    run(config)
    assert Dag(config, STAGES)["motion"].repairs(wildcards) == 1  # as recorded: nothing more to do


def test_a_link_to_nothing_is_refused_and_its_neighbour_goes_on(bids: Path, tmp_path: Path) -> None:
    file = bids / "sub-02/func/sub-02_task-rest_bold.nii.gz"
    file.unlink()
    file.symlink_to("nothing")
    _, manifests = run(raw(bids, tmp_path / "out"))
    assert "datalad get" in manifests["motion/sub-02_task-rest"]["units"]["sub-02_task-rest"]["reason"]
    assert manifests["motion/sub-01_task-rest"]["units"]["sub-01_task-rest"]["status"] == "done"


def test_results_of_another_name_stay(bids: Path, tmp_path: Path) -> None:
    """Training `second` must not remove the model `first`, although the same stage wrote it."""
    dag, _ = run(raw(bids, tmp_path / "out"))
    unit: dict[str, Any] = {"id": COHORT, "prefix": ""}
    stage = dataclasses.replace(STAGES[-1], outputs=("model_card",))
    jobs = {
        n: Job(stage, stage.Config(), {"model": n}, {}, dag.outdir, COHORT, [unit], {}) for n in ("first", "second")
    }
    cards = {name: job.path("model_card", "") for name, job in jobs.items()}
    for card in cards.values():
        card.parent.mkdir(parents=True)
        card.write_text("card")
    receipt = {"entry": {"outputs": {"model_card": describe_output(cards["first"], dag.outdir)}}}
    write_json(receipt_path(dag.outdir, stage.name, COHORT), receipt)
    _forget(jobs["second"], unit)
    assert cards["first"].exists()
    write_json(receipt_path(dag.outdir, stage.name, COHORT), receipt)
    _forget(jobs["first"], unit)
    assert not cards["first"].exists()


def test_a_raw_file_that_became_a_pipe_is_refused_and_its_neighbour_goes_on(bids: Path, tmp_path: Path) -> None:
    dag = Dag(raw(bids, tmp_path / "out", bundle_size=2), STAGES)
    file = bids / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    file.unlink()
    os.mkfifo(file)
    node = dag["motion"]
    (bundle,) = dag.bundles["recording"]
    wildcards = type("W", (), {"bundle": bundle})
    for name in ("anat", "motion"):
        node = dag[name]
        for each in dag.bundles[node.stage.level]:
            wildcards = type("W", (), {"bundle": each})
            job = load_job(STAGES, name, dag.outdir, each, node.signature(wildcards), node.repairs(wildcards))
            manifest = run_bundle(job)
    units = manifest["units"]
    assert units["sub-01_task-rest"]["status"] == "refused" and "a pipe" in units["sub-01_task-rest"]["reason"]
    assert units["sub-02_task-rest"]["status"] == "done"
