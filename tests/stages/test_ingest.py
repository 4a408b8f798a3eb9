"""ingest: parcel means from a synthetic fMRIPrep folder equal plain averages over labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import read_table
from brainlm_data.runner.call import call
from brainlm_data.stage import Files
from brainlm_data.stages import ingest

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (12, 14, 12)
SPACE = "space-MNI152NLin6Asym_res-2"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Files, Files, np.ndarray, np.ndarray]:
    """fMRIPrep's derivatives of one recording, template and atlas on the same grid."""
    rng = np.random.default_rng(3)
    head = np.zeros(SHAPE, bool)
    head[2:-2, 2:-2, 2:-2] = True
    data = (rng.normal(900, 30, (*SHAPE, 7)) * head[..., None] + 1).astype(np.float32)
    labels = np.zeros(SHAPE, np.int32)
    labels[3:6, 3:9, 3:9], labels[6:9, 3:9, 3:9] = 1, 2

    func = tmp_path / "fmriprep/sub-01/func"
    func.mkdir(parents=True)
    stem = func / "sub-01_task-rest"
    save = lambda image, path: nib.save(nib.Nifti1Image(image, AFFINE), path)  # noqa: E731
    save(data, f"{stem}_{SPACE}_desc-preproc_bold.nii.gz")
    save(data.mean(-1), f"{stem}_{SPACE}_boldref.nii.gz")
    save(head.astype(np.uint8), f"{stem}_{SPACE}_desc-brain_mask.nii.gz")
    Path(f"{stem}_{SPACE}_desc-preproc_bold.json").write_text('{"RepetitionTime": 1.5}')
    motion = pd.DataFrame(rng.normal(0, 0.1, (7, 6)), columns=list(ingest.MOTION)).assign(csf="n/a")
    motion.to_csv(f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False)
    record = {"OutputSpace": "MNI152NLin6Asym:res-2", "Derivatives": str(tmp_path / "fmriprep"), "Image": "x:1"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "bold.nii.gz").touch()

    save(head.astype(np.float32), tmp_path / "t1.nii.gz")
    save(head.astype(np.uint8), tmp_path / "mask.nii.gz")
    write_facts(tmp_path / "mask.nii.gz", {"Space": "MNI152NLin6Asym"})
    write_facts(tmp_path / "dseg.tsv", {"AtlasName": "two"})
    save(np.stack([head * 1.0, head * 0.0, head * 0.0], -1).astype(np.float32), tmp_path / "probseg.nii.gz")
    save(labels, tmp_path / "dseg.nii.gz")
    table = {
        "index": [1, 2],
        "name": ["a", "b"],
        "hemisphere": "L",
        "network": "x",
        "x": 0,
        "y": 0,
        "z": 0,
        "n_voxels": 1,
    }
    pd.DataFrame(table).to_csv(tmp_path / "dseg.tsv", sep="\t", index=False)
    meta: dict[str, Any] = {"id": "sub-01_task-rest", "subject": "01", "metadata": {}}
    names = {
        "bold": "bold.nii.gz", "fmriprep_run": "run.json", "template_t1w": "t1.nii.gz", "template_mask": "mask.nii.gz",
        "template_probseg": "probseg.nii.gz", "atlas_dseg": "dseg.nii.gz", "atlas_table": "dseg.tsv",
    }  # fmt: skip
    inputs = Files({name: tmp_path / file for name, file in names.items()}, meta)
    out = tmp_path / "out"
    out.mkdir()
    suffixes = {"motion_params": ".tsv", "parcels_raw": ".tsv", "coverage": ".tsv"}
    outputs = Files({n: out / (n + suffixes.get(n, ".nii.gz")) for n in ingest.STAGE.outputs}, meta)
    return inputs, outputs, data, labels


def test_parcel_means_and_motion(files: tuple[Files, Files, np.ndarray, np.ndarray]) -> None:
    inputs, outputs, data, labels = files
    facts = call(ingest.STAGE, inputs, outputs, ingest.Config(interpolation="linear"))
    names, series = read_table(outputs["parcels_raw"])
    assert names == ["a", "b"]
    expected = np.stack([data[labels == i].mean(0) for i in (1, 2)], 1)
    np.testing.assert_allclose(series, expected, rtol=1e-5)
    assert read_table(outputs["motion_params"])[1].shape == (7, 6)
    assert facts["RepetitionTime"] == 1.5
    assert "x:1" in ingest.describe(facts)


def test_a_copied_outdir_is_read_where_it_is_now(files: tuple[Files, Files, np.ndarray, np.ndarray]) -> None:
    """Not where fMRIPrep wrote its images once, though they are there still."""
    inputs, outputs, data, labels = files
    copy = inputs["bold"].parent / "copy"
    shutil.copytree(inputs["bold"].parent / "fmriprep", copy / "derivatives/fmriprep")
    image = next(copy.rglob(f"*_{SPACE}_desc-preproc_bold.nii.gz"))
    nib.save(nib.Nifti1Image(2 * data, AFFINE), image)
    inputs.meta["outdir"] = str(copy)
    call(ingest.STAGE, inputs, outputs, ingest.Config(interpolation="linear"))
    np.testing.assert_allclose(read_table(outputs["parcels_raw"])[1][:, 0], 2 * data[labels == 1].mean(0), rtol=1e-5)


def test_another_space_is_refused(files: tuple[Files, Files, np.ndarray, np.ndarray]) -> None:
    inputs, outputs, *_ = files
    write_facts(inputs["template_mask"], {"Space": "MNI152NLin2009aSym"})
    with pytest.raises(InputError, match=r"template\.name is MNI152NLin2009aSym"):
        call(ingest.STAGE, inputs, outputs, ingest.Config())


def test_a_run_that_fmriprep_did_not_write_is_refused(files: tuple[Files, Files, np.ndarray, np.ndarray]) -> None:
    inputs, outputs, *_ = files
    inputs.meta["id"] = "sub-01_task-other"
    with pytest.raises(Refused, match=r"no sub-01_task-other_space-MNI152NLin6Asym_res-2_desc-preproc_bold"):
        call(ingest.STAGE, inputs, outputs, ingest.Config())


def of_fmriprep(inputs: Files, ending: str) -> Path:
    return next((inputs["bold"].parent / "fmriprep").rglob(f"*_{ending}"))


def test_a_run_that_shows_no_brain_is_refused(files: tuple[Files, Files, np.ndarray, np.ndarray]) -> None:
    """A spinal cord has 12 ml in its mask, and a registration would blow it up to a brain."""
    inputs, outputs, *_ = files
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:8, 4:10, 4:9] = 1
    nib.save(nib.Nifti1Image(mask, AFFINE), of_fmriprep(inputs, "desc-brain_mask.nii.gz"))
    with pytest.raises(Refused, match=r"8 ml of brain were found in it -> is it a run of a whole head\?"):
        call(ingest.STAGE, inputs, outputs, ingest.Config(interpolation="linear"))


@pytest.mark.parametrize("ending", ["desc-brain_mask.nii.gz", "boldref.nii.gz"])
def test_a_damaged_mask_is_the_fault_of_its_recording(
    files: tuple[Files, Files, np.ndarray, np.ndarray], ending: str
) -> None:
    inputs, outputs, *_ = files
    file = of_fmriprep(inputs, ending)
    content = bytearray(file.read_bytes())
    content[-6] ^= 1
    file.write_bytes(content)
    with pytest.raises(Refused, match=f"{ending}: corrupt gzip data"):
        call(ingest.STAGE, inputs, outputs, ingest.Config(interpolation="linear"))


@pytest.mark.parametrize(("tr", "says"), [("2000", "in milliseconds"), ('"2"', "no number"), ("0", "no time")])
def test_an_impossible_tr_is_refused(files: tuple[Files, Files, np.ndarray, np.ndarray], tr: str, says: str) -> None:
    inputs, outputs, *_ = files
    of_fmriprep(inputs, "desc-preproc_bold.json").write_text(f'{{"RepetitionTime": {tr}}}')
    with pytest.raises(Refused, match=f"RepetitionTime .*{says}"):
        call(ingest.STAGE, inputs, outputs, ingest.Config(interpolation="linear"))


def test_golden(files: tuple[Files, Files, np.ndarray, np.ndarray], golden: Callable[..., None]) -> None:
    facts = call(ingest.STAGE, *files[:2], ingest.Config())
    golden(ingest.STAGE, files[1], facts)
