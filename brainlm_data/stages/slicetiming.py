"""slicetiming: decides whether the slices of a run are moved to one time, and writes when each was acquired.

Nothing is interpolated here. Stages `sample` and `keep` correct the raw volumes as they read them
(`methods/slicetiming.py`), before their one interpolation in space. Motion is estimated on the volumes as acquired, as
in fMRIPrep: interpolation in time blurs movement (Power et al., 2017).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from pydantic import Field

from brainlm_data.errors import Refused
from brainlm_data.methods.slicetiming import SliceTimes
from brainlm_data.reading.image import Run
from brainlm_data.reading.timing import impossible_slices
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig

AXES = {"i": 0, "j": 1, "k": 2}


class Config(StageConfig):
    """Slice timing correction."""

    correct: Literal["auto", "always", "never"] = Field(
        "auto",
        description="auto: runs whose sidecar has SliceTiming, unless their TR is short; always: refuse a run without"
        " it; never: leave all as acquired",
    )
    min_tr_s: float = Field(1.0, ge=0, description="auto: runs with a shorter TR (s) are not corrected")
    reference: float = Field(
        0.5, ge=0, le=1, description="time to which slices are moved: 0: that of the first slice; 1: that of the last"
    )


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the slice times of a run to be corrected, or why it is not.

    Raises
    ------
    Refused: `correct: always`, and SliceTiming is missing or cannot be right.
    """
    motion = inputs.facts("motion_params")
    tr, metadata = float(motion["RepetitionTime"]), inputs.meta.get("metadata", {})
    reason, warnings = "", list[str]()
    times: SliceTimes | None = None
    if config.correct == "never":
        reason = "slicetiming.correct is never"
    elif config.correct == "auto" and tr < config.min_tr_s:
        reason = f"its TR of {tr:g} s is below {config.min_tr_s:g} s"
    elif "SliceTiming" not in metadata:
        reason = "its JSON sidecar has no SliceTiming"
    else:
        try:
            times = times_of(Run(inputs["bold"]).shape, tr, metadata, config.reference, motion)
        except ValueError as error:
            reason = f"its SliceTiming is not usable: {error}"
            warnings.append(f"no slice timing correction: {reason}")
    if times is None and config.correct == "always":
        raise Refused(f"{inputs['bold']}: {reason}", "fix its JSON sidecar, or set slicetiming.correct: auto")
    content: dict[str, Any] = {"corrected": times is not None}
    reference_s = None
    if times is not None:
        content |= asdict(times)
        reference_s = times.reference_s
    outputs["slice_times"].write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return {"Corrected": times is not None, "Reason": reason, "ReferenceTime": reference_s, "Warnings": warnings}


def times_of(
    shape: tuple[int, int, int], tr: float, metadata: dict[str, Any], reference: float, motion: Facts
) -> SliceTimes:
    """Slice times from BIDS metadata. Raises ValueError where they cannot be those of this image."""
    direction = str(metadata.get("SliceEncodingDirection", "k"))
    if direction.rstrip("-") not in AXES:
        raise ValueError(f"SliceEncodingDirection {direction!r} is not i, j or k")
    axis = AXES[direction.rstrip("-")]
    if problem := impossible_slices(metadata["SliceTiming"], tr):
        raise ValueError(problem)
    times = np.asarray(metadata["SliceTiming"], dtype=np.float64)
    if times.shape != (shape[axis],):
        raise ValueError(f"{times.size} times for {shape[axis]} slices")
    if direction.endswith("-"):  # BIDS: the first time is that of the slice with the highest index
        times = times[::-1]
    at = float(times.min() + reference * (times.max() - times.min()))
    return SliceTimes(axis, tr, tuple(float(t) for t in times), at, int(motion.get("NumberOfNonSteadyStates", 0)))


def describe(facts: Facts) -> str:
    """Methods sentence."""
    if not facts["Corrected"]:
        return f"Slice timing was not corrected ({facts['Reason']})."
    return Sentence(
        "Slices were moved to {reference_s:g} s within each TR by windowed-sinc interpolation of the raw"
        " volumes (Sladky et al., 2011); motion had been estimated on the volumes as acquired (Power et al., 2017).",
        reference_s=facts["ReferenceTime"],
    )


STAGE = Stage(
    name="slicetiming",
    version=2,
    level="recording",
    summary="Decide on slice timing correction: when each slice was acquired, and the time all are moved to.",
    Config=Config,
    inputs=("bold", "motion_params"),
    outputs=("slice_times",),
    run=run,
    describe=describe,
    routes=("native",),
    need=Need(400, 0.5, 10),
)
