from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.quality import alignment, mosaic, plots, strips
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import template
from tests.stages import head, space


@pytest.fixture
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure of a page is drawn and a wrong place is looked for one voxel away: for tests of what is written."""
    assert strips.as_picture  # imported before the stub: it keeps the real one
    monkeypatch.setattr(plots, "as_picture", lambda figure, shades=False: b"")
    monkeypatch.setattr(mosaic, "picture", lambda *arguments, **more: b"")
    monkeypatch.setattr(alignment, "REACH", 1)


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Facts]:
    """The template that needs no download, as stage template writes it."""
    return space.run(template.STAGE, {}, tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def coarse_head(bundled: tuple[Files, Facts], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Template; T1w with the true brain mask and tissues; BOLD reference and mask, without distortion (`head.py`)."""
    folder = tmp_path_factory.mktemp("head")
    files = dict(bundled[0])
    files["t1w_preproc"] = head.t1w(folder / "t1w.nii.gz")
    image: Any = nib.load(files["t1w_preproc"])
    points = np.indices(image.shape).reshape(3, -1).T @ image.affine[:3, :3].T + image.affine[:3, 3]
    brain = head.paint(points, {"gm": 1, "wm": 1, "csf": 1, "scalp": 0}, 3.0).reshape(image.shape) > 0.5
    files["t1w_mask"] = folder / "mask.nii.gz"
    nib.save(nib.Nifti1Image(brain.astype(np.uint8), image.affine), files["t1w_mask"])
    for name, tissue in (("t1w_gm", "gm"), ("t1w_wm", "wm")):
        share = head.paint(points, {"gm": 0, "wm": 0, "csf": 0, "scalp": 0, tissue: 1}, 3.0).reshape(image.shape)
        files[name] = folder / f"{tissue}.nii.gz"
        nib.save(nib.Nifti1Image((share * brain).astype(np.float32), image.affine), files[name])
    files["boldref"], files["bold_mask"] = folder / "b.nii.gz", folder / "bm.nii.gz"
    head.boldref(files["boldref"], files["bold_mask"])
    return files
