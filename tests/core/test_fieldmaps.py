"""Fieldmaps are not used; the recordings that they are meant for say so, and only what says so reruns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from brainlm_data.bids.fieldmaps import WARNING, stated
from brainlm_data.bids.index import Select, read_index
from brainlm_data.cli import main
from brainlm_data.config import validate
from brainlm_data.graph.edges import details_of
from brainlm_data.pipeline import STAGES
from tests.conftest import write_bids

RUN = "ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz"


def fieldmap(root: Path, content: str | dict[str, Any], name: str = "sub-01_ses-a_dir-AP_epi") -> Path:
    folder = root / "sub-01/ses-a/fmap"
    folder.mkdir(exist_ok=True)
    shutil.copy(root / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", folder / f"{name}.nii.gz")
    file = folder / f"{name}.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def found(root: Path) -> dict[str, list[str]]:
    index = read_index(root, Select.model_validate({}))
    return {r.id: [Path(f).name for f in r.fieldmaps] for r in index.recordings if r.fieldmaps}


@pytest.mark.parametrize(
    "target",
    [RUN, f"bids::sub-01/{RUN}", [f"bids::sub-01/{RUN}", "ses-b/func/other_bold.nii.gz"], RUN.removesuffix(".gz"),
     f"./{RUN}", f"/{RUN}", f"sub-01/{RUN}", RUN.replace("/", "\\")],
    ids=str,
)  # fmt: skip
def test_intended_for(tmp_path: Path, target: Any) -> None:
    root = write_bids(tmp_path, sessions=("a",), tasks=("rest", "nback"))
    fieldmap(root, {"IntendedFor": target})
    assert found(root) == {"sub-01_ses-a_task-rest": ["sub-01_ses-a_dir-AP_epi.nii.gz"]}


@pytest.mark.parametrize("target", ["func/sub-01_typo_bold.nii.gz", ["a.nii", RUN], {"a": 1}, 3], ids=str)
def test_a_target_that_is_not_there_is_said(tmp_path: Path, target: Any) -> None:
    root = write_bids(tmp_path, subjects=("01",), sessions=("a",))
    fieldmap(root, {"IntendedFor": target})
    (note,) = read_index(root, Select.model_validate({})).notes
    assert "sub-01_ses-a_dir-AP_epi.nii.gz: IntendedFor names no image of this subject" in note


@pytest.mark.parametrize("identifier", ["pepolar0", ["other", "pepolar0"]], ids=str)
def test_b0_field_identifier(tmp_path: Path, identifier: Any) -> None:
    """Of a fieldmap, and of a run with the other phase-encoding direction; the run itself is none of its own."""
    root = write_bids(tmp_path, sessions=("a",), tasks=("rest", "nback"))
    fieldmap(root, {"B0FieldIdentifier": identifier})
    bold = root / "sub-01" / RUN.replace(".nii.gz", ".json")
    bold.write_text('{"RepetitionTime": 2, "B0FieldSource": "pepolar0", "B0FieldIdentifier": "pepolar0"}')
    other = root / "sub-01/ses-a/func/sub-01_ses-a_task-nback_bold.json"
    other.write_text('{"RepetitionTime": 2, "B0FieldIdentifier": ["pepolar0"]}')
    files = ["sub-01_ses-a_dir-AP_epi.nii.gz", "sub-01_ses-a_task-nback_bold.nii.gz"]
    assert found(root) == {"sub-01_ses-a_task-rest": files}


@pytest.mark.parametrize(
    "content",
    ["{", "[1, 2]", '["a"]', {"IntendedFor": None}, {"IntendedFor": 3}, {"IntendedFor": []},
     {"IntendedFor": "bids:other:sub-01/" + RUN}, {"IntendedFor": "ses-b/func/sub-01_ses-b_task-rest_bold.nii.gz"},
     {"B0FieldIdentifier": "of nothing"}],
    ids=str,
)  # fmt: skip
def test_what_names_no_run(tmp_path: Path, content: Any) -> None:
    root = write_bids(tmp_path, sessions=("a",))
    fieldmap(root, content)
    assert found(root) == {}


def test_the_cache_follows_the_fieldmaps(tmp_path: Path) -> None:
    root, cache = write_bids(tmp_path / "b", sessions=("a",)), tmp_path / "index.json"
    file = fieldmap(root, {"IntendedFor": RUN})
    assert read_index(root, Select.model_validate({}), cache).recordings[0].fieldmaps
    assert read_index(root, Select.model_validate({}), cache).recordings[0].fieldmaps  # from the cache
    shutil.rmtree(file.parent)
    assert not read_index(root, Select.model_validate({}), cache).recordings[0].fieldmaps


def test_what_the_stages_are_told(tmp_path: Path) -> None:
    """qc and resample, of that recording only; nothing where fMRIPrep corrects the distortion itself."""
    root = write_bids(tmp_path, sessions=("a",))
    fieldmap(root, {"IntendedFor": RUN})
    index = read_index(root, Select.model_validate({}))
    bundles = {r.id: r.id for r in index.recordings}
    details = details_of(STAGES, validate({}, STAGES), index, bundles)
    name, file = "sub-01_ses-a_task-rest", "sub-01/ses-a/fmap/sub-01_ses-a_dir-AP_epi.nii.gz"
    assert details == {(stage, name): {name: {"fieldmaps": [file]}} for stage in ("resample", "qc")}
    assert stated(details["qc", name][name]) == ({"FieldmapsNotUsed": [f"bids:raw:{file}"]}, [WARNING])
    assert stated({}) == ({}, [])
    section = {"preprocess": {"engine": "fmriprep"}, "template": {"name": "MNI152NLin6Asym"}}
    assert details_of(STAGES, validate(section, STAGES), index, bundles) == {}


def test_index_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_bids(tmp_path, sessions=("a",))
    assert main(["index", str(root)]) == 0 and "not used" not in capsys.readouterr().out
    fieldmap(root, {"IntendedFor": RUN})
    assert main(["index", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "sub-01_ses-a_task-rest\t2.0\tyes\t1" and "fieldmaps are not used" in lines[3]
