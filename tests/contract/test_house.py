"""What the repository says of itself is true: config files, pages, rules, links."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainlm_data.cli import main
from brainlm_data.config import split_foreign, validate
from brainlm_data.dataset.card import ORDER
from brainlm_data.defaults import defaults
from brainlm_data.errors import ConfigError
from brainlm_data.paths import ARTIFACTS, artifacts_of
from brainlm_data.pipeline import STAGES
from brainlm_data.stage import Artifact, Stage
from brainlm_model.stages import ALL_STAGES
from tests.conftest import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_config_yaml_is_current() -> None:
    """`brainlm-model defaults > config.yaml` makes it again."""
    assert (ROOT / "config.yaml").read_text() == defaults(ALL_STAGES)


@pytest.mark.parametrize("file", sorted(ROOT.glob("config/*.yaml")), ids=lambda f: f.name)
def test_ready_made_configurations(file: Path) -> None:
    validate(yaml.safe_load(file.read_text()), ALL_STAGES)


@pytest.mark.parametrize("stage", ALL_STAGES, ids=lambda s: s.name)
def test_a_stage_is_found_by_its_name(stage: Stage) -> None:
    page = (ROOT / f"docs/stages/{stage.name}.md").read_text()
    assert page.startswith(f"# {stage.name}\n")
    assert list(ROOT.glob(f"tests/*/test_{stage.name}.py"))
    assert stage.summary.endswith(".") and len(stage.summary) < 110


@pytest.mark.parametrize("stage", ALL_STAGES, ids=lambda s: s.name)
def test_pages_name_every_key(stage: Stage) -> None:
    page = (ROOT / f"docs/stages/{stage.name}.md").read_text()
    missing = [key for key in stage.Config.model_fields if not re.search(rf"`[^`]*\b{key}\b[^`]*`", page)]
    assert not missing


def test_interface_lists_every_derivative() -> None:
    page = (ROOT / "docs/interface.md").read_text()
    for artifact in ARTIFACTS.values():
        if artifact.pattern.startswith("derivatives/"):
            assert f"| {artifact.description} |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_pages_name_are_there(page: Path) -> None:
    """Links are looked at in test_docs.py; here what stands in a sentence."""
    text = page.read_text()
    for target in re.findall(r"\b(?:docs|benchmarks|tests|config|workflow)/[\w/.-]+\.(?:md|py|yaml|svg|smk)\b", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("program", ["brainlm-data", "brainlm-model"])
def test_help_names_each_stage(program: str) -> None:
    call: list[Any] = [Path(sys.executable).with_name(program), "--help"]
    output = " ".join(subprocess.run(call, capture_output=True, text=True, check=True).stdout.split())
    own = [s for s in ALL_STAGES if s.run.__module__.startswith(program.replace("-", "_"))]
    assert own
    for stage in own:
        assert f"{stage.name} " in output and stage.summary in output


@pytest.mark.parametrize("file", [ROOT / "config.yaml", *sorted(ROOT.glob("config/*.yaml"))], ids=lambda f: f.name)
def test_a_stage_runs_by_hand_with_a_whole_configuration(file: Path, bids: Path, tmp_path: Path) -> None:
    call = ["run", "template", "--configfile", str(file), "--bids-dir", str(bids), "--outdir", str(tmp_path / "out")]
    assert main([*call, "--set", "atlas.name=demo424"]) == 0  # whose template needs no download
    assert (tmp_path / "out/derivatives/tpl-MNI152NLin2009aSym").is_dir()


def test_the_methods_text_has_every_stage_of_a_recording_in_order() -> None:
    recordings = {s.name for s in STAGES if s.level != "cohort" and not s.on_demand}
    written = recordings - {"keep"} | {"template", "atlas", "input"}
    assert set(ORDER) == written
    places = [s.name for s in STAGES]
    assert [places.index(name) for name in ORDER] == sorted(places.index(name) for name in ORDER)


def test_no_section_of_the_model_passes_for_a_mistake_in_one_of_the_data() -> None:
    model = [s.name for s in ALL_STAGES if s not in STAGES]
    own, foreign = split_foreign({"outdir": "out", **{s.name: {} for s in ALL_STAGES}}, STAGES)
    assert foreign == model and own.keys() == {"outdir", *(s.name for s in STAGES)}


@pytest.mark.parametrize("mistake", ["filtre", "Filter", "filters", "colate", "anatt", "tempalte", "qcs", "job"])
def test_a_misspelled_section_is_refused_by_hand_too(mistake: str, bids: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "config.yaml").write_text(f"{mistake}: {{x: 1}}\ntrain: {{lr: 1}}\n")
    call = ["run", "template", "--configfile", str(tmp_path / "config.yaml"), "--bids-dir", str(bids)]
    assert main([*call, "--outdir", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"unknown key {mistake}" in said and "not used: train" in said


def test_each_kind_of_file_has_one_place() -> None:
    """A stage brings kinds of its own outputs, none that the table or another stage has."""
    brought: list[str] = []
    for stage in ALL_STAGES:
        assert set(stage.outputs) <= ARTIFACTS.keys() | stage.artifacts.keys()
        assert stage.artifacts.keys() <= set(stage.outputs)
        brought += stage.artifacts
    assert len(brought) == len(set(brought)) and not ARTIFACTS.keys() & set(brought)
    places = [(a.level, a.pattern) for a in artifacts_of(ALL_STAGES).values() if a.pattern]
    assert len(places) == len(set(places))


def test_a_derivative_belongs_in_the_table() -> None:
    derivative = Artifact("recording", "derivatives/{prefix}_x.tsv", "a derivative")
    with pytest.raises(ValueError, match=r"x is a derivative: list it in brainlm_data\.paths\.ARTIFACTS"):
        dataclasses.replace(STAGES[0], artifacts={"x": derivative})


@pytest.mark.parametrize(
    "section",
    [
        {"train": {"window": 200, "patch": 30}}, {"train": {"width": 65, "heads": 4}}, {"atlas": {"name": "foo"}},
        {"template": {"name": "foo"}}, {"outdir": ""}, {"filter": {"high_hz": float("inf")}},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_values_are_refused_before_any_job(section: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        validate(section, ALL_STAGES)
