"""The DAG over a matrix of small BIDS trees: `snakemake -n` plans exactly the jobs that it should."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from snakemake.utils import format as snakemake_format

from brainlm_data.errors import InputError
from brainlm_data.graph.dag import Dag
from brainlm_model.stages import ALL_STAGES, PAPER_TASKS
from tests.conftest import write_bids
from tests.dag.snake import PER_RECORDING, planned, snakemake

COHORT = ("template", "atlas", "qcgroup", "collate", "train", "evaluate", "figures", "report")

DATASET = COHORT[: COHORT.index("collate") + 1]

TREES: dict[str, tuple[dict[str, Any], int, int, int]] = {
    # tree: (arguments of write_bids, subjects, subjects with a T1w, recordings)
    "one subject, one run": ({"subjects": ("01",)}, 1, 1, 1),
    "sessions, tasks and runs": ({"tasks": ("rest", "nback"), "sessions": ("a", "b"), "runs": ("1", "2")}, 2, 2, 16),
    "no T1w": ({"t1w": False}, 2, 0, 2),
    "a small cohort": ({"subjects": ("01", "02", "03")}, 3, 3, 3),
}


@pytest.mark.parametrize("tree", TREES)
def test_jobs_of_a_tree(tmp_path: Path, tree: str) -> None:
    arguments, subjects, with_t1w, recordings = TREES[tree]
    bids = write_bids(tmp_path / "bids", **arguments)
    jobs = planned(tmp_path, {"bids_dir": str(bids), "outdir": str(tmp_path / "out")})
    expected = dict.fromkeys(COHORT if subjects >= 3 else DATASET, 1) | dict.fromkeys(PER_RECORDING, recordings)
    assert jobs == expected | ({"anat": with_t1w} if with_t1w else {})


def test_a_cohort_without_validation_and_test_people_gets_no_model_unless_asked(tmp_path: Path) -> None:
    config = {"bids_dir": str(write_bids(tmp_path / "bids", t1w=False)), "outdir": str(tmp_path / "out")}
    output = snakemake(tmp_path, config, "-n")
    assert "no model is trained: of 2 people nobody is left for validation and test; the target is dataset" in output
    assert "no T1w: 2 of 2 (sub-01, sub-02); the EPI itself is fitted to the template" in output
    assert planned(tmp_path, config, "train")["train"] == 1
    output = snakemake(tmp_path, config, "-n", "evaluate", check=False)
    assert "evaluate: nobody is in split test (train 2)" in output and "Traceback" not in output


def test_bundles_make_fewer_jobs(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids", subjects=("01", "02", "03", "04"), tasks=("rest", "nback"))
    jobs = planned(tmp_path, {"bids_dir": str(bids), "outdir": str(tmp_path / "out"), "bundle_size": 4}, "preprocess")
    assert jobs == dict.fromkeys(COHORT[:3], 1) | dict.fromkeys(("anat", *PER_RECORDING), 2)


def test_single_targets_and_selection(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids", subjects=("01", "02", "03"), tasks=("rest", "nback"))
    config = {"bids_dir": str(bids), "outdir": str(tmp_path / "out"), "select": {"task": ["rest"], "subject": ["02"]}}
    assert planned(tmp_path, config, "preprocess") == dict.fromkeys((*COHORT[:3], "anat", *PER_RECORDING), 1)
    config["select"] = {"task": ["rest"]}
    for target in ("motion", "anat"):  # stages of recordings and of subjects: of everybody
        jobs = planned(tmp_path, config, f"all_{target}")
        assert jobs[target] == 3 and "sample" not in jobs
    for target, last in (("dataset", "collate"), ("train", "train"), ("evaluate", "evaluate"), ("figures", "figures")):
        jobs = planned(tmp_path, config, target)
        followers = COHORT[COHORT.index(last) + 1 :]
        assert last in jobs and not set(followers) & set(jobs)


def test_the_papers_tasks_are_made_only_when_asked_for(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids", subjects=("01", "02", "03"))
    config = {"bids_dir": str(bids), "outdir": str(tmp_path / "out")}
    assert not set(PAPER_TASKS) & set(planned(tmp_path, config))
    for task in list(PAPER_TASKS)[:2]:  # all have the same rule
        jobs = planned(tmp_path, config, task)
        assert jobs[task] == jobs["train"] == 1 and set(jobs) & set(PAPER_TASKS) == {task}
    jobs = planned(tmp_path, config, "paper")
    assert {*PAPER_TASKS, "paper", "evaluate", "figures"} < set(jobs) and "report" not in jobs


def test_patterns_for_decoding_are_made_only_when_asked_for(tmp_path: Path) -> None:
    config = {"bids_dir": str(write_bids(tmp_path / "bids")), "outdir": str(tmp_path / "out")}
    assert not {"voxels", "trials"} & {*planned(tmp_path, config), *planned(tmp_path, config, "preprocess")}
    jobs = planned(tmp_path, config, "trials")
    assert jobs["voxels"] == 2 and jobs["trials"] == 1 and not {"qc", "collate", "parcellate"} & set(jobs)


def test_keep_adds_its_rule_only_where_asked(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids")
    config = {"bids_dir": str(bids), "outdir": str(tmp_path / "out"), "keep": ["denoised"]}
    assert planned(tmp_path, config)["keep"] == 2


def in_mni6(folder: Path) -> dict[str, Any]:
    """An atlas and a template in fMRIPrep's space that need no download; their files are not read by a plan."""
    for name in ("labels.nii.gz", "t1w.nii.gz", "brain.nii.gz"):
        (folder / name).touch()
    atlas = {"name": "mine", "path": str(folder / "labels.nii.gz"), "space": "MNI152NLin6Asym"}
    template = {"path": str(folder / "t1w.nii.gz"), "brain": str(folder / "brain.nii.gz")}
    return {"atlas": atlas, "template": template}


def test_engine_fmriprep_replaces_the_image_stages(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids")
    config = {"bids_dir": str(bids), "outdir": str(tmp_path / "out"), "preprocess": {"engine": "fmriprep"}}
    config |= in_mni6(tmp_path)
    jobs = planned(tmp_path, config)
    assert jobs["fmriprep"] == jobs["ingest"] == jobs["confounds"] == 2
    assert not {"anat", "motion", "coreg", "sample"} & set(jobs)
    section = json.dumps({"runner": "apptainer", "image": "/images/fmriprep.sif"})
    output = snakemake(tmp_path, config, "-n", "-p", "--config", f"fmriprep={section}")
    calls = re.findall(r"brainlm-data run fmriprep --route fmriprep .+", output)
    assert len(calls) == 2
    assert all('"image": "/images/fmriprep.sif"' in call and '"runner": "apptainer"' in call for call in calls)


def test_fmriprep_is_never_run_inside_another_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --sdm apptainer its rule runs outside, and starts the one container itself (a stand-in)."""
    bids = write_bids(tmp_path / "bids", subjects=("01",))
    page = tmp_path / "out/derivatives/fmriprep/sub-01.html"
    (tmp_path / "bin").mkdir()
    body = f'echo "$1" >> {tmp_path}/calls; [ "$1" != run ] && echo apptainer version 1.3.0 || echo x > {page}'
    (tmp_path / "bin/apptainer").write_text(f"#!/bin/sh\n{body}\n")
    (tmp_path / "bin/apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    section = {"preprocess": {"engine": "fmriprep"}, "fmriprep": {"runner": "apptainer"}}
    config = {"bids_dir": str(bids), "outdir": str(tmp_path / "out"), **section, **in_mni6(tmp_path)}
    snakemake(tmp_path, config, "--sdm", "apptainer", "--until", "fmriprep")
    calls = (tmp_path / "calls").read_text().split()
    assert calls.count("run") == 1 and "exec" not in calls and page.exists()


@pytest.mark.parametrize("bundle", [1, 2])
def test_input_of_another_kind_replaces_all_that_leads_to_series(tmp_path: Path, bundle: int) -> None:
    (tmp_path / "in").mkdir()
    for number in range(1, 5):
        np.save(tmp_path / f"in/sub-{number:02d}_task-rest.npy", np.zeros((50, 3)))
    section = {"kind": "arrays", "path": str(tmp_path / "in"), "tr_s": 2.0}
    config = {"outdir": str(tmp_path / "out"), "input": section, "bundle_size": bundle}
    expected = {"input": 1, "imported": 4 // bundle, "collate": 1}
    assert planned(tmp_path, config) == {**expected, "train": 1, "evaluate": 1, "figures": 1, "report": 1}
    assert planned(tmp_path, config, "preprocess") == {"input": 1, "imported": 4 // bundle}
    output = snakemake(tmp_path, config | {"keep": ["denoised"]}, "-n", check=False)
    assert "keep needs input.kind: bids" in output and "Traceback" not in output


def test_command_line_override_of_a_nested_key(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids")
    config = {"bids_dir": str(bids), "outdir": str(tmp_path / "out")}
    output = snakemake(tmp_path, config, "-n", "--config", "filter={high_hz: wrong}", check=False)
    assert "filter.high_hz" in output and "valid number" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bids_dir": "/nowhere"}, ["no folder /nowhere", "bids_dir="]),
        ({"select": {"subject": ["99"]}}, ["no recording of subject 99", "01, 02"]),
        ({"atlass": {}}, ["unknown key atlass", "atlas"]),
    ],
)
def test_bad_input_is_one_line_before_any_job(tmp_path: Path, change: dict[str, Any], words: list[str]) -> None:
    bids = write_bids(tmp_path / "bids")
    config = {"bids_dir": str(bids), "outdir": str(tmp_path / "out")} | change
    output = snakemake(tmp_path, config, "-n", check=False)
    assert "Traceback" not in output
    for word in words:
        assert word in output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("recording\tcomponent\n", ["overrides.tsv line 1: its columns are recording, component", "classification"]),
        (
            "recording\tcomponent\tclassification\nsub-03_task-rest\tica_00\taccepted\n",
            ["overrides.tsv line 2: no recording 'sub-03_task-rest' in this dataset", "allowed: sub-0"],
        ),
    ],
)
def test_overrides_that_cannot_be_meant(tmp_path: Path, text: str, words: list[str]) -> None:
    bids = write_bids(tmp_path / "bids")
    (tmp_path / "overrides.tsv").write_text(text)
    config = {"bids_dir": str(bids), "outdir": str(tmp_path / "out"), "denoise": {"overrides": "overrides.tsv"}}
    output = snakemake(tmp_path, config, "-n", check=False)
    assert "Traceback" not in output
    for word in words:
        assert word in output


def test_columns_of_groups_are_there_before_any_job(tmp_path: Path) -> None:
    config = {"bids_dir": str(write_bids(tmp_path / "bids")), "outdir": str(tmp_path / "out")}
    Dag({**config, "qcgroup": {"by": ["age", "session"]}}, ALL_STAGES)
    with pytest.raises(InputError, match=r"qcgroup.by: no column site in the dataset's tables -> .*session, age"):
        Dag({**config, "qcgroup": {"by": ["site"]}}, ALL_STAGES)


def test_what_people_name_is_quoted_in_commands(tmp_path: Path) -> None:
    """The index leaves such names aside; whatever comes past it must still be one word of the command."""
    dag = Dag({"bids_dir": str(write_bids(tmp_path / "bids")), "outdir": str(tmp_path / "a $(id)")}, ALL_STAGES)
    params = {"program": "brainlm-data", "stage": "motion", "threads": 1}
    named = {"bundle": "sub-01_task-$(touch x)'\";a", "signature": "$(touch x)"}
    command = snakemake_format(dag.command, params=SimpleNamespace(**params, **named), threads=1, log="a;b")
    assert {*named.values(), "a;b)", f"{tmp_path}/a $(id)"} <= set(shlex.split(command))


def test_keep_needs_the_native_engine(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids")
    section = {"preprocess": {"engine": "fmriprep"}, "atlas": {"name": "A424"}}
    config = {"bids_dir": str(bids), "outdir": str(tmp_path / "out"), **section}
    output = snakemake(tmp_path, config | {"keep": ["preproc"]}, "-n", check=False)
    assert "keep needs preprocess.engine: native" in output and "Traceback" not in output
    output = snakemake(tmp_path, config, "-n", "trials", check=False)
    assert "trials needs preprocess.engine: native" in output and "unexpected" not in output


def test_an_atlas_that_cannot_be_had_is_known_before_any_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is the published atlas; without it in the cache, and without a network, one line says what to do."""
    monkeypatch.setenv("BRAINLM_DATA_HOME", str(tmp_path / "empty"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there
    config = {"bids_dir": str(write_bids(tmp_path / "bids")), "outdir": str(tmp_path / "out"), "atlas": {}}
    output = snakemake(tmp_path, config, "-n", "preprocess", check=False)
    assert "A424+2mm.nii.gz: not in the cache, and could not be downloaded" in output
    assert output.count("MNI152NLin6_res-2x2x2_T1w") >= 4  # with the atlas the template is missing: both, at once
    assert "to try things out without a download: atlas.name: demo424" in output and "Traceback" not in output


def test_rules_are_listed_without_a_dataset(tmp_path: Path) -> None:
    output = snakemake(tmp_path, {"bids_dir": "/nowhere"}, "--list")
    assert {"preprocess", "dataset", "train", "anat", "all_anat"} <= set(output.split())


def test_lint(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids")
    output = snakemake(tmp_path, {"bids_dir": str(bids), "outdir": str(tmp_path / "out")}, "--lint", check=False)
    assert "Congratulations" in output, output
