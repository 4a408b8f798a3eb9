"""The model's stages, in order."""

from __future__ import annotations

from brainlm_data import STAGES as DATA_STAGES
from brainlm_data import Stage
from brainlm_model.eval.attention.stage import STAGE as ATTENTION
from brainlm_model.eval.latent.stage import STAGE as LATENT
from brainlm_model.eval.networks.stage import STAGE as NETWORKS
from brainlm_model.eval.perturbation.stage import STAGE as PERTURBATION
from brainlm_model.eval.phenotype.stage import STAGE as PHENOTYPE
from brainlm_model.evaluate import STAGE as EVALUATE
from brainlm_model.figures import STAGE as FIGURES
from brainlm_model.report import STAGE as REPORT
from brainlm_model.train import STAGE as TRAIN

# the paper's tasks, by name: no part of the default target; `snakemake paper` makes all
PAPER_TASKS: dict[str, Stage] = {stage.name: stage for stage in (PHENOTYPE, ATTENTION, NETWORKS, LATENT, PERTURBATION)}
STAGES: tuple[Stage, ...] = (TRAIN, EVALUATE, FIGURES, REPORT, *PAPER_TASKS.values())
ALL_STAGES: tuple[Stage, ...] = (*DATA_STAGES, *STAGES)
