"""Three toy stages, to test the runner and the graph without the methods."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from brainlm_data.errors import Refused
from brainlm_data.stage import Facts, Files, Sentence, Stage, StageConfig


class AnatConfig(StageConfig):
    grid_mm: float = Field(2.0, gt=0, description="working resolution")


class MotionConfig(StageConfig):
    gain: float = Field(1.0, description="multiplies")
    refuse: str = Field("", description="recording id to refuse")
    crash: str = Field("", description="file whose absence lets the second recording crash")
    marks: dict[str, str] = Field({}, exclude=True, description="recording -> mark, as a file might say")


class CollateConfig(StageConfig):
    note: str = ""


CALLS: list[str] = []


def anat(inputs: Files, outputs: Files, config: AnatConfig) -> Facts:
    CALLS.append(f"anat {inputs.meta['id']}")
    outputs["t1w_preproc"].write_bytes(inputs["t1w"].read_bytes()[:10])
    return {"GridMm": config.grid_mm}


def motion(inputs: Files, outputs: Files, config: MotionConfig) -> Facts:
    CALLS.append(f"motion {inputs.meta['id']}")
    if inputs.meta["id"] == config.refuse:
        raise Refused(f"{inputs['bold'].name}: bad", "fix it")
    if config.crash and inputs.meta["id"].startswith("sub-02") and not Path(config.crash).exists():
        raise MemoryError("crash")
    text = f"gain\tanat\n{config.gain}\t{inputs.get('t1w_preproc') is not None}\n"
    outputs["motion_params"].write_text(text)
    return {"RepetitionTime": inputs.meta["metadata"]["RepetitionTime"], "motion_params": {"Units": "mm"}}


def collate(inputs: Files, outputs: Files, config: CollateConfig) -> Facts:
    CALLS.append("collate")
    rows = [
        f"{r['id']} {r['status']} {sorted(r['files'])} {r['reason']} {Sentence.of(r['methods'].get('motion', ''))}"
        for r in inputs.meta["recordings"]
    ]
    outputs["card"].write_text("\n".join(rows))
    return {}


ANAT = Stage("anat", 1, "subject", "Anatomy.", AnatConfig, ("t1w",), ("t1w_preproc",), anat, lambda f: "Anatomy.")
MOTION = Stage(
    "motion", 1, "recording", "Motion.", MotionConfig, ("bold", "t1w_preproc"), ("motion_params",), motion,
    lambda f: f"TR {f['RepetitionTime']} s.", optional=("t1w_preproc",),
    by_unit=lambda config, ids: {i: {"mark": config.marks[i], "_at": len(ids)} for i in ids if i in config.marks},
)  # fmt: skip
COLLATE = Stage(
    "collate", 1, "cohort", "Gather.", CollateConfig, ("motion_params",), ("card",), collate, lambda f: "Gathered."
)
STAGES = (ANAT, MOTION, COLLATE)
