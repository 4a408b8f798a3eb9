"""The paper's tasks by name, in the order of its tables: none is part of the default target."""

from __future__ import annotations

from brainlm_data import Stage
from brainlm_model.eval.attention.stage import STAGE as ATTENTION
from brainlm_model.eval.future.stage import STAGE as FUTURE
from brainlm_model.eval.latent.stage import STAGE as LATENT
from brainlm_model.eval.networks.stage import STAGE as NETWORKS
from brainlm_model.eval.perturbation.stage import STAGE as PERTURBATION
from brainlm_model.eval.phenotype.stage import STAGE as PHENOTYPE
from brainlm_model.eval.scaling.stage import STAGE as SCALING
from brainlm_model.eval.state.stage import STAGE as STATE

TASKS: dict[str, Stage] = {
    stage.name: stage for stage in (SCALING, PHENOTYPE, FUTURE, ATTENTION, NETWORKS, PERTURBATION, LATENT, STATE)
}
