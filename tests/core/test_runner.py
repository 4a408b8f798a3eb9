"""The runner: receipts, refusals, crashes, sidecars, repairs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import write_json
from brainlm_data.graph.dag import Dag
from brainlm_data.graph.edges import load_job
from brainlm_data.paths import marker_path, receipt_path
from brainlm_data.runner.bundle import Job, _forget, run_bundle
from brainlm_data.runner.digests import input_digests
from brainlm_data.runner.manifest import COHORT, describe_output
from brainlm_data.stage import Artifact, Facts, Files, Sentence, Stage, StageConfig
from tests.conftest import write_bids
from tests.core.toy import ANAT, CALLS, COLLATE, MOTION, STAGES, MotionConfig


def run(raw: dict[str, Any], stages: Sequence[Stage] = STAGES) -> tuple[Dag, dict[str, Any]]:
    """Every stage over every bundle, as the rules would."""
    CALLS.clear()
    dag = Dag(raw, stages)
    dag.prepare()
    manifests: dict[str, Any] = {}
    for stage in stages:
        for bundle in dag.bundles.by_level[stage.level]:
            job = load_job(stages, stage.name, dag.outdir, bundle, dag[stage.name].signature)
            manifests[f"{stage.name}/{bundle}"] = run_bundle(job)
    return dag, manifests


def redone(raw: dict[str, Any]) -> dict[str, set[str]]:
    """Stage -> bundles that a plan finds not to stand."""
    dag = Dag(raw, STAGES)
    dag.prepare()
    return {stage: bundles for stage, bundles in dag.plan.redone.items() if bundles}


def causes(raw: dict[str, Any]) -> list[str]:
    """What a plan says."""
    dag = Dag(raw, STAGES)
    dag.prepare()
    return list(dag.plan.lines())


def jobs(dag: Dag) -> list[tuple[str, str]]:
    """What a DAG to the last stage would run after `dag.plan`."""
    return [(stage, bundle) for stage, bundles in dag.plan.redone.items() for bundle in bundles]


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
    methods = manifests["motion/sub-01_task-rest"]["units"]["sub-01_task-rest"]["methods"]
    assert {stage: (told["version"], Sentence.of(told)) for stage, told in methods.items()} == {
        "anat": (1, "Anatomy."),
        "motion": (1, "TR 2.0 s."),
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
    first, _ = run(config)
    receipts = {p: p.stat().st_mtime_ns for p in (first.outdir / "work/receipts").rglob("*.json")}
    marked = config | {"motion": {"marks": {"sub-02_task-rest": "x"}}}
    stale = redone(marked)
    assert stale["motion"] == {"sub-02_task-rest" if bundle_size == 1 else "bundle-00001"}
    run(marked)
    assert CALLS == ["motion sub-02_task-rest"]  # collate's inputs are the same bytes
    changed = {p.stem for p, mtime in receipts.items() if p.stat().st_mtime_ns != mtime}
    assert changed == {"sub-02_task-rest"}
    assert redone(marked) == {}
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
    assert "sub-01_task-rest refused [] sub-01_task-rest_bold.nii.gz: bad -> fix it" in card


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
    target = dag.outdir / "derivatives/sub-01/func/sub-01_task-rest_desc-motion_timeseries.tsv"
    good = target.read_bytes()
    expected = {"motion": {"sub-01_task-rest"}, "collate": {COHORT}}
    assert redone(config) == {}
    for _ in range(2):
        target.write_bytes(b"x" * len(good))
        assert redone(config) == expected
        (line,) = causes(config)
        assert line == f"outputs changed ({target.relative_to(dag.outdir)}): motion, collate of 1 recording"
        run(config)
        assert target.read_bytes() == good
        assert redone(config) == {}
        os.utime(target, ns=(1, 1))
        assert redone(config) == {}  # touched, not changed
        target.unlink()
        assert redone(config) == expected
        assert causes(config)[0].startswith("outputs missing (")
        run(config)


def test_a_manifest_is_repaired_however_often_it_is_damaged(bids: Path, tmp_path: Path) -> None:
    config = raw(bids, tmp_path / "out")
    dag, _ = run(config)
    manifest = dag["motion"].path("sub-01_task-rest")
    good = manifest.read_bytes()
    for damage in (b"{", b"", b"[]", b"{}", good[:-20]) * 2:
        manifest.write_bytes(damage)
        assert redone(config) == {"motion": {"sub-01_task-rest"}, "collate": {COHORT}}
        run(config)
        assert manifest.read_bytes() == good and redone(config) == {}


def test_a_plan_depends_on_the_outdir_and_the_configuration_alone(
    bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied with new times of change, moved, by a link, by a relative path: nothing to do, and a key is seen."""
    run(raw(bids, tmp_path / "out"))
    shutil.copytree(tmp_path / "out", tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.copytree(tmp_path / "out", tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "moved")
    (tmp_path / "link").symlink_to("moved")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    absolute = [str(tmp_path / name) for name in ("out", "copy", "moved")]
    for place in (*absolute, "link", "out", f"../{tmp_path.name}/out", "~/out"):
        config = {"bids_dir": str(bids), "outdir": place}
        assert redone(config) == {}, place
        assert redone(config | {"motion": {"gain": 2}})["motion"] == {"sub-01_task-rest", "sub-02_task-rest"}
        assert redone(config) == {}, place


def test_planning_changes_nothing_that_was_made(bids: Path, tmp_path: Path) -> None:
    run(raw(bids, tmp_path / "out"))
    files = [p for p in (tmp_path / "out").rglob("*") if p.is_file() and "listing" not in p.parts]
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}
    redone(raw(bids, tmp_path / "out", motion={"gain": 2}, anat={"grid_mm": 3.0}))
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files} == before


def test_causes_are_told_by_key_and_value(bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = raw(bids, tmp_path / "out")
    run(config)
    assert causes(config) == []
    lines = causes(config | {"motion": {"gain": 2}, "collate": {"note": "x"}})
    assert lines == ["motion.gain: 1.0 -> 2.0: motion, collate of 2 recordings", "collate.note:  -> x: collate"]
    newer = [dataclasses.replace(stage, version=7) if stage.name == "motion" else stage for stage in STAGES]
    dag = Dag(config, newer)
    dag.prepare()
    assert list(dag.plan.lines()) == ["version of motion: 1 -> 7: motion, collate of 2 recordings"]
    file = bids / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    file.write_bytes(file.read_bytes()[:-1])
    (line,) = causes(config)
    assert line.startswith("raw files") and line.endswith("(sub-01_task-rest): motion, collate of 1 recording")


def test_without_t1w_the_optional_input_is_absent(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids", t1w=False)
    dag, _ = run(raw(bids, tmp_path / "out"))
    assert CALLS == ["motion sub-01_task-rest", "motion sub-02_task-rest", "collate"]
    text = (dag.outdir / "derivatives/sub-01/func/sub-01_task-rest_desc-motion_timeseries.tsv").read_text()
    assert text.endswith("False\n")


def test_bundles_are_only_ever_appended_to(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids", subjects=("02", "03"), tasks=("rest", "nback"))
    config = raw(bids, tmp_path / "out", bundle_size=2)
    bundles = Dag(config, STAGES).bundles
    bundles.write()
    before = bundles.of_subject
    assert before == {"sub-02": "bundle-00001", "sub-03": "bundle-00002"}
    write_bids(tmp_path / "bids", subjects=("01", "02", "03"), tasks=("rest", "nback"))
    after = Dag(config, STAGES).bundles.of_subject
    assert after["sub-02"] == "bundle-00001"
    assert after["sub-03"] == "bundle-00002"
    assert after["sub-01"] == "bundle-00003"


def test_a_missing_upstream_manifest_is_one_line(bids: Path, tmp_path: Path) -> None:
    dag = Dag(raw(bids, tmp_path / "out"), STAGES)
    dag.prepare()
    job = load_job(STAGES, "collate", dag.outdir, "cohort", dag["collate"].signature)
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
    other = Dag(config | {"motion": {"gain": 3}}, STAGES)
    run_bundle(load_job(STAGES, "motion", dag.outdir, "sub-01_task-rest", other["motion"].signature))
    assert redone(config) == {"motion": {"sub-01_task-rest"}, "collate": {COHORT}}
    run(config)
    assert redone(config) == {}


def test_a_link_to_nothing_is_refused_and_its_neighbour_goes_on(bids: Path, tmp_path: Path) -> None:
    file = bids / "sub-02/func/sub-02_task-rest_bold.nii.gz"
    file.unlink()
    file.symlink_to("nothing")
    _, manifests = run(raw(bids, tmp_path / "out"))
    assert "datalad get" in manifests["motion/sub-02_task-rest"]["units"]["sub-02_task-rest"]["reason"]
    assert manifests["motion/sub-01_task-rest"]["units"]["sub-01_task-rest"]["status"] == "done"


@pytest.mark.parametrize(("word", "calls"), [
    ("motion", ["motion sub-01_task-rest", "motion sub-02_task-rest"]),
    ("work/motion/sub-01_task-rest.json", ["motion sub-01_task-rest"]),
    ("./work/../work/motion/sub-01_task-rest.json", ["motion sub-01_task-rest"]),
    ("work/collate/cohort.json", ["collate"]),
    ("card.md", ["collate"]),
    ("work/motion/nobody.json", []),
])  # fmt: skip
def test_what_is_forced_is_done_again(
    bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, calls: list[str]
) -> None:
    """By the name of a stage or by a file that it writes, relative to the folder of the run."""
    run(raw(bids, tmp_path))
    monkeypatch.chdir(tmp_path)
    dag = Dag(raw(bids, tmp_path), STAGES)
    dag.prepare()
    dag.forced = dag.named([word])
    assert all(bundles <= dag.plan.redone[stage] for stage, bundles in dag.forced.items())
    dag.begin(jobs(dag)).close()
    run(raw(bids, tmp_path))
    assert calls == CALLS


def test_results_of_another_name_stay(bids: Path, tmp_path: Path) -> None:
    """Training `second` must not remove the model `first`, although the same stage wrote it."""
    dag, _ = run(raw(bids, tmp_path / "out"))
    unit: dict[str, Any] = {"id": COHORT, "prefix": ""}
    stage = dataclasses.replace(
        STAGES[-1],
        outputs=("model_card",),
        artifacts={"model_card": Artifact("cohort", "models/{model}/card.md", "card of the model")},
    )
    jobs = {
        n: Job(stage, stage.Config(), {"model": n}, {}, dag.outdir, COHORT, [unit], {}, "") for n in ("first", "second")
    }
    cards = {name: job.path("model_card", "") for name, job in jobs.items()}
    for card in cards.values():
        card.parent.mkdir(parents=True)
        card.write_text("card")
    outputs = {"model_card": describe_output(cards["first"], dag.outdir)}
    receipt = {"inputs": {}, "entry": {"status": "done", "reason": "", "outputs": outputs}}
    write_json(receipt_path(dag.outdir, stage.name, COHORT), receipt)
    _forget(jobs["second"], unit, tmp_path)
    assert cards["first"].exists()
    write_json(receipt_path(dag.outdir, stage.name, COHORT), receipt)
    _forget(jobs["first"], unit, tmp_path)
    assert not cards["first"].exists()


def test_a_raw_file_that_became_a_pipe_is_refused_and_its_neighbour_goes_on(bids: Path, tmp_path: Path) -> None:
    dag = Dag(raw(bids, tmp_path / "out", bundle_size=2), STAGES)
    dag.prepare()
    file = bids / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    file.unlink()
    os.mkfifo(file)
    for name in ("anat", "motion"):
        node = dag[name]
        for bundle in dag.bundles.by_level[node.stage.level]:
            manifest = run_bundle(load_job(STAGES, name, dag.outdir, bundle, node.signature))
    units = manifest["units"]
    assert units["sub-01_task-rest"]["status"] == "refused" and "a pipe" in units["sub-01_task-rest"]["reason"]
    assert units["sub-02_task-rest"]["status"] == "done"


@pytest.mark.parametrize("bundle_size", [1, 3])
def test_who_has_no_t1w_is_refused_where_it_is_needed(bids: Path, tmp_path: Path, bundle_size: int) -> None:
    """Alone in a bundle, and beside someone who has one."""
    (bids / "sub-01/anat/sub-01_T1w.nii.gz").unlink()
    needs_it = [ANAT, dataclasses.replace(MOTION, optional=()), COLLATE]
    _, manifests = run(raw(bids, tmp_path / "out", bundle_size=bundle_size), needs_it)
    units = {u: e for name, m in manifests.items() if name.startswith("motion") for u, e in m["units"].items()}
    assert units["sub-01_task-rest"]["status"] == "refused"
    assert "anat needs a T1w, and sub-01 has none" in units["sub-01_task-rest"]["reason"]
    assert units["sub-02_task-rest"]["status"] == "done"


def test_a_fact_in_a_sidecar_is_an_input_where_the_outdir_is_the_folder_of_the_run(
    bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(raw(bids, Path()))
    run(raw(bids, Path(), anat={"grid_mm": 3.0}))
    assert "motion sub-01_task-rest" in CALLS


def test_a_file_that_becomes_readable_is_read(bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = raw(bids, tmp_path / "out")
    file = str(bids / "sub-01/func/sub-01_task-rest_bold.nii.gz")
    with monkeypatch.context() as forbidden:  # root may read whatever the permissions are
        forbidden.setattr(os, "access", lambda path, mode: str(path) != file)
        run(config)
    assert redone(config)["motion"] == {"sub-01_task-rest"}


def test_an_optional_output_goes_with_its_sidecar(bids: Path, tmp_path: Path) -> None:
    def silent(inputs: Files, outputs: Files, config: StageConfig) -> Facts:
        return {"RepetitionTime": 2.0}

    config = raw(bids, tmp_path / "out")
    run(config)
    made = tmp_path / "out/derivatives/sub-01/func/sub-01_task-rest_desc-motion_timeseries.tsv"
    assert made.exists() and made.with_suffix(".json").exists()
    optional = (*MOTION.optional, "motion_params")
    without = dataclasses.replace(MOTION, version=2, optional=optional, run=silent)
    run(config, [ANAT, without, dataclasses.replace(COLLATE, optional=("motion_params",))])
    assert not made.exists() and not made.with_suffix(".json").exists()


def test_what_is_forced_but_does_not_run_is_not_forgotten(bids: Path, tmp_path: Path) -> None:
    """--forceall with anat as the target."""
    run(raw(bids, tmp_path / "out"))
    dag = Dag(raw(bids, tmp_path / "out"), STAGES)
    dag.prepare()
    dag.forced = dag.named(dag.stages)
    dag.begin([("anat", "sub-01"), ("anat", "sub-02")]).close()
    run(raw(bids, tmp_path / "out"))
    assert CALLS == ["anat sub-01", "anat sub-02"]


def test_a_marker_is_another_one_each_time_that_a_manifest_comes_back(bids: Path, tmp_path: Path) -> None:
    """Snakemake remembers the content of the marker that a manifest was made with, and takes it as unchanged."""
    config = raw(bids, tmp_path / "out")
    dag, _ = run(config)
    manifest, backup = dag["motion"].path("sub-01_task-rest"), tmp_path / "backup.json"
    shutil.copy2(manifest, backup)
    other = config | {"motion": {"gain": 2}}
    markers: list[str] = []
    for _ in range(3):
        shutil.copy2(backup, manifest)
        for _ in range(2):
            assert "sub-01_task-rest" in redone(other)["motion"]
            markers.append(marker_path(dag.outdir).read_text())
        run(other)
    assert markers[::2] == markers[1::2]  # a second plan leaves it as it is
    assert len(set(markers)) == 3


def test_a_plan_beside_a_run_writes_no_listing(bids: Path, tmp_path: Path) -> None:
    config = raw(bids, tmp_path / "out")
    dag, _ = run(config)
    listing = tmp_path / "out/work/listing/cohort/cohort.json"
    before = listing.read_bytes()
    one = config | {"select": {"subject": ["01"]}}
    with dag.begin([]):
        assert redone(one)["collate"] == {COHORT}
        assert listing.read_bytes() == before
        late = Dag(one, STAGES)
        late.prepare()
    with pytest.raises(InputError, match="run this again"):
        late.begin([])  # the other run has ended, but the listing is still that of its jobs
    redone(one)
    assert listing.read_bytes() != before


def _field(inputs: Files, outputs: Files, config: MotionConfig) -> Facts:
    CALLS.append(f"field {inputs.meta['id']}")
    sources = inputs.meta.get("fieldmaps", [])
    sizes = [inputs[path].stat().st_size for source in sources for path in source["images"]]
    outputs["motion_params"].write_text(f"{sizes} {inputs.meta.get('phase_encoding')}")
    return {"RepetitionTime": 2, "fieldmap_files": "fieldmap_files" in inputs.meta}


@pytest.mark.parametrize("bundle_size", [1, 3])
def test_a_fieldmap_is_an_input_of_the_stage_that_is_told_of_it(bids: Path, tmp_path: Path, bundle_size: int) -> None:
    """Another file, or another readout, reruns that recording; a new date alone makes nothing again."""
    fmap = bids / "sub-01/fmap/sub-01_dir-AP_epi.nii.gz"
    fmap.parent.mkdir()
    shutil.copy(bids / "sub-01/anat/sub-01_T1w.nii.gz", fmap)
    run_json = bids / "sub-01/func/sub-01_task-rest_bold.json"
    says = {"PhaseEncodingDirection": "j", "RepetitionTime": 2.0, "TaskName": "rest"}
    run_json.write_text(json.dumps(says))
    beside = fmap.with_name("sub-01_dir-AP_epi.json")
    target = "func/sub-01_task-rest_bold.nii.gz"
    beside.write_text(json.dumps({"PhaseEncodingDirection": "j-", "IntendedFor": target}))
    told = ("phase_encoding", "fieldmaps", "fieldmap_files")
    reads = dataclasses.replace(MOTION, run=_field, told=told, inputs=("t1w_preproc",))
    given, stages = raw(bids, tmp_path / "out", bundle_size=bundle_size), (ANAT, reads, COLLATE)

    def fields() -> list[str]:
        run(given, stages)
        return [call for call in CALLS if call.startswith("field")]

    assert len(fields()) == 2
    (output,) = (tmp_path / "out/derivatives").glob("sub-01/**/*_desc-motion_timeseries.tsv")
    assert output.read_text() == f"[{fmap.stat().st_size}] {{'PhaseEncodingDirection': 'j'}}"
    sidecar = json.loads(output.with_suffix(".json").read_text())
    assert "bids:raw:sub-01/fmap/sub-01_dir-AP_epi.nii.gz" in sidecar["Sources"] and not sidecar["fieldmap_files"]
    os.utime(fmap, ns=(1, 1))
    assert fields() == []
    fmap.write_bytes(fmap.read_bytes() + b"more")
    assert fields() == ["field sub-01_task-rest"]
    run_json.write_text(json.dumps(says | {"TotalReadoutTime": 0.05}))
    assert fields() == ["field sub-01_task-rest"] and "0.05" in output.read_text()
    fmap.unlink()
    fmap.symlink_to("nowhere")
    assert fields() == ["field sub-01_task-rest"] and output.read_text().startswith("[] ")


def test_the_table_of_recordings_and_what_is_known_of_them_are_two_inputs(tmp_path: Path) -> None:
    table = tmp_path / "recordings.parquet"
    table.write_bytes(b"table")
    found = input_digests(Files({"recordings": table}, {"recordings": [{"id": "sub-01", "files": {}}]}), {})
    assert found["recordings"] == hashlib.sha256(b"table").hexdigest()
    assert input_digests(Files({"recordings": table}, {"recordings": [{"id": "sub-02", "files": {}}]}), {}) != found
