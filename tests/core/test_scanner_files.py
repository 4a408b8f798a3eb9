"""Images of real scanners, by dcm2niix and by the authors of other packages: TR and slice times, or the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from brainlm_data.bids.index import Index, Recording, Select, read_index
from brainlm_data.cli import main
from brainlm_data.errors import Refused
from brainlm_data.reading.image import Run, repetition_time
from brainlm_data.stages.slicetiming import times_of
from tests.conftest import SHARED
from tests.core.scanner_files import lay_out

FOLDER = SHARED / "data"
TR_S = {  # by what the protocol says
    "fMRIMBint26": 3.0, "geAxfMRIHB872slintdes8": 1.0, "nihDCM2NIIXregressiontest4": 5.0, "nihEPIPEAP3": 2.43537,
    "nihEPIPEPA4": 2.43537, "nihEPIPERL5": 2.43537, "philipsEPIascCLEAR201": 2.0, "stcGEBrainRoutine4": 1.5,
    "stcGEDCM2NIIXregressiontest6": 5.0, "stcSiemensRestfMRIAP7": 1.3, "stcSiemensep2dAscHF10": 3.2,
    "stcSiemensfMRIcontin30x30x364": 2.2, "noPFnoPATnoPOSPEres100ES0p59BW2222200PFOVAP34": 10.73,
    "noPFnoPATnoPOSPEres100ES0p59BW2222200PFOVPA35": 10.73, "functional": 2.0, "nitime": 1.35, "cord": 1.13,
    "echoes": 2.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Index]:
    if not (FOLDER / "headers").is_dir():
        pytest.skip("scanner files not at hand: expected data/headers, echoes, odd and sdc beside the project")
    root = tmp_path_factory.mktemp("scanners")
    lay_out(FOLDER, root)
    return root, read_index(root, Select.model_validate({}))


def recordings(index: Index) -> dict[str, Recording]:
    return {recording.subject: recording for recording in index.recordings}


def test_every_file_is_taken_or_said(real: tuple[Path, Index]) -> None:
    _, index = real
    assert recordings(index).keys() == {*TR_S, "example", "sdc"} and not any(r.fault for r in index.recordings)
    said = "\n".join(index.ignored)
    for word in ("echo-1_bold.nii.gz: echo 1", "echo-3_bold.nii.gz: echo 3", "spm_task-rest_bold.img: .img is not .nii",
                 "spm_task-rest_bold.hdr: .hdr is not .nii", "1 images *_epi", "1 images *_fieldmap"):  # fmt: skip
        assert word in said
    assert recordings(index)["echoes"].bold.path.endswith("_echo-2_bold.nii.gz")


@pytest.mark.parametrize("subject", TR_S)
def test_repetition_time(real: tuple[Path, Index], subject: str) -> None:
    _, index = real
    recording = recordings(index)[subject]
    tr, warnings = repetition_time(Run(Path(recording.bold.path)), recording.metadata)
    assert tr == pytest.approx(TR_S[subject], rel=1e-6)
    assert bool(warnings) == ("RepetitionTime" not in recording.metadata)


def test_slice_times_are_those_of_the_scanner(real: tuple[Path, Index]) -> None:
    """Inside the TR, one per slice of the image, and as many at once as the multiband factor says."""
    root, index = real
    seen = 0
    for subject, recording in recordings(index).items():
        if "SliceTiming" not in recording.metadata:
            continue
        run = Run(Path(recording.bold.path))
        found = times_of(run.shape, TR_S[subject], recording.metadata, 0.5, {})
        assert found.axis == 2 and len(found.times_s) == run.shape[2] and max(found.times_s) < TR_S[subject]
        full = json.loads(next(root.glob(f"sub-{subject}/func/*_bold.json")).read_text())
        at_once = np.unique(found.times_s, return_counts=True)[1]
        assert set(at_once) == {full.get("MultibandAccelerationFactor", 1)}, subject
        seen += 1
    assert seen == 13


def test_a_tr_of_two_thousand_seconds_is_refused(real: tuple[Path, Index]) -> None:
    """nibabel's example4d says 2000 and seconds; with a sidecar that says 2, that counts."""
    run = Run(Path(recordings(real[1])["example"].bold.path))
    with pytest.raises(Refused, match=r"2000 s of its header is no time in seconds \(is it 2 s, in milliseconds\?\)"):
        repetition_time(run, {})
    tr, warnings = repetition_time(run, {"RepetitionTime": 2})
    assert tr == 2 and "2000 s in the NIfTI header" in warnings[0]


def test_an_spm_pair_is_refused_by_its_name() -> None:
    pair = FOLDER / "odd" / "bdpy_epi0001.img"
    if not pair.is_file():
        pytest.skip("scanner files not at hand: expected data/odd beside the project")
    for path in (pair, pair.with_suffix(".hdr")):
        with pytest.raises(Refused, match=rf"{path.name}: .*, not one NIfTI file -> convert it to \.nii\.gz"):
            Run(path)


@pytest.mark.slow
def test_a_spinal_cord_is_no_brain(real: tuple[Path, Index]) -> None:
    """What stage sample refuses; one slice through a brain holds more."""
    from brainlm_data.stages.motion import _brain_mask
    from brainlm_data.stages.sample import LEAST_ML

    run = Run(Path(recordings(real[1])["cord"].bold.path))
    mask = _brain_mask(run.first(), run)
    assert mask.sum() * abs(np.linalg.det(run.affine[:3, :3])) / 1000 < LEAST_ML / 1.5


@pytest.mark.slow
def test_the_stages_say_so_too(real: tuple[Path, Index], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, _ = real
    wanted = [f"sub-{subject}_task-rest" for subject in ("nihEPIPEAP3", "functional", "example", "sdc")]
    words = [
        "--bids-dir",
        str(root),
        "--outdir",
        str(tmp_path),
        "--recording",
        *wanted,
        "--set",
        "motion.min_volumes=2",
    ]
    for stage in ("motion", "slicetiming"):
        assert main(["run", stage, *words]) == 0
    said = capsys.readouterr().err
    for word in ("sub-nihEPIPEAP3_task-rest done", "voxels are too few for a rigid fit", "2000 s of its header",
                 "1 volumes, motion.min_volumes is 2"):  # fmt: skip
        assert word in said
    (recipe,) = tmp_path.rglob("sub-nihEPIPEAP3*_desc-slicetiming_recipe.json")
    content = json.loads(recipe.read_text())
    assert content["corrected"] and content["tr_s"] == 2.43537 and len(content["times_s"]) == 5
