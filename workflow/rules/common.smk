# What the Snakefile and the rules share.
from snakemake.exceptions import WorkflowError

from brainlm_data.errors import in_words
from brainlm_data.graph.events import Events

events = Events()


def in_one_line(error):
    """Whatever fails is said in one line with its remedy, as the commands say it."""
    words = in_words(error, config.get("outdir"))
    events.tell("error", message=words.message, remedy=words.remedy)
    return WorkflowError(str(words))
