"""benchmarks.same_results tells the same bytes, the same values, other values and missing files apart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from benchmarks.same_results import measure
from tests.conftest import ROOT

SERIES = "derivatives/sub-01/func/sub-01_timeseries.tsv"
IMAGE = "derivatives/sub-01/func/sub-01_mask.nii.gz"
RECIPE = "derivatives/sub-01/func/sub-01_desc-filter_recipe.json"


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """An outdir with one file of some kinds, and what only describes them."""
    outdir = tmp_path / "before"
    (outdir / SERIES).parent.mkdir(parents=True)
    (outdir / SERIES).write_text("a\tb\n1.0\tn/a\n2.5\t3\n")
    (outdir / SERIES).with_suffix(".json").write_text('{"Sources": ["before"]}')
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)), outdir / IMAGE)
    (outdir / RECIPE).write_text(json.dumps({"tr_s": 2.0, "censored": [3], "Warnings": ["moved"]}))
    np.savez(outdir / "scaler.npz", median=np.ones(3), iqr=np.array([1, np.nan, 2]))
    (outdir / "models/tiny").mkdir(parents=True)
    (outdir / "models/tiny/log.csv").write_text("step,loss,seconds\n0,1.5,0.7\n")
    (outdir / "card.md").write_text("before")
    return outdir


@pytest.fixture
def after(before: Path) -> Path:
    shutil.copytree(before, before.with_name("after"))
    return before.with_name("after")


def test_what_describes_results_and_how_long_they_took_is_no_difference(before: Path, after: Path) -> None:
    (after / SERIES).with_suffix(".json").write_text('{"Sources": ["after"]}')
    (after / "card.md").write_text("after")
    (after / RECIPE).write_text(json.dumps({"Space": "x", "censored": [3], "tr_s": 2.0, "Warnings": []}))
    (after / "models/tiny/log.csv").write_text("step,loss,seconds\n0,1.5,0.9\n")
    (after / SERIES).write_text("a\tb\n1\tn/a\n2.50\t3\n")
    found = measure(before, after)
    assert found["differing"] == found["missing"] == found["new"] == []
    assert found["series"] == {"files": 1, "same_bytes": 0, "same_values": 1, "differ": 0, "max_abs": 0.0}
    assert found["images"]["same_bytes"] == 1 and found["recipes"]["same_values"] == 1


def _table(path: Path) -> None:
    (path / SERIES).write_text("a\tb\n1.0\tn/a\n2.25\t3\n")


def _gap(path: Path) -> None:
    (path / SERIES).write_text("a\tb\n1.0\t0\n2.5\t3\n")


def _image(path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 0.25, np.float32), np.eye(4)), path / IMAGE)


def _recipe(path: Path) -> None:
    (path / RECIPE).write_text(json.dumps({"tr_s": 2.0, "censored": [4]}))


def _scaler(path: Path) -> None:
    np.savez(path / "scaler.npz", median=np.array([1, 1.25, 1]), iqr=np.array([1, np.nan, 2]))


@pytest.mark.parametrize(
    ("change", "kind", "gap"),
    [
        (_table, "series", 0.25), (_gap, "series", np.inf), (_image, "images", 0.25), (_recipe, "recipes", np.inf),
        (_scaler, "scaler", 0.25),
    ],
)  # fmt: skip
def test_other_values(before: Path, after: Path, change: Callable[[Path], None], kind: str, gap: float) -> None:
    change(after)
    found = measure(before, after)
    assert found[kind]["differ"] == 1 and found[kind]["max_abs"] == gap
    assert len(found["differing"]) == 1


def test_a_missing_file_ends_in_1(before: Path, after: Path) -> None:
    (after / "scaler.npz").unlink()
    call = [sys.executable, "-m", "benchmarks.same_results", str(before), str(after), "--json"]
    ended = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["missing"] == ["scaler.npz"]
