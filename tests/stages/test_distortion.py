from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.methods.distortion import PhaseEncoding, Shift
from brainlm_data.quality import page
from brainlm_data.runner.call import call, places
from brainlm_data.stage import Facts, Files, Sentence
from brainlm_data.stages import distortion, template
from tests.stages import distorted, head
from tests.stages.distorted import AXIS, READOUT_S

RUN = {"PhaseEncodingDirection": "j", "TotalReadoutTime": READOUT_S}


@pytest.fixture(scope="module")
def subject(coarse_head: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A T1w with mask and tissues, a distorted reference, and a rigid map that is right."""
    from brainlm_data.methods import rigid

    folder = tmp_path_factory.mktemp("distorted")
    files = {**coarse_head, "boldref": distorted.epi(folder / "b.nii.gz", 1), "bold_to_t1w": folder / "c.txt"}
    rigid.write_itk(files["bold_to_t1w"], head.EPI[None])
    return files


def correct(
    files: dict[str, Path], folder: Path, sources: tuple[dict[str, Any], ...] = (), maps: dict[str, Path] | None = None,
    run: dict[str, Any] = RUN, left: dict[str, str] | None = None, **section: Any,
) -> tuple[Files, Facts]:  # fmt: skip
    meta = {"id": "x", "phase_encoding": run, "fieldmaps": list(sources), "fieldmaps_left": left or {}}
    outputs = places(distortion.STAGE, folder, {"space": "MNI", "seg": "atlas"})
    needed = {name: files[name] for name in distortion.STAGE.inputs if name in files}
    facts = call(distortion.STAGE, Files({**needed, **(maps or {})}, meta), outputs, distortion.Config(**section))
    return Files({name: path for name, path in outputs.items() if path.exists()}), facts


def opposed(*directions: str, **told: Any) -> dict[str, Any]:
    names = [f"epi{number}" for number in range(len(directions))]
    stated = told or {"TotalReadoutTime": READOUT_S}
    return {
        "kind": "epi",
        "images": names,
        "metadata": [{"PhaseEncodingDirection": way, **stated} for way in directions],
    }


PHASEDIFF = {
    "kind": "phasediff", "phase": "phasediff", "magnitude": "magnitude1",
    "metadata": {"EchoTime1": distorted.ECHOES_S[0], "EchoTime2": distorted.ECHOES_S[1]},
}  # fmt: skip
FIELD = {"kind": "fieldmap", "field": "fieldmap", "magnitude": "magnitude1", "metadata": {"Units": "Hz"}}


def error_mm(out: Files, files: dict[str, Path]) -> tuple[float, float]:
    """RMS of the error of the field that was found, and of the true one, in the brain, mm; without their means.

    The mean is a shift of the head, which the rigid map takes up.
    """
    found: Any = nib.load(out["fieldmap"])
    points = np.indices(found.shape).reshape(3, -1).T @ found.affine[:3, :3].T + found.affine[:3, 3]
    true = (READOUT_S * 4.0 * distorted.field_hz(points)).reshape(found.shape)
    brain = np.asarray(nib.load(files["bold_mask"]).dataobj) > 0  # type: ignore[attr-defined]
    return float(np.std((np.asarray(found.dataobj) - true)[brain])), float(np.std(true[brain]))


def place_error_mm(out: Files, files: dict[str, Path]) -> float:
    """Mean distance between where points of the brain are seen and where they are looked for, mm."""
    from brainlm_data.methods.rigid import read_itk

    points = head.to_t1w(head.brain_points(files["template_mask"]))
    true = head.to_epi(points)
    edge = nib.load(files["boldref"]).affine[:3, AXIS]  # type: ignore[attr-defined]
    true = true + READOUT_S * distorted.field_hz(true)[:, None] * edge
    if "fieldmap" in out:
        matrix = read_itk(out["undistorted_to_t1w"])[0]
        shift = Shift.read(out["fieldmap"], out.facts("fieldmap"))
        found = shift.carried(points @ matrix[:3, :3].T + matrix[:3, 3])[0]
    else:
        found = head.to_epi(points)
    return float(np.linalg.norm(found - true, axis=1).mean())


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Images that measure the field."""
    folder = tmp_path_factory.mktemp("maps")
    return {**distorted.phases(folder), **distorted.pair(folder)}


def test_a_phase_difference(subject: dict[str, Path], maps: dict[str, Path], tmp_path: Path) -> None:
    out, facts = correct(subject, tmp_path, (PHASEDIFF,), maps)
    assert facts["DistortionCorrection"] == "phasediff", facts
    assert facts["Warnings"] == []
    wrong, spread = error_mm(out, subject)
    assert wrong < 0.2 * spread, (wrong, spread)
    assert facts["BoundaryCost"] < facts["BoundaryCostBefore"] < facts["BoundaryCostReversed"]
    assert place_error_mm(out, subject) < 0.6 * place_error_mm(Files({}), subject)


def test_fields_in_any_unit(maps: dict[str, Path]) -> None:
    """Two phases, a phase difference in grey values or in radians, Hz, rad/s and T: all the same field."""
    from brainlm_data.methods import fieldmap
    from brainlm_data.methods.rigidfit import Volume

    images: dict[str, Any] = {name: nib.load(path) for name, path in maps.items()}  # type: ignore[attr-defined]
    data = {name: np.asarray(image.dataobj, np.float64) for name, image in images.items()}
    true, magnitude = data["fieldmap"], Volume(data["magnitude1"].astype(np.float32), images["magnitude1"].affine)
    for measured in (
        fieldmap.of_phases([data["phase1"], data["phase2"]], distorted.ECHOES_S, magnitude),
        fieldmap.of_phases([data["phasediff"]], distorted.ECHOES_S, magnitude),
        fieldmap.of_phases([data["phasediff"] / 4096 * 2 * np.pi], distorted.ECHOES_S, magnitude),
        fieldmap.of_field(true, "Hz", magnitude),
        fieldmap.of_field(2 * np.pi * true, "rad/s", magnitude),
        fieldmap.of_field(true / 42.577e6, "T", magnitude),
    ):
        smooth = fieldmap.smooth(measured.hz - np.median(measured.hz[measured.mask]), measured.mask, np.full(3, 3.4))
        error = (smooth - true)[measured.mask]
        assert np.std(error) < 0.2 * np.std(true[measured.mask])


def test_opposed_phase_encodings(subject: dict[str, Path], maps: dict[str, Path], tmp_path: Path) -> None:
    out, facts = correct(subject, tmp_path, (opposed("j", "j-"),), maps)
    assert facts["DistortionCorrection"] == "epi", facts
    wrong, spread = error_mm(out, subject)
    assert wrong < 0.4 * spread, (wrong, spread)
    assert place_error_mm(out, subject) < 0.6 * place_error_mm(Files({}), subject)


def test_one_image_that_is_opposed_to_the_run(subject: dict[str, Path], maps: dict[str, Path], tmp_path: Path) -> None:
    """Its readout time is not stated either: it is taken to be the run's."""
    out, facts = correct(subject, tmp_path, (opposed("j-", EchoTime=0.03),), {"epi0": maps["epi1"]})
    assert facts["DistortionCorrection"] == "epi", facts
    wrong, spread = error_mm(out, subject)
    assert wrong < 0.4 * spread, (wrong, spread)


def test_without_a_fieldmap(subject: dict[str, Path], tmp_path: Path, golden: Callable[..., None]) -> None:
    out, facts = correct(subject, tmp_path, run={"PhaseEncodingAxis": "j"})
    assert facts["DistortionCorrection"] == "fit", facts
    assert facts["Warnings"] == [] and "FieldmapsNotUsed" not in facts
    wrong, spread = error_mm(out, subject)
    assert wrong < 0.6 * spread, (wrong, spread)
    assert place_error_mm(out, subject) < 0.75 * place_error_mm(Files({}), subject)
    shown = page._distortion(Files({**subject, **out}))
    assert [bool(figure.second) for figure in shown] == [True, False]  # before and after correction; the field
    assert f"{facts['BoundaryCost']:.3f} after" in shown[0].caption
    golden(distortion.STAGE, out, facts, after=[template.STAGE], rtol=0.02)


def test_a_head_without_distortion_stays(
    coarse_head: dict[str, Path], subject: dict[str, Path], tmp_path: Path
) -> None:
    files = {**subject, "boldref": coarse_head["boldref"]}
    out, facts = correct(files, tmp_path)
    assert set(out) == {"distortion"} and facts["DistortionCorrection"] == "none"
    assert "hardly improves" in facts["Reason"] or "reversed" in facts["Reason"]
    assert json.loads(out["distortion"].read_text())["method"] == "none"
    assert facts["Warnings"] == []  # nothing is wrong with it


def test_a_fieldmap_that_says_that_there_is_nothing_to_correct_is_believed(
    coarse_head: dict[str, Path], subject: dict[str, Path], maps: dict[str, Path], tmp_path: Path
) -> None:
    flat, field = tmp_path / "flat.nii.gz", nib.load(maps["fieldmap"])  # type: ignore[attr-defined]
    nib.save(nib.Nifti1Image(0.02 * np.asarray(field.dataobj), field.affine), flat)
    files = {**subject, "boldref": coarse_head["boldref"]}
    _, facts = correct(files, tmp_path, (FIELD,), {**maps, "fieldmap": flat})
    assert facts["DistortionCorrection"] == "fieldmap" and facts["Warnings"] == []
    assert facts["LargestShift"] < 1


def test_a_wrong_direction_is_noticed(subject: dict[str, Path], maps: dict[str, Path], tmp_path: Path) -> None:
    run = {**RUN, "PhaseEncodingDirection": "j-"}
    out, facts = correct(subject, tmp_path, (FIELD,), maps, run=run)
    assert facts["DistortionCorrection"] == "fit"  # which asks for the axis alone
    assert ["is PhaseEncodingDirection right?" in warning for warning in facts["Warnings"]] == [True]
    assert facts["FieldmapsNotUsed"] == ["bids:raw:fieldmap", "bids:raw:magnitude1"]
    assert place_error_mm(out, subject) < 0.75 * place_error_mm(Files({}), subject)


@pytest.mark.parametrize(
    ("run", "section", "reason"),
    [
        ({}, {}, "PhaseEncodingDirection"),
        ({"PhaseEncodingDirection": "y"}, {}, "'y' is not one of"),
        ({**RUN, "TotalReadoutTime": 50}, {}, "milliseconds"),
        (RUN, {"method": "never"}, "distortion.method is never"),
        (RUN, {"method": "fieldmap"}, "it has no fieldmap"),
    ],
)
def test_why_not(
    run: dict[str, Any], section: dict[str, Any], reason: str, subject: dict[str, Path], tmp_path: Path
) -> None:
    out, facts = correct(subject, tmp_path, run=run, **section)
    assert set(out) == {"distortion"} and reason in facts["Reason"], facts
    assert reason in distortion.describe(facts)


@pytest.mark.parametrize("doubt", ["", "; is PhaseEncodingDirection right?"])
def test_costs_are_numbers_in_the_methods(doubt: str) -> None:
    """So that those of many recordings become one sentence with ranges."""
    reason = f"the fit hardly improves (boundary cost 0.009 before, 0.010 after, 0.021 reversed){doubt}"
    said = distortion.describe({"DistortionCorrection": "none", "Reason": reason})
    assert reason in said
    assert isinstance(said, Sentence)
    assert (said.fields["before"], said.fields["after"], said.fields["reversed"]) == (0.009, 0.01, 0.021)


def test_without_a_t1w_nothing_is_done(subject: dict[str, Path], maps: dict[str, Path], tmp_path: Path) -> None:
    files = {name: subject[name] for name in ("boldref", "bold_mask")}
    out, facts = correct(files, tmp_path, (FIELD,), maps)
    assert set(out) == {"distortion"} and "no T1w" in facts["Reason"]
    assert len(facts["Warnings"]) == 1 and facts["FieldmapsNotUsed"]


def test_fieldmaps_that_cannot_be_used_are_said(subject: dict[str, Path], tmp_path: Path) -> None:
    """A field of the upper half, magnitudes of another size, images of one direction, and what the index left."""
    half = distorted.phases(tmp_path, low=0.5)
    small = tmp_path / "small.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((9, 9, 9), np.float32), np.eye(4)), small)
    sources = (FIELD, {**PHASEDIFF, "magnitude": "small"}, opposed("j", "j"))
    both = {"epi0": subject["boldref"], "epi1": subject["boldref"], "small": small}
    _, facts = correct(
        subject, tmp_path, sources, {**half, **both}, left={"fmap/x.nii.gz": "no EchoTime"}, method="fieldmap"
    )
    text = " | ".join(facts["Warnings"])
    assert facts["DistortionCorrection"] == "none"
    for part in ("covers", "differ in size", "no two of its images", "fmap/x.nii.gz: no EchoTime"):
        assert part in text, text
    assert len(facts["Warnings"]) == 4


def test_directions_are_those_of_bids() -> None:
    assert str(PhaseEncoding.of("k-")) == "k-" and PhaseEncoding.of("i") == PhaseEncoding(0, 1)
    for text in ("", "y", "jj", "-j", "AP"):
        with pytest.raises(ValueError, match="is not one of"):
            PhaseEncoding.of(text)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    shift = Shift(np.full((4, 5, 6), 0.5, np.float32), affine, 1)
    facts = shift.write(tmp_path / "f.nii.gz")
    again = Shift.read(tmp_path / "f.nii.gz", facts)
    np.testing.assert_allclose(again.values, shift.values, rtol=1e-6)
    there, stretch = again.carried(np.array([[0.0, 3.0, 4.0], [100.0, 100.0, 100.0]]))
    np.testing.assert_allclose(there[0], [0, 4.5, 4], atol=1e-6)  # half a voxel of 3 mm
    np.testing.assert_allclose(stretch, 1)
