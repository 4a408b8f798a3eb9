# From raw BIDS to a trained and evaluated brain foundation model: README.md has the commands, docs/config.md the keys.
import os
import sys

from snakemake.utils import min_version

from brainlm_data.graph.dag import Dag
from brainlm_data.pipeline import STAGES
from brainlm_model.stages import ALL_STAGES

min_version("9.27")
# Jobs call brainlm-data and brainlm-model of this very environment, activated or not.
os.environ.update(PATH=os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", ""))


configfile: "config.yaml"


include: "workflow/rules/common.smk"


# `snakemake --list` needs no dataset
LISTS = {"--list", "--list-rules", "-l", "--list-target-rules", "--lt"} & set(sys.argv)

try:
    dag = Dag(config, ALL_STAGES, planning=workflow.is_main_process, read=not LISTS)
    if workflow.is_main_process and not LISTS:
        dag.prepare()
except Exception as error:
    raise in_one_line(error) from None


rule all:
    input:
        lambda _: dag.goal("report"),
    localrule: True


include: "workflow/rules/run.smk"
include: "workflow/rules/stages.smk"
include: "workflow/rules/targets.smk"
