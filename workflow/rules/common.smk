# What the Snakefile and the rules share.
from snakemake.exceptions import WorkflowError

from brainlm_data.errors import in_words


def in_one_line(error):
    """Whatever fails is said in one line with its remedy, as the commands say it."""
    return WorkflowError(str(in_words(error, config.get("outdir"))))
