"""The model's stages, in order."""

from __future__ import annotations

from brainlm_data import STAGES as DATA_STAGES
from brainlm_data import Stage
from brainlm_model.decode.stages.decode import STAGE as DECODE
from brainlm_model.decode.stages.diffusion import STAGE as DIFFUSION
from brainlm_model.decode.stages.scmbm import STAGE as SCMBM
from brainlm_model.eval.masked.stage import STAGE as EVALUATE
from brainlm_model.eval.tasks import TASKS as PAPER_TASKS
from brainlm_model.figures import STAGE as FIGURES
from brainlm_model.paper.stage import STAGE as PAPER
from brainlm_model.report.stage import STAGE as REPORT
from brainlm_model.training.stage import STAGE as TRAIN

STAGES: tuple[Stage, ...] = (
    TRAIN, EVALUATE, FIGURES, REPORT, *PAPER_TASKS.values(), PAPER, SCMBM, DIFFUSION, DECODE,
)  # fmt: skip
ALL_STAGES: tuple[Stage, ...] = (*DATA_STAGES, *STAGES)

__all__ = ["ALL_STAGES", "PAPER_TASKS", "STAGES"]
