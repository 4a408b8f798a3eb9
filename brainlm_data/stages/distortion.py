"""distortion: where the BOLD reference shows what belongs elsewhere, and its registration to the T1w after correction.

A field along the phase-encoding axis, static in the head, from the run's fieldmaps, or else from the fit of the
reference to the T1w. It is kept only where the T1w's white-matter surface, which no method has seen, says that it is
right; if it does not, the next source is tried, and in the end nothing is corrected. No image is resampled here: stage
`sample` adds the field to its one interpolation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.bids.fieldmaps import files_of, readout_s
from brainlm_data.reading.image import load_output
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig
from brainlm_data.stages import coreg

AROUND_MM, MARGIN_MM = 2.5, 6.0  # grid and margin around the T1w's brain, where the fit without a fieldmap compares
LARGEST = 99  # percentile of the displacement in the brain that stands for the largest
COSTS = "boundary cost {before:.3f} before, {after:.3f} after, {reversed:.3f} reversed"
REFUSAL = rf"(.*) \({re.sub('{.*?}', '([0-9.]+)', COSTS)}\)(.*)"
MOST_RISE = 0.02  # of the boundary cost, with a measured field: it may be small where there is little to correct
# Without a fieldmap: what the fit finds where there is nothing to find changes the cost little, whichever way it is.
LEAST_FALL, LEAST_REVERSED = 0.03, 1.3  # of the cost before
MOST_MOVED_MM = 40.0  # of the head between fieldmap and run: people who leave the scanner between them move less
NEGLIGIBLE_MM = 1.0
LEAST_COVERED = 0.9  # of the head by a measured field
WORDS = {
    "epi": "images of opposed phase encoding",
    "phasediff": "a phase-difference image",
    "phases": "two phase images",
    "fieldmap": "a measured field",
    "fit": "the T1w image, without a fieldmap",
}


class Config(StageConfig):
    """Susceptibility distortion correction."""

    method: Literal["auto", "fieldmap", "fit", "never"] = Field(
        "auto",
        description="auto: from the fieldmaps that are meant for a run; without one, from its fit to the T1w; fieldmap,"
        " fit: only that; never: leave it",
    )
    direction: Literal["i", "i-", "j", "j-", "k", "k-"] | None = Field(
        None, description="PhaseEncodingDirection of runs whose JSON does not state it; null: they are not corrected"
    )


class Unusable(Exception):
    """A source of the field that cannot be used; says why."""


@dataclass(frozen=True)
class Encoding:
    """How a run was encoded: axis, sign (0: not stated) and total readout time, s (None: not stated)."""

    axis: int
    sign: int
    readout_s: float | None

    @classmethod
    def of(cls, metadata: Mapping[str, Any], shape: tuple[int, ...], config: Config) -> Encoding:
        """From a run's metadata. Raises Unusable where nothing is known of it, or where it is impossible."""
        from brainlm_data.methods.distortion import PhaseEncoding

        stated = metadata.get("PhaseEncodingDirection", config.direction)
        axis = metadata.get("PhaseEncodingAxis")  # what converters write where the scanner does not say the direction
        if stated is None and axis not in ("i", "j", "k"):
            raise Unusable("its JSON has no PhaseEncodingDirection (distortion.direction states it for all such runs)")
        try:
            found = PhaseEncoding.of(str(axis if stated is None else stated))
            seconds = readout_s({**metadata, "PhaseEncodingDirection": str(found)}, shape)
        except ValueError as error:
            raise Unusable(str(error)) from error
        return cls(found.axis, found.sign if stated is not None else 0, seconds)


@dataclass(frozen=True)
class Subject:
    """What a correction is judged by: the T1w around its brain, the even BOLD reference, its mask, and their map."""

    head: coreg.Head
    bold: coreg.Image
    mask: coreg.Image
    matrix: NDArray[Any]

    @classmethod
    def read(cls, inputs: Files) -> Subject:
        """From the outputs of anat, motion and coreg."""
        from brainlm_data.methods.rigid import read_itk

        bold, mask = coreg.even(inputs, coreg.Config()), coreg.image(inputs["bold_mask"])
        return cls(coreg.Head.read(inputs), bold, mask, read_itk(inputs["bold_to_t1w"])[0])

    @cached_property
    def t1w(self) -> Any:
        """The T1w, a `Volume`."""
        from brainlm_data.methods.rigidfit import Volume

        return Volume(*self.head.t1w)

    @cached_property
    def around(self) -> Any:
        """Where in the T1w it is compared with the reference, a `Volume`."""
        from brainlm_data.methods.rigidfit import Volume

        return Volume(*coreg.surroundings(self.head.mask, AROUND_MM, MARGIN_MM))

    @cached_property
    def boundary(self) -> Any:
        """The white-matter surface against the reference as it is (`methods/boundary.py`). Raises Unusable."""
        from brainlm_data.methods.boundary import Boundary
        from brainlm_data.methods.rigidfit import Volume

        if self.head.white is None or self.head.grey is None:
            raise Unusable("there are no tissue maps of its T1w")
        return Boundary(Volume(*self.head.white), Volume(*self.head.grey), Volume(*self.bold))


@dataclass(frozen=True)
class Correction:
    """A field that was tried: its source, the map to the T1w after it, and boundary costs."""

    kind: str
    shift: Any
    largest_mm: float
    matrix: NDArray[Any]
    before: float
    after: float
    reversed: float

    @property
    def refusal(self) -> str:
        """Why it is not kept; "" where it is."""
        if self.kind != "fit" and self.largest_mm < NEGLIGIBLE_MM:
            return ""  # it says that there is nothing to correct, which no test can tell from its reverse
        costs = COSTS.format(before=self.before, after=self.after, reversed=self.reversed)
        if self.reversed <= self.after:
            doubt = "; is PhaseEncodingDirection right?" if self.kind != "fit" else ""
            return f"the reversed field fits the T1w as well or better ({costs}){doubt}"
        if self.kind == "fit":
            if self.after > (1 - LEAST_FALL) * self.before or self.reversed < LEAST_REVERSED * self.before:
                return f"the fit hardly improves on what there is ({costs})"
        elif self.after > (1 + MOST_RISE) * self.before:
            return f"the field makes the fit to the T1w worse ({costs})"
        return ""

    @property
    def facts(self) -> Facts:
        """For the sidecar."""
        return {
            "BoundaryCostBefore": self.before, "BoundaryCost": self.after, "BoundaryCostReversed": self.reversed,
        }  # fmt: skip


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the recipe; where a field is kept also the field, the undistorted reference and its map to the T1w."""
    warnings, sources = _left(inputs), list(inputs.meta.get("fieldmaps", ()))
    kept: Correction | None = None
    encoding: Encoding | None = None
    reason = ""
    try:
        if config.method == "never":
            raise Unusable("distortion.method is never")
        if inputs.get("bold_to_t1w") is None:
            raise Unusable("it has no T1w; the warp to the template takes up a part of it")
        shape = load_output(inputs["boldref"]).shape[:3]
        encoding = Encoding.of(inputs.meta.get("phase_encoding", {}), shape, config)
        tried = [] if config.method == "fit" else sources
        if not tried and config.method == "fieldmap":
            raise Unusable("it has no fieldmap")
        subject = Subject.read(inputs)
        for kind, find in _ways(inputs, tried, subject, encoding, config):
            try:
                correction = _judged(subject, kind, find())
                reason = correction.refusal
            except Unusable as error:
                reason = str(error)
            if not reason:
                kept = correction
                break
            if kind != "fit":
                warnings.append(f"a fieldmap ({WORDS[kind]}) was not used: {reason}")
    except Unusable as error:
        reason = str(error)
    facts: Facts = {"DistortionCorrection": kept.kind if kept else "none", "Reason": "" if kept else reason}
    if encoding is not None:
        facts |= {"PhaseEncodingAxis": "ijk"[encoding.axis], "TotalReadoutTime": encoding.readout_s}
    if kept is not None:
        facts |= _written(inputs, outputs, kept)
    if (kept is None or kept.kind == "fit") and (sources or warnings):
        unused = {path for source in sources for path in files_of(source)} | {*inputs.meta.get("fieldmaps_left", ())}
        facts["FieldmapsNotUsed"] = [f"bids:raw:{path}" for path in sorted(unused)]
        if sources and not warnings:
            warnings.append(
                f"a fieldmap is intended for this run; it was not used: {reason or 'distortion.method is fit'}"
            )
    content = {"method": facts["DistortionCorrection"], "reason": facts["Reason"]}
    outputs["distortion"].write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return {**facts, "Warnings": warnings}


def _left(inputs: Files) -> list[str]:
    """Fieldmaps that the index could not use, as warnings."""
    return [f"fieldmap not used: {path}: {why}" for path, why in dict(inputs.meta.get("fieldmaps_left", {})).items()]


def _ways(
    inputs: Files, sources: list[Mapping[str, Any]], subject: Subject, encoding: Encoding, config: Config
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Kind and maker of every field that is to be tried, the best first."""
    for source in sources:
        yield source["kind"], partial(_measured, inputs, source, subject, encoding)
    if config.method in ("auto", "fit"):
        yield "fit", partial(_fitted, subject, encoding)


def _fitted(subject: Subject, encoding: Encoding) -> Any:
    """The shift under which the reference fits its T1w."""
    from brainlm_data.methods import fieldless
    from brainlm_data.methods.rigidfit import Volume

    brain = subject.mask[0] > 0.5
    return fieldless.fitted(subject.t1w, subject.around, Volume(*subject.bold), brain, subject.matrix, encoding.axis)


def _measured(inputs: Files, source: Mapping[str, Any], subject: Subject, encoding: Encoding) -> Any:
    """The shift that a source of fieldmaps stands for. Raises Unusable."""
    from brainlm_data.methods import fieldmap
    from brainlm_data.methods.rigidfit import Volume

    if not encoding.sign:
        raise Unusable("the JSON of the run states no PhaseEncodingDirection")
    bold = Volume(*subject.bold)
    readout = encoding.readout_s
    if source["kind"] == "epi":
        measured, readout = _opposed(inputs, source, bold, encoding)
    elif readout is None:
        raise Unusable("the JSON of the run states neither TotalReadoutTime nor EffectiveEchoSpacing")
    elif source["kind"] == "fieldmap":
        field, affine = _image(inputs, source["field"])
        magnitude = np.abs(field) if source["magnitude"] is None else _image(inputs, source["magnitude"])[0]
        _same_grid(field, magnitude)
        measured = fieldmap.of_field(field, source["metadata"]["Units"], Volume(magnitude, affine))
    else:
        magnitude, affine = _image(inputs, source["magnitude"])
        names = [source["phase"]] if source["kind"] == "phasediff" else source["phase"]
        phases = [_image(inputs, name)[0] for name in names]
        for phase in phases:
            _same_grid(phase, magnitude)
        told = source["metadata"]
        if source["kind"] == "phasediff":
            echoes = [told["EchoTime1"], told["EchoTime2"]]
        else:
            echoes = [each["EchoTime"] for each in told]
        measured = fieldmap.of_phases(phases, echoes, Volume(magnitude, affine))
    if not measured.mask.any():
        raise Unusable("its magnitude shows no head")
    shift, covered, moved_mm = fieldmap.carried(measured, bold, encoding.sign * readout, encoding.axis)
    if moved_mm > MOST_MOVED_MM:
        raise Unusable(f"its head lies {moved_mm:.0f} mm from that of the run: another person's, or not registered")
    if covered < LEAST_COVERED:
        raise Unusable(f"it covers {covered:.0%} of the head")
    return shift


def _opposed(inputs: Files, source: Mapping[str, Any], bold: Any, encoding: Encoding) -> tuple[Any, float]:
    """The field between two images of opposed phase encoding, and the readout time of the run in the same unit."""
    from brainlm_data.methods import fieldmap, opposed
    from brainlm_data.methods.distortion import PhaseEncoding
    from brainlm_data.methods.rigidfit import Volume

    images: dict[PhaseEncoding, tuple[Any, float | None]] = {}
    for name, told in zip(source["images"], source["metadata"], strict=True):
        data, affine = _image(inputs, name)
        way = PhaseEncoding.of(told["PhaseEncodingDirection"])
        try:
            images.setdefault(way, (Volume(data, affine), readout_s(told, data.shape)))
        except ValueError as error:
            raise Unusable(f"{name}: {error}") from error
    images.setdefault(PhaseEncoding(encoding.axis, encoding.sign), (bold, encoding.readout_s))
    ways = [way for way in images if way.sign > 0 and PhaseEncoding(way.axis, -1) in images]
    if not ways:
        raise Unusable("no two of its images are of opposed phase encoding")
    axis = ways[0].axis
    (one, one_s), (two, two_s) = images[ways[0]], images[PhaseEncoding(axis, -1)]
    known = [seconds for seconds in (one_s, two_s, encoding.readout_s) if seconds is not None]
    if len(known) < 3:
        # What is not stated is taken to be as the others are; that needs the same voxels along the phase encoding.
        sizes = [float(np.linalg.norm(v.affine[:3, a])) for v, a in ((one, axis), (two, axis), (bold, encoding.axis))]
        if max(sizes) > 1.05 * min(sizes) or len(set(known)) > 1:
            raise Unusable("TotalReadoutTime is not stated of all of its images and of the run")
    seconds = known[0] if known else 1.0  # without any time the field is one in voxels per readout
    factors = (one_s or seconds, -(two_s or seconds))
    field, magnitude, mask = opposed.field_of(one, two, factors, axis)
    measured = fieldmap.Measured(field, mask, magnitude, one.affine)
    return measured, encoding.readout_s or seconds


def _image(inputs: Files, name: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """An image of a fieldmap (x, y, z), the median of its first volumes where there are several, and its affine."""
    from brainlm_data.methods.opposed import VOLUMES
    from brainlm_data.reading.image import Run, cleaned

    source = Run(inputs[name])
    volumes = []
    for volume in source:
        volumes.append(cleaned(volume))
        if len(volumes) == VOLUMES:
            break
    return np.median(np.stack(volumes), axis=0).astype(np.float32), np.asarray(source.affine, dtype=np.float64)


def _same_grid(one: NDArray[Any], other: NDArray[Any]) -> None:
    if one.shape != other.shape:
        raise Unusable(f"its images differ in size: {one.shape} and {other.shape} voxels")


def _judged(subject: Subject, kind: str, shift: Any) -> Correction:
    """A shift with its boundary costs; each with the rigid map that fits best."""
    from brainlm_data.methods.fieldless import rigid
    from brainlm_data.methods.rigidfit import Volume

    def fitted(data: NDArray[np.float32]) -> tuple[NDArray[Any], float]:
        volume = Volume(data, subject.bold[1])
        matrix = rigid(subject.t1w, subject.around, volume, subject.matrix)
        return matrix, subject.boundary.against(volume)(matrix)

    before = subject.boundary(subject.matrix)

    matrix, after = fitted(shift.undistorted(subject.bold[0]))
    _, backwards = fitted(shift.reversed.undistorted(subject.bold[0]))
    largest_mm = float(np.percentile(np.abs(shift.mm[subject.mask[0] > 0.5]), LARGEST))
    return Correction(kind, shift, largest_mm, matrix, before, after, backwards)


def _written(inputs: Files, outputs: Files, kept: Correction) -> Facts:
    """Write a field that is kept and what follows from it."""
    from brainlm_data.methods import rigid

    reference, affine = coreg.image(inputs["boldref"])
    brain = coreg.image(inputs["bold_mask"])[0] > 0.5
    image = nib.Nifti1Image(kept.shift.undistorted(reference), affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, outputs["boldref_undistorted"])
    rigid.write_itk(outputs["undistorted_to_t1w"], kept.matrix[None])
    moved = np.abs(kept.shift.mm[brain])
    return {
        **kept.facts,
        "MeanShift": float(moved.mean()),
        "LargestShift": kept.largest_mm,
        "fieldmap": kept.shift.write(outputs["fieldmap"]),
        "boldref_undistorted": {"Units": "scanner units"},
    }


def describe(facts: Facts) -> str:
    """Methods sentence."""
    if facts["DistortionCorrection"] == "none":
        more = " although a fieldmap was acquired" if facts.get("FieldmapsNotUsed") else ""
        start = f"Susceptibility distortion was not corrected{more}"
        if (costs := re.fullmatch(REFUSAL, facts["Reason"])) is None:
            return f"{start} ({facts['Reason']})."
        why, before, after, backwards, doubt = costs.groups()
        # Costs as numbers, which become ranges in the methods of a cohort; as text each recording had its own sentence.
        return Sentence(
            f"{start} ({{why}} ({COSTS}){{doubt}}).",
            why=why, before=float(before), after=float(after), reversed=float(backwards), doubt=doubt,
        )  # fmt: skip
    how = {
        "epi": "estimated from images of opposed phase encoding (least squares on cosines; Andersson et al., 2003)",
        "fit": "estimated by fitting the BOLD reference to the T1w image (mutual information of few cosines along the"
        " phase encoding; after Studholme et al., 2000)",
    }.get(
        facts["DistortionCorrection"],
        f"computed from {WORDS[facts['DistortionCorrection']]} (Jezzard and Balaban, 1995)",
    )
    return Sentence(
        "Susceptibility distortion along the phase encoding was {how} and kept because the white-matter boundary cost"
        " (Greve and Fischl, 2009) fell from {before:.3f} to {after:.3f} ({backwards:.3f} with the field reversed);"
        " signal had been displaced by {mean_mm:.1f} mm on average.",
        how=how,
        before=facts["BoundaryCostBefore"],
        after=facts["BoundaryCost"],
        backwards=facts["BoundaryCostReversed"],
        mean_mm=facts["MeanShift"],
    )


STAGE = Stage(
    name="distortion",
    version=2,
    level="recording",
    summary="Find out how susceptibility has displaced the signal, from fieldmaps or from the T1w.",
    Config=Config,
    inputs=("boldref", "bold_mask", "bold_to_t1w", "t1w_preproc", "t1w_mask", "t1w_gm", "t1w_wm"),
    outputs=("distortion", "fieldmap", "boldref_undistorted", "undistorted_to_t1w"),
    run=run,
    describe=describe,
    optional=(
        "bold_to_t1w", "t1w_preproc", "t1w_mask", "t1w_gm", "t1w_wm", "fieldmap", "boldref_undistorted",
        "undistorted_to_t1w",
    ),
    told=("phase_encoding", "fieldmaps", "fieldmap_files", "fieldmaps_left"),
    routes=("native",),
    need=Need(1100, 0.5, 60),
)  # fmt: skip
