"""config.yaml: every mistake names its key and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from brainlm_data.config import validate
from brainlm_data.errors import ConfigError, InputError
from brainlm_data.graph.dag import Dag
from brainlm_data.pipeline import STAGES as PIPELINE
from tests.core.toy import STAGES


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"anatt": {}}, ["unknown key anatt", "allowed here", "anat", "bids_dir"]),
        ({"anat": {"grid": 2}}, ["unknown key anat.grid", "grid_mm"]),
        ({"anat": {"grid_mm": -1}}, ["anat.grid_mm", "greater than 0", "working resolution", "default 2.0"]),
        ({"anat": {"grid_mm": "two"}}, ["anat.grid_mm", "valid number", "'two'"]),
        ({"bundle_size": 0}, ["bundle_size", "greater than or equal to 1"]),
        ({"preprocess": {"engine": "spm"}}, ["preprocess.engine", "'spm' is none of 'native', 'fmriprep'"]),
        ({"preprocess": {"engine": "fmriperp"}}, ["preprocess.engine", "did you mean fmriprep?"]),
        ({"select": {"subject": "01"}}, ["select.subject", "list"]),
        ({"anat": 3}, ["anat is a section of keys (got 3)", "anat.grid_mm"]),
    ],
)
def test_mistakes(raw: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        validate(raw, STAGES)
    for word in words:
        assert word in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"denoise": {"strategy": "ica+scrubbing"}}, ["scrubbing needs filter.censor_fd_mm of 0.5 or less, it is null",
                                                      "set filter.censor_fd_mm: 0.5"]),
        ({"denoise": {"strategy": "scrubbing"}, "filter": {"censor_fd_mm": 0.9}}, ["0.5 or less, it is 0.9"]),
        ({"preprocess": {"engine": "fmriprep"}, "atlas": {"name": "demo424"}},
         ["fmriprep.output_space is MNI152NLin6Asym:res-2",
                                                  "template.name is MNI152NLin2009aSym"]),
        ({"atlas": {"name": "demo424"}, "template": {"name": "MNI152NLin6Asym"}},
         ["atlas demo424 is in MNI152NLin2009aSym, template.name is MNI152NLin6Asym", "leave template.name out"]),
    ],
)  # fmt: skip
def test_sections_that_contradict_each_other(raw: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        validate(raw, PIPELINE)
    for word in words:
        assert word in str(error.value), str(error.value)


@pytest.mark.parametrize("censor", [0.5, 0.2])
def test_scrubbing_that_the_filter_does(censor: float) -> None:
    validate({"denoise": {"strategy": "ica+scrubbing"}, "filter": {"censor_fd_mm": censor}}, PIPELINE)


@pytest.mark.parametrize("key", ["subject", "session", "task"])
@pytest.mark.parametrize("text", ["[01, 2]", "[2.5]", "[true]", '["01", 2]', "[2026-01-01]"])
def test_labels_that_yaml_takes_for_numbers(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=r"YAML reads 01 as 1: put labels in quotes, \[\"01\", \"2\"\]"):
        validate({"select": {key: yaml.safe_load(text)}}, STAGES)


def test_runs_are_numbers() -> None:
    assert validate({"select": {"run": [1, "02"]}}, STAGES).select.run == ["1", "02"]


def test_strings_from_the_command_line_are_coerced() -> None:
    config: Any = validate({"anat": {"grid_mm": "4"}, "bundle_size": "3"}, STAGES)
    assert config.anat.grid_mm == 4.0
    assert config.bundle_size == 3


def test_key_order_does_not_change_the_signature() -> None:
    first: Any = validate({"motion": {"gain": 2, "refuse": "x"}}, STAGES)
    second: Any = validate({"motion": {"refuse": "x", "gain": 2.0}}, STAGES)
    assert STAGES[1].signature(first.motion) == STAGES[1].signature(second.motion)


def test_groups_to_leave_out_are_looked_up_before_any_job(bids: Path, tmp_path: Path) -> None:
    def dag(external: dict[str, Any]) -> Dag:
        raw = {"bids_dir": str(bids), "outdir": str(tmp_path), "collate": {"external": external}}
        return Dag(raw, PIPELINE)

    assert dag({"age": [21]}).config.collate.external == {"age": ["21"]}  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no column site"):
        dag({"site": ["X"]})
    with pytest.raises(InputError, match=r"nobody's age is 99 .* there are: 20, 21"):
        dag({"age": [99]})
    with pytest.raises(ConfigError, match=r"collate\.external"):
        dag({"age": "21"})


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"outdir": "out{x}"}, "outdir"),
        ({"outdir": "a\nb"}, "outdir"),
        ({"container": "{x}.sif"}, "container"),
        ({"outdir": "~nobody-of-this-name/out"}, "outdir"),
        ({"atlas": {"path": "~nobody-of-this-name/x.nii.gz"}}, "path"),
        ({"resample": {"hz": 1e-9}}, "resample.hz"),
        ({"resample": {"hz": float("inf")}}, "resample.hz"),
        ({"imported": {"hz": 1e-9}}, "imported.hz"),
    ],
)
def test_values_that_cannot_be_are_one_line_that_names_the_key(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key) as caught:
        validate(given, PIPELINE)
    assert "\n" not in str(caught.value)


def test_home_folders_and_braces_in_other_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/who")
    config: Any = validate(
        {"bids_dir": "~/b{i}ds", "outdir": "~/out", "atlas": {"name": "x", "path": "~/{x}.nii.gz", "labels": "~/l"}},
        PIPELINE,
    )
    assert (str(config.bids_dir), str(config.outdir)) == ("/home/who/b{i}ds", "/home/who/out")
    assert (str(config.atlas.path), str(config.atlas.labels)) == ("/home/who/{x}.nii.gz", "/home/who/l")
