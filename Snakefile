# From raw BIDS to a trained and evaluated brain foundation model.
#   snakemake --cores 8 [preprocess|dataset|train|evaluate|figures|report] --config bids_dir=/data/ds outdir=/data/out
import os
import sys

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from brainlm_data.dag import Dag
from brainlm_data.errors import BrainLMError
from brainlm_data.lock import hold
from brainlm_model.stages import ALL_STAGES

min_version("9.27")
# Jobs call brainlm-data and brainlm-model of this very environment, activated or not.
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]


configfile: "config.yaml"


try:
    dag = Dag(config, ALL_STAGES)
except BrainLMError as error:
    raise WorkflowError(str(error)) from None


onstart:
    dag.lock = hold(dag.outdir)  # kept until this process ends


rule all:
    input:
        dag["report"].manifests,
        dag.manifests(dag.image_stages()),
    localrule: True


include: "workflow/rules/targets.smk"
include: "workflow/rules/space.smk"
include: "workflow/rules/anatomy.smk"
include: "workflow/rules/bold.smk"
include: "workflow/rules/series.smk"
include: "workflow/rules/model.smk"
