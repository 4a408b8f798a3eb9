from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from brainlm_data.errors import InputError
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import template
from tests.stages.space import run


def test_the_bundled_template(bundled: tuple[Files, Facts]) -> None:
    out, facts = bundled
    t1w, mask, tissues = (nib.load(out[n]) for n in ("template_t1w", "template_mask", "template_probseg"))
    assert facts["Space"] == "MNI152NLin2009aSym" == out.__class__(dict(out)).facts("template_t1w")["Space"]
    assert t1w.shape == mask.shape == tissues.shape[:3] and tissues.shape[3] == 3
    np.testing.assert_array_equal(t1w.affine, tissues.affine)
    inside, shares = np.asarray(mask.dataobj) > 0, tissues.get_fdata(dtype=np.float32)
    assert facts["template_t1w"]["SkullStripped"] is True  # nilearn bundles it without skull
    assert 1.5e6 < inside.sum() * abs(np.linalg.det(t1w.affine)) < 2.3e6  # mm3
    assert (shares[~inside] == 0).all() and 0.95 < shares[inside].sum(-1).mean() < 1.05
    mean = [np.average(t1w.get_fdata()[inside], weights=shares[inside][:, k]) for k in range(3)]
    assert mean[1] > mean[0] > mean[2]  # white, grey, fluid


def test_a_published_template_without_its_file_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINLM_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    with pytest.raises(InputError) as caught:
        run(template.STAGE, {}, tmp_path, name="MNI152NLin6Asym")
    assert "MNI152NLin6_res-2x2x2_T1w.nii.gz" in caught.value.remedy and "template.path" in caught.value.remedy


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_published_addresses_are_pinned() -> None:
    for remote in (r for pair in template.PUBLISHED.values() for r in pair):
        assert len(remote.sha256) == 64 and "/master/" not in remote.url and "/main/" not in remote.url


def test_mni6_from_files(tmp_path: Path, atlases: Path) -> None:
    t1w = atlases / "MNI152NLin6_res-2x2x2_T1w.nii.gz"
    brain = atlases / "MNI152NLin6_res-2x2x2_T1w_descr-brain.nii.gz"
    out, facts = run(template.STAGE, {}, tmp_path, name="MNI152NLin6Asym", path=t1w, brain=brain)
    assert facts["template_t1w"]["SkullStripped"] is False
    assert facts["Space"] == "MNI152NLin6Asym" and "resampled" in facts["template_probseg"]["Source"]
    shares, image = nib.load(out["template_probseg"]).get_fdata(), nib.load(out["template_t1w"])
    inside = np.asarray(nib.load(out["template_mask"]).dataobj) > 0
    assert image.shape == (91, 109, 91) and nib.aff2axcodes(image.affine) == ("L", "A", "S")
    mean = [np.average(image.get_fdata()[inside], weights=shares[inside][:, k]) for k in range(3)]
    assert mean[1] > mean[0] > mean[2]  # the priors lie where this template's tissues are
    assert np.corrcoef(shares[inside][:, 1], image.get_fdata()[inside])[0, 1] > 0.6


def test_errors_name_the_key(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="other is not known"):
        template.Config(name="other")
    nib.save(nib.Nifti1Image(np.ones((9, 9, 9), np.float32), np.eye(4)), tmp_path / "t.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((9, 9, 8), np.float32), np.eye(4)), tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match=r"template\.brain"):
        run(template.STAGE, {}, tmp_path / "o", name="mine", path=tmp_path / "t.nii.gz")
    with pytest.raises(InputError, match="not on the grid"):
        run(template.STAGE, {}, tmp_path / "o", name="mine", path=tmp_path / "t.nii.gz", brain=tmp_path / "b.nii.gz")
    (tmp_path / "bad.nii.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"bad\.nii\.gz"):
        run(template.STAGE, {}, tmp_path / "o", name="m", path=tmp_path / "bad.nii.gz", brain=tmp_path / "b.nii.gz")


def test_golden(bundled: tuple[Files, Facts], golden: Callable[..., None]) -> None:
    golden(template.STAGE, *bundled)
