"""What reruns: config key -> the exact set of rules. The promise that a new filter band repeats no registration."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, write_bids
from tests.dag.snake import planned, pretend_complete, snakemake

REPORT = {"report"}
FIGURES = {"figures"} | REPORT
EVALUATE = {"evaluate"} | FIGURES
TRAIN = {"train"} | EVALUATE
COLLATE = {"collate"} | TRAIN
QC = {"qc"} | COLLATE
RESAMPLE = {"resample"} | COLLATE  # the QC page shows the series at the native TR
PARCELLATE = {"parcellate", "resample"} | QC
DENOISE = {"denoise"} | PARCELLATE
FILTER = {"filter"} | DENOISE
CONFOUNDS = {"confounds"} | FILTER
SAMPLE = {"sample"} | CONFOUNDS
COREG = {"coreg"} | SAMPLE
MOTION = {"motion"} | COREG
ANAT = {"anat"} | COREG
ATLAS = {"atlas"} | SAMPLE

# config key: (a value other than its default, the rules that rerun)
RERUNS: dict[str, tuple[Any, set[str]]] = {
    "atlas.min_purity": (None, ATLAS),
    "anat.grid_mm": (3.0, ANAT),
    "motion.reference": ("first", MOTION),
    "coreg.grid_mm": (3.0, COREG),
    "sample.coarse_mm": (5.0, SAMPLE),
    "confounds.fd_radius_mm": (45.0, CONFOUNDS),
    "filter.high_hz": (0.09, FILTER),
    "filter.low_hz": (0.02, FILTER),
    "denoise.n_components": (7, DENOISE),
    "parcellate.grand_mean": (100.0, PARCELLATE),
    "resample.hz": (None, RESAMPLE),
    "qc.pages": (False, QC),
    "collate.seed": (9, COLLATE),
    "train.lr": (0.01, TRAIN),
    "evaluate.seed": (9, EVALUATE),
    "figures.dpi": (99, FIGURES),
    "report.title": ("another", REPORT),
    "threads": (2, set()),
}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of which Snakemake thinks that everything is done."""
    directory = tmp_path_factory.mktemp("complete")
    bids = write_bids(directory / "bids")
    config = {"bids_dir": str(bids), "outdir": str(directory / "out")}
    pretend_complete(directory, config)
    assert planned(directory, config) == {}
    return directory, config


def nested(key: str, value: Any) -> dict[str, Any]:
    """`a.b` -> {"a": {"b": value}}."""
    *parents, last = key.split(".")
    result: dict[str, Any] = {last: value}
    for parent in reversed(parents):
        result = {parent: result}
    return result


@pytest.mark.parametrize("key", RERUNS)
def test_a_key_reruns_its_stage_and_its_followers(complete: tuple[Path, dict[str, Any]], key: str) -> None:
    directory, config = complete
    value, rules = RERUNS[key]
    assert set(planned(directory, config | nested(key, value))) == rules


def test_every_stage_has_a_row() -> None:
    from tests.dag.snake import STAGES

    with_keys = {s.name for s in STAGES if s.Config.model_fields and s.engine != "fmriprep" and s.name != "keep"}
    assert with_keys - {"template"} == {key.split(".")[0] for key in RERUNS if "." in key}


def test_comments_and_key_order_rerun_nothing(complete: tuple[Path, dict[str, Any]]) -> None:
    directory, config = complete
    text = (ROOT / "config.yaml").read_text()
    sections = [part for part in text.split("\n\n") if part.strip()]
    file = directory / "reordered.yaml"
    file.write_text("# another comment\n" + "\n\n# and more\n".join(reversed(sections)))
    assert planned(directory, config, "--configfile", str(file), str(directory / "test-config.yaml")) == {}


def test_a_deleted_or_damaged_manifest_comes_back(complete: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    directory, config = complete
    manifest = directory / "out/work/filter/sub-01_task-rest.json"
    kept = shutil.copy2(manifest, tmp_path / "kept.json")
    manifest.unlink()
    assert planned(directory, config)["filter"] == 1
    manifest.write_text("{")
    assert planned(directory, config)["filter"] == 1
    shutil.move(kept, manifest)
    assert planned(directory, config) == {}


def test_a_new_recording_disturbs_no_other(complete: tuple[Path, dict[str, Any]]) -> None:
    directory, config = complete
    added = write_bids(directory / "more", subjects=("01", "02", "03"))
    for subject in ("01", "02"):  # the same files, with the same times
        shutil.rmtree(added / f"sub-{subject}")
        shutil.copytree(directory / f"bids/sub-{subject}", added / f"sub-{subject}")
    shutil.copytree(directory / "bids", directory / "kept")
    try:
        shutil.copytree(added / "sub-03", directory / "bids/sub-03")
        jobs = planned(directory, config)
        assert jobs["motion"] == jobs["filter"] == jobs["anat"] == 1
        assert jobs["collate"] == 1
    finally:
        shutil.rmtree(directory / "bids/sub-03")


def test_lint(tmp_path: Path) -> None:
    bids = write_bids(tmp_path / "bids")
    output = snakemake(tmp_path, {"bids_dir": str(bids), "outdir": str(tmp_path / "out")}, "--lint", check=False)
    assert "Congratulations" in output, output
