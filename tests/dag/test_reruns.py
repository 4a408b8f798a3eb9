"""What a change redoes, computed in process: every stage's manifests are there, and a plan compares."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.planning import finish
from brainlm_data.errors import BrainLMError, ConfigError
from brainlm_data.graph.dag import Dag
from brainlm_data.graph.edges import load_job
from brainlm_data.runner.manifest import COHORT
from brainlm_model.stages import ALL_STAGES, PAPER_TASKS
from tests.conftest import write_bids

REPORT = {"report"}
FIGURES = {"figures"} | REPORT
EVALUATE = {"evaluate"} | FIGURES
TRAIN = {"train"} | EVALUATE
COLLATE = {"collate"} | TRAIN
QCGROUP = {"qcgroup"}
QC = {"qc"} | QCGROUP | COLLATE
RESAMPLE = {"resample", "events"} | COLLATE  # the QC page shows the series at the native TR
PARCELLATE = {"parcellate", "resample", "events"} | QC
DECODE = {"decode"}
DIFFUSION = {"diffusion"} | DECODE
SCMBM = {"scmbm"} | DIFFUSION
TRIALS = {"trials"} | SCMBM
VOXELS = {"voxels"} | TRIALS
DENOISE = {"denoise", "keep"} | PARCELLATE | VOXELS
FILTER = {"filter"} | DENOISE
CONFOUNDS = {"confounds"} | FILTER
SAMPLE = {"sample"} | CONFOUNDS
DISTORTION = {"distortion"} | SAMPLE
COREG = {"coreg"} | DISTORTION
SLICETIMING = {"slicetiming"} | SAMPLE
MOTION = {"motion", "slicetiming"} | COREG
ANAT = {"anat"} | COREG
ATLAS = {"atlas"} | SAMPLE
TEMPLATE = {"template", "atlas"} | ANAT

# config key: (a value other than that of the run, the rules that rerun)
RERUNS: dict[str, tuple[Any, set[str]]] = {
    "template.name": ("MNI152NLin6Asym", TEMPLATE),
    "atlas.allow_space_mismatch": (True, ATLAS),
    "anat.grid_mm": (3.0, ANAT),
    "motion.reference": ("first", MOTION),
    "slicetiming.correct": ("never", SLICETIMING),
    "coreg.grid_mm": (3.0, COREG),
    "distortion.method": ("never", DISTORTION),
    "sample.coarse_mm": (5.0, SAMPLE),
    "confounds.fd_radius_mm": (45.0, CONFOUNDS),
    "filter.high_hz": (0.09, FILTER),
    "filter.low_hz": (0.02, FILTER),
    "denoise.n_components": (7, DENOISE),
    "denoise.strategy": ("ica+24P", DENOISE),
    "parcellate.grand_mean": (100.0, PARCELLATE),
    "resample.hz": (None, RESAMPLE),
    "keep.images": (["preproc"], {"keep"}),
    "qc.pages": (False, QC),
    "qcgroup.outlier_z": (9.0, QCGROUP),
    "collate.seed": (9, COLLATE),
    "events.column": ("condition", {"events"}),
    "voxels.parcels": (["x"], VOXELS),
    "trials.seed": (9, TRIALS),
    "scmbm.seed": (9, SCMBM),
    "diffusion.seed": (9, DIFFUSION),
    "decode.seed": (9, DECODE),
    "train.lr": (0.01, TRAIN),
    "evaluate.seed": (9, EVALUATE),
    **{f"{task}.seed": (9, set()) for task in PAPER_TASKS},  # not part of the default target
    "paper.title": ("another", set()),
    "figures.dpi": (99, FIGURES),
    "report.title": ("another", REPORT),
    "threads": (2, set()),
    "container": ("another.sif", set()),
}


Config = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The configuration of a run of two people that is finished, with an atlas and a template of its own."""
    folder = tmp_path_factory.mktemp("reruns")
    image = next(write_bids(folder / "bids").rglob("*_T1w.nii.gz"))
    for name in ("atlas.nii.gz", "t1w.nii.gz", "brain.nii.gz"):
        shutil.copy(image, folder / name)
    (folder / "labels.tsv").write_text("index\tname\n1\ta\n")
    config: Config = {
        "bids_dir": str(folder / "bids"),
        "outdir": str(folder / "out"),
        "keep": {"images": ["denoised"]},
        "atlas": {"name": "mine", "path": str(folder / "atlas.nii.gz"), "labels": str(folder / "labels.tsv")},
        "template": {"name": "own", "path": str(folder / "t1w.nii.gz"), "brain": str(folder / "brain.nii.gz")},
    }
    finish(config, on_demand=True)
    return config


def planned(config: Config) -> Dag:
    dag = Dag(config, ALL_STAGES)
    dag.prepare()
    return dag


def redone(config: Config) -> set[str]:
    """The stages of the default target that a plan makes again."""
    return {stage for stage, bundles in planned(config).plan.redone.items() if bundles} - {*PAPER_TASKS, "paper"}


def changed(config: Config, key: str, value: Any) -> Config:
    section, _, name = key.partition(".")
    return config | {section: {**config.get(section, {}), name: value} if name else value}


@pytest.mark.parametrize("key", RERUNS)
def test_a_key_reruns_its_stage_and_its_followers(made: Config, key: str) -> None:
    value, stages = RERUNS[key]
    assert redone(changed(made, key, value)) == stages
    assert redone(made) == set()  # back to the old value: nothing was made, so nothing is to be done


@pytest.mark.parametrize(("file", "stages"), [
    ("atlas.path", ATLAS), ("atlas.labels", ATLAS), ("template.path", TEMPLATE), ("template.brain", TEMPLATE),
])  # fmt: skip
def test_a_file_that_a_key_names_reruns_the_stage_of_the_key(made: Config, file: str, stages: set[str]) -> None:
    section, key = file.split(".")
    path = Path(made[section][key])
    content = path.read_bytes()
    try:
        path.write_bytes(content + b"\n")
        assert redone(made) == stages
        assert next(planned(made).plan.lines()).startswith(f"{file}: another file, or another content: ")
        path.unlink()
        with pytest.raises(ConfigError, match=rf"{file}: there is no file .*{path.name}"):
            planned(made)
    finally:
        path.write_bytes(content)
    assert redone(made) == set()


def test_a_job_takes_no_other_file_than_the_one_it_was_planned_for(made: Config) -> None:
    path, signature = Path(made["atlas"]["labels"]), planned(made)["atlas"].signature
    content = path.read_bytes()
    try:
        path.write_bytes(content + b"\n")
        with pytest.raises(BrainLMError, match=r"atlas: a file that its section names has changed .* plan again"):
            load_job(ALL_STAGES, "atlas", Path(made["outdir"]), COHORT, signature)
    finally:
        path.write_bytes(content)
    assert load_job(ALL_STAGES, "atlas", Path(made["outdir"]), COHORT, signature).stage.name == "atlas"


def test_a_key_is_told_with_its_values(made: Config) -> None:
    (line,) = planned(changed(made, "filter.high_hz", 0.09)).plan.lines()
    assert line.startswith("filter.high_hz: null -> 0.09: filter, denoise, ") and line.endswith(" of 2 recordings")


@pytest.mark.parametrize(("engine", "added"), [("native", set()), ("fmriprep", {"fmriprep"})])
def test_a_run_of_a_subject_is_read_by_fmriprep_and_not_by_anat(tmp_path: Path, engine: str, added: set[str]) -> None:
    """A selection of runs decides nothing of a subject: fMRIPrep reads them all."""
    bids = write_bids(tmp_path / "bids", ("01",), tasks=("rest", "nback"))
    section = {"preprocess": {"engine": engine}, "template": {"name": "MNI152NLin6Asym"}, "atlas": {"name": "A424"}}
    config = {"bids_dir": str(bids), "outdir": str(tmp_path / "out"), "select": {"task": ["rest"]}, **section}
    finish(config)
    assert redone(config) == set()
    run = next(bids.rglob("*task-nback_bold.nii.gz"))
    assert redone(config | {"select": {"task": ["rest", "nback"]}}) & {"fmriprep", "anat"} == set()
    for suffix in (".json", ".nii.gz"):
        shutil.copy(run.with_name(f"sub-01_task-nback_bold{suffix}"), run.with_name(f"sub-01_task-new_bold{suffix}"))
    assert redone(config) & {"fmriprep", "anat"} == added


def test_every_stage_has_a_row() -> None:
    native = {s.name for s in ALL_STAGES if s.Config.model_fields and "native" in s.routes}
    assert native == {key.split(".")[0] for key in RERUNS if "." in key}
