"""Templates from TemplateFlow's folder, as whoever uses fMRIPrep has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from brainlm_data.errors import InputError
from brainlm_data.files import fetch
from brainlm_data.files.sidecar import digest
from brainlm_data.graph.watched import watched
from brainlm_data.spaces import templateflow
from brainlm_data.stages import template
from tests.stages.space import run

NAME = "MNI152NLin2009cAsym"


def flow(home: Path, name: str = NAME, resolution: str = "res-02_", tissues: bool = True) -> Path:
    """A folder as TemplateFlow lays it out, with a ball for a brain."""
    folder = home / f"tpl-{name}"
    folder.mkdir(parents=True)
    affine = np.array([[2.0, 0, 0, -20], [0, 2, 0, -20], [0, 0, 2, -20], [0, 0, 0, 1]])
    place = np.indices((21, 21, 21)) - 10
    brain = (place**2).sum(0) < 64
    images = {"T1w": 100.0 + brain, "desc-brain_mask": brain.astype(np.uint8)}
    if tissues:
        images |= {f"label-{t}_probseg": np.full(brain.shape, share, np.float32)
                   for t, share in (("GM", 0.5), ("WM", 0.3), ("CSF", 0.2))}  # fmt: skip
    for ending, data in images.items():
        path = folder / f"tpl-{name}_{resolution}{ending}.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(data, np.float32), affine), path)
    return folder


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache of this machine, and no network."""
    monkeypatch.setenv("BRAINLM_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "flow"))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(fetch.urllib.request, "urlopen", refuse)


def test_a_template_of_templateflow_with_its_own_tissues(tmp_path: Path) -> None:
    folder = flow(tmp_path / "flow")
    out, facts = run(template.STAGE, {}, tmp_path / "o", name=NAME)
    tissues, mask = nib.load(out["template_probseg"]).get_fdata(), nib.load(out["template_mask"]).get_fdata() > 0
    np.testing.assert_allclose(tissues[mask], np.tile([0.5, 0.3, 0.2], (mask.sum(), 1)), atol=1e-6)
    assert (tissues[~mask] == 0).all() and facts["template_probseg"]["Source"] == "the template's own"
    t1w = folder / f"tpl-{NAME}_res-02_T1w.nii.gz"
    assert facts["Space"] == NAME and facts["SourceFiles"][t1w.name] == digest(t1w) and len(facts["SourceFiles"]) == 5
    assert f"{NAME} (TemplateFlow's {t1w.name}; Ciric et al., 2022;" in template.describe(facts)


def test_without_tissues_those_of_the_bundled_template_are_taken(tmp_path: Path) -> None:
    flow(tmp_path / "flow", tissues=False)
    _, facts = run(template.STAGE, {}, tmp_path / "o", name=NAME)
    assert "resampled" in facts["template_probseg"]["Source"]


def test_a_published_one_is_taken_from_templateflow_before_it_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be downloaded"):
        run(template.STAGE, {}, tmp_path / "o", name="MNI152NLin6Asym")
    flow(tmp_path / "flow", "MNI152NLin6Asym", "res-01_")
    _, facts = run(template.STAGE, {}, tmp_path / "o", name="MNI152NLin6Asym")
    assert "tpl-MNI152NLin6Asym_res-01_T1w.nii.gz" in facts["Source"]


def test_a_folder_that_is_given_comes_first(tmp_path: Path) -> None:
    flow(tmp_path / "flow", "MNI152NLin2009aSym")
    assert run(template.STAGE, {}, tmp_path / "o")[1]["Source"] == "bundled with nilearn"
    _, facts = run(template.STAGE, {}, tmp_path / "o", templateflow=tmp_path / "flow")
    assert facts["Source"].startswith("TemplateFlow's")


def test_other_resolutions_where_2_mm_is_missing(tmp_path: Path) -> None:
    flow(tmp_path / "flow", "A", "res-01_")
    flow(tmp_path / "flow", "B", "")
    for name, resolution in (("A", "res-01_"), ("B", "")):
        found = templateflow.find(name)
        assert found and found.t1w.name == f"tpl-{name}_{resolution}T1w.nii.gz"


def test_what_templateflow_only_lists_is_not_there(tmp_path: Path) -> None:
    """Files that it has not fetched yet are empty; the message says how to fetch them."""
    folder = flow(tmp_path / "flow")
    (folder / f"tpl-{NAME}_res-02_desc-brain_mask.nii.gz").write_bytes(b"")
    with pytest.raises(ValidationError, match=rf"(?s)no T1w and brain mask.*get\('{NAME}'"):
        template.Config(name=NAME)
    with pytest.raises(ValidationError, match="not known"):
        template.Config(name="MNI152NLin6Asym", templateflow=tmp_path / "elsewhere")


def test_other_files_of_templateflow_are_another_template(tmp_path: Path) -> None:
    folder, config = flow(tmp_path / "flow"), template.Config(name=NAME)
    before = watched(template.STAGE, config)
    mask = folder / f"tpl-{NAME}_res-02_desc-brain_mask.nii.gz"
    mask.write_bytes(mask.read_bytes() + b"\n")
    after = watched(template.STAGE, config)
    assert [key for key in before if before[key] != after[key]] == [f"template.templateflow ({mask.name})"]
    assert watched(template.STAGE, template.Config()) == {}


def test_files_on_two_grids(tmp_path: Path) -> None:
    folder = flow(tmp_path / "flow")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)),
             folder / f"tpl-{NAME}_res-02_label-WM_probseg.nii.gz")  # fmt: skip
    with pytest.raises(InputError, match=r"label-WM_probseg.*not on the grid"):
        run(template.STAGE, {}, tmp_path / "o", name=NAME)


def test_the_default_folder_is_templateflows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert templateflow.home() == tmp_path / "flow"
    monkeypatch.delenv("TEMPLATEFLOW_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert templateflow.home() == tmp_path / "x/templateflow" and templateflow.home(tmp_path) == tmp_path
