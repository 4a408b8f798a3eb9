"""BIDS-Derivatives: what the folder says of itself, and what sidecars say of every file of a kind."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from brainlm_data.errors import InputError
from brainlm_data.graph.dag import Dag
from brainlm_data.graph.listing import description
from brainlm_data.paths import ARTIFACTS, BIDSIGNORE, bids_metadata
from tests.core.test_runner import raw, run
from tests.core.toy import STAGES

DERIVATIVES = {name: a for name, a in ARTIFACTS.items() if a.pattern.startswith("derivatives/")}
VALID = (
    "T1w.nii.gz",
    "_mask.nii.gz",
    "_dseg.nii.gz",
    "_probseg.nii.gz",
    "_bold.nii.gz",
)  # suffixes of BIDS-Derivatives
NAMES = {"space": "MNI", "seg": "A424", "model": "tiny"}


def rules() -> list[str]:
    return [line for line in BIDSIGNORE.splitlines() if line and not line.startswith("#")]


def matches(rule: str, path: str) -> bool:
    """Folders are those of the root, all other rules are of file names."""
    return fnmatch(path.split("/")[0 if "/" in rule else -1], rule.strip("/"))


def ignored(path: str) -> bool:
    return any(matches(rule, path) for rule in rules())


@pytest.mark.parametrize("name", DERIVATIVES)
def test_what_is_not_bids_is_ignored_and_nothing_else(name: str) -> None:
    path = DERIVATIVES[name].pattern.format(prefix="sub-01/func/sub-01_task-rest", **NAMES).removeprefix("derivatives/")
    in_subject = path.startswith("sub-")
    known = in_subject and path.endswith(VALID) and "desc-ica_components" not in path
    assert ignored(path) != known


def test_every_ignore_rule_is_needed() -> None:
    paths = ["fmriprep/x.json", "sub-01/func/sub-01_task-rest_desc-qc_report.json"]
    for artifact in DERIVATIVES.values():
        paths.append(
            artifact.pattern.format(prefix="sub-01/func/sub-01_task-rest", **NAMES).removeprefix("derivatives/")
        )
    for rule in rules():
        assert any(matches(rule, path) for path in paths), rule


@pytest.mark.parametrize("name", [n for n, a in DERIVATIVES.items() if a.pattern.endswith(".nii.gz")])
def test_images_say_what_bids_requires_of_them(name: str) -> None:
    path, known = DERIVATIVES[name].pattern, bids_metadata(name, NAMES)
    if path.endswith(("desc-preproc_T1w.nii.gz", "_bold.nii.gz", "_boldref.nii.gz")):
        assert isinstance(known["SkullStripped"], bool)
    assert (known.get("SpatialReference") == "bids::tpl-MNI/tpl-MNI_T1w.nii.gz") == ("space-{space}" in path)
    assert ("Resolution" in known) == ("_res-" in path)
    assert (known.get("Type") == "Brain") == path.endswith("_mask.nii.gz")


def test_the_folder_and_its_sidecars(bids: Path, tmp_path: Path) -> None:
    run(raw(bids, tmp_path / "out"))
    folder = tmp_path / "out/derivatives"
    assert (folder / ".bidsignore").read_text() == BIDSIGNORE
    assert json.loads((folder / "sub-01/anat/sub-01_desc-preproc_T1w.json").read_text())["SkullStripped"] is False
    stamp = (folder / ".bidsignore").stat().st_mtime_ns
    Dag(raw(bids, tmp_path / "out"), STAGES)
    assert (folder / ".bidsignore").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "doi", ["10.18112/openneuro.ds000113.v1.3.0", "doi:10.18112/openneuro.ds000113.v1.3.0",
            "https://doi.org/10.18112/openneuro.ds000113.v1.3.0"],
)  # fmt: skip
def test_the_source_dataset_is_cited(tmp_path: Path, doi: str) -> None:
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "forrest", "DatasetDOI": doi}))
    number = "10.18112/openneuro.ds000113.v1.3.0"
    found = description(tmp_path)
    assert found["SourceDatasets"] == [{"DOI": number, "URL": f"https://doi.org/{number}"}]
    assert found["Name"].startswith("forrest") and found["DatasetLinks"]["raw"] == tmp_path.resolve().as_uri()


@pytest.mark.parametrize("content", [{}, {"DatasetDOI": "none"}, {"DatasetDOI": None}], ids=str)
def test_without_a_doi_nothing_is_cited(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "dataset_description.json").write_text(json.dumps(content))
    assert "SourceDatasets" not in description(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_description_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset_description.json").write_text(content)
    with pytest.raises(InputError, match=r"dataset_description\.json"):
        description(tmp_path)
