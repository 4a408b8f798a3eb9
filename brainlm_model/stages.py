"""The model's stages, in order."""

from __future__ import annotations

from brainlm_data import STAGES as DATA_STAGES
from brainlm_data import Stage
from brainlm_model.eval.phenotype import STAGE as PHENOTYPE
from brainlm_model.evaluate import STAGE as EVALUATE
from brainlm_model.figures import STAGE as FIGURES
from brainlm_model.report import STAGE as REPORT
from brainlm_model.train import STAGE as TRAIN

# Evaluations that the paper has and that nothing else waits for: `snakemake paper`, `brainlm-model paper`
PAPER_TASKS: dict[str, Stage] = {stage.name: stage for stage in (PHENOTYPE,)}
STAGES: tuple[Stage, ...] = (TRAIN, EVALUATE, *PAPER_TASKS.values(), FIGURES, REPORT)
ALL_STAGES: tuple[Stage, ...] = (*DATA_STAGES, *STAGES)
